"""Questions to whoever sits at the terminal, whatever standard input and output are.

Rule 1: what was typed before a question does not answer it; only the whole word is a yes.
Rule 2: a secret is not shown while it is typed, and the terminal is left as it was.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import Final

from rexecd.cli import say

_AGAIN: Final = "Please type yes or no: "
_MAX_ANSWER: Final = 1024
#: Where `termios.tcgetattr` has the local modes.
_LOCAL: Final = 3


def ask_yes(question: str) -> bool:
    """Return whether somebody types yes; raise OSError where there is nobody to ask."""
    question = question.encode("ascii", "backslashreplace").decode("ascii")
    try:
        import termios  # noqa: PLC0415 - only for a question, and not on every platform
    except ImportError:
        return _is_yes(question, _ask_input)
    with _terminal() as terminal:
        termios.tcflush(terminal, termios.TCIFLUSH)

        def ask(text: str) -> str | None:
            say.write(terminal, text.encode("ascii"))
            answer = _line(terminal)
            if answer is None:  # Ctrl-D leaves the cursor behind the question
                say.write(terminal, b"\n")
            return answer

        return _is_yes(question, ask)


def ask_secret(prompt: str) -> str | None:
    """Return what somebody types unseen, None for nothing; raise OSError where there is nobody to ask."""
    prompt = prompt.encode("ascii", "backslashreplace").decode("ascii")
    try:
        import termios  # noqa: PLC0415 - as above
    except ImportError:
        return _ask_console(prompt)
    with _terminal() as terminal:
        before = termios.tcgetattr(terminal)
        unseen = before.copy()
        unseen[_LOCAL] &= ~termios.ECHO
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, unseen)
            say.write(terminal, prompt.encode("ascii"))
            return _line(terminal) or None
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            say.write(terminal, b"\n")


def _is_yes(question: str, ask: Callable[[str], str | None]) -> bool:
    answer = ask(question)
    while answer not in ("yes", "no", None):
        answer = ask(_AGAIN)
    return answer == "yes"


def _ask_input(question: str) -> str | None:
    """Ask where standard input is the only way to somebody; raise OSError where that is no terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    try:
        return input(question).strip()
    except EOFError:
        return None


def _ask_console(prompt: str) -> str | None:
    import getpass  # noqa: PLC0415 - as above

    if sys.stdin is None or not sys.stdin.isatty():
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    try:
        return getpass.getpass(prompt).strip() or None
    except EOFError:
        return None


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


def _line(terminal: int) -> str | None:
    """Return one line, without the space around it; None for the end of input (Ctrl-D)."""
    line = b""
    while not line.endswith((b"\n", b"\r")) and len(line) < _MAX_ANSWER:
        piece = os.read(terminal, _MAX_ANSWER)
        if not piece:
            return None
        line += piece
    return line.strip().decode("ascii", "replace")
