"""How far a long transfer has come: one line on a terminal, written over and taken away again.

Rule: it stands alone on its line or not at all. What the command writes to the same terminal comes first.
"""

import math
import os
import stat
import time
from collections.abc import Callable
from typing import Final, Self

from rexecd.client.exchange import Descriptor, Sink
from rexecd.client.results import Stream

#: Seconds before the first line, and between two.
_PATIENCE: Final = 2.0
_PERIOD: Final = 0.2
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_KIBI: Final = 1024
_STDIN, _STDOUT, _STDERR = 0, 1, 2
#: Where a terminal does not say how wide it is.
_USUAL_WIDTH: Final = 80


class Counted(Descriptor):
    """Input from a file descriptor, counted."""

    __slots__ = ("_progress",)

    def __init__(self, descriptor: int, progress: "Progress") -> None:
        super().__init__(descriptor)
        self._progress = progress

    @property
    def descriptor(self) -> int | None:
        """Return as `Descriptor` does."""
        self._progress.ask()
        return super().descriptor

    def read(self) -> bytes | None:
        """Return as `Descriptor` does."""
        data = super().read()
        self._progress.send(len(data or b""))
        return data


class Progress:
    """What one command has sent and received, and the line that says so."""

    def __init__(
        self, sink: Sink, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sink = sink
        self._write = write
        self._clock = clock
        self._begun = self._drawn = clock()
        self._width = 0  # of the line that stands there
        self._sent = self._received = 0
        self._is_silent = False
        self._total = _left_in(_STDIN)
        self._patience = _PATIENCE
        self._is_output_shown = os.isatty(_STDOUT)
        self._is_input_typed = os.isatty(_STDIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._erase()

    def source(self) -> Descriptor:
        """Return standard input, counted."""
        return Counted(_STDIN, self)

    def take(self, stream: Stream, data: bytes) -> None:
        """Pass on what the command wrote, and count it."""
        is_shown = stream is Stream.STDERR or self._is_output_shown
        if is_shown:
            self._erase()
            # In the middle of the command's own line there is no place for ours.
            self._is_silent = not data.endswith(b"\n")
        self._sink(stream, data)
        self._received += len(data)
        if not is_shown:
            self._draw()

    def ask(self) -> None:
        """Notice that the command takes input; who types it is not to be disturbed."""
        if self._is_input_typed:
            self._erase()
            self._patience = math.inf

    def send(self, count: int) -> None:
        """Count input."""
        self._sent += count
        self._draw()

    def _draw(self) -> None:
        now = self._clock()
        if self._is_silent or now - self._begun < self._patience or now - self._drawn < _PERIOD:
            return
        self._drawn = now
        text = make_line(self._sent, self._received, self._total, now - self._begun)
        text = text[: _columns() - 1]
        self._write(f"\r{text:{self._width}}")
        self._width = len(text)

    def _erase(self) -> None:
        if self._width:
            self._write(f"\r{'':{self._width}}\r")
            self._width = 0


def _columns() -> int:
    """Return how wide the terminal is the line stands on; standard output is mostly another or none."""
    try:
        return os.get_terminal_size(_STDERR).columns or _USUAL_WIDTH
    except OSError:
        return _USUAL_WIDTH


def make_line(sent: int, received: int, total: int | None, seconds: float) -> str:
    """Return the line: how many bytes in each direction, of how many where that is known, and how fast."""
    parts = []
    if sent:
        share = f" of {spell_size(total)} ({min(100, 100 * sent // total)} %)" if total else ""
        parts.append(f"{spell_size(sent)}{share} sent")
    if received:
        parts.append(f"{spell_size(received)} received")
    minutes, rest = divmod(int(seconds), 60)
    parts += [f"{spell_size((sent + received) / max(seconds, 0.001))}/s", f"{minutes}:{rest:02}"]
    return f"rexec: {', '.join(parts)}"


def spell_size(size: float) -> str:
    """Return a number of bytes for people: `812 B`, `4.1 MiB`."""
    unit = 0
    while size >= _KIBI and unit < len(_UNITS) - 1:
        size /= _KIBI
        unit += 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size:.0f} B"


def _left_in(descriptor: int) -> int | None:
    """Return how many bytes a file still has, None for what is no file."""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        return max(0, status.st_size - os.lseek(descriptor, 0, os.SEEK_CUR))
    except OSError:
        return None
