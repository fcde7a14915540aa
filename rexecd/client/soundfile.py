"""Files of the caller's own that say whom to trust: nobody else may have written them.

Rule: what is judged is the descriptor that is read, never a name that could be exchanged in between.
"""

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from rexecd.client.errors import UsageError
from rexecd.portable import HAS_OWNERS, flags

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class What(NamedTuple):
    """What a kind of file is called in a complaint, and what a stranger could do with it."""

    name: str
    harm: str
    #: What to do where it is another's.
    instead: str
    #: The largest that makes sense; more is a mistake, such as a log file.
    most: int = 1024 * 1024
    #: Where it is the machine's: root's only, not also the caller's.
    is_roots: bool = False


@contextlib.contextmanager
def opened(what: What, path: str, mode: int = os.O_RDONLY) -> Iterator[int]:
    """Give a descriptor of a sound file; raise OSError, ValueError or UsageError."""
    descriptor = os.open(path, mode | flags("O_NONBLOCK"))
    try:
        _judge(what, os.fstat(descriptor), path)
        yield descriptor
    finally:
        os.close(descriptor)


def read_all(what: What, descriptor: int, path: str) -> bytes:
    """Return what an opened file holds; raise OSError, or UsageError where that is too much."""
    data = b""
    while len(data) <= what.most and (piece := os.read(descriptor, what.most + 1 - len(data))):
        data += piece
    if len(data) > what.most:
        raise UsageError(f"{what.name} {path!r}: more than {what.most} bytes")
    return data


def fault(what: What, path: str, error: Exception) -> UsageError:
    """Return what to raise where a file could not be opened or read."""
    return UsageError(f"{what.name} {path!r}: {getattr(error, 'strerror', None) or error}")


def make_directory(path: str) -> None:
    """Make a directory and those above it that are missing, each for its owner alone; raise OSError."""
    if os.path.isdir(path):  # noqa: PTH112 - pathlib starts slowly
        return
    above = os.path.dirname(path)  # noqa: PTH120
    if above and above != path:
        make_directory(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)  # noqa: PTH102
        os.chmod(path, 0o700)  # noqa: PTH101 - the umask may have taken from the owner too


def _judge(what: What, status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{what.name} {path!r}: not a file")
    if not HAS_OWNERS:
        return
    if status.st_uid not in ((0,) if what.is_roots else (os.geteuid(), 0)):
        whose = "does not belong to root: its owner" if what.is_roots else "belongs to another user, who"
        raise UsageError(f"{what.name} {path!r}: it {whose} could {what.harm} there", hint=what.instead)
    if status.st_mode & _OTHERS_WRITE:
        mode = 0o644 if what.is_roots else 0o600
        raise UsageError(
            f"{what.name} {path!r}: others can write to it (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"see that every line is yours, then: chmod {mode:o} {shlex.quote(path)}",
        )
