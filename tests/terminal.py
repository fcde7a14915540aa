"""A program in a terminal, and somebody who types."""

import contextlib
import fcntl
import functools
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Callable
from typing import Any


class Terminal:
    """A terminal with the program on its other side."""

    def __init__(self, start: Callable[..., subprocess.Popen[bytes]], **how: Any) -> None:
        """Start it by a call that takes what `Popen` takes; what `how` does not say is the terminal."""
        # The other side stays open here too: a terminal without one is hung up.
        self._master, self._slave = pty.openpty()
        self._seen = b""
        own: dict[str, Any] = {"stdin": self._slave, "stdout": self._slave, "stderr": self._slave}
        take = functools.partial(_take_terminal, self._slave)
        self.process = start(**{**own, **how}, start_new_session=True, preexec_fn=take)

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self._master, text)

    def interrupt_until(self, text: bytes) -> None:
        """Press Ctrl-C, as often as it takes, until the program printed this.

        Python's line editor does not hear a signal between two of its waits for a key: nobody types
        that fast, but a test that has just been woken by its echo does.
        """
        for _ in range(5):
            self.type(b"\x03")
            with contextlib.suppress(AssertionError):
                self.expect(text, seconds=3)  # long enough that a second press finds the first one lost
                return
        raise AssertionError(f"{text!r} not in {self._seen!r}")

    def expect(self, text: bytes, *, seconds: float = 10) -> bytes:
        """Wait until the program printed this; return everything up to there."""
        end = time.monotonic() + seconds
        while text not in self._seen:
            if not select.select([self._master], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"{text!r} not in {self._seen!r}")
            self._seen += os.read(self._master, 4096)
        before, _, self._seen = self._seen.partition(text)
        return before

    def close(self) -> None:
        """Hang up."""
        os.close(self._slave)
        os.close(self._master)


def _take_terminal(descriptor: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
