"""The files of a trail, in their order, and their lines, also of files that were compressed.

A trail is the file that is written now and those that were set aside, by us or by logrotate: whatever begins
with its name and `.` or `-`. Their order is that of the numbers of their first records, not of their names.
"""

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from rexecd import limits
from rexecd.audit import seal
from rexecd.audit.seal import Broken
from rexecd.audit.trailfile import UNFINISHED
from rexecd.errors import ConfigError

_BLOCK: Final = 1024 * 1024
#: How often it is looked again when files change their names meanwhile.
_ATTEMPTS: Final = 100
#: What logrotate compresses with, as far as the standard library reads it.
_OPENERS: Final[Mapping[str, Callable[..., Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_FOREIGN: Final = frozenset({".zst", ".lz4", ".Z"})
#: What a damaged compressed file raises.
_DAMAGES: Final = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Line(NamedTuple):
    """One line of a trail, and where it stands; of one that is too long, a piece."""

    path: Path
    number: int
    data: bytes


class Part(NamedTuple):
    """One file of a trail, and the number of its first record; 0 if it begins with none."""

    first: int
    path: Path


#: What has another name by now.
_GONE: Final = Part(-1, Path())


def is_compressed(path: Path) -> bool:
    """Return whether a name says so."""
    return path.suffix in _OPENERS


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of a trail for reading; raise ConfigError, also for what is read meanwhile."""
    if path.suffix in _FOREIGN:
        raise ConfigError(f"{path}: uncompress it first: only .gz, .bz2 and .xz can be read")
    try:
        if not path.is_file() and path.exists():
            raise ConfigError(f"{path}: not a regular file; put one in its place")
        if is_compressed(path):
            with _OPENERS[path.suffix](path, "rb") as file:
                yield file
        else:
            with path.open("rb", buffering=_BLOCK) as file:
                yield file
    except _DAMAGES as error:
        raise ConfigError(f"{path}: damaged, it cannot be uncompressed: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None


def lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file; raise ConfigError."""
    with opened(path) as file:
        number = 0
        while data := file.readline(limits.MAX_RECORD + 1):
            number += 1
            if not data.endswith(b"\n"):  # it may be being written just now: look once more
                data += file.readline(limits.MAX_RECORD + 1 - len(data))
            yield Line(path, number, data)
            if not data.endswith(b"\n") and len(data) <= limits.MAX_RECORD:
                return  # it was the last one: what follows by now is the rest of it, and no line


def parts(path: Path) -> list[Part]:
    """Return the files of the trail that is written to `path`, the oldest first; raise ConfigError.

    Empty ones are none. What is there both plain and compressed is being compressed: the plain one counts.
    """
    for _ in range(_ATTEMPTS):
        current = _part(path)  # first: should it be set aside meanwhile, it is among the others then
        asides = [_part(each) for each in _candidates(path)]
        if _GONE not in asides:
            known = sorted(part for part in asides if part is not None)
            return known + [part for part in [current] if part not in {None, _GONE}]
    raise ConfigError(f"{path.parent}: changes while it is read; try again")


def _candidates(path: Path) -> list[Path]:
    """Return what may have been set aside of the trail."""
    try:
        names = {entry.name for entry in os.scandir(path.parent) if entry.is_file(follow_symlinks=False)}
    except OSError as error:
        raise ConfigError(f"{path.parent}: cannot be read: {error.strerror}") from None
    found = []
    for name in names:
        each = path.with_name(name)
        is_aside = name.startswith((f"{path.name}.", f"{path.name}-")) and each.suffix != UNFINISHED
        if is_aside and not (is_compressed(each) and each.stem in names):
            found.append(each)
    return found


def _part(path: Path) -> Part | None:
    """Return what a file is of its trail; None if there is nothing in it, `_GONE` if it is not there now."""
    try:
        with opened(path) as file:
            line = file.readline(limits.MAX_RECORD + 1)
    except ConfigError:
        if path.exists():
            return Part(0, path)  # whoever reads all of it hears what is wrong
        return _GONE
    if not line:
        return None
    try:
        return Part(seal.number(line), path)
    except Broken:
        return Part(0, path)


def whole(path: Path) -> Iterator[Line]:
    """Yield every line of the trail that is written to `path`, also when a file is set aside meanwhile."""
    done = -1
    while True:
        for part in parts(path):
            if part.first <= done and part.first:
                continue
            found = lines(part.path)
            try:
                line = next(found, None)
            except ConfigError:
                if part.path.exists():
                    raise
                break  # it has another name by now
            if line is None or (part.first and not _begins(line, part.first)):
                break
            yield line
            yield from found
            done = part.first
        else:
            return


def _begins(line: Line, first: int) -> bool:
    try:
        return seal.number(line.data) == first
    except Broken:
        return False
