"""What a trail shows as begun and not as ended, when whoever wrote it was killed.

The trail is read backwards, from its end to where its last writer began or ended, through files that were set
aside meanwhile, too.

Rule 1: it takes a bounded time and memory. What lies beyond is not looked at, and that is said.
Rule 2: lines are looked at as bytes, and only those of what is unfinished are parsed: a million go by in
about two seconds. No caller can forge what is looked for: inside a JSON text a quote has a backslash.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from rexecd import limits
from rexecd.audit import seal
from rexecd.audit.events import FIELDS, Action
from rexecd.audit.lines import is_compressed, opened, parts
from rexecd.audit.seal import Broken
from rexecd.errors import ConfigError

_BLOCK: Final = 1024 * 1024
#: So many records between two looks at the clock.
_LOOKS: Final = 1024
#: So near to its beginning a line says what it is about.
_HEAD: Final = 200
_ACTION: Final = b'"action":"'
_CONNECTION: Final = b'"connection_id":"'
_REQUEST: Final = b'"request_id":"'

_STARTED: Final = Action.SERVICE_STARTED.value.encode()
_STOPPED: Final = Action.SERVICE_STOPPED.value.encode()
_OPENED: Final = Action.CONNECTION_OPENED.value.encode()
_ACCEPTED: Final = Action.AUTH_ACCEPTED.value.encode()
_CLOSED: Final = Action.CONNECTION_CLOSED.value.encode()
_ALLOWED: Final = Action.COMMAND_ALLOWED.value.encode()
_RUNS: Final = Action.COMMAND_STARTED.value.encode()
_ENDS: Final = frozenset(
    action.value.encode()
    for action in (
        Action.COMMAND_EXITED,
        Action.COMMAND_KILLED,
        Action.COMMAND_TIMED_OUT,
        Action.COMMAND_REFUSED,
    )
)
_OF_CONNECTIONS: Final = _ENDS | {_OPENED, _ACCEPTED, _CLOSED, _ALLOWED, _RUNS}

#: What the record of an end has in common with that of its beginning, by our names (FIELDS).
_OF_CALLERS: Final = ("connection_id", "address", "port", "principal", "token_id", "policy_digest")
_KEPT: Final = (*_OF_CALLERS, "request_id", "rule", "rule_place", "pid")

#: The fields of a record by our names.
Context = dict[str, Any]


class Unfinished(NamedTuple):
    """What the last writer left: each as the fields that its end is recorded with, the oldest first."""

    #: Whether it ended otherwise than in good order.
    was_killed: bool
    commands: tuple[Context, ...] = ()
    connections: tuple[Context, ...] = ()
    #: The oldest record that was looked at, where there was no time or room for all; else None.
    back_to: int | None = None


def unfinished(path: Path, *, seconds: float, most: int) -> Unfinished:
    """Return what the trail at `path` shows as unfinished; raise ConfigError if it cannot be read.

    It is looked for for `seconds` at most, and for no more than `most` connections and commands.
    """
    deadline = time.monotonic() + seconds
    search = _Search()
    line = b""
    try:
        for line in (line for part in reversed(parts(path)) for line in _backwards(part.path, deadline)):
            start = line.find(_ACTION, 0, _HEAD) + len(_ACTION)
            action = line[start : line.find(b'"', start)]
            if action == _STOPPED:
                return search.found(was_killed=False)
            if action == _STARTED:
                return search.found(was_killed=True)
            if action in _OF_CONNECTIONS:
                search.take(action, line)
            search.seen += 1
            if not search.seen % _LOOKS and (time.monotonic() > deadline or search.size > most):
                return search.found(was_killed=True, back_to=_number(line))
    except (ConfigError, TimeoutError):
        if not line:
            raise
        # An older file that cannot be read, or not in time, ends the search and not the start.
        return search.found(was_killed=True, back_to=_number(line))
    return search.found(was_killed=False)


class _Search:
    """What is known so far, on the way back."""

    def __init__(self) -> None:
        self.seen = 0
        #: Connections whose end was seen and whose beginning was not: all that is theirs has ended.
        self._closed: set[bytes] = set()
        #: The same of commands, on connections that are open.
        self._ended: set[bytes] = set()
        self._connections: dict[bytes, Context] = {}
        self._commands: dict[bytes, Context] = {}

    @property
    def size(self) -> int:
        """Return how much is held."""
        return len(self._closed) + len(self._ended) + len(self._connections) + len(self._commands)

    def take(self, action: bytes, line: bytes) -> None:
        """Take the record before those that were taken so far."""
        connection = _value(line, _CONNECTION)
        if action == _CLOSED:
            self._closed.add(connection)
        elif connection in self._closed:
            if action == _OPENED:
                self._closed.discard(connection)
        elif action in {_OPENED, _ACCEPTED}:
            self._add(self._connections, connection, line)
        else:
            self._take_command(action, connection, line)

    def _take_command(self, action: bytes, connection: bytes, line: bytes) -> None:
        if connection not in self._connections:  # its own records may be out of reach
            fields = _fields(line)
            self._connections[connection] = {name: fields[name] for name in _OF_CALLERS if name in fields}
        request = _value(line, _REQUEST)
        if action in _ENDS:
            self._ended.add(request)
        elif request not in self._ended:
            self._add(self._commands, request, line)
        elif action == _ALLOWED:
            self._ended.discard(request)

    def _add(self, to: dict[bytes, Context], key: bytes, line: bytes) -> None:
        """Add what a record says to what later ones have said; what is no record says nothing."""
        fields = _fields(line)
        if fields:
            to[key] = fields | to.pop(key, {})  # and to the end: what began first comes last

    def found(self, *, was_killed: bool, back_to: int | None = None) -> Unfinished:
        """Return what was found, in the order in which it began."""
        if not was_killed:
            return Unfinished(was_killed=False)
        commands = tuple(reversed(self._commands.values()))
        connections = tuple(each for each in reversed(self._connections.values()) if each)
        return Unfinished(True, commands, connections, back_to)  # noqa: FBT003 - a field


def _backwards(path: Path, deadline: float) -> Iterator[bytes]:
    """Yield the lines of a file from the last to the first; raise ConfigError, TimeoutError."""
    with opened(path) as file:
        if not is_compressed(path):
            yield from _lines_back(file)
            return
        with tempfile.TemporaryFile() as plain:
            while block := file.read(_BLOCK):
                if time.monotonic() > deadline:
                    raise TimeoutError
                plain.write(block)
            plain.flush()
            yield from _lines_back(plain)


def _lines_back(file: IO[bytes]) -> Iterator[bytes]:
    size = os.fstat(file.fileno()).st_size
    rest = b""
    for start in range(size - 1 - (size - 1) % _BLOCK, -1, -_BLOCK):
        block = os.pread(file.fileno(), min(_BLOCK, size - start), start)
        lines = (block + rest).split(b"\n")
        # Whatever is longer than a record is none.
        rest = lines[0] if len(lines[0]) <= limits.MAX_RECORD else b""
        yield from filter(None, reversed(lines[1:]))
    if rest:
        yield rest


def _value(line: bytes, name: bytes) -> bytes:
    """Return the text behind a name, empty if it is not there."""
    start = line.rfind(name)
    if start < 0:
        return b""
    start += len(name)
    return line[start : line.find(b'"', start)]


def _fields(line: bytes) -> Context:
    """Return what of a record is kept, by our names; nothing if it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    kept: Context = {}
    for name in _KEPT:
        value: object = record
        for part in FIELDS[name]:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str | int):
            kept[name] = value
    return kept


def _number(line: bytes) -> int:
    """Return a record's number, 0 for what is none."""
    try:
        return seal.number(line + b"\n")
    except Broken:
        return 0
