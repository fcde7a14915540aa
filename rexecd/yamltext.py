"""YAML as text and places, never as guesses: settings and policy are both read through here.

Rule 1: nodes are built from YAML *events*, so that every one knows its place and nothing is
ever constructed from a tag.
Rule 2: what YAML would guess (`no`, `0755`, `22:22`, an empty value) is a fault that names its
remedy. Repeated keys, anchors, aliases, merge keys, tags and second documents are faults.
Rule 3: faults are collected; a reader that finds one adds it and returns None, and
`Faults.check()` raises them all in the end. A `Broken` node has been complained about already.
"""

import difflib
import re
from collections.abc import Collection, Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import yaml

from rexecd.errors import ConfigError
from rexecd.limits import MAX_CONFIG, MAX_DEPTH


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

    def check(self) -> None:
        """Raise ConfigError with every fault in order of place, if there is any."""
        if self._found:
            lines = sorted(self._found, key=lambda fault: fault[0])
            raise ConfigError(*(f"{place}: {message}" for place, message in lines))


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

TEXT: Final = "a text"
NOTHING: Final = "nothing"
_MERGE: Final = "a merge key"
_TAGS: Final = {
    "tag:yaml.org,2002:str": TEXT,
    "tag:yaml.org,2002:null": NOTHING,
    "tag:yaml.org,2002:bool": "a boolean",
    "tag:yaml.org,2002:int": "an integer",
    "tag:yaml.org,2002:float": "a floating-point number",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:merge": _MERGE,
}
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
#: More digits than any bound has; `int` is never given thousands of them.
_DIGITS: Final = 20
#: Characters of a value that stand in a message.
_SHOWN: Final = 64
_MEASURE: Final = re.compile(r"(0|[1-9][0-9]{0,11})([A-Za-z]+)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
#: No program, file name or message can carry these.
_UNUSABLE: Final = re.compile("[\0\ud800-\udfff]")


def shown(text: str) -> str:
    """Return `text` quoted for a message, cut when it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'command'?)` for the closest of `known`, or an empty text."""
    close = difflib.get_close_matches(word[:_SHOWN], list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class _Unreadable(Exception):
    """Nothing sensible can be read behind this place."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


def parse(text: str, source: str, faults: Faults) -> Node:
    """Return the one document in `text`; what is wrong with it goes into `faults`.

    `source` is the file's name in messages. Broken is returned where nothing can be read.
    """
    start = Place(source, 1, 1)
    if len(text.encode(errors="surrogatepass")) > MAX_CONFIG:
        faults.add(start, f"larger than {MAX_CONFIG} bytes")
        return Broken(start)
    try:
        return _Builder(text, source, faults).document()
    except _Unreadable as error:
        faults.add(error.place, str(error))
        return Broken(error.place)


class _Builder:
    """Turn the events of one text into nodes."""

    def __init__(self, text: str, source: str, faults: Faults) -> None:
        self._text = text
        self._source = source
        self._faults = faults
        try:
            self._loader = yaml.SafeLoader(text)
        except yaml.reader.ReaderError as error:
            at = error.position
            raise _Unreadable(self._offset(at), f"control character {text[at]!r}; remove it") from None

    def _offset(self, index: int) -> Place:
        before = self._text[:index]
        return Place(self._source, before.count("\n") + 1, index - before.rfind("\n"))

    def _place(self, mark: Any) -> Place:  # noqa: ANN401 - PyYAML's marks are untyped
        return Place(self._source, mark.line + 1, mark.column + 1)

    def _next(self) -> Any:  # noqa: ANN401 - PyYAML's events are untyped
        try:
            return self._loader.get_event()  # type: ignore[no-untyped-call]
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error) from None
        except (ValueError, OverflowError):
            # PyYAML lets "\UFFFFFFFF" and absurd version numbers reach chr() and int().
            raise _Unreadable(self._place(self._loader.get_mark()), "a number out of range") from None

    def _syntax(self, error: yaml.MarkedYAMLError) -> _Unreadable:
        mark: Any = error.problem_mark or error.context_mark or self._loader.get_mark()
        place, index = self._place(mark), mark.index
        if self._text[self._text.rfind("\n", 0, index) + 1 :].lstrip(" ").startswith("\t"):
            return _Unreadable(place, "a tab in the indentation; use spaces")
        words = [part for part in (error.context, error.problem) if part]
        return _Unreadable(place, "not valid YAML: " + ": ".join(words))

    def document(self) -> Node:
        """Return the only document; raise _Unreadable."""
        self._next()  # the start of the stream
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            raise _Unreadable(Place(self._source, 1, 1), "the file is empty")
        if event.version or event.tags:
            self._faults.add(self._place(event.start_mark), "a directive; remove the '%' line")
        root = self._node(self._next(), depth=1)
        _, event = self._next(), self._next()  # the end of the document, and what follows
        if not isinstance(event, yaml.StreamEndEvent):
            raise _Unreadable(self._place(event.start_mark), "a second document; only one is read")
        if isinstance(root, Scalar) and root.kind == NOTHING:
            raise _Unreadable(root.place, "the file is empty")
        return root

    def _node(self, event: Any, *, depth: int) -> Node:  # noqa: ANN401
        place = self._place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self._faults.add(place, f"alias '*{event.anchor}' is not supported; write the value out")
            return Broken(place)
        if event.anchor is not None:
            self._faults.add(place, f"anchor '&{event.anchor}' is not supported; remove it")
        if event.tag is not None:
            self._faults.add(place, f"tag {shown(event.tag)} is not supported; remove it")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        if depth > MAX_DEPTH:
            raise _Unreadable(place, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, depth + 1)
        return self._mapping(place, depth + 1)

    def _scalar(self, event: Any, place: Place) -> Node:  # noqa: ANN401
        if _UNUSABLE.search(event.value):
            self._faults.add(
                place, "a text with a NUL or half a surrogate pair; no program can be given that"
            )
            return Broken(place)
        plain = event.style is None
        tag = self._loader.resolve(yaml.ScalarNode, event.value, (plain, not plain))  # type: ignore[no-untyped-call]
        return Scalar(event.value, _TAGS.get(tag, "a special word"), plain, place)

    def _sequence(self, place: Place, depth: int) -> Sequence:
        items = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth=depth))
        return Sequence(tuple(items), place)

    def _mapping(self, place: Place, depth: int) -> Mapping:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._node(event, depth=depth)
            value = self._node(self._next(), depth=depth)
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
        if isinstance(node, Scalar) and node.kind == _MERGE:
            self._faults.add(node.place, "merge key '<<' is not supported; write the entries out")
            return None
        return text(node, self._faults)


def _expected(node: Node, what: str, faults: Faults) -> None:
    match node:
        case Broken():
            return
        case Scalar(kind=kind):
            found = kind if kind == NOTHING else shown(node.text)
        case Sequence():
            found = "a list"
        case Mapping():
            found = "a mapping"
    faults.add(node.place, f"expected {what}, found {found}")


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
            _expected(node, TEXT, faults)
    return None


def integer(node: Node, faults: Faults, *, least: int, most: int) -> int | None:
    """Return an integer written in plain decimal, within the bounds."""
    if not (isinstance(node, Scalar) and node.plain and _INTEGER.fullmatch(node.text)):
        _expected(node, "an integer in plain decimal, without quotes", faults)
        return None
    if len(node.text) > _DIGITS or not least <= int(node.text) <= most:
        bounds = f"between {least} and {most}" if least < most else str(least)
        faults.add(node.place, f"{shown(node.text)} is not {bounds}")
        return None
    return int(node.text)


def flag(node: Node, faults: Faults) -> bool | None:
    """Return a truth value: `true` or `false` and no other spelling."""
    if isinstance(node, Scalar) and node.plain and node.text in ("true", "false"):
        return node.text == "true"
    _expected(node, "true or false", faults)
    return None


def choice(node: Node, faults: Faults, *, options: Collection[str]) -> str | None:
    """Return a text that is one of `options`."""
    word = text(node, faults)
    if word is not None and word not in options:
        faults.add(node.place, f"{shown(word)} is none of {', '.join(options)}{suggest(word, options)}")
    return word if word in options else None


def duration(node: Node, faults: Faults, *, least: float = 0.001, most: float = 1e9) -> float | None:
    """Return seconds, written with a unit: `250ms`, `30s`, `5m`, `2h`, `1d`."""
    what = "a duration with a unit, such as 250ms, 30s, 5m, 2h or 1d"
    return _measure(node, faults, units=_SECONDS, what=what, bounds=(least, most))


def size(node: Node, faults: Faults, *, least: int = 1, most: int = 2**62) -> int | None:
    """Return bytes, written with a unit: `512B`, `64KiB`, `1MiB`, `2GiB`."""
    what = "a size with a unit, such as 512B, 64KiB, 1MiB or 2GiB"
    amount = _measure(node, faults, units=_BYTES, what=what, bounds=(least, most))
    return None if amount is None else int(amount)


def _measure(
    node: Node, faults: Faults, *, units: Map[str, float], what: str, bounds: tuple[float, float]
) -> float | None:
    found = _MEASURE.fullmatch(node.text) if isinstance(node, Scalar) else None
    if found is None or found[2] not in units:
        _expected(node, what, faults)
        return None
    amount = int(found[1]) * units[found[2]]
    if bounds[0] <= amount <= bounds[1]:
        return amount
    least, most = (_spell(bound, units) for bound in bounds)
    faults.add(node.place, f"{shown(found[0])} is not between {least} and {most}")
    return None


def _spell(amount: float, units: Map[str, float]) -> str:
    """Return an amount in the largest unit that needs no fraction: 86400.0 as `1d`."""
    for unit, factor in reversed(list(units.items())):
        if amount >= factor and (amount / factor).is_integer():
            return f"{amount / factor:.0f}{unit}"
    return f"{amount:g}{next(iter(units))}"


def sequence(node: Node, faults: Faults) -> tuple[Node, ...]:
    """Return the items of a list; none of them when it is not one."""
    if isinstance(node, Sequence):
        return node.items
    _expected(node, "a list", faults)
    return ()


def texts(node: Node, faults: Faults, *, unique: bool = False) -> tuple[str, ...] | None:
    """Return a list of texts, at least one; with `unique`, none of them twice."""
    items = sequence(node, faults)
    if isinstance(node, Sequence) and not items:
        faults.add(node.place, "the list is empty")
    words = [text(item, faults) for item in items]
    last = dict(zip(words, items, strict=True))
    for item, word in zip(items, words, strict=True):
        if unique and word is not None and last[word] is not item:
            faults.add(last[word].place, f"{shown(word)} stands twice in the list")
    good = tuple(word for word in words if word is not None)
    return good if good and len(good) == len(items) else None


def mapping(node: Node, faults: Faults) -> Mapping:
    """Return a mapping; an empty one when it is something else."""
    if not isinstance(node, Mapping):
        _expected(node, "a mapping", faults)
    return node if isinstance(node, Mapping) else Mapping({}, {}, node.place)


class Keys(NamedTuple):
    """Which keys a mapping may have, must have, and will have in a later version."""

    known: Collection[str]
    required: Collection[str] = ()
    later: Collection[str] = ()


def keyed(node: Node, faults: Faults, *, keys: Keys) -> Mapping | None:
    """Return a mapping, its keys checked against the table; None when it is something else."""
    if not isinstance(node, Mapping):
        _expected(node, "a mapping", faults)
        return None
    for name, place in node.keys.items():
        if name in keys.later:
            faults.add(place, f"{name!r} is not supported by this version")
        elif name not in keys.known:
            faults.add(place, f"unknown key {shown(name)}{suggest(name, keys.known)}")
    for name in keys.required:
        if name not in node.entries:
            faults.add(node.place, f"missing key {name!r}")
    return node
