"""Match whole values against patterns in time that cannot stall, whatever the pattern.

`re` backtracks: one careless pattern and one value stop the process (ATTACKS POL-02, rule 11).
Here a pattern becomes a Glushkov automaton: one position for each character it can consume,
all of them followed at once in one integer. A character costs one shift, and where positions
branch one look-up for each four of them: 128 at most. Nothing is remembered between values.

What a pattern may hold, and what that means, is in `grammar.py`.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Final, NamedTuple

from rexecd.limits import MAX_PATTERN_POSITIONS, MAX_PATTERN_VALUE
from rexecd.policy.grammar import Either, PatternError, Ranges, Repeat, Sequence, Set, Tree, parse


class _Piece(NamedTuple):
    """A part of the automaton: where it can begin and end, as bits, and whether it may be empty."""

    empty: bool
    first: int
    last: int


_NOTHING: Final = _Piece(empty=True, first=0, last=0)


def _positions(tree: Tree) -> int:
    """Return how many positions `tree` takes, before any of them is made."""
    match tree:
        case Set():
            return 1
        case Repeat(part, least, most):
            return _positions(part) * (max(least, 1) if most is None else most)
        case Sequence(parts) | Either(parts):
            return sum(map(_positions, parts))


class _Builder:
    """Number the positions of a tree and find what may follow which."""

    def __init__(self) -> None:
        self.sets: list[Ranges] = []
        self.follow: list[int] = []

    def build(self, tree: Tree) -> _Piece:
        """Return the piece of a tree, its positions numbered."""
        match tree:
            case Set(ranges):
                bit = 1 << len(self.sets)
                self.sets.append(ranges)
                self.follow.append(0)
                return _Piece(empty=False, first=bit, last=bit)
            case Sequence(parts):
                return self._chain(self.build(part) for part in parts)
            case Either(branches):
                pieces = [self.build(branch) for branch in branches]
                return _Piece(
                    any(piece.empty for piece in pieces),
                    _or(piece.first for piece in pieces),
                    _or(piece.last for piece in pieces),
                )
            case Repeat():
                return self._repeat(tree)

    def _repeat(self, tree: Repeat) -> _Piece:
        if not _positions(tree):
            return _NOTHING
        part, least, most = tree
        if most is not None:
            whole = self._chain(self.build(part) for _ in range(least))
            return self._some(whole, part, most - least)
        loop = self.build(part)
        self._join(loop.last, loop.first)
        loop = loop._replace(empty=loop.empty or least == 0)
        return self._chain(itertools.chain([loop], (self.build(part) for _ in range(least - 1))))

    def _some(self, piece: _Piece, part: Tree, most: int) -> _Piece:
        """Return a piece with at most so many of a part behind it.

        Each copy follows the one before and no other: what skips one can be had with fewer.
        """
        empty, first, last = piece
        before = last
        for number in range(most):
            copy = self.build(part)
            self._join(before, copy.first)
            first |= copy.first if empty and not number else 0
            last |= copy.last
            before = copy.last
        return _Piece(empty, first, last)

    def _chain(self, pieces: Iterable[_Piece]) -> _Piece:
        """Return pieces one after another."""
        empty, first, last = _NOTHING
        for piece in pieces:
            self._join(last, piece.first)
            first |= piece.first if empty else 0
            last = piece.last | (last if piece.empty else 0)
            empty = empty and piece.empty
        return _Piece(empty, first, last)

    def _join(self, last: int, first: int) -> None:
        for index in _bits(last):
            self.follow[index] |= first


def _or(numbers: Iterable[int]) -> int:
    found = 0
    for number in numbers:
        found |= number
    return found


def _bits(number: int) -> Iterable[int]:
    """Yield the index of each bit that is set."""
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


@dataclass(frozen=True, slots=True)
class Pattern:
    """One compiled pattern, and the text it was made from. Only `compile_pattern` makes one."""

    text: str
    _piece: _Piece
    #: Positions that the next one may follow: nearly all of most patterns, and one shift for all of them.
    _chained: int
    #: Positions that others may follow, and which: a row for each four, by their bits as a digit.
    _branching: int
    _rows: tuple[Map[str, int], ...]
    #: Positions by character: from `_starts[i]` on, those in `_masks[i]` take it.
    _starts: tuple[int, ...]
    _masks: tuple[int, ...]

    def is_match(self, value: str) -> bool:
        """Return whether the whole of `value` matches; longer ones than the ceiling never do."""
        if len(value) > MAX_PATTERN_VALUE:
            return False
        if not value:
            return self._piece.empty
        following, state = self._piece.first, 0
        for character in value:
            state = following & self._masks[bisect_right(self._starts, ord(character)) - 1]
            if not state:
                return False
            following = self._following(state)
        return bool(state & self._piece.last)

    def can_hold(self, text: str, *, first: bool = False, last: bool = False) -> bool:
        """Return whether some value that matches has `text` in it: anywhere, at its beginning, at its end.

        Every position is on the way of some value, unless a set of the pattern takes no character.
        """
        following, state = (self._piece.first if first else -1), 0
        for character in text:
            state = following & self._masks[bisect_right(self._starts, ord(character)) - 1]
            following = self._following(state)
        return bool(state & self._piece.last if last else state)

    def _following(self, state: int) -> int:
        """Return the positions that may come behind those of `state`."""
        found = (state & self._chained) << 1
        branching = state & self._branching
        if branching:
            for row, digit in zip(self._rows, reversed(f"{branching:x}"), strict=False):
                found |= row[digit]
        return found


def compile_pattern(text: str) -> Pattern:
    """Return the automaton of a pattern; raise PatternError for what is not in the subset."""
    if not text:
        raise PatternError(1, "an empty pattern matches nothing a caller can send")
    if len(text) > MAX_PATTERN_VALUE:
        raise PatternError(1, f"longer than {MAX_PATTERN_VALUE} characters")
    tree = parse(text)
    positions = _positions(tree)
    if not 0 < positions <= MAX_PATTERN_POSITIONS:
        raise PatternError(
            1, f"{positions} positions once repetitions are written out, of 1 to {MAX_PATTERN_POSITIONS}"
        )
    builder = _Builder()
    piece = builder.build(tree)
    starts = sorted(
        {0} | {code for ranges in builder.sets for low, high in ranges for code in (low, high + 1)}
    )
    chained, others = _split(builder.follow)
    branching = _or(1 << index for index, found in enumerate(others) if found)
    return Pattern(
        text, piece, chained, branching, _rows(others), tuple(starts), _masks(starts, builder.sets)
    )


def _split(follow: list[int]) -> tuple[int, list[int]]:
    """Return the positions that the next one may follow, and for each which others may."""
    chained = _or(1 << index for index, found in enumerate(follow) if found >> index + 1 & 1)
    return chained, [found & ~(1 << index + 1) for index, found in enumerate(follow)]


def _rows(others: list[int]) -> tuple[Map[str, int], ...]:
    return tuple(
        {
            f"{bits:x}": _or(others[at + bit] for bit in _bits(bits) if at + bit < len(others))
            for bits in range(16)
        }
        for at in range(0, len(others), 4)
        if any(others)
    )


def _masks(starts: list[int], sets: list[Ranges]) -> tuple[int, ...]:
    index = {start: number for number, start in enumerate(starts)}
    masks = [0] * len(starts)
    for position, ranges in enumerate(sets):
        for low, high in ranges:
            for number in range(index[low], index.get(high + 1, len(starts))):
                masks[number] |= 1 << position
    return tuple(masks)
