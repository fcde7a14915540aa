"""Foreign text made harmless, wherever we speak.

Rule 1: text from the other side or from a file is escaped before it reaches a terminal or a log.
Rule 2: a token never reaches one, not even inside a mistyped option.
"""

import re

from rexecd.typed import Final

_TOKEN: Final = re.compile(r"rxt_[0-9A-Za-z]+(?:_[0-9A-Za-z]*)?")
#: What can stand bare in a line. Anything else is quoted and escaped, so that nobody can forge a field.
_BARE: Final = re.compile(r"[A-Za-z0-9._:@/+\[\],-]+")
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


def quoted(text: str) -> str:
    """Return printable text as one word, in quotes unless it is plain."""
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _escape(character: str) -> str:
    if character.isprintable() or character in _SPACES:
        return character
    number = ord(character)
    if number < _BYTE:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < _BASIC_PLANE else f"\\U{number:08x}"
