"""YAML as text and places, never as guesses: settings and policy are both read through here.

Rule 1: nodes are built from YAML *events*, so that every one knows its place and nothing is
ever constructed from a tag.
Rule 2: what YAML would guess (`no`, `0755`, `22:22`, an empty value) is a fault that names its
remedy. Repeated keys, anchors, aliases, merge keys, tags and second documents are faults.
Rule 3: faults are collected; a reader that finds one adds it and returns None, and
`Faults.check()` raises them all in the end. A `Broken` node has been complained about already.
"""

import contextlib
import difflib
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Final, NamedTuple

from rexecd import yamlevents
from rexecd.errors import ConfigError, Fault
from rexecd.limits import MAX_CONFIG, MAX_DEPTH
from rexecd.yamlevents import Event, Kind, Unreadable


class Place(NamedTuple):
    """Where something stands in a file; line and column count from 1."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


class Faults:
    """What is wrong with one file, or with several that belong together."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str], None] = {}

    def add(self, place: Place, message: str) -> None:
        """Remember one fault; the same one twice counts once."""
        self._found[place, message] = None

    def __len__(self) -> int:
        return len(self._found)

    def check(self) -> None:
        """Raise ConfigError with every fault in order of place, if there is any."""
        if self._found:
            found = tuple(Fault(place, message) for place, message in self.in_order())
            raise ConfigError(*(f"{place}: {message}" for place, message in found), found=found)

    def in_order(self) -> list[tuple[Place, str]]:
        """Return every fault in order of place."""
        return sorted(self._found, key=lambda fault: fault[0])


@dataclass(frozen=True, slots=True)
class Scalar:
    """One text. `kind` is TEXT, or what YAML would have guessed: `a boolean`."""

    text: str
    kind: str
    plain: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of nodes."""

    items: tuple["Node", ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Mapping:
    """Nodes by key, in the order written, and the place of each key."""

    entries: Map[str, "Node"]
    keys: Map[str, Place]
    place: Place


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands where a fault was found already."""

    place: Place


Node = Scalar | Sequence | Mapping | Broken

TEXT: Final = yamlevents.TEXT
NOTHING: Final = yamlevents.NOTHING
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
#: More digits than any bound has; `int` is never given thousands of them.
_DIGITS: Final = 20
#: Characters of a value that stand in a message.
_SHOWN: Final = 64
_MEASURE: Final = re.compile(r"(0|[1-9][0-9]{0,11})([A-Za-z]+)")
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
#: No program, file name or message can carry these.
_UNUSABLE: Final = re.compile("[\0\ud800-\udfff]")
#: Line ends to YAML 1.1 and to no editor, and what turns the order of what is shown ("Trojan Source"):
#: a rule could hide behind them in a comment, and lines would be counted differently.
_DECEPTIVE: Final = re.compile("[\x85\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
_END: Final = re.compile(r"\.\.\.(?:[ \t]+#.*|\s*)")
_CUT: Final = "the file begins with '---' and has no '...' at its end: it may have been cut short"


#: More names than these are not all compared, but only so many on either side.
_MANY: Final = 64
_NEAR: Final = 8


def shown(text: str) -> str:
    """Return `text` quoted for a message, cut when it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'command'?)` for the closest of `known`, or an empty text."""
    word = word[:_SHOWN]
    close = difflib.get_close_matches(word, _near(word, list(known)), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _near(word: str, known: list[str]) -> Collection[str]:
    """Return those of many names that begin or end most like `word`: comparing takes its time."""
    if len(known) <= _MANY:
        return known
    near: set[str] = set()
    for key in (str, lambda name: name[::-1]):
        ordered = sorted(known, key=key)
        at = bisect_left(ordered, key(word), key=key)
        near.update(ordered[max(0, at - _NEAR) : at + _NEAR])
    return near


def parse(text: str, source: str, faults: Faults) -> Node:
    """Return the one document in `text`; what is wrong with it goes into `faults`.

    `source` is the file's name in messages. Broken is returned where nothing can be read.
    """
    start = Place(source, 1, 1)
    if len(text.encode(errors="surrogatepass")) > MAX_CONFIG:
        faults.add(start, f"larger than {MAX_CONFIG} bytes")
        return Broken(start)
    deceptive = _DECEPTIVE.search(text)
    if deceptive is not None:
        at = deceptive.start()
        place = Place(source, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
        faults.add(place, f"{deceptive[0]!r} lets people read another text than programs do; remove it")
        return Broken(place)
    text = text.replace("\r\n", "\n")
    if yamlevents.is_quick(text):
        found = Faults()
        with contextlib.suppress(Unreadable):
            node = _Builder(yamlevents.quick_events(text), text, source, found).document()
            if not found:
                return node
    try:
        return _Builder(yamlevents.events(text), text, source, faults).document()
    except Unreadable as error:
        place = Place(source, error.line, error.column)
        faults.add(place, str(error))
        return Broken(place)


def is_closed(text: str) -> bool:
    """Return whether the end of a readable file is marked with `...`: then a part of it is none."""
    lines = (line for line in reversed(text.split("\n")) if line.strip() and not line.startswith("#"))
    return _END.fullmatch(next(lines, "")) is not None


class _Builder:
    """Turn the events of one text into nodes."""

    def __init__(self, events: Iterator[Event], text: str, source: str, faults: Faults) -> None:
        self._events = events
        self._text = text
        self._source = source
        self._faults = faults

    def _place(self, event: Event) -> Place:
        return Place(self._source, event.line, event.column)

    def document(self) -> Node:
        """Return the only document; raise Unreadable."""
        start = next(self._events)
        if start.kind is Kind.STREAM_END:
            raise Unreadable(1, 1, "the file is empty")
        if start.directive:
            self._faults.add(self._place(start), "a directive; remove the '%' line")
        root = self._node(next(self._events), depth=1)
        end, after = next(self._events), next(self._events)
        if after.kind is not Kind.STREAM_END:
            raise Unreadable(after.line, after.column, "a second document; only one is read")
        if isinstance(root, Scalar) and root.kind == NOTHING:
            raise Unreadable(root.place.line, root.place.column, "the file is empty")
        if start.marked and not end.marked and not start.directive:  # a '%' line needs the '---'
            last = self._text.rstrip().count("\n") + 1
            self._faults.add(Place(self._source, last, 1), _CUT)
        return root

    def _node(self, event: Event, *, depth: int) -> Node:
        place = self._place(event)
        if event.kind is Kind.ALIAS:
            self._faults.add(place, f"alias '*{event.anchor}' is not supported; write the value out")
            return Broken(place)
        if event.anchor is not None:
            self._faults.add(place, f"anchor '&{event.anchor}' is not supported; remove it")
        if event.tag is not None:
            self._faults.add(place, f"tag {shown(event.tag)} is not supported; remove it")
        if event.kind is Kind.SCALAR:
            return self._scalar(event, place)
        if depth > MAX_DEPTH:
            raise Unreadable(event.line, event.column, f"nested deeper than {MAX_DEPTH} levels")
        if event.kind is Kind.SEQUENCE:
            return self._sequence(place, depth + 1)
        return self._mapping(place, depth + 1)

    def _scalar(self, event: Event, place: Place) -> Node:
        if _UNUSABLE.search(event.text):
            self._faults.add(
                place, "a text with a NUL or half a surrogate pair; no program can be given that"
            )
            return Broken(place)
        kind = yamlevents.meaning(event.text) if event.plain else TEXT
        return Scalar(event.text, kind, event.plain, place)

    def _sequence(self, place: Place, depth: int) -> Sequence:
        items = []
        while (event := next(self._events)).kind is not Kind.SEQUENCE_END:
            items.append(self._node(event, depth=depth))
        return Sequence(tuple(items), place)

    def _mapping(self, place: Place, depth: int) -> Mapping:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while (event := next(self._events)).kind is not Kind.MAPPING_END:
            key = self._node(event, depth=depth)
            value = self._node(next(self._events), depth=depth)
            name = self._key(key)
            if name is None:
                continue
            if name in entries:
                first = keys[name].line
                self._faults.add(key.place, f"repeated key {shown(name)}, first on line {first}")
                continue
            entries[name], keys[name] = value, key.place
        return Mapping(entries, keys, place)

    def _key(self, node: Node) -> str | None:
        if isinstance(node, Scalar) and node.kind == yamlevents.MERGE:
            self._faults.add(node.place, "merge key '<<' is not supported; write the entries out")
            return None
        return text(node, self._faults)


def expected(node: Node, what: str, faults: Faults, *, hint: str = "") -> None:
    """Add the fault that something else stands here; a Broken node has been complained about."""
    match node:
        case Broken():
            return
        case Scalar(kind=kind):
            found = kind if kind == NOTHING else shown(node.text)
        case Sequence():
            found = "a list"
        case Mapping():
            found = "a mapping"
    faults.add(node.place, f"expected {what}, found {found}{hint}")


def text(node: Node, faults: Faults) -> str | None:
    """Return a text; what YAML would take for something else has to be quoted."""
    match node:
        case Scalar(kind=kind) if kind == TEXT:
            return node.text
        case Scalar(kind=kind) if kind == NOTHING:
            faults.add(node.place, "expected a text, found nothing; an empty text is written ''")
        case Scalar():
            faults.add(node.place, f"{shown(node.text)} is read as {node.kind} by YAML; quote it")
        case Mapping(entries=entries) if len(entries) == 1:
            hint = "a text that begins with '{' or holds ': ' has to be quoted"
            faults.add(node.place, f"expected a text, found a mapping; {hint}")
        case _:
            expected(node, TEXT, faults)
    return None


def integer(node: Node, faults: Faults, *, least: int, most: int) -> int | None:
    """Return an integer written in plain decimal, within the bounds."""
    if not (isinstance(node, Scalar) and node.plain and _INTEGER.fullmatch(node.text)):
        expected(node, "an integer in plain decimal, without quotes", faults)
        return None
    if len(node.text) > _DIGITS or not least <= int(node.text) <= most:
        bounds = f"between {least} and {most}" if least < most else str(least)
        faults.add(node.place, f"{shown(node.text)} is not {bounds}")
        return None
    return int(node.text)


def duration(node: Node, faults: Faults, *, least: float = 0.001, most: float = 1e9) -> float | None:
    """Return seconds, written with a unit: `250ms`, `30s`, `5m`, `2h`, `1d`."""
    what = "a duration with a unit, such as 250ms, 30s, 5m, 2h or 1d"
    bounds = (round(least * 1000), round(most * 1000))
    amount = _measure(node, faults, units=_MILLISECONDS, what=what, bounds=bounds)
    return None if amount is None else amount / 1000


def size(node: Node, faults: Faults, *, least: int = 1, most: int = 2**62) -> int | None:
    """Return bytes, written with a unit: `512B`, `64KiB`, `1MiB`, `2GiB`."""
    what = "a size with a unit, such as 512B, 64KiB, 1MiB or 2GiB"
    return _measure(node, faults, units=_BYTES, what=what, bounds=(least, most))


def _measure(
    node: Node, faults: Faults, *, units: Map[str, int], what: str, bounds: tuple[int, int]
) -> int | None:
    found = _MEASURE.fullmatch(node.text) if isinstance(node, Scalar) else None
    if found is None or found[2] not in units:
        expected(node, what, faults)
        return None
    amount = int(found[1]) * units[found[2]]
    if bounds[0] <= amount <= bounds[1]:
        return amount
    least, most = (_spell(bound, units) for bound in bounds)
    faults.add(node.place, f"{shown(found[0])} is not between {least} and {most}")
    return None


def _spell(amount: int, units: Map[str, int]) -> str:
    """Return an amount in the largest unit that needs no fraction: 86400000 as `1d`, none as `0s` or `0B`."""
    fitting = [unit for unit, factor in units.items() if amount >= factor and amount % factor == 0]
    return f"{amount // units[fitting[-1]]}{fitting[-1]}" if fitting else "0s" if "s" in units else "0B"


def spell_duration(seconds: float) -> str:
    """Return seconds as `duration` reads them."""
    return _spell(round(seconds * 1000), _MILLISECONDS)


def spell_size(amount: int) -> str:
    """Return bytes as `size` reads them."""
    return _spell(amount, _BYTES)


def mapping(node: Node, faults: Faults) -> Mapping:
    """Return a mapping; an empty one when it is something else."""
    if not isinstance(node, Mapping):
        expected(node, "a mapping", faults)
    return node if isinstance(node, Mapping) else Mapping({}, {}, node.place)


class Keys(NamedTuple):
    """Which keys a mapping may have, and which it must have."""

    known: Collection[str]
    required: Collection[str] = ()


def keyed(node: Node, faults: Faults, *, keys: Keys) -> Mapping | None:
    """Return a mapping, its keys checked against the table; None when it is something else."""
    if not isinstance(node, Mapping):
        expected(node, "a mapping", faults)
        return None
    for name, place in node.keys.items():
        if name not in keys.known:
            faults.add(place, f"unknown key {shown(name)}{suggest(name, keys.known)}")
    for name in keys.required:
        if name not in node.entries:
            faults.add(node.place, f"missing key {name!r}")
    return node
