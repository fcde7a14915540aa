"""A line of a session as it is typed: its words as the server will split it, and what only a shell would do.

Rule 1: words are those of POSIX quoting, as `shlex.split` makes them; an open quote is a word that goes on.
Rule 2: what stands in quotes or behind a backslash is plain text, and nobody's business.
"""

from typing import Final, NamedTuple

_BLANKS: Final = " \t\r\n"
#: What a shell would act on, longest first.
_OPERATORS: Final = ("$(", "|", "<", ">", ";", "&", "`")


class Word(NamedTuple):
    """A word of a line."""

    #: Where it begins.
    start: int
    #: Without its quotes.
    text: str
    #: Whether nothing stands behind it, so that it may go on.
    is_open: bool


class Scan(NamedTuple):
    """What is in a line."""

    words: tuple[Word, ...]
    #: The first operator that stands outside quotes, empty for none.
    operator: str


def scan(line: str) -> Scan:
    """Return the words of a line, and what a shell would act on."""
    words: list[Word] = []
    operator = ""
    at = 0
    while at < len(line):
        if line[at] in _BLANKS:
            at += 1
            continue
        start = at
        text, at, found = _take(line, at)
        words.append(Word(start, text, is_open=at >= len(line)))
        operator = operator or found
    return Scan(tuple(words), operator)


def _take(line: str, at: int) -> tuple[str, int, str]:
    """Return the word that begins there, the blank behind it, and the first operator in it."""
    taken: list[str] = []
    quote = operator = ""
    while at < len(line) and (quote or line[at] not in _BLANKS):
        character = line[at]
        if character == "\\" and quote != "'":
            piece, at = _escaped(line, at, quote)
            taken.append(piece)
            continue
        at += 1
        if character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        else:
            taken.append(character)
            if not quote and not operator:
                operator = next((each for each in _OPERATORS if line.startswith(each, at - 1)), "")
    return "".join(taken), at, operator


def _escaped(line: str, at: int, quote: str) -> tuple[str, int]:
    """Return what a backslash there and the character behind it stand for, and where it goes on."""
    following = line[at + 1 : at + 2]
    kept = "\\" if quote and following not in ("\\", '"') else ""
    return kept + following, at + 1 + len(following)
