"""What the exposed process may ask the trusted one, and when (`docs/SEAM.md`).

Messages that merely pass from the caller through the gateway are the wire's own types; only
what is said between the two processes has a type here.

Rule 1: a question that is not in PERMITS for the stage of its channel is a violation: it is
recorded, and the channel closes. The monitor does not argue (after OpenSSH's monitor.c).
Rule 2: only the monitor moves a channel from stage to stage, by what it did itself.
"""

import enum
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from rexecd import limits
from rexecd.codec import FLAG, U8, U16, U32, U64, Blob, Catalogue, Choice, Row, Text, Texts
from rexecd.errors import RemoteProtocolError
from rexecd.wire import messages as wire
from rexecd.wire.messages import FROM_CLIENT, FROM_SERVER


class Parting(enum.IntEnum):
    """Why the gateway lets go of a session. It is the gateway's word."""

    GOODBYE = 0
    CONNECTION_LOST = 1
    PROTOCOL_ERROR = 2
    WRITE_TIMEOUT = 3
    STOPPING = 4
    IDLE = 5

    @property
    def word(self) -> str:
        """Return it as records write it: `connection-lost`."""
        return self.name.lower().replace("_", "-")


class Trouble(enum.IntEnum):
    """What the gateway reports of peers that never became a session."""

    #: No TLS handshake: plaintext, wrong version, silence, a peer that does not trust us.
    TLS_FAILED = 0
    #: A handshake, and then no (legal) Authenticate within the grace time.
    UNAUTHENTICATED = 1
    #: Closed at once, for the number of connections or threads.
    SHED = 2
    #: A source has done so much wrong that it is refused for a while.
    PENALIZED = 3
    #: The gateway's own: its certificate was read, could not be read again, or ends soon.
    CERTIFICATE_LOADED = 4
    CERTIFICATE_REJECTED = 5
    CERTIFICATE_EXPIRING = 6


class Authenticate(NamedTuple):
    """Who is at the other end, as far as the gateway can tell, and the token it sent.

    `certificate` is the peer's in DER, verified against `client_ca`; empty if it presented none.
    """

    address: str
    port: int
    tls: str
    token: bytes
    certificate: bytes = b""


class Renounce(NamedTuple):
    """The session is over; a command that still runs is ended."""

    parting: Parting
    detail: str


class Drained(NamedTuple):
    """All output of the ended command went out. Byte counts are the gateway's word."""

    output: int
    error_output: int
    input: int
    truncated: bool


class Report(NamedTuple):
    """Something about `count` peers that never became sessions; address and port of the last."""

    trouble: Trouble
    address: str
    port: int
    count: int  # type: ignore[assignment]  # nobody counts the fields of a message
    detail: str


class Started(NamedTuple):
    """The command runs. Descriptors come with it: [stdin if takes_input,] stdout, stderr.

    The ceilings are bytes; 2**64-1 means none.
    """

    request_id: str
    takes_input: bool
    output_ceiling: int
    input_ceiling: int


class Exited(NamedTuple):
    """The command is over and everything it left has been ended. Fields as in wire.Exit."""

    ending: wire.Ending
    status: int
    duration: int


Message = Any

#: "No ceiling" in Started.
UNLIMITED: Final = 2**64 - 1

_ADDRESS: Final = Text(limits.MAX_NAME)
_TEXT: Final = Text(limits.MAX_TEXT)
_PASSED: Final = {
    wire.Run,
    wire.List,
    wire.Signal,
    wire.Accepted,
    wire.Refused,
    wire.Entry,
    wire.Listed,
    wire.Closed,
}

SEAM: Final = Catalogue(
    *(row for row in FROM_CLIENT + FROM_SERVER if row.type in _PASSED),
    Row(32, Authenticate, (_ADDRESS, U16, _TEXT, Blob(limits.MAX_TOKEN), Blob(limits.MAX_CERTIFICATE))),
    Row(33, Renounce, (Choice(Parting), _TEXT)),
    Row(34, Drained, (U64, U64, U64, FLAG)),
    Row(35, Report, (Choice(Trouble), _ADDRESS, U16, U32, _TEXT)),
    Row(160, Started, (Text(limits.MAX_NAME), FLAG, U64, U64)),
    Row(161, Exited, (Choice(wire.Ending), U8, U64)),
)


class Stage(enum.IntEnum):
    """Where a channel is, as the monitor knows it."""

    #: Nothing has been asked.
    FRESH = enum.auto()
    #: This is the gateway's own channel for reports.
    REPORTING = enum.auto()
    #: The token was right.
    AUTHENTICATED = enum.auto()
    #: A command runs.
    RUNNING = enum.auto()
    #: A command is over; the gateway has still to say that its output went out.
    DRAINING = enum.auto()


PERMITS: Final[Mapping[Stage, frozenset[type]]] = {
    Stage.FRESH: frozenset({Authenticate, Report}),
    Stage.REPORTING: frozenset({Report}),
    Stage.AUTHENTICATED: frozenset({wire.Run, wire.List, Renounce}),
    Stage.RUNNING: frozenset({wire.Signal, Renounce}),
    # A Signal can have been under way when the command ended; it is dropped.
    Stage.DRAINING: frozenset({wire.Signal, Drained, Renounce}),
}


class Permits:
    """The questions that are open on one channel."""

    __slots__ = ("stage",)

    def __init__(self) -> None:
        self.stage = Stage.FRESH

    def check(self, message: Message) -> None:
        """Raise RemoteProtocolError for a question that is not open."""
        if type(message) not in PERMITS[self.stage]:
            raise RemoteProtocolError(
                f"{type(message).__name__} is not permitted on a channel that is {self.stage.name}"
            )


class CreateToken(NamedTuple):
    """Operator: make a token for a principal.

    `lifetime` is in seconds, 0 for ever; without `networks` and `only` it is good from anywhere and for all.
    """

    principal: str
    lifetime: int = 0
    networks: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    note: str = ""


class ImportToken(NamedTuple):
    """Operator: accept a token that was made elsewhere, of which only the digest is here; as CreateToken."""

    principal: str
    lifetime: int
    networks: tuple[str, ...]
    only: tuple[str, ...]
    note: str
    digest: str


class RotateToken(NamedTuple):
    """Operator: make a token in place of another, which stays good for `overlap` seconds.

    `lifetime` is as in CreateToken; where it is not `changes_lifetime`, as long as the old one's was.
    """

    token_id: str
    overlap: int
    changes_lifetime: bool
    lifetime: int


class RevokeTokens(NamedTuple):
    """Operator: end a token by its public id, or all of a principal; the other is empty."""

    token_id: str
    principal: str


class PurgeTokens(NamedTuple):
    """Operator: forget tokens that have been dead for so many seconds."""

    age: int


class RevokeCertificate(NamedTuple):
    """Operator: refuse a client certificate. `expires` is in seconds since 1970."""

    fingerprint: str
    subject: str
    expires: int


class Reload(NamedTuple):
    """Operator: read the policy again."""


class Status(NamedTuple):
    """Operator: say how the service is."""


class Metrics(NamedTuple):
    """Operator: say one part of the metrics, the first is 0; the others are of what the first is of."""

    part: int


class Answer(NamedTuple):
    """To the operator: a JSON text if `good`, else what is wrong, one line each."""

    good: bool
    body: str


#: Longest answer; the longest packet holds it.
MAX_ANSWER: Final = limits.MAX_PACKET - 1024

_NAME: Final = Text(limits.MAX_NAME)
_TERMS: Final = (U32, Texts(limits.MAX_TERMS, 64), Texts(limits.MAX_TERMS, 512), Text(4 * limits.MAX_NOTE))
#: The operator's own door: every question is open at any time, one answer each.
ADMIN: Final = Catalogue(
    Row(1, CreateToken, (_NAME, *_TERMS)),
    Row(2, RevokeTokens, (_NAME, _NAME)),
    Row(3, Reload),
    Row(4, Status),
    Row(5, ImportToken, (_NAME, *_TERMS, Text(limits.MAX_TEXT))),
    Row(6, RotateToken, (_NAME, U32, FLAG, U32)),
    Row(7, PurgeTokens, (U32,)),
    Row(8, RevokeCertificate, (_NAME, _TEXT, U64)),
    Row(9, Metrics, (U8,)),
    Row(128, Answer, (FLAG, Text(MAX_ANSWER))),
)
