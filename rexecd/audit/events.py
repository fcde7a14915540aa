"""The vocabulary of the trail: every action, every field, and where Elastic's schema puts it.

Rule 1: what is not in EVENTS is not recorded, and a field that is not in FIELDS is a bug.
Rule 2: a record is bounded whatever a caller sends: texts are cut, and the length and the
SHA-256 of the whole stay (ATTACKS AUD-05).
Rule 3: tokens are masked in every text, before anything else is done with it.
Pure: the time is an argument.
"""

import enum
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, cast

from rexecd import limits
from rexecd.identity.tokens import PREFIX, mask

ECS_VERSION: Final = "9.4.0"


class Action(enum.Enum):
    """What can stand in `event.action`: the closed list (DESIGN 3.6)."""

    CONNECTION_OPENED = "connection-opened"
    CONNECTION_CLOSED = "connection-closed"
    TLS_FAILED = "tls-failed"
    AUTH_ACCEPTED = "auth-accepted"
    AUTH_REFUSED = "auth-refused"
    COMMAND_ALLOWED = "command-allowed"
    #: Not permitted, or (code `not-started`) permitted and the program could not be started.
    COMMAND_REFUSED = "command-refused"
    COMMAND_STARTED = "command-started"
    COMMAND_EXITED = "command-exited"
    COMMAND_TIMED_OUT = "command-timed-out"
    COMMAND_KILLED = "command-killed"
    COMMAND_DRAINED = "command-drained"
    LIMIT_REACHED = "limit-reached"
    SOURCE_PENALIZED = "source-penalized"
    POLICY_LOADED = "policy-loaded"
    POLICY_REJECTED = "policy-rejected"
    TOKEN_CREATED = "token-created"  # noqa: S105 - a word, no token
    TOKEN_REVOKED = "token-revoked"  # noqa: S105
    TOKEN_IMPORTED = "token-imported"  # noqa: S105
    TOKEN_ROTATED = "token-rotated"  # noqa: S105
    TOKEN_PURGED = "token-purged"  # noqa: S105
    CERTIFICATE_LOADED = "certificate-loaded"
    CERTIFICATE_REJECTED = "certificate-rejected"
    CERTIFICATE_EXPIRING = "certificate-expiring"
    CERTIFICATE_REVOKED = "certificate-revoked"
    SERVICE_STARTED = "service-started"
    SERVICE_STOPPED = "service-stopped"
    SEAM_VIOLATED = "seam-violated"
    TRAIL_OPENED = "trail-opened"
    TRAIL_REPAIRED = "trail-repaired"
    TRAIL_RESUMED = "trail-resumed"
    TRAIL_PRUNED = "trail-pruned"


class Kind(enum.Enum):
    """The four kinds of sudo's event log, which readers of such trails know."""

    ACCEPT = "accept"
    REJECT = "reject"
    EXIT = "exit"
    ALERT = "alert"


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


class Event(NamedTuple):
    """How an action stands in the schema, unless the one who records it says otherwise."""

    kind: Kind
    category: tuple[str, ...]
    type: tuple[str, ...]
    outcome: str = "success"
    size: Size = _CALLER


EVENTS: Final[Mapping[Action, Event]] = {
    Action.CONNECTION_OPENED: Event(
        Kind.ACCEPT, ("network", "session"), ("connection", "start"), size=_STRANGER
    ),
    Action.CONNECTION_CLOSED: Event(Kind.EXIT, ("network", "session"), ("connection", "end")),
    Action.TLS_FAILED: Event(Kind.REJECT, ("network",), ("connection", "denied"), "failure", _STRANGER),
    Action.AUTH_ACCEPTED: Event(Kind.ACCEPT, ("authentication",), ("start",)),
    Action.AUTH_REFUSED: Event(Kind.REJECT, ("authentication",), ("start",), "failure", _STRANGER),
    Action.COMMAND_ALLOWED: Event(Kind.ACCEPT, ("api",), ("allowed",)),
    Action.COMMAND_REFUSED: Event(Kind.REJECT, ("api",), ("denied",), "failure"),
    Action.COMMAND_STARTED: Event(Kind.ACCEPT, ("process",), ("start",)),
    Action.COMMAND_EXITED: Event(Kind.EXIT, ("process",), ("end",)),
    Action.COMMAND_TIMED_OUT: Event(Kind.EXIT, ("process",), ("end",), "failure"),
    Action.COMMAND_KILLED: Event(Kind.EXIT, ("process",), ("end",), "failure"),
    Action.COMMAND_DRAINED: Event(Kind.EXIT, ("process",), ("info",)),
    Action.LIMIT_REACHED: Event(Kind.REJECT, ("network",), ("denied",), "failure", _STRANGER),
    Action.SOURCE_PENALIZED: Event(Kind.REJECT, ("network",), ("denied",), "failure", _STRANGER),
    Action.POLICY_LOADED: Event(Kind.ACCEPT, ("configuration",), ("change",)),
    Action.POLICY_REJECTED: Event(Kind.REJECT, ("configuration",), ("change",), "failure"),
    Action.TOKEN_CREATED: Event(Kind.ACCEPT, ("iam",), ("creation",)),
    Action.TOKEN_REVOKED: Event(Kind.ACCEPT, ("iam",), ("deletion",)),
    Action.TOKEN_IMPORTED: Event(Kind.ACCEPT, ("iam",), ("creation",)),
    Action.TOKEN_ROTATED: Event(Kind.ACCEPT, ("iam",), ("creation",)),
    Action.TOKEN_PURGED: Event(Kind.ACCEPT, ("iam",), ("deletion",)),
    Action.CERTIFICATE_LOADED: Event(Kind.ACCEPT, ("configuration",), ("change",)),
    Action.CERTIFICATE_REJECTED: Event(Kind.REJECT, ("configuration",), ("change",), "failure"),
    Action.CERTIFICATE_EXPIRING: Event(Kind.ALERT, ("configuration",), ("info",)),
    Action.CERTIFICATE_REVOKED: Event(Kind.ACCEPT, ("iam",), ("deletion",)),
    Action.SERVICE_STARTED: Event(Kind.ACCEPT, ("process",), ("start",)),
    Action.SERVICE_STOPPED: Event(Kind.EXIT, ("process",), ("end",)),
    Action.SEAM_VIOLATED: Event(Kind.ALERT, ("intrusion_detection",), ("denied",), "failure"),
    Action.TRAIL_OPENED: Event(Kind.ACCEPT, ("file",), ("creation",)),
    Action.TRAIL_REPAIRED: Event(Kind.ALERT, ("file",), ("change",)),
    Action.TRAIL_RESUMED: Event(Kind.ALERT, ("file",), ("change",)),
    Action.TRAIL_PRUNED: Event(Kind.ACCEPT, ("file",), ("deletion",)),
}

#: Our name of a field, and its path in the record. Names ending in `_length` or `_sha256`
#: are for the marks of cut texts.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "address": ("source", "ip"),
    "argv": ("process", "args"),
    "certificate": ("tls", "client", "hash", "sha256"),
    "code": ("rexec", "code"),
    "connection_id": ("rexec", "connection_id"),
    "count": ("rexec", "count"),
    "cut_bytes": ("rexec", "cut_bytes"),
    "cut_digest": ("rexec", "cut_digest"),
    "duration": ("event", "duration"),
    "error_output_bytes": ("rexec", "error_output_bytes"),
    "exit_code": ("process", "exit_code"),
    "expires": ("rexec", "expires"),
    "input_bytes": ("rexec", "input_bytes"),
    "justification": ("rexec", "justification"),
    "limit": ("rexec", "limit"),
    "line": ("rexec", "line"),
    "networks": ("rexec", "networks"),
    "note": ("rexec", "note"),
    "only": ("rexec", "only"),
    "outcome": ("event", "outcome"),
    "output_bytes": ("rexec", "output_bytes"),
    "pid": ("process", "pid"),
    "policy_digest": ("rexec", "policy_digest"),
    "port": ("source", "port"),
    "previous_digest": ("rexec", "previous_digest"),
    "principal": ("user", "name"),
    "reason": ("event", "reason"),
    "replaces": ("rexec", "replaces"),
    "request_id": ("rexec", "request_id"),
    "rule": ("rule", "name"),
    "rule_place": ("rexec", "rule_place"),
    "run_as": ("process", "user", "name"),
    "run_as_id": ("process", "user", "id"),
    "signal": ("rexec", "signal"),
    "thread": ("process", "thread", "name"),
    "timeout": ("rexec", "timeout"),
    "tls": ("rexec", "tls"),
    "token_id": ("rexec", "token_id"),
    "removed_until": ("rexec", "removed_until"),
    "truncated": ("rexec", "truncated"),
    "unfinished": ("rexec", "unfinished"),
    "version": ("rexec", "version"),
    "working_directory": ("process", "working_directory"),
}

_OUTCOMES: Final = frozenset({"success", "failure", "unknown"})

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
    room = _Room(event.size, rexec)
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
        if name == "duration":
            return _nanoseconds(value)
        return _other(name, value)

    def _text(self, name: str, text: str) -> str:
        if name == "outcome" and text not in _OUTCOMES:
            raise ValueError(f"{text!r} is no outcome")
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
