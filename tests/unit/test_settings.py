"""The settings: completed, checked, and every fault with its place."""

import contextlib
import dataclasses
import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import ConfigError
from rexecd.networks import network_complaint
from rexecd.settingkeys import AUDIT, SETTINGS, Startups, address
from rexecd.settings import Settings, load_settings, parse_settings, show_settings
from rexecd.yamltext import Place

HERE = Path("/etc/rexecd/rexecd.yaml")
SHIPPED = (Path(__file__).parents[2] / "config/rexecd.yaml").read_bytes()


def test_an_almost_empty_file_is_complete() -> None:
    """Every setting has a default, and paths start at the file's directory."""
    settings = parse_settings("version: 1\n", HERE)

    assert settings.listen == (("", 7512),)
    assert settings.key == Path("/etc/rexecd/certs/server.key")
    assert settings.seam_socket == Path("/etc/rexecd/run/seam.sock")
    assert settings.trail_key == Path("/etc/rexecd/state/trail.key")


def test_all_faults_are_told_at_once() -> None:
    """In the order of their places."""
    with pytest.raises(ConfigError) as caught:
        parse_settings("version: 2\ngrace_time: 10\nlisten: x\nkill_grace: 0s\n", HERE)

    assert [fault.split(": ")[0] for fault in caught.value.faults] == [
        "/etc/rexecd/rexecd.yaml:1:10",
        "/etc/rexecd/rexecd.yaml:2:13",
        "/etc/rexecd/rexecd.yaml:3:9",
        "/etc/rexecd/rexecd.yaml:4:13",
    ]


def test_a_socket_path_the_kernel_cannot_hold_is_refused() -> None:
    """With the setting to change."""
    with pytest.raises(ConfigError, match="too long for a Unix socket: choose a shorter path"):
        parse_settings(f"version: 1\nrun: /{'x' * 120}\n", HERE)


def test_a_banner_larger_than_a_message_is_refused() -> None:
    """It could not be sent."""
    with pytest.raises(ConfigError, match="a banner has at most 4096 bytes"):
        parse_settings(f"version: 1\nbanner: {'x' * 5000}\n", HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "v4": ("127.0.0.1:1", ("127.0.0.1", 1)),
        "v6": ("[::1]:7512", ("::1", 7512)),
        "all": (":7512", ("", 7512)),
        "a name": ("localhost:0", ("localhost", 0)),
    }.values(),
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    """Host and port."""
    assert address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1",
        "::1:1",
        "x:",
        "x:y",
        "x:-1",
        "x:65536",
        "\xfc:1",
        "x" * 254 + ":1",
        "\udcff:1",
        "x:\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_what_is_no_address_says_what_one_is(text: str) -> None:
    """With an example."""
    with pytest.raises(ValueError, match="7512"):
        address(text)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    """Or where to look."""
    with pytest.raises(ConfigError, match="run 'rexecd init', or name the file with --config"):
        load_settings(tmp_path / "none.yaml")


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_the_declared_error(text: str) -> None:
    """Whatever it is."""
    with contextlib.suppress(ConfigError):
        parse_settings(text, HERE)


def test_every_setting_is_a_row_of_the_table() -> None:
    """And every row but the version a setting."""
    fields = {field.name for field in dataclasses.fields(Settings)}

    audits = {"audit" if name == "file" else f"audit_{name}" for name in AUDIT.keys}

    assert fields - {"source", "run_as_place", "run_as_text"} == (SETTINGS.keys.keys() - {"version"}) | audits


def _read(data: bytes) -> Settings | None:
    """Return the settings in a file's bytes; None if it cannot be read."""
    try:
        return parse_settings(data.decode(), HERE)
    except (ConfigError, UnicodeDecodeError):
        return None


@given(st.integers(0, len(SHIPPED) - 1))
@settings(max_examples=400, deadline=None)
def test_the_shipped_file_cut_anywhere_is_not_read(length: int) -> None:
    """Unless nothing is missing but the line end behind the last mark."""
    cut = SHIPPED[:length]

    assert (_read(SHIPPED) if cut.rstrip() == SHIPPED.rstrip() else None) == _read(cut)


def test_the_shipped_file_cut_at_any_line_is_not_read() -> None:
    """Least of all with the settings before the cut, and defaults for the rest."""
    lines = SHIPPED.splitlines(keepends=True)

    assert _read(SHIPPED) is not None
    assert [number for number in range(len(lines)) if _read(b"".join(lines[:number]))] == []


def test_a_cut_file_says_so() -> None:
    """At its last line."""
    with pytest.raises(ConfigError, match=r"rexecd.yaml:3:1: the file begins with '---' and has no '...'"):
        parse_settings("---\nversion: 1\npolicy: a.yaml\n", HERE)


def _texts(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=most)


_TIMES = st.integers(50, 3_600_000).map(lambda milliseconds: milliseconds / 1000)
_PATHS = _texts(20).map(lambda text: Path("/etc/rexecd") / text)
_HOSTS = st.text(st.characters(max_codepoint=126), max_size=12)
_IDS = st.integers(1, 2**32 - 2) | st.text("ab09 é€\"'\\{}[]:,#&*!~.-", max_size=12)
_RUN_AS = (
    st.none()
    | _IDS
    | st.fixed_dictionaries(
        {"user": _IDS}, optional={"group": _IDS, "groups": st.lists(_IDS, max_size=3, unique=True)}
    )
)


def _asked(run_as: object) -> dict[str, Any]:
    """Return what a file with this `run_as` says of it."""
    text = (
        "version: 1\n"
        if run_as is None
        else f"version: 1\nrun_as: {json.dumps(run_as, ensure_ascii=False)}\n"
    )
    found = parse_settings(text, HERE)
    return {name: getattr(found, name) for name in ("run_as", "run_as_place", "run_as_text")}


_NETWORKS = (
    st.ip_addresses()
    .map(ipaddress.ip_network)
    .filter(lambda network: network_complaint(str(network)) is None)
)
_LISTENS = st.tuples(_HOSTS.filter(lambda host: "\0" not in host), st.integers(0, 65535))


@st.composite
def _bounds(draw: st.DrawFn) -> dict[str, Any]:
    """Return the bounds of connections, none of which is more than what bounds it, and the penalties."""
    all_ = draw(st.integers(1, 100_000))
    start, full = sorted(draw(st.lists(st.integers(1, 100_000), min_size=2, max_size=2)))
    least, most = sorted(draw(st.lists(_TIMES, min_size=2, max_size=2)))
    return {
        "max_connections": all_,
        "reserved_connections": draw(st.integers(0, all_ - 1)),
        "max_connections_source": draw(st.integers(1, all_)),
        "max_connections_each": draw(st.integers(1, all_)),
        "max_startups": Startups(start, draw(st.integers(0, 100)), full),
        "max_startups_source": draw(st.integers(1, full)),
        "penalty_authentication": draw(st.just(0.0) | _TIMES),
        "penalty_silence": draw(st.just(0.0) | _TIMES),
        "penalty_protocol": draw(st.just(0.0) | _TIMES),
        "penalty_least": least,
        "penalty_most": most,
    }


@st.composite
def _audit(draw: st.DrawFn) -> dict[str, Any]:
    """Return what is said of the trail but its file."""
    arguments = draw(st.lists(_texts(20), max_size=4))
    return {
        "audit_sync": draw(st.sampled_from(["always", "interval", "none"])),
        "audit_step": draw(_TIMES),
        "audit_max_size": draw(st.integers(64 * 1024, 2**39)),
        "audit_max_age": draw(st.none() | st.integers(1, 366 * 86400).map(float)),
        "audit_compress": draw(st.booleans()),
        "audit_keep": draw(st.none() | st.integers(1, 36600 * 86400).map(float)),
        "audit_checkpoint_command": ("/usr/bin/logger", *arguments) if draw(st.booleans()) else (),
        "audit_journal": draw(st.booleans()),
        "audit_syslog": draw(st.none() | _PATHS),
    }


@st.composite
def _settings(draw: st.DrawFn) -> Settings:
    """Return settings as a file may set them."""
    paths: dict[str, Any] = {
        name: draw(_PATHS) for name in ("certificate", "key", "policy", "state", "audit", "run")
    }
    times: dict[str, Any] = {name: draw(_TIMES) for name in ("grace_time", "write_timeout", "monitor_wait")}
    stop, kill = sorted(draw(st.lists(_TIMES, min_size=2, max_size=2, unique=True)), reverse=True)
    each, everyone = sorted(draw(st.lists(st.integers(1, 10_000), min_size=2, max_size=2)))
    return Settings(
        source=HERE,
        listen=tuple(draw(st.lists(_LISTENS, min_size=1, max_size=16, unique=True))),
        banner=draw(_texts(100)),
        **draw(_bounds()),
        exempt=tuple(draw(st.lists(_NETWORKS, unique=True))),
        client_ca=draw(st.none() | _PATHS),
        certificate_warning=draw(st.just(0.0) | _TIMES),
        idle_timeout=draw(_TIMES),
        keepalive=float(draw(st.integers(1, 3600))),
        source_prefix_v4=draw(st.integers(8, 32)),
        source_prefix_v6=draw(st.integers(16, 128)),
        max_sources=draw(st.integers(64, 10_000_000)),
        max_failures_each=draw(st.integers(1, 1_000_000)),
        kill_grace=kill,
        drain=draw(st.just(0.0) | _TIMES),
        stop_time=stop,
        **_asked(draw(_RUN_AS)),
        max_timeout=draw(st.integers(50, 86_400_000)) / 1000,
        max_commands=everyone,
        max_commands_each=each,
        containment=draw(st.sampled_from(["auto", "control-group", "subreaper"])),
        gateway_user=draw(st.from_regex("([A-Za-z_][A-Za-z0-9_.-]{0,31})?", fullmatch=True)),
        **draw(_audit()),
        metrics_file=draw(st.none() | _PATHS.map(lambda path: path.with_name(f"{path.name}.prom"))),
        log_level=draw(st.sampled_from(["debug", "info", "warning", "error"])),
        **paths,
        **times,
    )


@given(_settings())
@settings(max_examples=100, deadline=None)
def test_printed_settings_are_read_as_they_were(made: Settings) -> None:
    """Whatever they are."""
    assert parse_settings(show_settings(made), HERE) == made


@pytest.mark.parametrize("listen", [":7512", "[::1]:1", "127.0.0.1:0", "[::]:65535", "[[a]]:1", "host:1"])
def test_printed_addresses_are_read_as_they_were(listen: str) -> None:
    """With the brackets they need."""
    found = parse_settings(f'version: 1\nlisten: "{listen}"\n', HERE)

    assert parse_settings(show_settings(found), HERE) == found


def test_printed_settings_explain_themselves() -> None:
    """Every setting has its comment, and the end is marked."""
    lines = show_settings(parse_settings("version: 1\n", HERE)).splitlines()

    assert lines[:3] == [
        "---",
        "# The settings in effect of /etc/rexecd/rexecd.yaml, with absolute paths.",
        "version: 1",
    ]
    assert "# Between TERM and KILL, when a command's time or its connection is over." in lines
    assert "kill_grace: 5s" in lines
    assert "policy: /etc/rexecd/policy.yaml" in lines
    assert lines[-1] == "..."


def test_a_stop_is_longer_than_the_grace_of_a_kill() -> None:
    """Or a command would outlive the service."""
    with pytest.raises(ConfigError, match="stop_time must be longer than kill_grace"):
        parse_settings("version: 1\nkill_grace: 15s\n", HERE)


def test_a_service_may_stop_without_draining() -> None:
    """Nought means at once, here and nowhere else."""
    assert parse_settings("version: 1\n", HERE).drain == 10
    assert parse_settings("version: 1\ndrain: 0s\n", HERE).drain == 0
    with pytest.raises(ConfigError, match="between 0s and 1h"):
        parse_settings("version: 1\ndrain: 2h\n", HERE)
    with pytest.raises(ConfigError, match="between 50ms and 1h"):
        parse_settings("version: 1\nstop_time: 0s\n", HERE)


def test_no_principal_may_run_more_than_everybody() -> None:
    """What is written and would mean nothing is a fault; what is not written follows."""
    with pytest.raises(ConfigError, match=r":3:20: 9 is more than max_commands \(8\), and so limits nothing"):
        parse_settings("version: 1\nmax_commands: 8\nmax_commands_each: 9\n", HERE)

    assert parse_settings("version: 1\nmax_commands: 8\n", HERE).max_commands_each == 8
    assert parse_settings("version: 1\nmax_commands: 8\nmax_commands_each: 8\n", HERE).max_commands_each == 8


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("web", "web"),
        ('"web"', "web"),
        ("1001", "1001"),
        ('"1001"', '"1001"'),
        ("{groups: [33, adm, '33'], user: web}", '{user: web, groups: [33, adm, "33"]}'),
        ("{user: 5, group: 6, groups: []}", "{user: 5, group: 6, groups: []}"),
    ],
)
def test_who_commands_run_as_is_read_as_in_a_policy(written: str, text: str) -> None:
    """With its place; a number in quotes is a name, and stays one when it is printed."""
    found = parse_settings(f"version: 1\nrun_as: {written}\n", HERE)

    assert (found.run_as_text, found.run_as_place) == (text, Place(str(HERE), 2, 9))
    assert f"\nrun_as: {text}\n" in show_settings(found)


def test_who_commands_run_as_may_be_left_out() -> None:
    """Nobody is named, and what is printed names nobody."""
    found = parse_settings("version: 1\n", HERE)

    assert (found.run_as, found.run_as_text) == (None, "")
    assert "\n# run_as:\n" in show_settings(found)


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("run_as: 0", "2:9: 0 is root; write 'root' if that is meant"),
        (
            "run_as: [web]",
            "2:9: expected a user's name, or a mapping with 'user', 'group' and 'groups', found a list",
        ),
        ("run_as: {group: web}", "2:9: missing key 'user'"),
        ("run_as: {user: web, grp: web}", "2:21: unknown key 'grp' (did you mean 'group'?)"),
        ("max_timeout: 25h", "2:14: '25h' is not between 50ms and 1d"),
        (
            "max_timeout: 60",
            "2:14: expected a duration with a unit, such as 250ms, 30s, 5m, 2h or 1d, found '60'",
        ),
        ("max_commands: 0", "2:15: '0' is not between 1 and 10000"),
        ("max_commands_each: 0", "2:20: '0' is not between 1 and 10000"),
        (
            "containment: cgroup",
            "2:14: 'cgroup' is none of auto, control-group, subreaper (did you mean 'control-group'?)",
        ),
    ],
)
def test_a_bad_setting_of_commands_has_its_place(setting: str, fault: str) -> None:
    """And a remedy."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(f"version: 1\n{setting}\n", HERE)

    assert (f"{HERE}:{fault}",) == caught.value.faults


@pytest.mark.parametrize("name", ["metrics", "metrics.txt", "metrics.prom.new", ".prom/metrics"])
def test_a_metrics_file_has_the_only_ending_that_is_read(name: str) -> None:
    """The node exporter would pass any other by, and nobody would notice."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(f"version: 1\nmetrics_file: {name}\n", Path("/etc/rexecd/rexecd.yaml"))

    fault = f"'/etc/rexecd/{name}': the node exporter reads only names that end with .prom"
    assert (f"/etc/rexecd/rexecd.yaml:2:15: {fault}",) == caught.value.faults


def test_a_metrics_file_is_beside_the_settings_unless_it_says_where() -> None:
    """As every path."""
    settings = parse_settings("version: 1\nmetrics_file: m/rexecd.prom\n", Path("/etc/rexecd/rexecd.yaml"))

    assert Path("/etc/rexecd/m/rexecd.prom") == settings.metrics_file
