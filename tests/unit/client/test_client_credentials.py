"""Where a token is found, and what is taken for one."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.client.address import parse_address
from rexecd.client.arguments import parse_arguments
from rexecd.client.configuration import settle
from rexecd.client.credentials import check_token, take_token
from rexecd.client.errors import UsageError
from tests.unit.client.fake_server import TOKEN, make_token


def find_token(option: str | None, file: str | None, environ: Mapping[str, str]) -> str:
    """Return the token a command line with these options is sent with."""
    given = [*(["--token", option] if option else []), *([f"--token-file={file}"] if file else [])]
    return take_token(settle(parse_arguments([*given, "web1"]), environ).token, parse_address("web1"))


def keep(path: Path, text: str, mode: int = 0o600) -> str:
    """Write a token file and return its path."""
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_whole_token_is_taken_as_it_is() -> None:
    """Whitespace around it is not part of it."""
    assert check_token(f"  {TOKEN}\n") == TOKEN.encode()


def test_a_checksum_is_padded_with_zeros() -> None:
    """A small CRC has leading zeros, and they count."""
    token = next(t for t in (make_token(secret=f"{n:043}") for n in range(10_000)) if t[-6:-5] == "0")

    assert check_token(token) == token.encode()


@given(at=st.integers(0, len(TOKEN) - 1), character=st.characters())
@settings(max_examples=200, deadline=None)
def test_a_mistyped_character_is_found(at: int, character: str) -> None:
    """Wherever it is, and the token is not repeated in the message."""
    mistyped = TOKEN[:at] + character + TOKEN[at + 1 :]
    if mistyped.strip() != TOKEN:
        with pytest.raises(UsageError) as caught:
            check_token(mistyped)

        assert "s" * 10 not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("text", ["", TOKEN[:-1], TOKEN + "0", TOKEN[1:], f"{TOKEN} {TOKEN}", "\udcff" * 62])
def test_what_is_cut_or_doubled_is_no_token(text: str) -> None:
    """The length is part of the form."""
    with pytest.raises(UsageError, match="not a complete token"):
        check_token(text)


def test_the_first_place_with_a_token_wins(tmp_path: Path) -> None:
    """From the command line to the credentials directory."""
    keep(tmp_path / "rexec-token", "of the directory")
    file = keep(tmp_path / "file", "of the file")
    other = keep(tmp_path / "other", "of the other file")
    environ: dict[str, str] = {
        "REXEC_TOKEN": "of the variable",
        "REXEC_TOKEN_FILE": other,
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    found = [find_token("of the option", file, environ), find_token(None, file, environ)]
    for name in tuple(environ):
        found.append(find_token(None, None, environ))
        del environ[name]

    assert found == [
        "of the option",
        "of the file",
        "of the variable",
        "of the other file",
        "of the directory",
    ]


@pytest.mark.parametrize(
    "environ", [{}, {"REXEC_TOKEN": "", "REXEC_TOKEN_FILE": ""}, {"CREDENTIALS_DIRECTORY": "/nowhere"}]
)
def test_no_token_anywhere_says_where_to_put_one(environ: Mapping[str, str]) -> None:
    """Empty variables are as good as none."""
    with pytest.raises(UsageError, match="there is no token for web1:7512") as caught:
        find_token(None, None, environ)

    assert "--token-file" in str(caught.value.hint)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_others_may_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    """Whoever else read it can use it."""
    path = keep(tmp_path / "token", TOKEN, mode)
    with pytest.raises(UsageError, match=f"mode {mode:04o}") as caught:
        find_token(None, path, {})

    assert caught.value.hint == f"chmod 600 {path!r}"


def test_the_credentials_directory_protects_its_files(tmp_path: Path) -> None:
    """Systemd gives them a group's mode bits and guards them itself."""
    keep(tmp_path / "rexec-token", TOKEN, 0o440)

    assert find_token(None, None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == TOKEN


@pytest.mark.parametrize("name", ["none", ".", "nul\0"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """Missing, a directory, no name at all."""
    with pytest.raises(UsageError, match="token file"):
        find_token(None, str(tmp_path) + "/" + name, {})


def test_a_token_can_come_from_a_pipe(tmp_path: Path) -> None:
    """As a shell's `<(pass show rexec)` gives it."""
    read, write = os.pipe()
    os.write(write, TOKEN.encode())
    os.close(write)
    try:
        assert find_token(None, f"/dev/fd/{read}", {}) == TOKEN
    finally:
        os.close(read)


def test_the_first_line_of_input_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows belongs to the command."""
    read, write = os.pipe()
    os.write(write, f"{TOKEN}\nfor the command".encode())
    monkeypatch.setattr("rexecd.client.credentials._STDIN", read)

    assert find_token(None, "-", {}) == TOKEN
    assert os.read(read, 100) == b"for the command"
    os.close(read)
    os.close(write)
