"""From an action and its fields to a record, in the names of the Elastic Common Schema.

Rule 1: what is not in EVENTS is not recorded, and a field that is not in FIELDS is a bug.
Rule 2: a record is bounded whatever a caller sends: texts are cut, and the length and the
SHA-256 of the whole stay (ATTACKS AUD-05).
Rule 3: tokens are masked in every text, before anything else is done with it.
Rule 4: a record that lacks what its kind always has is written all the same: tests find such a bug, and
of an end there had better be a record that says less than none.
Pure: the time is an argument.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, cast

from rexecd import limits
from rexecd.audit.fields import FIELDS
from rexecd.audit.vocabulary import EVENTS, Action, Kind
from rexecd.identity.tokens import PREFIX, mask

__all__ = ["ECS_VERSION", "EVENTS", "FIELDS", "Action", "Kind", "shape"]

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

#: What JSON holds, as far as we use it.
Value = str | int | float | bool | None | list[str]
Tree = dict[str, object]


def shape(action: Action, fields: Mapping[str, object], *, now: datetime) -> Tree:
    """Return the nested record of one event, `rexec` last; raise ValueError for a bug in `fields`."""
    event = EVENTS[action]
    rexec: Tree = {"kind": event.kind.value}
    record: Tree = {
        "@timestamp": now.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        "ecs": {"version": ECS_VERSION},
        "event": {
            "action": action.value,
            "kind": "event",
            "category": event.category,
            "type": event.type,
            "outcome": event.outcome,
            "dataset": "rexecd.audit",
            "module": "rexecd",
        },
        "rexec": rexec,
    }
    room = _Room(_STRANGER if event.is_strangers else _CALLER, rexec)
    for name, value in fields.items():
        path = FIELDS.get(name)
        if path is None:
            raise ValueError(f"{name!r} is no field of a record")
        if path[0] == "rexec":  # half of all fields
            rexec[path[1]] = room.plain(name, value)
        else:
            _put(record, path, room.plain(name, value))
    if "argv" in fields:
        _put(record, ("process", "args_count"), len(_arguments(fields["argv"])))
    record["rexec"] = record.pop("rexec")  # to the end: the seal goes behind it
    return record


class _Room:
    """What texts may still take of one record; what is cut is marked under `rexec`."""

    def __init__(self, size: Size, marks: Tree) -> None:
        self._size = size
        self._left = size.record
        self._marks = marks

    def plain(self, name: str, value: object) -> Value:
        """Return a field's value as JSON will hold it; raise ValueError for the wrong type."""
        if isinstance(value, str):
            return self._text(name, value)
        if value is None or type(value) is int:
            return value
        if name == "argv":
            return self._argv(_arguments(value))
        if name in _TIMES:
            return _nanoseconds(value)
        return _other(name, value)

    def _text(self, name: str, text: str) -> str:
        if name == "outcome":
            if text not in _OUTCOMES:
                raise ValueError(f"{text!r} is no outcome")
            return text
        size = len(text) + _PUNCTUATION
        if size <= self._left and size <= self._size.text and _PLAIN(text) and PREFIX not in text:
            self._left -= size
            return text
        kept = self._keep(text, self._size.text)
        if len(kept) != len(mask(text)):
            self._mark(name, text)
        return kept

    def _argv(self, argv: Sequence[str]) -> list[str]:
        kept: list[str] = []
        end = self._left - self._size.arguments
        for argument in argv[: limits.MAX_RECORDED_ARGUMENTS]:
            if self._left <= end:
                break
            kept.append(self._keep(argument, min(self._left - end, self._size.text)))
        if kept != list(argv) and kept != list(map(mask, argv)):
            self._mark("argv", "\0".join(argv))
        return kept

    def _keep(self, text: str, most: int) -> str:
        """Return as much of `text` as there is room for, masked, and take that room."""
        most = max(0, min(most, self._left))
        kept = mask(text)[: limits.MAX_RECORDED_TEXT]
        size = _size(kept)
        while kept and size > most:  # escapes take up to twelve bytes a character
            kept = kept[: len(kept) * most // size]
            size = _size(kept)
        self._left -= size
        return kept

    def _mark(self, name: str, whole: str) -> None:
        self._marks[f"{name}_length"] = len(whole)
        self._marks[f"{name}_sha256"] = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
        self._left -= _MARK + 2 * len(name)


def _size(text: str) -> int:
    """Return the bytes `text` takes in the trail."""
    if _PLAIN(text):
        return len(text) + _PUNCTUATION
    return len(json.dumps(text)) - 2 + 5 * text.count("\x7f") + _PUNCTUATION


def _arguments(value: object) -> Sequence[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("argv is no list of texts")
    return value


def _other(name: str, value: object) -> Value:
    """Return a value that is neither text nor a plain number; raise ValueError."""
    word = getattr(value, "word", None)  # our enumerations say how records write them
    if isinstance(word, str):
        return word
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{name} cannot be recorded: {type(value).__name__}")


def _nanoseconds(value: object) -> int:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number of seconds")
    return round(value * 1e9)


def _put(record: Tree, path: tuple[str, ...], value: Value) -> None:
    at = record
    for parent in path[:-1]:
        at = cast("Tree", at.setdefault(parent, {}))
    at[path[-1]] = value
