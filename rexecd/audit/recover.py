"""Find the place where a trail goes on: behind its last whole record, in whichever file that is.

Only what was written after the last persisted step is read; the rest is verify's. Files can have been set
aside since then, by us or by logrotate, and half a line may stand at an end.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rexecd import files, limits
from rexecd.audit.lines import Part, is_compressed, lines, parts
from rexecd.audit.seal import Broken, Chain
from rexecd.audit.trailfile import TrailFile
from rexecd.errors import ConfigError

_BLOCK: Final = 64 * 1024
_REMEDY: Final = "run 'rexecd audit verify', or move the file away to begin a new one"


class Torn(NamedTuple):
    """What was cut off: the end of a file that is no whole line."""

    size: int
    digest: str


def recover(file: TrailFile, chain: Chain) -> tuple[Chain, Torn | None]:
    """Return the chain behind the last whole record, and what was cut off there; raise ConfigError, OSError.

    `chain` is the one that was persisted.
    """
    size = file.size
    start = _persisted_end(file, size, chain)
    torn = None
    if start is None:
        start = 0
        chain, torn = _follow_asides(file.path, chain)
        if size and not _begins(file, chain):
            where = f"{file.path}:{_count_lines(file, size)}"
            raise ConfigError(
                f"{where}: ends without record {chain.sequence - 1}, the last one kept; {_REMEDY}"
            )
    for place, line in _lines(file, start):
        if not line.endswith(b"\n") and len(line) <= limits.MAX_RECORD:
            file.cut(place)
            return chain, _torn(line)
        try:
            chain = chain.check(line)
        except Broken as broken:
            raise _unfit(file.path, _count_lines(file, place) + 1, broken) from None
    return chain, torn


def _persisted_end(file: TrailFile, size: int, chain: Chain) -> int | None:
    """Return where the records after the persisted ones begin; None if it is not in this file."""
    if chain.sequence == 1:
        return 0
    last = chain.last_end()
    for start in range(size - 1 - (size - 1) % _BLOCK, -1, -_BLOCK):
        found = file.read(start, start + _BLOCK + len(last) - 1).rfind(last)
        if found >= 0:
            return start + found + len(last)
    return None


def _follow_asides(path: Path, chain: Chain) -> tuple[Chain, Torn | None]:
    """Return the chain behind the files that hold what was written after the last persisted step.

    Where they are not here any more, the chain goes on from that step.
    """
    torn = None
    for part in _asides_since(path, chain):
        last = chain.last_end() if part.first < chain.sequence else None
        place = 0
        for line in lines(part.path):
            if last is None:
                if not line.data.endswith(b"\n") and len(line.data) <= limits.MAX_RECORD:
                    torn = _cut(part.path, place, line.data)
                    break
                try:
                    chain = chain.check(line.data)
                except Broken as broken:
                    raise _unfit(part.path, line.number, broken) from None
            elif line.data.endswith(last):
                last = None
            place += len(line.data)
        if last is not None:
            break  # it was not what its first record promised
    return chain, torn


def _asides_since(path: Path, chain: Chain) -> list[Part]:
    """Return the file that should hold the last persisted record, and those behind it."""
    # Of a file and its copy it is the longer one that was written last.
    largest = {
        part.first: part for part in sorted(parts(path), key=_size) if part.path != path and part.first
    }
    asides = sorted(largest.values())
    older = [index for index, part in enumerate(asides) if part.first < chain.sequence]
    return asides[older[-1] :] if older else []


def _size(part: Part) -> int:
    return part.path.stat().st_size


def _begins(file: TrailFile, chain: Chain) -> bool:
    """Return whether the file's first record is the next one; half of one is nobody's."""
    first, end, _ = file.read(0, limits.MAX_RECORD).partition(b"\n")
    return not end or chain.is_next(first + end)


def _lines(file: TrailFile, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield each line from `start` with its place; one that is too long comes in pieces."""
    with open(file.descriptor, "rb", closefd=False) as stream:
        stream.seek(start)
        while line := stream.readline(limits.MAX_RECORD + 1):
            yield start, line
            start += len(line)


def _count_lines(file: TrailFile, end: int) -> int:
    """Return how many lines end before `end`."""
    return sum(file.read(at, min(at + _BLOCK, end)).count(b"\n") for at in range(0, end, _BLOCK))


def _cut(path: Path, place: int, torn: bytes) -> Torn | None:
    """Cut off half a line of a file that was set aside; one that was compressed stays as it is."""
    if is_compressed(path):
        return None
    descriptor = files.open_private(path, os.O_RDWR)
    try:
        os.ftruncate(descriptor, place)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return _torn(torn)


def _torn(line: bytes) -> Torn:
    return Torn(len(line), hashlib.sha256(line).hexdigest())


def _unfit(path: Path, number: int, broken: Broken) -> ConfigError:
    return ConfigError(f"{path}:{number}: {broken.text}; {_REMEDY}")
