"""From an action and its fields to a record, in the names of the Elastic Common Schema.

Rule 1: what is not in EVENTS is not recorded, and a field that is not in FIELDS is a bug.
Rule 2: a record is bounded whatever a caller sends: texts are cut, and the length and the
SHA-256 of the whole stay (ATTACKS AUD-05).
Rule 3: tokens are masked in every text, before anything else is done with it.
Rule 4: a record that lacks what its kind always has is written all the same: tests find such a bug, and
of an end there had better be a record that says less than none.
The JSON is put together from pieces: a tree and a general encoder cost a command as much again.
Pure: the time is an argument.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd import limits
from rexecd.audit.fields import FIELDS
from rexecd.audit.vocabulary import EVENTS, Action, Event, Kind
from rexecd.identity.tokens import PREFIX, mask

__all__ = ["ECS_VERSION", "EVENTS", "FIELDS", "NO_CONTEXT", "Action", "Context", "Kind", "compose"]

ECS_VERSION: Final = "9.4.0"


class Size(NamedTuple):
    """Bytes of JSON that texts may take: all of a record's, one, and the arguments'."""

    record: int
    text: int
    arguments: int


#: Names, marks of cutting and punctuation come on top: 6 KiB hold them, all at once.
_CALLER: Final = Size(limits.MAX_RECORD - 6 * 1024, 2 * limits.MAX_RECORDED_TEXT, 4 * 1024)
#: Strangers can cause records at will, so theirs stay under 1 KiB.
_STRANGER: Final = Size(320, 80, 80)
#: Two quotes and a comma around a text.
_PUNCTUATION: Final = 3
#: Whether a text can stand in the record as it is, and is short enough: nearly always.
_PLAIN: Final = re.compile(rf"[ !#-\[\]-~]{{0,{limits.MAX_RECORDED_TEXT}}}").fullmatch
#: What the mark of a cut text takes, apart from twice the field's name.
_MARK: Final = 110
_OUTCOMES: Final = frozenset({"success", "failure", "unknown"})
#: Told in seconds, recorded in nanoseconds.
_TIMES: Final = frozenset({"duration", "cpu_time"})
_REXEC: Final = "rexec"
_EVENT: Final = "event"
#: What opens the one thing below a top that has a single field.
_THREAD: Final = '"thread":{'


class _Head(NamedTuple):
    """What all records of an action have in common, as JSON."""

    #: From `ecs` to the opening quote of the outcome.
    before: str
    outcome: str
    kind: str
    size: Size


class _Place(NamedTuple):
    """Where a field stands: the top of the tree, what opens and closes what is below, and its name."""

    top: str
    opening: str
    closing: str
    name: str


def _head(action: Action, event: Event) -> _Head:
    facts = {"action": action.value, "kind": "event", "category": event.category, "type": event.type}
    text = json.dumps({"ecs": {"version": ECS_VERSION}, "event": facts}, separators=(",", ":"))
    before = f'{text[1:-2]},"outcome":"'
    size = _STRANGER if event.is_strangers else _CALLER
    return _Head(before, event.outcome, f'"kind":"{event.kind.value}"', size)


def _place(path: tuple[str, ...]) -> _Place:
    top, *between, name = path
    opening = "".join(f'"{each}":{{' for each in between)
    return _Place(top, opening, "}" * len(between), f'"{name}":')


_HEADS: Final[Mapping[Action, _Head]] = {action: _head(action, event) for action, event in EVENTS.items()}
_PLACES: Final[Mapping[str, _Place]] = {name: _place(path) for name, path in FIELDS.items()}


class Context(dict[str, object]):
    """Fields that several records have in common; what they are in JSON is found out once.

    One that was made of another, and differs only in what it adds, begins with what that one has found out.
    """

    def __init__(self, base: Mapping[str, object] = MappingProxyType({}), /, **more: object) -> None:
        super().__init__(base, **more)
        self._base = base if isinstance(base, Context) and base.items() <= self.items() else None
        self._common: _Common | None = None

    @property
    def common(self) -> "_Common":
        """Return them as pieces of JSON; raise ValueError for a bug in them."""
        if self._common is None:
            base = self._base
            if base is None or not base.common.is_whole:
                base = NO_CONTEXT
            pieces = _Pieces(_CALLER, base.common)
            for name, value in self.items():
                if name not in base:
                    pieces.add(name, value)
            self._common, self._base = pieces.common(), None
        return self._common


class _Common(NamedTuple):
    """What begins a record: pieces of JSON by the top they stand under, and the room they take."""

    tops: Mapping[str, str]
    room: int
    #: Whether it is all there is to say: nothing was cut, and there is nothing that others could add to.
    is_whole: bool


_NOTHING: Final = _Common({}, 0, is_whole=True)
NO_CONTEXT: Final = Context()
NO_CONTEXT._common = _NOTHING  # noqa: SLF001 - where every other one begins


def compose(
    action: Action, fields: Mapping[str, object], *, now: datetime, context: Context = NO_CONTEXT
) -> bytes:
    """Return a record's JSON without the two braces at its end, all bytes 0x20 to 0x7e.

    `rexec`, last and not empty, stays open for number and seal. Raise ValueError for a bug in the fields, of
    which those of the `context` come first.
    """
    head = _HEADS[action]
    common = context.common
    if not common.is_whole or head.size is not _CALLER or not context.keys().isdisjoint(fields):
        fields, common = {**context, **fields}, _NOTHING
    pieces = _Pieces(head.size, common)
    for name, value in fields.items():
        pieces.add(name, value)
    tops = pieces.joined()
    if now.tzinfo is not UTC:
        now = now.astimezone(UTC)
    stamp = now.isoformat(timespec="microseconds")[:-6]
    facts = f",{tops.pop(_EVENT)}" if _EVENT in tops else ""
    rexec = f",{tops.pop(_REXEC)}" if _REXEC in tops else ""
    others = "".join([f'"{top}":{{{below}}},' for top, below in tops.items()])
    outcome = pieces.outcome or head.outcome
    text = (
        f'{{"@timestamp":"{stamp}Z",{head.before}{outcome}","dataset":"rexecd.audit","module":"rexecd"{facts}}},'
        f'{others}"rexec":{{{",".join([head.kind + rexec, *pieces.room.marks])}'
    )
    if len(text) > limits.MAX_RECORD - limits.SEALING:
        raise ValueError(f"the record takes {len(text)} bytes")
    return text.encode("ascii")


class _Pieces:
    """The fields of a record as pieces of JSON, by where they stand."""

    def __init__(self, size: Size, common: _Common) -> None:
        self.room = _Room(size, common.room)
        self.outcome: str | None = None
        self._tops = dict(common.tops)
        #: Of what stands deeper: by top, and what opens and closes it.
        self._deeper: dict[tuple[str, str, str], str] = {}

    def add(self, name: str, value: object) -> None:
        """Take one field; raise ValueError for a bug in it."""
        place = _PLACES.get(name)
        if place is None:
            raise ValueError(f"{name!r} is no field of a record")
        if name == "outcome":
            self.outcome = _outcome(value)
            return
        piece = place.name + self.room.spell(name, value)
        if name == "argv":
            piece += f',"args_count":{len(_arguments(value))}'
        if place.opening:
            where = (place.top, place.opening, place.closing)
            before = self._deeper.get(where)
            self._deeper[where] = piece if before is None else f"{before},{piece}"
        else:
            self._put(place.top, piece)

    def _put(self, top: str, piece: str) -> None:
        before = self._tops.get(top)
        self._tops[top] = piece if before is None else f"{before},{piece}"

    def joined(self) -> dict[str, str]:
        """Return all pieces by the top they stand under; nothing is added any more."""
        for (top, opening, closing), below in self._deeper.items():
            self._put(top, opening + below + closing)
        return self._tops

    def common(self) -> _Common:
        """Return what was added as the beginning of several records."""
        can_grow = any(opening != _THREAD for _, opening, _ in self._deeper)
        is_whole = not (self.room.marks or self.outcome or can_grow)
        return _Common(self.joined(), self.room.taken, is_whole)


class _Room:
    """What texts may still take of one record; what is cut is marked."""

    def __init__(self, size: Size, taken: int) -> None:
        self._size = size
        self._left = size.record - taken
        #: As pieces of JSON, for `rexec`.
        self.marks: list[str] = []

    @property
    def taken(self) -> int:
        """Return how much of it has been taken."""
        return self._size.record - self._left

    def spell(self, name: str, value: object) -> str:
        """Return a field's value as JSON; raise ValueError for the wrong type."""
        if isinstance(value, str):
            return self._text(name, value)
        if value is None:
            return "null"
        if type(value) is int:
            return str(value)
        if name == "argv":
            return self._argv(_arguments(value))
        if name in _TIMES:
            return str(_nanoseconds(value))
        return self._other(name, value)

    def _text(self, name: str, text: str) -> str:
        size = len(text) + _PUNCTUATION
        if size <= self._left and size <= self._size.text and _PLAIN(text) and PREFIX not in text:
            self._left -= size
            return f'"{text}"'
        kept = self._keep(text, self._size.text)
        if len(kept) != len(mask(text)):
            self._mark(name, text)
        return _quoted(kept)

    def _argv(self, argv: Sequence[str]) -> str:
        kept: list[str] = []
        end = self._left - self._size.arguments
        for argument in argv[: limits.MAX_RECORDED_ARGUMENTS]:
            if self._left <= end:
                break
            kept.append(self._keep(argument, min(self._left - end, self._size.text)))
        if kept != list(argv) and kept != list(map(mask, argv)):
            self._mark("argv", "\0".join(argv))
        return f"[{','.join(map(_quoted, kept))}]"

    def _other(self, name: str, value: object) -> str:
        """Return a value that is neither text nor a plain number; raise ValueError."""
        word = getattr(value, "word", None)  # our enumerations say how records write them
        if isinstance(word, str):
            return _quoted(word)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(int(value))
        if isinstance(value, float) and math.isfinite(value):
            return repr(float(value))
        raise ValueError(f"{name} cannot be recorded: {type(value).__name__}")

    def _keep(self, text: str, most: int) -> str:
        """Return as much of `text` as there is room for, masked, and take that room."""
        most = max(0, min(most, self._left))
        kept = mask(text)[: limits.MAX_RECORDED_TEXT]
        size = len(_quoted(kept)) + 1
        while kept and size > most:  # escapes take up to twelve bytes a character
            kept = kept[: len(kept) * most // size]
            size = len(_quoted(kept)) + 1
        self._left -= size
        return kept

    def _mark(self, name: str, whole: str) -> None:
        digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
        self.marks += [f'"{name}_length":{len(whole)}', f'"{name}_sha256":"{digest}"']
        self._left -= _MARK + 2 * len(name)


def _quoted(text: str) -> str:
    """Return a text as JSON; DEL is escaped, too."""
    return f'"{text}"' if _PLAIN(text) else json.dumps(text).replace("\x7f", "\\u007f")


def _outcome(value: object) -> str:
    if value not in _OUTCOMES:
        raise ValueError(f"{value!r} is no outcome")
    return str(value)


def _arguments(value: object) -> Sequence[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("argv is no list of texts")
    return value


def _nanoseconds(value: object) -> int:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number of seconds")
    return round(value * 1e9)
