"""Foreign text made harmless, wherever we speak.

Rule 1: text from the other side or from a file is escaped before it reaches a terminal or a log.
Rule 2: a token never reaches one, not even inside a mistyped option.
"""

import re
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


def without_tokens(text: str) -> str:
    """Return `text` with whatever looks like a token, or the beginning of one, as `rxt_...`."""
    return _TOKEN.sub("rxt_...", text)


def _escape(character: str) -> str:
    if character.isprintable() or character in _SPACES:
        return character
    number = ord(character)
    if number < _BYTE:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < _BASIC_PLANE else f"\\U{number:08x}"
