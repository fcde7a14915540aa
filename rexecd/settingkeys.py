"""Which settings there are: one table, for reading the file, its schema and its manual.

Rule: zero never means "unlimited" (ATTACKS AUT-08). Where it stands for "none", the text says so.
"""

import re
from typing import Final, NamedTuple

from rexecd import yamltext
from rexecd.forms import Choice, Duration, Either, Flag, Integer, Key, Listed, Own, Schema, Size, Table, Text
from rexecd.limits import MAX_TEXT
from rexecd.networks import NETWORK
from rexecd.runas import RUN_AS
from rexecd.wire.transport import PORT
from rexecd.yamltext import Faults, Node, shown

_LAST_PORT: Final = 65535
#: Of a name (RFC 1035, 2.3.4).
_LONGEST_HOST: Final = 253
#: As useradd(8) and systemd take it; a number would be read as a uid by some and as a name by others.
_USER: Final = re.compile("[A-Za-z_][A-Za-z0-9_.-]{0,31}")


def _listen(node: Node, faults: Faults) -> tuple[str, int] | None:
    text = yamltext.text(node, faults)
    if text is None:
        return None
    try:
        return address(text)
    except ValueError as error:
        faults.add(node.place, str(error))
        return None


def _listen_schema() -> Schema:
    return {"type": "string", "pattern": ":[0-9]+$"}


def _banner(text: str) -> str | None:
    return f"a banner has at most {MAX_TEXT} bytes" if len(text.encode()) > MAX_TEXT else None


def _user_name(text: str) -> str | None:
    if not text or _USER.fullmatch(text):
        return None
    return "a user name has letters, digits and . _ - and at most 32 of them"


class Startups(NamedTuple):
    """How many connections may be without a good token: sshd's MaxStartups, START:RATE:FULL."""

    start: int
    #: Per cent that are dropped from there on; at FULL it is all.
    rate: int
    full: int

    def __str__(self) -> str:
        return f"{self.start}:{self.rate}:{self.full}"


def _startups(node: Node, faults: Faults) -> Startups | None:
    text = yamltext.text(node, faults)
    if text is None:
        return None
    match = _STARTUPS.fullmatch(text)
    if match is not None:
        found = Startups(*map(int, match.groups()))
        if 0 < found.start <= found.full <= MOST_CONNECTIONS and found.rate <= _ALL:
            return found
    what = f"{shown(text)} is no START:RATE:FULL, such as {_DEFAULT_STARTUPS}"
    faults.add(node.place, f"{what}: START from 1, RATE at most {_ALL}, FULL not below START")
    return None


def _startups_schema() -> Schema:
    return {"type": "string", "pattern": f"^{_STARTUPS.pattern}$"}


_STARTUPS: Final = re.compile("([0-9]{1,6}):([0-9]{1,3}):([0-9]{1,6})")
_ALL: Final = 100
_DEFAULT_STARTUPS: Final = Startups(128, 30, 256)
MOST_CONNECTIONS: Final = 100_000
PATH: Final = Text("a path")
LISTEN: Final = Own("ADDR:PORT, [V6]:PORT or :PORT", _listen, _listen_schema)
_LISTENS: Final = Either(
    words="ADDR:PORT, [V6]:PORT or :PORT, or a list of them", scalar=LISTEN, sequence=Listed(LISTEN, most=16)
)
STARTUPS: Final = Own("START:RATE:FULL", _startups, _startups_schema)
#: Zero never means "unlimited": the least of each is a number that works (ATTACKS AUT-08).
_TIME: Final = Duration(0.05, 3600.0)
_DAY: Final = 24 * 3600.0
_PENALTY: Final = Duration(0.0, 3600.0)
_MOST_COMMANDS: Final = 10_000
_MEBIBYTE: Final = 1024 * 1024

#: What `audit` is about; `Settings` has each as `audit_KEY`, and the file as `audit`.
AUDIT: Final = Table(
    {
        "file": Key(PATH, "The file. Older ones of the trail stay beside it.", default="audit/audit.jsonl"),
        "sync": Key(
            Choice(("always", "interval", "none")),
            "When what was recorded has to be on the disk, so that it outlives a loss of power. With "
            "`always` before the act that it is about: callers wait for the disk, those who come at the "
            "same time together. With `interval` within `step`. With `none` when the kernel sees fit. A "
            "daemon that is killed loses nothing with any of them.",
            default="interval",
        ),
        "step": Key(
            Duration(0.05, 3600.0),
            "How often the sealing key of what was recorded is forgotten for good and a checkpoint is made; "
            "after 1000 records at the latest. What lies before nobody can change unnoticed.",
            default=1.0,
        ),
        "max_size": Key(
            Size(64 * 1024, 512 * 1024 * _MEBIBYTE),
            "A file that would grow beyond is set aside, and a new one begun.",
            default=64 * _MEBIBYTE,
        ),
        "max_age": Key(
            Duration(1.0, 366 * _DAY),
            "The same of one whose first record is older. Without it age does not matter.",
        ),
        "compress": Key(
            Flag(),
            "Whether files that were set aside are compressed, but for the newest of them.",
            default=True,
        ),
        "keep": Key(
            Duration(1.0, 36600 * _DAY),
            "How long files that were set aside are kept, from their last record on. Without it for ever.",
        ),
        "checkpoint_command": Key(
            Listed(Text("a text"), least=0, unique=False),
            "A program with its arguments that gets each checkpoint on its standard input, to take it to "
            "another machine. It runs as the monitor's own user; while it is at work only the newest one "
            "waits for it.",
            default=(),
            shown="[]",
        ),
        "journal": Key(
            Flag(), "Whether every record goes to the journal as well, with its fields.", default=False
        ),
        "syslog": Key(
            PATH,
            "A Unix socket, of datagrams or of a stream, to which every record goes as well, as RFC 5424 has "
            "it. Its receiver has to understand that: journald, which mostly has /dev/log, does not.",
        ),
    },
)
_AUDITS: Final = Either(words="a path, or a mapping", scalar=PATH, mapping=AUDIT)

SETTINGS: Final = Table(
    {
        "version": Key(Integer(1, 1), "The version of this file's language.", required=True),
        "listen": Key(
            _LISTENS,
            'Where callers connect: one address, or a list of them. ":7512" is every address, IPv6 and IPv4. '
            "Port 0 takes a free one; the daemon says which when it is ready. It says nothing where systemd "
            "passes the sockets.",
            default=(("", PORT),),
            shown=f'":{PORT}"',
        ),
        "certificate": Key(PATH, "The server's certificate.", default="certs/server.pem"),
        "key": Key(PATH, "Its key. It must not be readable by others.", default="certs/server.key"),
        "client_ca": Key(
            PATH,
            "The authorities (PEM) whose client certificates are accepted. Without it none is asked for, "
            "and no principal can be told to `require` one.",
        ),
        "certificate_warning": Key(
            Duration(0.0, 365 * _DAY),
            "So long before the server's certificate ends, status, log and trail begin to warn.",
            default=30 * _DAY,
        ),
        "policy": Key(PATH, "Who may run what.", default="policy.yaml"),
        "state": Key(
            PATH,
            "The directory of tokens (only their digests), the trail's sealing key, and a lock. Nobody else "
            "writes here.",
            default="state",
        ),
        "audit": Key(
            _AUDITS,
            "The audit trail: one JSON object a line, sealed. If it cannot be written, nothing runs. A path "
            "alone is its file.",
            default="audit/audit.jsonl",
            shown="audit/audit.jsonl",
        ),
        "metrics_file": Key(
            PATH,
            "A file that is written every 15 seconds with what `rexecd status --metrics` says, for the "
            "textfile collector of Prometheus' node exporter. Its name has to end with .prom.",
        ),
        "run": Key(
            PATH,
            "The directory of the sockets between the two processes, and of the operator's own.",
            default="run",
        ),
        "banner": Key(
            Text("a text of at most 4096 bytes", check=_banner),
            "Greeting of the interactive session, shown after the token was accepted.",
            default="",
        ),
        "max_connections": Key(
            Integer(1, MOST_CONNECTIONS),
            "Most connections at a time; further ones are closed at once.",
            default=512,
        ),
        "reserved_connections": Key(
            Integer(0, MOST_CONNECTIONS),
            "So many of these are kept for sources that have none: whoever has one does not get the last. "
            "At most an eighth of max_connections where it is not written; 0 keeps none.",
            default=64,
        ),
        "max_connections_source": Key(
            Integer(1, MOST_CONNECTIONS),
            "Most connections of one source at a time: of an IPv4 address, or an IPv6 network "
            "(source_prefix_v6).",
            default=256,
        ),
        "max_connections_each": Key(
            Integer(1, MOST_CONNECTIONS),
            "Most connections of one principal at a time. Further ones are refused as busy (exit status "
            "125).",
            default=256,
        ),
        "max_startups": Key(
            STARTUPS,
            "Most connections without a good token at a time, START:RATE:FULL as for sshd: from START on "
            "RATE per cent of new ones are closed at once, and more the more there are; from FULL on all. "
            "A source that has none of them is spared until FULL.",
            default=_DEFAULT_STARTUPS,
        ),
        "max_startups_source": Key(
            Integer(1, MOST_CONNECTIONS),
            "The same of one source: further ones are closed at once.",
            default=128,
        ),
        "source_prefix_v4": Key(
            Integer(8, 32), "How many bits of an IPv4 address make a source.", default=32
        ),
        "source_prefix_v6": Key(
            Integer(16, 128),
            "How many bits of an IPv6 address make a source: whoever has one address has its network.",
            default=64,
        ),
        "exempt": Key(
            Listed(NETWORK, least=0),
            "Networks whose sources are neither penalized nor counted: monitoring, load balancers, a NAT "
            "that many honest callers share. What bounds everybody together still holds for them.",
            default=(),
        ),
        "penalty_authentication": Key(
            _PENALTY,
            "What a refused token adds to the penalty of its source. Penalties add up, and run off with "
            "time; after each refusal of a source its further offences add twice as much as before, until it "
            "has been without a penalty for penalty_most. 0s penalizes nothing, here and in the next two.",
            default=5.0,
        ),
        "penalty_silence": Key(
            _PENALTY, "What a connection adds that presents no token within the grace time.", default=10.0
        ),
        "penalty_protocol": Key(
            _PENALTY,
            "What a connection adds that breaks TLS or the protocol. One that ends after the handshake, "
            "without a token, adds a fifth, because callers look at the key so on first use; one that ends "
            "without a byte a tenth: a health check is no attack.",
            default=5.0,
        ),
        "penalty_least": Key(
            _TIME,
            "From so much on a source is refused: its connections are closed at once until its penalty has "
            "run off.",
            default=15.0,
        ),
        "penalty_most": Key(_TIME, "No source has more than that.", default=600.0),
        "max_sources": Key(
            Integer(64, 10_000_000),
            "So many IPv4 sources with a penalty are remembered, and so many of IPv6, in some 500 bytes "
            "each. When there is no room, the one that would be forgotten first makes some.",
            default=65_536,
        ),
        "max_failures_each": Key(
            Integer(1, 1_000_000),
            "So many wrong secrets of one token are compared in a minute. Then, until the minute is over, "
            "it is good from the address only that it was last used from.",
            default=20,
        ),
        "grace_time": Key(
            _TIME,
            "A stranger has this long for everything before its token: handshake included, in all.",
            default=10.0,
        ),
        "idle_timeout": Key(
            Duration(0.05, _DAY),
            "A connection on which no command runs and nothing is asked for this long is ended, with a "
            "message.",
            default=3600.0,
        ),
        "keepalive": Key(
            Duration(1.0, 3600.0),
            "After so much silence a peer is asked whether it is still there (TCP keepalive), four times a "
            "quarter of that apart. One that has vanished is noticed within twice this, also while a "
            "command is silent; so is one that takes nothing of what was sent for that long.",
            default=60.0,
        ),
        "write_timeout": Key(
            _TIME,
            "A caller that takes no byte of output for this long is cut off, and its command ended.",
            default=60.0,
        ),
        "monitor_wait": Key(
            _TIME,
            "How long a new caller waits for a monitor that is being restarted. If it is longer than drain, "
            "and shorter than callers wait (15 s), a restart refuses nobody.",
            default=12.0,
        ),
        "kill_grace": Key(
            _TIME, "Between TERM and KILL, when a command's time or its connection is over.", default=5.0
        ),
        "drain": Key(
            Duration(0.0, 3600.0),
            "How long a stop lets commands that run go on, and callers who have just come have their first. "
            "With 0s it ends them at once, as a second signal does.",
            default=10.0,
        ),
        "stop_time": Key(
            _TIME,
            "How long a stop then waits for sessions to end. It has to be longer than kill_grace. A service "
            "manager has to be more patient than drain and stop_time together.",
            default=15.0,
        ),
        "run_as": Key(
            RUN_AS,
            "Who commands run as whose rule has no `run_as`. Without it: the user `rexec` if there is one, "
            "else `nobody`, where the monitor may change the user; otherwise the monitor's own user.",
        ),
        "max_timeout": Key(
            Duration(0.05, _DAY),
            "No command runs longer, whatever its rule says.",
            default=_DAY,
        ),
        "max_commands": Key(
            Integer(1, _MOST_COMMANDS),
            "Most commands at a time. Further ones are refused as busy (exit status 125), and may be tried "
            "again.",
            default=128,
        ),
        "max_commands_each": Key(
            Integer(1, _MOST_COMMANDS),
            "The same of one principal, over all its connections, where `limits` of rexecd-policy(5) say "
            "nothing else of it.",
            default=64,
        ),
        "containment": Key(
            Choice(("auto", "control-group", "subreaper")),
            "How everything that a command started is found when it ends. With control-group by a control "
            "group, which only commands of root or of the daemon's own user can leave; systemd has to "
            "delegate one to the service, or the monitor has to be root, and it does not start otherwise. "
            "With subreaper by who is a child of whom: limits of memory then hold for each process, those of "
            "processes are not to be had, and a monitor that is not root needs CAP_KILL besides CAP_SETUID "
            "and CAP_SETGID. With auto by a control group where there can be one.",
            default="auto",
        ),
        "gateway_user": Key(
            Text("a user name", check=_user_name),
            "The user the gateway runs as: nobody else may open the seam between the two processes. Empty is "
            "the monitor's own user. Under `rexecd serve`, which runs both as one user, it says nothing.",
            default="",
        ),
        "log_level": Key(
            Choice(("debug", "info", "warning", "error")),
            "From which level on both processes say on standard error, or in the journal, how they are. The "
            "audit trail has nothing to do with it.",
            default="info",
        ),
    },
    "The daemon's settings. Every key but version may be left out. Relative paths start at the directory "
    "of the file.",
)


def address(text: str) -> tuple[str, int]:
    """Return (host, port) of `ADDR:PORT`, `[V6]:PORT` or `:PORT`; raise ValueError with a remedy."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, as in [::1]:{PORT}")
    if not host.isascii() or len(host) > _LONGEST_HOST:
        raise ValueError(f"{text!r}: a host is an ASCII name or an address, as in 127.0.0.1:{PORT}")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ValueError(f"{text!r} is no ADDR:PORT, such as 127.0.0.1:{PORT} or [::]:{PORT}")
    return host, int(port)
