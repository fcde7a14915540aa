"""How our programs speak: the prefix, the remedy, and foreign text made harmless.

Rule 1: what a person should notice goes to standard error: `rexec: error: ...`, lower case, no
full stop, a remedy as a second line.
Rule 2: text from the other side or from a file is escaped before it reaches a terminal, and tokens are
masked (printable.py).
"""

import contextlib
import sys

from rexecd import portable
from rexecd.typed import Final

_STDOUT: Final = 1


def count(number: int, noun: str) -> str:
    """Return `1 command`, `2 commands`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def error(program: str, message: str, hint: str | None = None) -> None:
    """Say on standard error what went wrong and what may help; never raise for it."""
    _speak(f"{program}: error: {message}")
    if hint:
        _speak(f"{program}: hint: {hint}")


def warning(program: str, message: str) -> None:
    """Say on standard error what is not wrong and still deserves a look; never raise for it."""
    _speak(f"{program}: warning: {message}")


def note(program: str, message: str) -> None:
    """Say something on standard error that is no error; never raise for it."""
    _speak(f"{program}: {message}")


def aside(message: str) -> None:
    """Say something on standard error in a session, where nobody doubts who speaks; never raise."""
    _speak(message)


def draw(text: str) -> None:
    """Write a piece of a line that is written over on standard error; never raise for it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(text, end="", file=sys.stderr, flush=True)


def out(text: str) -> None:
    """Answer on standard output with lines of text, escaped; raise OSError.

    What the terminal's encoding lacks is escaped too.
    """
    from rexecd.printable import printable  # noqa: PLC0415 - as below

    lines = "\n".join(map(printable, text.split("\n")))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(lines.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def answer(text: str) -> None:
    """Write text that is safe to print on standard output; what the terminal's encoding lacks is escaped.

    Past Python's own buffers, as `write`; raise OSError.
    """
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    write(_STDOUT, text.encode(encoding, "backslashreplace"))


def write(descriptor: int, data: bytes) -> None:
    """Write all of `data`, also where the descriptor does not block; raise OSError.

    Past Python's own buffers: what is written stands in order with a command's bytes, and
    nothing is left that could fail when the program ends.
    """
    portable.write(descriptor, data)


def _speak(line: str) -> None:
    from rexecd.printable import printable, without_tokens  # noqa: PLC0415 - a call that goes well says nothing

    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # there is no better place to complain
            print(printable(without_tokens(line)), file=sys.stderr, flush=True)
