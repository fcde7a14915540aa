"""Questions to whoever sits at the terminal, whatever standard input and output are.

Rule 1: what was typed before a question does not answer it; only the whole word is a yes.
Rule 2: a secret is not shown while it is typed, and the terminal is left as it was.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from rexecd.cli import say

_AGAIN: Final = "Please type yes or no: "
_MAX_ANSWER: Final = 1024
#: Where `termios.tcgetattr` has the local modes.
_LOCAL: Final = 3


def ask_yes(question: str) -> bool:
    """Return whether somebody types yes; raise OSError where there is nobody to ask."""
    import termios  # noqa: PLC0415 - only for a question

    with _terminal() as terminal:
        termios.tcflush(terminal, termios.TCIFLUSH)
        say.write(terminal, question.encode("ascii", "backslashreplace"))
        while (answer := _line(terminal)) not in (b"yes", b"no", None):
            say.write(terminal, _AGAIN.encode("ascii"))
        if answer is None:  # Ctrl-D leaves the cursor behind the question
            say.write(terminal, b"\n")
    return answer == b"yes"


def ask_secret(prompt: str) -> str | None:
    """Return what somebody types unseen, None for nothing; raise OSError where there is nobody to ask."""
    import termios  # noqa: PLC0415 - only for a question

    with _terminal() as terminal:
        before = termios.tcgetattr(terminal)
        unseen = before.copy()
        unseen[_LOCAL] &= ~termios.ECHO
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, unseen)
            say.write(terminal, prompt.encode("ascii", "backslashreplace"))
            answer = _line(terminal)
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            say.write(terminal, b"\n")
    return answer.decode("ascii", "replace") if answer else None


@contextlib.contextmanager
def _terminal() -> Iterator[int]:
    """Give the terminal; raise OSError where there is none, or one that is not ours any more."""
    import termios  # noqa: PLC0415 - as above

    terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        yield terminal
    except termios.error as error:
        raise OSError(*error.args) from None
    finally:
        os.close(terminal)


def _line(terminal: int) -> bytes | None:
    """Return one line, without the space around it; None for the end of input (Ctrl-D)."""
    line = b""
    while not line.endswith((b"\n", b"\r")) and len(line) < _MAX_ANSWER:
        piece = os.read(terminal, _MAX_ANSWER)
        if not piece:
            return None
        line += piece
    return line.strip()
