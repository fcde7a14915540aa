"""A recorder: what writes the records of one connection or request, and knows what they have in common.

structlog is used bare: nothing depends on thread or global state, and nothing is between a record and its
trail.
"""

import threading
from typing import Protocol

import structlog

from rexecd.audit.events import Action, Context


class Sink(Protocol):
    """Where records go: a trail."""

    def append(self, action: Action, context: Context, /, **fields: object) -> None:
        """Write a record; raise TrailError."""

    def owe(self, action: Action, context: Context, /, **fields: object) -> None:
        """Write a record, sooner or later."""


class Recorder(structlog.BoundLoggerBase):
    """Writes records of one context (a connection, a request) to a trail.

    The context is bound and passed down by hand: nothing depends on thread or global state.
    `bind(**context)` returns a recorder that knows more.
    """

    def record(self, action: Action, /, **fields: object) -> None:
        """Write one record; raise TrailError, and then the act must not happen."""
        self._logger.append(action, self._context, **fields)

    def record_end(self, action: Action, /, **fields: object) -> None:
        """Write the end of what was recorded before: now, or as soon as the trail can be written."""
        self._logger.owe(action, self._context, **fields)


def recorder(trail: Sink, **context: object) -> Recorder:
    """Return a recorder that adds `context`, and the name of this thread, to each of its records."""
    return Recorder(trail, [], Context(thread=threading.current_thread().name, **context))
