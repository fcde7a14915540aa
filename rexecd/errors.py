"""Everything that can go wrong, grouped by whose fault it is, and the words a caller may hear.

Rule 1: base classes are never raised.
Rule 2: a `Code` and its text travel to the caller; a `reason` goes to the audit trail only.
"""

import enum

from rexecd.typed import NamedTuple


class Code(enum.IntEnum):
    """Why the server says no: the closed list a caller can see (PROTOCOL 6)."""

    #: Wrong, unknown and revoked tokens look alike.
    AUTHENTICATION_FAILED = 1
    #: Unknown and forbidden commands look alike.
    NOT_PERMITTED = 2
    #: The line cannot be split into words (quotes, NUL, empty, too many words).
    BAD_LINE = 3
    #: A value does not fit its parameter, or one is missing, repeated or undeclared.
    BAD_ARGUMENT = 4
    #: Input was promised to a command that takes none, or is required and missing.
    BAD_INPUT = 5
    #: Allowed, but the program could not be started.
    NOT_STARTED = 6
    #: Over a limit; the same request may succeed later.
    BUSY = 7
    #: The trail cannot be written, the monitor is away, the service stops; try later.
    UNAVAILABLE = 8
    #: The token was revoked, or has expired, while its connection was open.
    REVOKED = 9
    #: The peer broke the protocol.
    PROTOCOL_ERROR = 10
    #: The rule asks for a reason and none was given.
    JUSTIFICATION_REQUIRED = 11
    #: Nothing was asked for too long; nothing was lost.
    IDLE = 12

    @property
    def word(self) -> str:
        """Return the code as people and records write it: `not-permitted`."""
        return self.name.lower().replace("_", "-")


class RexecError(Exception):
    """Base of every error of this package; never raised itself."""


class ProtocolError(RexecError):
    """Base of the two protocol errors; never raised itself (after h11)."""


class LocalProtocolError(ProtocolError):
    """This side tried to send what the protocol forbids: a bug here."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what the protocol forbids: end the conversation."""


class Refused(RexecError):
    """A request that is answered with no; the session goes on.

    `code` and `text` are for the caller, `reason` for the audit trail. `text` never holds a
    value the caller sent nor a fact about the server's files. `retry_after` is for the caller too: in
    how many seconds the same request may succeed; 0 if nobody knows.
    """

    def __init__(self, code: Code, text: str, *, reason: str | None = None, retry_after: float = 0.0) -> None:
        super().__init__(f"{code.word}: {reason or text}")
        self.code = code
        self.text = text
        self.reason = reason or text
        self.retry_after = retry_after


class Fault(NamedTuple):
    """One thing that is wrong, for programs: file, line and column apart, where they are known."""

    place: tuple[str, int, int] | None
    message: str


class ConfigError(RexecError):
    """The operator's files, keys or settings are wrong.

    `faults` holds one line each, place first: `policy.yaml:12:5: unknown key 'comand'`. `found` holds
    the same in the same order, taken apart; without it no place is known.
    """

    def __init__(self, *faults: str, found: tuple[Fault, ...] = ()) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        self.found = found or tuple(Fault(None, fault) for fault in faults)


class TrailError(RexecError):
    """The audit trail cannot be written, so nothing may run.

    `is_written` is whether the record stands there all the same, and only its way to the disk has failed.
    """

    def __init__(self, message: str, *, is_written: bool = False) -> None:
        super().__init__(message)
        self.is_written = is_written


class Unavailable(RexecError):
    """The other process, or the running service, does not answer."""
