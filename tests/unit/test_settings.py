"""The settings: completed, checked, and every fault with its place."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.errors import ConfigError
from rexecd.settings import address, load_settings, parse_settings

HERE = Path("/etc/rexecd/rexecd.yaml")


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
