"""The keyword arguments that several functions have in common, for those who check types."""

import os
from typing import Literal, Protocol, TypedDict

from rexecd.client.dial import Trace


class Named(Protocol):
    """A file of the system's: it has a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


#: Where input can be read from.
Readable = int | Named


class Asking(TypedDict, total=False):
    """What every way to run a command takes; `Session.run` says what it means."""

    stdin: Readable | None
    check: bool
    reason: str
    timeout: float | None
    max_output: int


class Connecting(TypedDict, total=False):
    """How to get a session; `connect` says what it means."""

    token: str | None
    ca: str | os.PathLike[str] | None
    pin: str | None
    known_hosts: str | os.PathLike[str] | None
    cert: str | os.PathLike[str] | None
    key: str | os.PathLike[str] | None
    connect_timeout: float | None
    answer_timeout: float | None
    family: Literal["any", "inet", "inet6"] | None
    trace: Trace | None


class Calling(Asking, Connecting, total=False):
    """Both: a command in one call."""
