"""One connection, told from its records: who came from where, what was run, how it ended.

Rule 1: whatever a record holds, what is told is bytes 0x20 to 0x7e; a record that does not fit is told too.
Memory does not grow with the connection.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from rexecd.audit.events import FIELDS, Action
from rexecd.audit.search import Record, as_it_is, at, in_seconds, safe

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_MIB: Final = 1024 * 1024
_LARGEST: Final = 2**63


class Story:
    """What was told so far; records go in in their order."""

    def __init__(self, connection: str, *, time: Callable[[object], object] = as_it_is) -> None:
        self._connection = connection
        self._time = time
        self._first: Record | None = None
        self._last: Record = {}
        self._commands = 0
        self._refused = 0
        #: The command that was told of last.
        self._request: object = None

    @property
    def is_told(self) -> bool:
        """Return whether there was anything to tell."""
        return self._first is not None

    def take(self, record: Record) -> Iterator[str]:
        """Tell one record in one line, after the time since the one before."""
        action = at(record, ("event", "action"))
        if self._first is None:
            self._first = self._last = record
            yield f"connection {safe(self._connection)}"
            yield safe(self._time(record.get("@timestamp"))).strip("'")
            if action != Action.CONNECTION_OPENED.value:
                yield "its beginning is not in these files"
        since = _between(self._last, record)
        self._last = record
        yield f"{'' if since is None else spell(since, sign='+'):>9}  {self._tell(action, record)}"

    def end(self) -> Iterator[str]:
        """Tell what it was in all."""
        if self._first is None:
            return
        yield safe(self._time(self._last.get("@timestamp"))).strip("'")
        if at(self._last, ("event", "action")) != Action.CONNECTION_CLOSED.value:
            yield "it is open, or its end is not in these files"
        took = _between(self._first, self._last)
        ran = f"{self._commands} command{'' if self._commands == 1 else 's'} started"
        yield f"in all {'-' if took is None else spell(took)}: {ran}, {self._refused} refused"

    def _tell(self, action: object, record: Record) -> str:
        match action:
            case Action.CONNECTION_OPENED.value:
                port = _and(record, "port", "port")
                return f"opened from {_get(record, 'address')}{port}, {_get(record, 'tls')}"
            case Action.AUTH_ACCEPTED.value:
                token = _and(record, "by token", "token_id")
                certificate = _and(record, "and client certificate", "certificate")
                return f"accepted as {_get(record, 'principal')}{token}{certificate}"
            case Action.AUTH_REFUSED.value:
                token = _and(record, "of token", "token_id")
                return f"not let in: {_get(record, 'reason')}{token}{_told(record)}"
            case Action.CONNECTION_CLOSED.value:
                return f"closed: {_get(record, 'reason')}"
        if at(record, FIELDS["request_id"]) is None:
            return f"{safe(action)}: {_get(record, 'reason')}{_told(record)}"
        return self._tell_command(action, record)

    def _tell_command(self, action: object, record: Record) -> str:
        request = at(record, FIELDS["request_id"])
        is_new, self._request = request != self._request, request
        if action == Action.COMMAND_ALLOWED.value:
            identity = _and(record, "as", "run_as")
            rule = f"allowed by rule {_get(record, 'rule')} at {_get(record, 'rule_place')}{identity}"
            return (
                f"{_named(request)}: {_get(record, 'line')}, {rule}{_and(record, 'because', 'justification')}"
            )
        if action == Action.COMMAND_REFUSED.value:
            self._refused += 1
            line = f"{_named(request)}: {_get(record, 'line')}, refused" if is_new else "  not started"
            return f"{line}: {_get(record, 'reason')}{_told(record)}"
        self._commands += action == Action.COMMAND_STARTED.value
        before = f"{_named(request)}: " if is_new else "  "
        return before + _course(action, record)


def _course(action: object, record: Record) -> str:
    """Tell what became of a command that was allowed."""
    took = in_seconds(at(record, FIELDS["duration"]))
    after = (
        ("" if took is None else f" after {took}")
        + _and(record, "at its ceiling of", "limit")
        + _used(record)
    )
    why = "" if at(record, FIELDS["reason"]) is None else f": {_get(record, 'reason')}"
    status = f"status {_get(record, 'exit_code')}"
    if at(record, FIELDS["signal"]) is not None:
        status = f"signal {_get(record, 'signal')}"
    match action:
        case Action.COMMAND_STARTED.value:
            return f"started as process {_get(record, 'pid')}"
        case Action.COMMAND_EXITED.value:
            return f"ended with {status}{after}{why}"
        case Action.COMMAND_TIMED_OUT.value:
            return f"its time was over{after}, ended with {status}{why}"
        case Action.COMMAND_KILLED.value:
            has_status = at(record, FIELDS["exit_code"]) is not None or status.startswith("signal")
            return f"was ended{' with ' + status if has_status else ''}{after}{why}"
        case Action.COMMAND_DRAINED.value:
            counts = [_get(record, name) for name in ("output_bytes", "error_output_bytes", "input_bytes")]
            cut = ", cut at its ceiling" if at(record, FIELDS["truncated"]) is True else ""
            return f"{counts[0]} bytes of output, {counts[1]} of error output, {counts[2]} of input{cut}"
    return f"{safe(action)}{why}"


def _used(record: Record) -> str:
    """Tell what a command used, as far as it is known."""
    time, memory = in_seconds(at(record, FIELDS["cpu_time"])), at(record, FIELDS["peak_memory"])
    used = "" if time is None else f", {time} of processor time"
    if type(memory) is int and 0 <= memory < _LARGEST:
        used += f", {memory / _MIB:.1f} MiB at most"
    return used


def spell(seconds: float, *, sign: str = "") -> str:
    """Return a time between two records for people; before a positive one stands `sign`."""
    if seconds < 0:  # the clock was set back
        return spell(-seconds, sign="-")
    if seconds < _MINUTE:
        return f"{sign}{seconds:.3f}s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{sign}{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{sign}{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{sign}{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def _between(one: Record, other: Record) -> float | None:
    """Return the seconds between two records by the wall clock, None where one has no time."""
    moments = []
    for record in (one, other):
        try:
            moments.append(datetime.fromisoformat(str(record.get("@timestamp"))))
        except ValueError:
            return None
    if any(moment.tzinfo is None for moment in moments):
        return None
    return (moments[1] - moments[0]).total_seconds()


def _named(request: object) -> str:
    """Return `command 3` for a request's id."""
    text = safe(request)
    number = text.rpartition("-")[2]
    return f"command {number if number.isdecimal() else text}"


def _get(record: Record, name: str) -> str:
    return safe(at(record, FIELDS[name]))


def _and(record: Record, words: str, name: str) -> str:
    """Return the words and a field's value, nothing where there is none."""
    return "" if at(record, FIELDS[name]) is None else f" {words} {_get(record, name)}"


def _told(record: Record) -> str:
    """Return what the caller was told."""
    return "" if at(record, FIELDS["code"]) is None else f" (the caller was told {_get(record, 'code')})"
