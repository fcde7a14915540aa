"""Every kind of record: what it means, where it stands in Elastic's schema, and what it always holds.

Rule 1: the list is closed: what is not in EVENTS is not recorded.
Rule 2: tables only; docs/AUDIT.md is made of them (`make docs`).
"""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple


class Action(enum.StrEnum):
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


class Event(NamedTuple):
    """What an action means, and how it stands in the schema unless the one who records it says otherwise."""

    kind: Kind
    category: tuple[str, ...]
    type: tuple[str, ...]
    about: str
    #: The fields that each such record has, by our names; the value may be null where it is not known.
    always: tuple[str, ...] = ()
    outcome: str = "success"
    #: Whether strangers can cause it at will: then a record is small.
    is_strangers: bool = False


#: What every record has besides what `shape` adds: which policy was in force, and which thread wrote it.
EVERY: Final = ("policy_digest", "thread")
#: What belongs to every record of a connection, of one that was let in, and of one command of it.
SESSION: Final = ("connection_id", "address", "port")
CALLER: Final = (*SESSION, "principal", "token_id")
COMMAND: Final = (*CALLER, "request_id", "rule", "rule_place")
#: What is known of a command that has ended.
END: Final = ("pid", "duration", "cpu_time", "peak_memory")
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {"command": COMMAND, "caller": CALLER, "session": SESSION}

_TOKEN: Final = ("principal", "token_id")

EVENTS: Final[Mapping[Action, Event]] = {
    Action.CONNECTION_OPENED: Event(
        Kind.ACCEPT,
        ("network", "session"),
        ("connection", "start"),
        "a TLS handshake is over and a token was presented",
        (*SESSION, "tls"),
        is_strangers=True,
    ),
    Action.CONNECTION_CLOSED: Event(
        Kind.EXIT,
        ("network", "session"),
        ("connection", "end"),
        "the session is over; `event.reason` says why: `goodbye`, `idle`, `connection-lost`, "
        "`connection-lost: the peer has vanished`, …",
        (*SESSION, "reason"),
    ),
    Action.TLS_FAILED: Event(
        Kind.REJECT,
        ("network",),
        ("connection", "denied"),
        "no handshake; `rexec.count` may stand for several, of which the address is the last one's",
        ("count", "reason"),
        "failure",
        is_strangers=True,
    ),
    Action.AUTH_ACCEPTED: Event(
        Kind.ACCEPT,
        ("authentication",),
        ("start",),
        "the token is known, and good from there",
        CALLER,
    ),
    Action.AUTH_REFUSED: Event(
        Kind.REJECT,
        ("authentication",),
        ("start",),
        "`event.reason`: malformed, unknown, wrong secret, expired, revoked, from another network, without "
        "its certificate; or nothing was presented in time (then without a connection: none was opened)",
        ("reason",),
        "failure",
        is_strangers=True,
    ),
    Action.COMMAND_ALLOWED: Event(
        Kind.ACCEPT,
        ("api",),
        ("allowed",),
        "the policy allows this line; written before anything starts",
        (*COMMAND, "line", "argv", "working_directory", "timeout"),
    ),
    Action.COMMAND_REFUSED: Event(
        Kind.REJECT,
        ("api",),
        ("denied",),
        "not permitted; or permitted and not started (`rexec.code` `not-started`, and `event.reason`). "
        "`rule.name` is the command of the policy that the line names, whoever may run it; null where it "
        "names none",
        (*CALLER, "code", "reason"),
        "failure",
    ),
    Action.COMMAND_STARTED: Event(
        Kind.ACCEPT,
        ("process",),
        ("start",),
        "the program runs",
        (*COMMAND, "pid"),
    ),
    Action.COMMAND_EXITED: Event(
        Kind.EXIT,
        ("process",),
        ("end",),
        "it ended by itself, whatever its status, or by a ceiling of its rule (`rexec.limit`); "
        "`process.exit_code` or `rexec.signal` says how",
        (*COMMAND, *END),
    ),
    Action.COMMAND_TIMED_OUT: Event(
        Kind.EXIT,
        ("process",),
        ("end",),
        "its time was over",
        (*COMMAND, *END, "exit_code"),
        "failure",
    ),
    Action.COMMAND_KILLED: Event(
        Kind.EXIT,
        ("process",),
        ("end",),
        "it was ended: the caller left, the service stops, its worker or the monitor was killed; "
        "`event.reason` says which, and what nobody knows then is null or not there",
        (*COMMAND, "duration", "reason"),
        "failure",
    ),
    Action.COMMAND_DRAINED: Event(
        Kind.EXIT,
        ("process",),
        ("info",),
        "its output went out; the counts, and whether something was cut off (`rexec.truncated`), are the "
        "gateway's word",
        (*COMMAND, "output_bytes", "error_output_bytes", "input_bytes", "truncated"),
    ),
    Action.LIMIT_REACHED: Event(
        Kind.REJECT,
        ("network",),
        ("denied",),
        "connections were shed, summed up once a second in `rexec.count`; or a principal has too many, or a "
        "token too many wrong secrets",
        ("reason",),
        "failure",
        is_strangers=True,
    ),
    Action.SOURCE_PENALIZED: Event(
        Kind.REJECT,
        ("network",),
        ("denied",),
        "a source did so much wrong that it is refused for a while; `event.reason` says what and how long",
        ("count", "reason"),
        "failure",
        is_strangers=True,
    ),
    Action.POLICY_LOADED: Event(
        Kind.ACCEPT,
        ("configuration",),
        ("change",),
        "a policy is in force, since the start or a reload; `rexec.policy_digest` is its own",
    ),
    Action.POLICY_REJECTED: Event(
        Kind.REJECT,
        ("configuration",),
        ("change",),
        "it is wrong, and the one before stays in force",
        ("reason", "count"),
        "failure",
    ),
    Action.TOKEN_CREATED: Event(
        Kind.ACCEPT,
        ("iam",),
        ("creation",),
        "written before the token exists",
        _TOKEN,
    ),
    Action.TOKEN_REVOKED: Event(
        Kind.ACCEPT,
        ("iam",),
        ("deletion",),
        "written before it stops working",
        _TOKEN,
    ),
    Action.TOKEN_IMPORTED: Event(
        Kind.ACCEPT,
        ("iam",),
        ("creation",),
        "written before a token made elsewhere is known here",
        _TOKEN,
    ),
    Action.TOKEN_ROTATED: Event(
        Kind.ACCEPT,
        ("iam",),
        ("creation",),
        "written before the new token exists; `rexec.replaces` is the old one, `event.reason` until when "
        "that is good",
        (*_TOKEN, "replaces", "reason"),
    ),
    Action.TOKEN_PURGED: Event(
        Kind.ACCEPT,
        ("iam",),
        ("deletion",),
        "written before a dead token is forgotten",
        _TOKEN,
    ),
    Action.CERTIFICATE_LOADED: Event(
        Kind.ACCEPT,
        ("configuration",),
        ("change",),
        "the gateway has read its certificate, at its start or for a SIGHUP; `event.reason` says which",
        ("reason",),
    ),
    Action.CERTIFICATE_REJECTED: Event(
        Kind.REJECT,
        ("configuration",),
        ("change",),
        "it could not be read again, and the one before stays in use",
        ("reason",),
        "failure",
    ),
    Action.CERTIFICATE_EXPIRING: Event(
        Kind.ALERT,
        ("configuration",),
        ("info",),
        "it ends soon: once a day",
        ("reason",),
    ),
    Action.CERTIFICATE_REVOKED: Event(
        Kind.ACCEPT,
        ("iam",),
        ("deletion",),
        "written before a client certificate stops working; `event.reason` is its subject",
        ("certificate", "reason"),
    ),
    Action.SERVICE_STARTED: Event(
        Kind.ACCEPT,
        ("process",),
        ("start",),
        "the monitor is up; `rexec.unfinished`, and `event.reason`, if the one before was killed (6)",
        ("version",),
    ),
    Action.SERVICE_STOPPED: Event(
        Kind.EXIT,
        ("process",),
        ("end",),
        "the monitor ends in good order",
    ),
    Action.SEAM_VIOLATED: Event(
        Kind.ALERT,
        ("intrusion_detection",),
        ("denied",),
        "the gateway asked what it may not ask, or somebody else tried its door",
        ("reason",),
        "failure",
    ),
    Action.TRAIL_OPENED: Event(
        Kind.ACCEPT,
        ("file",),
        ("creation",),
        "the first record of every file; `event.reason` says what became of the one before",
        ("previous_digest", "reason"),
    ),
    Action.TRAIL_REPAIRED: Event(
        Kind.ALERT,
        ("file",),
        ("change",),
        "half a line at the end was cut off",
        ("cut_bytes", "cut_digest"),
    ),
    Action.TRAIL_RESUMED: Event(
        Kind.ALERT,
        ("file",),
        ("change",),
        "it can be recorded again; `event.reason` says what was wrong, `rexec.count` how many acts were "
        "refused for it",
        ("reason", "count"),
    ),
    Action.TRAIL_PRUNED: Event(
        Kind.ACCEPT,
        ("file",),
        ("deletion",),
        "written before files are removed that were kept long enough; `rexec.count` of them, up to "
        "`rexec.removed_until`",
        ("removed_until", "count", "reason"),
    ),
}
