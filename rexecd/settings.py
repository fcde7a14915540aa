"""The daemon's settings: `rexecd.yaml`. Every one has a default, so an empty mapping is a file.

Both processes read this file; the gateway needs nothing else but its certificate and key.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from rexecd import yamltext
from rexecd.errors import ConfigError
from rexecd.files import read_text
from rexecd.limits import MAX_TEXT
from rexecd.wire.transport import PORT
from rexecd.yamltext import Faults, Keys, Node

_LAST_PORT: Final = 65535
#: Of a name (RFC 1035, 2.3.4).
_LONGEST_HOST: Final = 253
#: A Unix socket's name has to fit in sun_path (unix(7)).
_LONGEST_SOCKET_PATH: Final = 107


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings. Durations are seconds; paths are absolute."""

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
    stop_time: float

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


class _Setting(NamedTuple):
    """How one setting is read (as the file's directory wants it) and what it is without a word."""

    read: Callable[[Node, Faults], Any]
    default: Any


def _listen(node: Node, faults: Faults) -> tuple[str, int] | None:
    text = yamltext.text(node, faults)
    if text is None:
        return None
    try:
        return address(text)
    except ValueError as error:
        faults.add(node.place, str(error))
        return None


def _banner(node: Node, faults: Faults) -> str | None:
    text = yamltext.text(node, faults)
    if text is not None and len(text.encode()) > MAX_TEXT:
        faults.add(node.place, f"a banner has at most {MAX_TEXT} bytes")
        return None
    return text


def _duration(least: float, most: float) -> Callable[[Node, Faults], float | None]:
    return lambda node, faults: yamltext.duration(node, faults, least=least, most=most)


def _integer(least: int, most: int) -> Callable[[Node, Faults], int | None]:
    return lambda node, faults: yamltext.integer(node, faults, least=least, most=most)


_HOUR: Final = 3600.0
_TABLE: Final[dict[str, _Setting]] = {
    "listen": _Setting(_listen, ("", PORT)),
    "certificate": _Setting(yamltext.text, "certs/server.pem"),
    "key": _Setting(yamltext.text, "certs/server.key"),
    "policy": _Setting(yamltext.text, "policy.yaml"),
    "state": _Setting(yamltext.text, "state"),
    "audit": _Setting(yamltext.text, "audit/audit.jsonl"),
    "run": _Setting(yamltext.text, "run"),
    "banner": _Setting(_banner, ""),
    # Zero never means "unlimited": the least of each is a number that works (ATTACKS AUT-08).
    "max_connections": _Setting(_integer(1, 100_000), 512),
    "grace_time": _Setting(_duration(0.05, _HOUR), 10.0),
    "write_timeout": _Setting(_duration(0.05, _HOUR), 60.0),
    "monitor_wait": _Setting(_duration(0.05, _HOUR), 5.0),
    "kill_grace": _Setting(_duration(0.05, _HOUR), 5.0),
    "stop_time": _Setting(_duration(0.05, _HOUR), 15.0),
}
_PATHS: Final = ("certificate", "key", "policy", "state", "audit", "run")


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
    text = read_text(path, hint="run 'rexecd init', or name the file with --config")
    return parse_settings(text, path)


def parse_settings(text: str, path: Path) -> Settings:
    """Return the settings in `text`, a file at `path`; raise ConfigError with every fault."""
    faults = Faults()
    root = yamltext.keyed(
        yamltext.parse(text, str(path), faults), faults, keys=Keys(("version", *_TABLE), ("version",))
    )
    values: dict[str, Any] = {name: setting.default for name, setting in _TABLE.items()}
    if root is not None:
        for name, node in root.entries.items():
            if name == "version":
                yamltext.integer(node, faults, least=1, most=1)
            elif name in _TABLE:
                values[name] = _TABLE[name].read(node, faults)
    faults.check()
    base = path.absolute().parent
    for name in _PATHS:
        values[name] = base / values[name]
    settings = Settings(source=path.absolute(), **values)
    if settings.stop_time <= settings.kill_grace:
        raise ConfigError(f"{path}: stop_time must be longer than kill_grace, or commands outlive a stop")
    if len(os.fsencode(settings.admin_socket)) > _LONGEST_SOCKET_PATH:
        raise ConfigError(f"{path}: run: {settings.run} is too long for a Unix socket: choose a shorter path")
    return settings
