"""The daemon's settings: `rexecd.yaml`. Every one has a default, so an empty mapping is a file.

Both processes read this file; the gateway needs nothing else but its certificate and key.
"""

import os
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rexecd import yamltext
from rexecd.errors import ConfigError
from rexecd.files import check_way, read_text
from rexecd.forms import Entries, Key, quote, written
from rexecd.networks import Network, networks
from rexecd.runas import RUN_AS, Asked, spell_run_as
from rexecd.settingkeys import AUDIT, PATH, SETTINGS, Startups
from rexecd.yamltext import Faults, Place

#: A Unix socket's name has to fit in sun_path (unix(7)).
_LONGEST_SOCKET_PATH: Final = 107


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings. Durations are seconds; paths are absolute.

    Every field but `source` and what is further said of `run_as` is a key of `SETTINGS`; each `audit_KEY` is
    one of `AUDIT`.
    """

    source: Path
    listen: tuple[tuple[str, int], ...]
    certificate: Path
    key: Path
    #: None: no client certificate is asked for.
    client_ca: Path | None
    certificate_warning: float
    policy: Path
    state: Path
    audit: Path
    audit_sync: str
    audit_step: float
    audit_max_size: int
    #: None: whatever its age.
    audit_max_age: float | None
    audit_compress: bool
    #: None: for ever.
    audit_keep: float | None
    audit_checkpoint_command: tuple[str, ...]
    audit_journal: bool
    audit_syslog: Path | None
    metrics_file: Path | None
    run: Path
    banner: str
    max_connections: int
    reserved_connections: int
    max_connections_source: int
    max_connections_each: int
    max_startups: Startups
    max_startups_source: int
    source_prefix_v4: int
    source_prefix_v6: int
    exempt: tuple[Network, ...]
    penalty_authentication: float
    penalty_silence: float
    penalty_protocol: float
    penalty_least: float
    penalty_most: float
    max_sources: int
    max_failures_each: int
    grace_time: float
    idle_timeout: float
    keepalive: float
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


#: Columns of a comment.
_WIDTH: Final = 98
_PATHS: Final = (*(name for name, key in SETTINGS.keys.items() if key.form is PATH), "audit", "audit_syslog")
_METRICS_SUFFIX: Final = ".prom"


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
    values |= _audit(values["audit"])
    base = path.absolute().parent
    for name in _PATHS:
        values[name] = None if values[name] is None else base / values[name]
    if not isinstance(values["listen"][0], tuple):
        values["listen"] = (values["listen"],)
    values["exempt"] = networks(values["exempt"])
    _fit(entries, values)
    _check_audit(entries, values)
    values["run_as_place"] = entries.place("run_as")
    values["run_as_text"] = "" if values["run_as"] is None else spell_run_as(values["run_as"])
    settings = Settings(source=path.absolute(), **values)
    if settings.stop_time <= settings.kill_grace:
        raise ConfigError(f"{path}: stop_time must be longer than kill_grace, or commands outlive a stop")
    if len(os.fsencode(settings.admin_socket)) > _LONGEST_SOCKET_PATH:
        raise ConfigError(f"{path}: run: {settings.run} is too long for a Unix socket: choose a shorter path")
    return settings


def _audit(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a path, or what was read of a mapping
    """Return what `audit` says, by the names of `Settings`."""
    said = dict(value.values) if isinstance(value, Entries) else {"file": value}
    whole = {name: key.default for name, key in AUDIT.keys.items()} | said
    return {"audit": whole.pop("file"), **{f"audit_{name}": each for name, each in whole.items()}}


def _check_audit(entries: Entries, values: dict[str, Any]) -> None:
    """Raise ConfigError for what one form cannot see."""
    command = values["audit_checkpoint_command"]
    if command and not command[0].startswith("/"):
        what = f"{command[0]!r} is no absolute path: name the program by one"
        raise ConfigError(f"{entries.place('audit')}: checkpoint_command: {what}")
    metrics = values["metrics_file"]
    if metrics is not None and metrics.suffix != _METRICS_SUFFIX:
        what = "the node exporter reads only names that end with .prom"
        raise ConfigError(f"{entries.place('metrics_file')}: {str(metrics)!r}: {what}")


def _fit(entries: Entries, values: dict[str, Any]) -> None:
    """Make defaults no larger than what bounds them; raise ConfigError for what limits nothing."""
    eighth = values["max_connections"] // 8
    for name, outer, most in (
        ("max_commands_each", "max_commands", values["max_commands"]),
        ("max_connections_each", "max_connections", values["max_connections"]),
        ("max_connections_source", "max_connections", values["max_connections"]),
        ("max_startups_source", "max_startups", values["max_startups"].full),
    ):
        if not entries.has(name):
            values[name] = min(values[name], most)
        elif values[name] > most:
            what = f"is more than {outer} ({values[outer]}), and so limits nothing"
            raise ConfigError(f"{entries.place(name)}: {values[name]} {what}")
    if not entries.has("reserved_connections"):
        values["reserved_connections"] = min(values["reserved_connections"], eighth)
    elif values["reserved_connections"] >= values["max_connections"]:
        what = f"is all of max_connections ({values['max_connections']}): nobody would get a second one"
        raise ConfigError(f"{entries.place('reserved_connections')}: {values['reserved_connections']} {what}")
    if values["penalty_least"] > values["penalty_most"]:
        place = entries.place("penalty_least")
        raise ConfigError(f"{place}: penalty_least is more than penalty_most: nobody would be refused")


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
            lines += [
                "",
                *comment,
                *(_audit_lines(settings) if name == "audit" else [_line(name, key, settings)]),
            ]
    return "\n".join([*lines, "..."])


def _audit_lines(settings: Settings) -> list[str]:
    lines = ["audit:"]
    for name, key in AUDIT.keys.items():
        comment = textwrap.wrap(key.about, _WIDTH, initial_indent="  # ", subsequent_indent="  # ")
        value = settings.audit if name == "file" else getattr(settings, f"audit_{name}")
        lines += [*comment, f"  # {name}:" if value is None else f"  {name}: {written(key.form, value)}"]
    return lines


def _line(name: str, key: Key, settings: Settings) -> str:
    """Return a setting as it stands in a file; one that has no value as a comment."""
    value = settings.run_as_text if key.form is RUN_AS else getattr(settings, name)
    if key.form is RUN_AS:
        return f"{name}: {value}" if value else f"# {name}:"
    return f"# {name}:" if value is None else f"{name}: {_written(name, key, value)}"


def _written(name: str, key: Key, value: Any) -> str:  # noqa: ANN401 - each setting has its own type
    if name != "listen":
        return written(key.form, value)
    shown = [
        quote(f"[{host}]:{port}" if ":" in host or host.startswith("[") else f"{host}:{port}")
        for host, port in value
    ]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
