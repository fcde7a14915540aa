"""Files of a trail that were set aside: their names, compressing and removing them.

Only names of our own form are touched: the trail's, a dot, and the number of the first record in twelve
digits, so that they sort as they follow each other. What logrotate makes is logrotate's.
"""

import contextlib
import gzip
import os
import re
import shutil
from pathlib import Path
from typing import Final, NamedTuple

from rexecd.audit.lines import parts
from rexecd.audit.trailfile import UNFINISHED

_OURS: Final = re.compile(r"\.([0-9]{12,19})(\.gz)?")
_PACKED: Final = ".gz"
_BLOCK: Final = 1024 * 1024
#: As gzip(1) does without being told.
_LEVEL: Final = 6


class Aside(NamedTuple):
    """A file that was set aside."""

    first: int
    path: Path


def aside(path: Path, first: int) -> Path:
    """Return where a file goes whose first record has this number."""
    return path.with_name(f"{path.name}.{first:012d}")


def names(path: Path) -> tuple[Path, Path]:
    """Return the names of a file that was set aside: as it is, and as it will be once it is compressed."""
    return path, path.with_name(path.name + _PACKED)


def asides(path: Path) -> list[Aside]:
    """Return what was set aside of the trail at `path`, the oldest first; raise OSError."""
    found = []
    for entry in os.scandir(path.parent):
        match = _OURS.fullmatch(entry.name.removeprefix(path.name))
        if match and entry.name.startswith(path.name) and entry.is_file(follow_symlinks=False):
            found.append(Aside(int(match[1]), path.with_name(entry.name)))
    return sorted(found)


def pack(path: Path) -> None:
    """Compress what was set aside of the trail at `path`, but for the newest; raise OSError.

    The newest may still be looked at from its end, by a start after a crash. What was under way when a
    crash came is begun again.
    """
    for each in asides(path)[:-1]:
        if each.path.suffix != _PACKED:
            _compress(each.path)


def dead(path: Path, before: float) -> list[Aside]:
    """Return the oldest files whose last change was before a time (seconds since 1970).

    Never one that lies between two that stay, be they ours or logrotate's, and never the newest.
    Raise OSError, ConfigError.
    """
    found = []
    ours = {each.path: each for each in asides(path)[:-1]}
    for part in parts(path):
        each = ours.get(part.path)
        if each is None or each.path.stat().st_mtime >= before:
            break
        found.append(each)
    return found


def _compress(path: Path) -> None:
    _, packed = names(path)
    new = packed.with_name(packed.name + UNFINISHED)
    status = path.stat()
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    try:
        with path.open("rb") as source, os.fdopen(_create(new), "wb") as target:
            with gzip.GzipFile("", "wb", _LEVEL, target, mtime=status.st_mtime) as stream:
                shutil.copyfileobj(source, stream, _BLOCK)
            target.flush()
            os.fchmod(target.fileno(), status.st_mode & 0o777)
            os.fsync(target.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.rename(packed)
    path.unlink()


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
