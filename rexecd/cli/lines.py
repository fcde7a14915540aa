"""Where the lines of a session come from: a pipe, or a terminal with Python's own line editor."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

from rexecd.cli import say
from rexecd.cli.interrupts import Terminated
from rexecd.client import history
from rexecd.client.completing import Known
from rexecd.client.errors import UsageError
from rexecd.client.results import Outcome
from rexecd.limits import MAX_LINE

PROMPT: Final = "->> "


class Memory:
    """The lines of earlier sessions, in a file; where that cannot be used, one line says so."""

    def __init__(self, environ: Mapping[str, str], *, is_wanted: bool) -> None:
        self._path = history.default_path(environ) if is_wanted else None
        self._last = ""

    def load(self) -> list[str]:
        """Return the lines, the oldest first."""
        if self._path is None:
            return []
        try:
            return history.load(self._path)
        except UsageError as error:
            self._give_up(error)
            return []

    def is_new(self, line: str) -> bool:
        """Return whether a line is another than the one before it."""
        is_new, self._last = line != self._last, line
        return is_new

    def add(self, line: str) -> None:
        """Write a line down."""
        if self._path is None:
            return
        try:
            history.add(self._path, line)
        except UsageError as error:
            self._give_up(error)

    def _give_up(self, error: UsageError) -> None:
        self._path = None
        say.warning("rexec", f"lines of this session are not kept: {error}")


class PipeEditor:
    """Lines that nobody types."""

    def ask(self) -> str | None:
        """Read one line, holding no more of it than may be sent."""
        if sys.stdin is None:
            return None
        most = MAX_LINE + 1
        try:
            data = sys.stdin.buffer.readline(most)
            if len(data) == most and not data.endswith(b"\n"):
                while (more := sys.stdin.buffer.readline(most)) and not more.endswith(b"\n"):
                    pass
                raise UsageError(f"the line is longer than {MAX_LINE} bytes")
            return data.decode() if data else None
        except UnicodeDecodeError:
            raise UsageError("the line is not valid UTF-8") from None
        except KeyboardInterrupt:  # no person is there to begin the line anew
            raise Terminated(signal.SIGINT) from None
        except OSError as error:
            raise UsageError(f"standard input: {error.strerror}") from None

    def remember(self, line: str, *, is_kept: bool) -> bool:  # noqa: ARG002 - as the others
        """Do nothing."""
        return False

    def learn(self, known: Known) -> None:
        """Do nothing."""

    def note(self, outcome: Outcome | None) -> None:
        """Do nothing."""


class TerminalEditor:
    """A prompt, with readline where Python has it: line editing, history, completion on the tabulator key."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._known = Known()
        self._fitting: list[str] = []
        self._readline = _find_readline()
        if self._readline is not None:
            self._prepare(self._readline)

    def ask(self) -> str | None:
        """Ask for one line."""
        try:
            return input(PROMPT)
        except EOFError:
            say.answer("\n")
            return None
        except KeyboardInterrupt:
            say.answer("\n")
            raise
        except UnicodeDecodeError:
            raise UsageError("the line is not valid UTF-8") from None

    def remember(self, line: str, *, is_kept: bool) -> bool:
        """Have arrow-up bring it back, and write it down if it may be kept."""
        if self._memory.is_new(line) and self._readline is not None:
            self._readline.add_history(line)
            if is_kept:
                self._memory.add(line)
        return self._readline is not None

    def learn(self, known: Known) -> None:
        """Complete from this."""
        self._known = known

    def note(self, outcome: Outcome | None) -> None:
        """Do nothing: a note of an ending that was not a success is said anyway."""

    def _prepare(self, readline: ModuleType) -> None:
        readline.set_auto_history(False)
        for line in self._memory.load():
            readline.add_history(line)
        readline.set_completer(self._complete)
        readline.set_completer_delims(" \t\n")
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def _complete(self, _text: str, state: int) -> str | None:
        if state == 0 and self._readline is not None:
            self._fitting = self._find(self._readline)
        return self._fitting[state] if state < len(self._fitting) else None

    def _find(self, readline: ModuleType) -> list[str]:
        """Return what to put in place of what readline takes for a word, which may be less than ours."""
        line, begin = readline.get_line_buffer(), readline.get_begidx()
        found = self._known.complete(line[: readline.get_endidx()])
        before = line[found.start : begin]
        return [
            each.text[len(before) :] + (" " if each.is_whole else "")
            for each in found.candidates
            if each.text.startswith(before)
        ]


def _find_readline() -> ModuleType | None:
    try:
        import readline  # noqa: PLC0415 - only for a terminal, and not every Python has it
    except ImportError:
        return None
    return readline


def columns() -> int:
    """Return how wide the terminal is."""
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class Margin:
    """Keeps prompts at the beginning of a line, whatever a command wrote last."""

    def __init__(self, write: Callable[[int, bytes], None]) -> None:
        self._write = write
        self._is_in_line = False

    def take(self, stream: int, data: bytes) -> None:
        """Write a command's output; raise OSError."""
        self._write(stream, data)
        if data:
            self._is_in_line = not data.endswith(b"\n")

    def close_line(self) -> None:
        """Begin a new line if the last one is not at its end."""
        if self._is_in_line:
            self._write(1, b"\n")
            self._is_in_line = False
