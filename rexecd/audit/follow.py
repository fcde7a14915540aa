"""Follow a trail while it is written, also when it is renamed and begun anew, or cut.

Rule 1: nothing that was written is left out: a file that was replaced is read to its end first.
Rule 2: a line is given when it is whole. What never gets an end is given as it is.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rexecd import limits
from rexecd.audit import seal
from rexecd.audit.lines import Line, lines, parts
from rexecd.audit.seal import Broken
from rexecd.errors import ConfigError

_BLOCK: Final = 1024 * 1024
#: So many bytes before our place have to be what they were: then it is still the same trail.
_MARK: Final = 80


class Follower:
    """Where we are in a file that grows; to be asked now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        #: The number of the last record that was given.
        self._last = 0
        self._restart()

    def step(self) -> Iterator[Line]:
        """Yield the lines that have come since; raise ConfigError. A file that is not there has none yet."""
        try:
            while self._descriptor is not None or self._open():
                if self._is_cut():
                    yield from self._torn()
                    self._restart()
                yield from self._read()
                if not self._is_replaced():
                    return
                yield from self._read()
                yield from self._torn()
                self.close()
                yield from self._between()
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror}") from None

    def _between(self) -> Iterator[Line]:
        """Yield the lines of files that were begun and set aside since we looked."""
        for part in parts(self._path):
            if part.path != self._path and part.first > self._last > 0:
                for line in lines(part.path):
                    self._note(line.data)
                    yield line

    def _note(self, data: bytes) -> None:
        """Keep the number of the last record."""
        with contextlib.suppress(Broken):
            self._last = seal.number(data)

    def close(self) -> None:
        """Let go of the file; the next step begins with the one of that name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._restart()

    def _restart(self) -> None:
        self._position = 0
        self._number = 0
        self._rest = b""
        self._mark = b""

    def _open(self) -> bool:
        """Open the file; return whether there is one."""
        try:
            # A pipe of that name must not stop us here; that it cannot be read so is said then.
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        return True

    def _is_cut(self) -> bool:
        """Return whether what we have read is there no more."""
        begin = self._position - len(self._mark)
        return self._pread(len(self._mark), begin) != self._mark

    def _is_replaced(self) -> bool:
        """Return whether another file has our file's name; none has it while it is being renamed."""
        if self._descriptor is None:
            return False
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return not os.path.samestat(named, os.fstat(self._descriptor))

    def _read(self) -> Iterator[Line]:
        while block := self._pread(_BLOCK, self._position):
            self._position += len(block)
            self._mark = (self._mark + block)[-_MARK:]
            *whole, self._rest = (self._rest + block).split(b"\n")
            for data in whole:
                yield from self._pieces(data + b"\n")
            if whole:
                self._note(whole[-1] + b"\n")
            if len(self._rest) > limits.MAX_RECORD:
                rest, self._rest = self._rest, b""
                yield from self._pieces(rest)

    def _torn(self) -> Iterator[Line]:
        """Yield what stands at the end without one."""
        rest, self._rest = self._rest, b""
        yield from self._pieces(rest)

    def _pieces(self, data: bytes) -> Iterator[Line]:
        for start in range(0, len(data), limits.MAX_RECORD + 1):
            self._number += 1
            yield Line(self._path, self._number, data[start : start + limits.MAX_RECORD + 1])

    def _pread(self, size: int, position: int) -> bytes:
        return b"" if self._descriptor is None else os.pread(self._descriptor, size, position)
