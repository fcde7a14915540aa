"""The daemon's settings: `rexecd.yaml`. Every one has a default, so an empty mapping is a file.

Both processes read this file; the gateway needs nothing else but its certificate and key.
"""

import os
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rexecd import yamltext
from rexecd.errors import ConfigError
from rexecd.files import check_way, read_text
from rexecd.forms import Choice, Duration, Integer, Key, Own, Schema, Table, Text, quote, written
from rexecd.limits import MAX_TEXT
from rexecd.runas import RUN_AS, Asked, spell_run_as
from rexecd.wire.transport import PORT
from rexecd.yamltext import Faults, Node, Place

_LAST_PORT: Final = 65535
#: Of a name (RFC 1035, 2.3.4).
_LONGEST_HOST: Final = 253
#: A Unix socket's name has to fit in sun_path (unix(7)).
_LONGEST_SOCKET_PATH: Final = 107
#: As useradd(8) and systemd take it; a number would be read as a uid by some and as a name by others.
_USER: Final = re.compile("[A-Za-z_][A-Za-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings. Durations are seconds; paths are absolute.

    Every field but `source` and what is further said of `run_as` is a key of `SETTINGS`.
    """

    source: Path
    listen: tuple[str, int]
    certificate: Path
    key: Path
    policy: Path
    state: Path
    audit: Path
    run: Path
    banner: str
    max_connections: int
    grace_time: float
    write_timeout: float
    monitor_wait: float
    kill_grace: float
    drain: float
    stop_time: float
    #: As it was read: who that is `policy.identity.resolve` says. None: nothing was written.
    run_as: Asked | None = field(compare=False)
    #: Where that stands.
    run_as_place: Place = field(compare=False)
    #: The same as YAML; empty for None. Two settings that say the same are equal.
    run_as_text: str
    max_timeout: float
    max_commands: int
    max_commands_each: int
    containment: str
    #: Empty: the monitor's own user.
    gateway_user: str
    log_level: str

    @property
    def seam_socket(self) -> Path:
        """Return where the monitor listens for the gateway."""
        return self.run / "seam.sock"

    @property
    def admin_socket(self) -> Path:
        """Return where the monitor listens for the operator."""
        return self.run / "admin.sock"

    @property
    def lock(self) -> Path:
        """Return the file whose lock makes its holder the only writer of state and trail."""
        return self.state / "lock"

    @property
    def tokens(self) -> Path:
        """Return the token store."""
        return self.state / "tokens.sqlite"

    @property
    def trail_key(self) -> Path:
        """Return the sealing key of the trail."""
        return self.state / "trail.key"


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


_PATH: Final = Text("a path")
_LISTEN: Final = Own("ADDR:PORT, [V6]:PORT or :PORT", _listen, _listen_schema)
#: Zero never means "unlimited": the least of each is a number that works (ATTACKS AUT-08).
_TIME: Final = Duration(0.05, 3600.0)
_DAY: Final = 24 * 3600.0
_MOST_COMMANDS: Final = 10_000

SETTINGS: Final = Table(
    {
        "version": Key(Integer(1, 1), "The version of this file's language.", required=True),
        "listen": Key(
            _LISTEN,
            'Where callers connect. ":7512" is every address, IPv6 and IPv4. Port 0 takes a free one; the '
            "daemon says which when it is ready.",
            default=("", PORT),
            shown=f'":{PORT}"',
        ),
        "certificate": Key(_PATH, "The server's certificate.", default="certs/server.pem"),
        "key": Key(_PATH, "Its key. It must not be readable by others.", default="certs/server.key"),
        "policy": Key(_PATH, "Who may run what.", default="policy.yaml"),
        "state": Key(
            _PATH,
            "The directory of tokens (only their digests), the trail's sealing key, and a lock. Nobody else "
            "writes here.",
            default="state",
        ),
        "audit": Key(
            _PATH,
            "The audit trail: one JSON object a line, sealed. If it cannot be written, nothing runs.",
            default="audit/audit.jsonl",
        ),
        "run": Key(
            _PATH,
            "The directory of the sockets between the two processes, and of the operator's own.",
            default="run",
        ),
        "banner": Key(
            Text("a text of at most 4096 bytes", check=_banner),
            "Greeting of the interactive session, shown after the token was accepted.",
            default="",
        ),
        "max_connections": Key(
            Integer(1, 100_000),
            "Most connections at a time; further ones are closed at once.",
            default=512,
        ),
        "grace_time": Key(
            _TIME,
            "A stranger has this long for everything before its token: handshake included, in all.",
            default=10.0,
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
_PATHS: Final = tuple(name for name, key in SETTINGS.keys.items() if key.form is _PATH)
#: Columns of a comment.
_WIDTH: Final = 98


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


def load_settings(path: Path) -> Settings:
    """Read, check and complete the settings; raise ConfigError with every fault.

    Relative paths start at the directory of the file.
    """
    check_way(path)
    text = read_text(path, hint="run 'rexecd init', or name the file with --config")
    return parse_settings(text, path)


def parse_settings(text: str, path: Path) -> Settings:
    """Return the settings in `text`, a file at `path`; raise ConfigError with every fault."""
    faults = Faults()
    entries = SETTINGS.read(yamltext.parse(text, str(path), faults), faults)
    faults.check()
    if entries is None:  # only where a fault was found; kept so that nothing else can follow
        raise RuntimeError("settings without faults were not read")
    values: dict[str, Any] = {name: entries.get(name) for name in SETTINGS.keys if name != "version"}
    base = path.absolute().parent
    for name in _PATHS:
        values[name] = base / values[name]
    if not entries.has("max_commands_each"):
        values["max_commands_each"] = min(values["max_commands_each"], values["max_commands"])
    elif values["max_commands_each"] > values["max_commands"]:
        what = f"is more than max_commands ({values['max_commands']}), and so limits nothing"
        raise ConfigError(f"{entries.place('max_commands_each')}: {values['max_commands_each']} {what}")
    values["run_as_place"] = entries.place("run_as")
    values["run_as_text"] = "" if values["run_as"] is None else spell_run_as(values["run_as"])
    settings = Settings(source=path.absolute(), **values)
    if settings.stop_time <= settings.kill_grace:
        raise ConfigError(f"{path}: stop_time must be longer than kill_grace, or commands outlive a stop")
    if len(os.fsencode(settings.admin_socket)) > _LONGEST_SOCKET_PATH:
        raise ConfigError(f"{path}: run: {settings.run} is too long for a Unix socket: choose a shorter path")
    return settings


def show_settings(settings: Settings) -> str:
    """Return the settings as YAML with comments; read again as the same file, they are equal."""
    lines = [
        "---",
        f"# The settings in effect of {quote(str(settings.source))}, with absolute paths.",
        "version: 1",
    ]
    for name, key in SETTINGS.keys.items():
        if name != "version":
            comment = textwrap.wrap(key.about, _WIDTH, initial_indent="# ", subsequent_indent="# ")
            lines += ["", *comment, _line(name, key, settings)]
    return "\n".join([*lines, "..."])


def _line(name: str, key: Key, settings: Settings) -> str:
    """Return a setting as it stands in a file; one that has no value as a comment."""
    if key.form is RUN_AS:
        return f"{name}: {settings.run_as_text}" if settings.run_as_text else f"# {name}:"
    return f"{name}: {_written(key, getattr(settings, name))}"


def _written(key: Key, value: Any) -> str:  # noqa: ANN401 - each setting has its own type
    if key.form is not _LISTEN:
        return written(key.form, value)
    host, port = value
    return quote(f"[{host}]:{port}" if ":" in host or host.startswith("[") else f"{host}:{port}")
