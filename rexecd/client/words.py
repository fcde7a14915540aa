r"""A line of the caller's configuration as words, and words as a line.

Words stand apart by blanks. `"two words"` and `'two words'` are one; a backslash makes the quote, the
backslash, the blank or the `#` behind it plain, but for single quotes, where it is plain itself. A word that
begins with `#` begins a comment.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

_BLANKS: Final = " \t"
_QUOTES: Final = "\"'"
#: What a backslash takes the meaning from, outside quotes and inside double ones.
_ESCAPABLE: Final = {"": "\\\"' \t#", '"': '\\"', "'": ""}
#: What makes a word need quotes, anywhere in it.
_SPECIAL: Final = frozenset(" \t\\\"'")


class Word(NamedTuple):
    """A word without its quotes, and the column, counted from 1, where it begins."""

    text: str
    column: int


class LineError(ValueError):
    """A line cannot be understood; `column` says where, `hint` what may help."""

    def __init__(self, column: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.column = column
        self.hint = hint


def split(line: str, at: int = 0) -> list[Word]:
    """Return the words of a line from a position on; raise LineError."""
    words: list[Word] = []
    while True:
        while at < len(line) and line[at] in _BLANKS:
            at += 1
        if at >= len(line) or line[at] == "#":
            return words
        text, end = _take(line, at)
        words.append(Word(text, at + 1))
        at = end


def join(words: Sequence[str]) -> str:
    """Return a line of which `split` makes these words again, also behind `KEY ` and before a comment."""
    return " ".join(map(_quoted, words))


def _take(line: str, at: int) -> tuple[str, int]:
    """Return the word that begins there, and where it ends; raise LineError."""
    taken: list[str] = []
    quote, since = "", at
    while at < len(line):
        character = line[at]
        at += 1
        if character == "\\" and line[at : at + 1] and line[at] in _ESCAPABLE[quote]:
            taken.append(line[at])
            at += 1
        elif character == quote:
            quote = ""
        elif not quote and character in _QUOTES:
            quote, since = character, at
        elif not quote and character in _BLANKS:
            return "".join(taken), at
        else:
            taken.append(character)
    if quote:
        raise LineError(
            since, f"the quote {quote} is not closed", f"close it, or write \\{quote} for a plain one"
        )
    return "".join(taken), at


def _quoted(word: str) -> str:
    if word and word[0] not in "#=" and _SPECIAL.isdisjoint(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
