"""How our programs speak: the prefix, the remedy, and foreign text made harmless.

Rule 1: what a person should notice goes to standard error: `rexec: error: ...`, lower case, no
full stop, a remedy as a second line.
Rule 2: text from the other side or from a file is escaped before it reaches a terminal.
Rule 3: a token never reaches one, not even inside a mistyped option.
"""

import contextlib
import os
import re
import select
import sys
from typing import Final

_TOKEN: Final = re.compile(r"rxt_[0-9A-Za-z]+(?:_[0-9A-Za-z]*)?")
_BYTE: Final = 0x100
_BASIC_PLANE: Final = 0x10000
#: Separators of words that `str.isprintable` calls unprintable, and that are harmless.
_SPACES: Final = frozenset("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}")


def printable(text: str) -> str:
    r"""Return `text` with every character that could steer a terminal or hide written as `\x1b`.

    That is: controls (C0, C1), format characters (the bidirectional ones among them), line and
    paragraph separators, lone surrogates, and what has no meaning yet. Letters of any script stay.
    """
    if text.isprintable():
        return text
    return "".join(map(_escape, text))


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


def out(text: str) -> None:
    """Answer on standard output with lines of text, escaped; raise OSError.

    What the terminal's encoding lacks is escaped too.
    """
    lines = "\n".join(map(printable, text.split("\n")))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(lines.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def write(descriptor: int, data: bytes) -> None:
    """Write all of `data`, also where the descriptor does not block; raise OSError.

    Past Python's own buffers: what is written stands in order with a command's bytes, and
    nothing is left that could fail when the program ends.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def _escape(character: str) -> str:
    if character.isprintable() or character in _SPACES:
        return character
    number = ord(character)
    if number < _BYTE:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < _BASIC_PLANE else f"\\U{number:08x}"


def _speak(line: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # there is no better place to complain
            print(printable(_TOKEN.sub("rxt_...", line)), file=sys.stderr, flush=True)
