"""The grammar of patterns: text in, tree out. A subset of what `re` reads, with the same meaning.

Rule 1: what is not in the subset is refused with its column, never given another meaning.
Rule 2: a pattern always matches the whole value. Anchors are refused, not ignored.
Rule 3: `.` and negations never match a control character.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from rexecd.limits import MAX_DEPTH, MAX_PATTERN_POSITIONS


class PatternError(ValueError):
    """A pattern is not in the subset; `column` counts from 1."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(f"pattern, character {column}: {message}")
        self.column = column


#: Code points from the first to the last of each pair, sorted and apart.
Ranges = tuple[tuple[int, int], ...]


class Set(NamedTuple):
    """One character out of some."""

    ranges: Ranges


class Sequence(NamedTuple):
    """Trees one behind the other; possibly none."""

    parts: tuple["Tree", ...]


class Either(NamedTuple):
    """Any one of some trees."""

    branches: tuple["Tree", ...]


class Repeat(NamedTuple):
    """`most` None means any number."""

    part: "Tree"
    least: int
    most: int | None


Tree = Set | Sequence | Either | Repeat

_DIGIT: Final[Ranges] = ((48, 57),)
_WORD: Final[Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final[Ranges] = ((32, 32),)
_CLASSES: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
#: What `.` and negations choose from: everything but control characters and line ends.
_PRINTABLE: Final[Ranges] = ((32, 126), (160, 0x2027), (0x202A, 0x10FFFF))
_ENDS: Final = ("", "|", ")")
_QUANTIFIERS: Final = "*+?{"
#: Why a character that means something in other dialects is refused here.
_REFUSED: Final = {
    "^": "no anchors: a pattern always matches the whole value",
    "$": "no anchors: a pattern always matches the whole value",
    "*": "nothing to repeat",
    "+": "nothing to repeat",
    "?": "nothing to repeat",
    "{": "nothing to repeat; a literal brace is written '\\{'",
    "}": "a literal brace is written '\\}'",
    "]": "a literal bracket is written '\\]'",
}


def _union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the same code points, sorted and with nothing touching."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _others(ranges: Ranges) -> Ranges:
    """Return the printable code points outside `ranges`."""
    found = []
    for low, high in _PRINTABLE:
        at = low
        for first, last in ranges:
            if first > at and first <= high:
                found.append((at, first - 1))
            at = max(at, last + 1)
        if at <= high:
            found.append((at, high))
    return tuple((first, last) for first, last in found if first <= last)


class _Parser:
    """Read one pattern from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _takes(self, wanted: str) -> bool:
        found = self._text.startswith(wanted, self._at)
        self._at += len(wanted) if found else 0
        return found

    def _fault(self, message: str, *, back: int = 0) -> PatternError:
        return PatternError(self._at + 1 - back, message)

    def whole(self) -> Tree:
        """Return the tree of the whole text; raise PatternError."""
        tree = self._either()
        if self._peek():
            raise self._fault("')' without '('")
        return tree

    def _either(self) -> Tree:
        branches = [self._sequence()]
        while self._takes("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Either(tuple(branches))

    def _sequence(self) -> Tree:
        parts = []
        while self._peek() not in _ENDS:
            parts.append(self._repeated())
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self) -> Tree:
        part = self._atom()
        if self._peek() not in _QUANTIFIERS or not self._peek():
            return part
        least, most = self._bounds()
        if self._peek() and self._peek() in _QUANTIFIERS:
            raise self._fault("a repetition of a repetition; lazy and possessive ones are not supported")
        return Repeat(part, least, most)

    def _bounds(self) -> tuple[int, int | None]:
        match self._take():
            case "*":
                return 0, None
            case "+":
                return 1, None
            case "?":
                return 0, 1
            case _:
                return self._counts()

    def _counts(self) -> tuple[int, int | None]:
        """Return the bounds behind '{': `m}`, `m,}` or `m,n}`."""
        least = self._count()
        most: int | None = least
        if self._takes(","):
            most = None if self._peek() == "}" else self._count()
        if not self._takes("}"):
            raise self._fault("a count is written {m}, {m,} or {m,n}; a literal brace '\\{'")
        if most is not None and most < least:
            raise self._fault("the second count is smaller than the first", back=1)
        return least, most

    def _count(self) -> int:
        start = self._at
        while self._peek() and self._peek() in "0123456789":
            self._at += 1
        digits = self._text[start : self._at]
        if not digits:
            raise self._fault("a count is written {m}, {m,} or {m,n}; a literal brace '\\{'")
        if len(digits) > len(str(MAX_PATTERN_POSITIONS)) or int(digits) > MAX_PATTERN_POSITIONS:
            raise self._fault(f"a count is at most {MAX_PATTERN_POSITIONS}", back=len(digits))
        return int(digits)

    def _atom(self) -> Tree:
        character = self._take()
        if character in _REFUSED:
            raise self._fault(_REFUSED[character], back=1)
        match character:
            case "(":
                return self._group()
            case "[":
                return Set(self._class())
            case ".":
                return Set(_PRINTABLE)
            case "\\":
                return Set(self._escape())
            case _:
                return Set(self._literal(character))

    def _group(self) -> Tree:
        if self._takes("?") and not self._takes(":"):
            raise self._fault("only groups ( ) and (?: ) are supported; no lookaround, no flags", back=2)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._fault(f"groups nested deeper than {MAX_DEPTH}", back=1)
        tree = self._either()
        if not self._takes(")"):
            raise self._fault("'(' without ')'")
        self._depth -= 1
        return tree

    def _literal(self, character: str) -> Ranges:
        code = ord(character)
        if not any(first <= code <= last for first, last in _PRINTABLE):
            hint = "a line end or control character; write the pattern on one line, in quotes"
            raise self._fault(hint, back=1)
        return ((code, code),)

    def _escape(self) -> Ranges:
        """Return what the character behind a backslash stands for."""
        character = self._take()
        if character.lower() in _CLASSES:
            ranges = _CLASSES[character.lower()]
            return ranges if character.islower() else _others(ranges)
        if not character or not character.isascii() or character.isalnum() or not character.isprintable():
            raise self._fault("only punctuation, \\d, \\w, \\s, \\D, \\W and \\S follow a backslash", back=1)
        return self._literal(character)

    def _class(self) -> Ranges:
        """Return what stands between '[' and ']'."""
        negated = self._takes("^")
        ranges: list[tuple[int, int]] = []
        while not self._takes("]"):
            ranges.extend(self._member())
        if not ranges:
            raise self._fault("an empty class matches nothing; a literal bracket is written '\\]'", back=1)
        found = _others(_union(ranges)) if negated else _union(ranges)
        if not found:
            raise self._fault("this class matches nothing", back=1)
        return found

    def _member(self) -> Ranges:
        low = self._end()
        if self._peek() != "-" or self._text[self._at + 1 : self._at + 2] == "]":
            return low
        self._at += 1
        high = self._end()
        if len(low) > 1 or len(high) > 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1]:
            raise self._fault("a range goes from one character to another", back=1)
        if high[0][0] < low[0][0]:
            raise self._fault("a range that ends before it begins", back=1)
        return _within(low[0][0], high[0][0])

    def _end(self) -> Ranges:
        character = self._take()
        if not character:
            raise self._fault("'[' without ']'", back=1)
        if character == "[":
            raise self._fault("a literal bracket in a class is written '\\['", back=1)
        return self._escape() if character == "\\" else self._literal(character)


def _within(low: int, high: int) -> Ranges:
    """Return the printable code points from `low` to `high`."""
    pairs = ((max(low, first), min(high, last)) for first, last in _PRINTABLE)
    return tuple(pair for pair in pairs if pair[0] <= pair[1])


def parse(text: str) -> Tree:
    """Return the tree of a pattern; raise PatternError."""
    return _Parser(text).whole()
