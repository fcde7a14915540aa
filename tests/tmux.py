"""A real terminal: a program in tmux, what one types there, and what the screen shows."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from tests.harness import children, wait_for

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Screen:
    """A terminal of its own server, closed with everything in it."""

    def __init__(
        self, line: Sequence[str], *, environment: Mapping[str, str], width: int = 90, height: int = 40
    ) -> None:
        # Not in a test's own directory: the name of a socket has to be short.
        self._directory = tempfile.TemporaryDirectory(prefix="tmux-")
        self._socket = str(Path(self._directory.name) / "s")
        words = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), *line]
        # What comes behind the program shows that, and how, it has ended.
        # Ctrl-C is for the program, and reaches whoever waits for it too.
        shown = f'trap : INT; {shlex.join(words)}; echo "ended with $?"; exec cat'
        size = ["-x", str(width), "-y", str(height)]
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "sh", "-c", shown)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")
        self._directory.cleanup()

    def type(self, text: str) -> None:
        """Type a text as it is."""
        self._tmux("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        """Press keys by their names: `Enter`, `Tab`, `Up`, `C-c`."""
        self._tmux("send-keys", *keys)

    def enter(self, line: str) -> None:
        """Type a line and send it."""
        self.type(line)
        self.press("Enter")

    def kill_program(self, name: str) -> None:
        """Send a signal to the program, as somebody elsewhere would."""
        shell = int(self._tmux("display-message", "-p", "#{pane_pid}"))
        (program,) = children(shell)
        os.kill(program, signal.Signals[f"SIG{name}"])

    def read(self) -> str:
        """Return the screen and what has left it at the top; wrapped lines are whole again."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-").rstrip()

    def title(self) -> str:
        """Return what the terminal's title is."""
        return self._tmux("display-message", "-p", "#{pane_title}").strip()

    def bytes_shown(self) -> str:
        """Return the same with its colours, as escape sequences."""
        return self._tmux("capture-pane", "-p", "-e", "-S", "-")

    def interrupt(self) -> None:
        """Press Ctrl-C at a prompt, as often as it takes, until there is an empty one.

        Python's line editor does not hear a signal between two of its waits for a key, as `Terminal` says.
        """
        for _ in range(5):
            self.press("C-c")
            end = time.monotonic() + 3
            while time.monotonic() < end:
                if self._last_line() == "->>":
                    return
                time.sleep(0.02)
        pytest.fail(f"no new prompt:\n{self.read()}")

    def _last_line(self) -> str:
        """Return it without what may stand at its right end."""
        return self.read().rpartition("\n")[2].partition(" " * 8)[0].rstrip()

    def expect(self, text: str, *, times: int = 1) -> str:
        """Wait until a text is shown, so many times; return the screen."""
        try:
            wait_for(lambda: self.read().count(text) >= times)
        except pytest.fail.Exception:
            pytest.fail(f"{text!r} is not shown:\n{self.read()}")
        return self.read()

    def expect_last(self, text: str) -> str:
        """Wait until the last line that shows anything is this one; return the screen."""
        try:
            wait_for(lambda: text == self._last_line())
        except pytest.fail.Exception:
            pytest.fail(f"{text!r} is not the last line:\n{self.read()}")
        return self.read()

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-S", self._socket, *words], check=True, capture_output=True, text=True, timeout=20
        ).stdout
