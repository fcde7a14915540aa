"""A recorder: what writes the records of one connection or request, and knows what they have in common.

structlog is used bare: nothing depends on thread or global state, and no renderer is between a record and its
trail.
"""

import threading
from typing import Any, Protocol

import structlog
from structlog.typing import EventDict

from rexecd.audit.events import Action


class Sink(Protocol):
    """Where records go: a trail."""

    def append(self, action: Action, /, **fields: object) -> None:
        """Write a record; raise TrailError."""

    def owe(self, action: Action, /, **fields: object) -> None:
        """Write a record, sooner or later."""


class Recorder(structlog.BoundLoggerBase):
    """Writes records of one context (a connection, a request) to a trail.

    The context is bound and passed down by hand: nothing depends on thread or global state.
    `bind(**context)` returns a recorder that knows more.
    """

    def record(self, action: Action, /, **fields: object) -> None:
        """Write one record, naming the thread; raise TrailError, and then the act must not happen."""
        self._proxy_to_logger("append", action, **fields)  # type: ignore[arg-type]  # the event is an Action

    def record_end(self, action: Action, /, **fields: object) -> None:
        """Write the end of what was recorded before: now, or as soon as the trail can be written."""
        self._proxy_to_logger("owe", action, **fields)  # type: ignore[arg-type]  # the event is an Action


def recorder(trail: Sink, **context: object) -> Recorder:
    """Return a recorder that adds `context` to each of its records."""
    return Recorder(trail, [_add_thread, _as_call], context)


def _add_thread(_logger: object, _name: str, fields: EventDict) -> EventDict:
    fields["thread"] = threading.current_thread().name
    return fields


def _as_call(
    _logger: object, _name: str, fields: EventDict
) -> tuple[tuple[Any], dict[str, Any]]:  # structlog's own types: what it passes to Trail.append
    return (fields.pop("event"),), dict(fields)
