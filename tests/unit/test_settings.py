"""The settings: completed, checked, and every fault with its place."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import ConfigError
from rexecd.settings import SETTINGS, Settings, address, load_settings, parse_settings, show_settings

HERE = Path("/etc/rexecd/rexecd.yaml")
SHIPPED = (Path(__file__).parents[2] / "config/rexecd.yaml").read_bytes()


def test_an_almost_empty_file_is_complete() -> None:
    """Every setting has a default, and paths start at the file's directory."""
    settings = parse_settings("version: 1\n", HERE)

    assert settings.listen == ("", 7512)
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

    assert fields - {"source"} == SETTINGS.keys.keys() - {"version"}


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


@st.composite
def _settings(draw: st.DrawFn) -> Settings:
    """Return settings as a file may set them."""
    paths: dict[str, Any] = {
        name: draw(_PATHS) for name in ("certificate", "key", "policy", "state", "audit", "run")
    }
    times: dict[str, Any] = {name: draw(_TIMES) for name in ("grace_time", "write_timeout", "monitor_wait")}
    stop, kill = sorted(draw(st.lists(_TIMES, min_size=2, max_size=2, unique=True)), reverse=True)
    return Settings(
        source=HERE,
        listen=(draw(_HOSTS.filter(lambda host: "\0" not in host)), draw(st.integers(0, 65535))),
        banner=draw(_texts(100)),
        max_connections=draw(st.integers(1, 100_000)),
        kill_grace=kill,
        stop_time=stop,
        **paths,
        **times,
    )


@given(_settings())
@settings(max_examples=300, deadline=None)
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
