"""The keys of a trail: made once, kept by whom they belong to, and nothing damaged is taken."""

import json
import os
import stat
from pathlib import Path

import pytest

from rexecd import files
from rexecd.audit.checkpoint import Verifier
from rexecd.audit.keys import (
    KEY_NAME,
    SIGNER_NAME,
    AuditorKey,
    create_keys,
    decode_auditor_key,
    load_chain,
    load_signer,
    save_chain,
)
from rexecd.audit.seal import Chain
from rexecd.errors import ConfigError
from tests.trails import encoded


def test_keys_are_made_once(tmp_path: Path) -> None:
    """A second key would orphan the trail; the first is private and starts at 1."""
    key = create_keys(tmp_path, "web1")
    signer = load_signer(tmp_path)

    assert stat.S_IMODE((tmp_path / KEY_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / SIGNER_NAME).stat().st_mode) == 0o600
    assert load_chain(tmp_path / KEY_NAME) == Chain.begin(key.seals)
    assert signer is not None
    assert key.checkpoints is not None
    assert signer.verifier.encode() == key.checkpoints.encode()
    with pytest.raises(ConfigError, match="there is a key already"):
        create_keys(tmp_path, "web1")


@pytest.mark.parametrize("missing", [KEY_NAME, SIGNER_NAME])
def test_only_what_is_missing_is_made(tmp_path: Path, missing: str) -> None:
    """Who has a trail already gets what signs its checkpoints."""
    create_keys(tmp_path, "web1")
    kept = {name: (tmp_path / name).read_bytes() for name in (KEY_NAME, SIGNER_NAME)}
    (tmp_path / missing).unlink()
    key = create_keys(tmp_path, "web1")
    changed = {name for name, data in kept.items() if (tmp_path / name).read_bytes() != data}

    assert changed == {missing}
    assert ((key.seals is None), (key.checkpoints is None)) == (missing == SIGNER_NAME, missing == KEY_NAME)


def test_the_auditors_key_is_lines_of_text(tmp_path: Path) -> None:
    """The secret in hex and the public key, in any order, among comments; each may be missing."""
    key = create_keys(tmp_path, "web1")
    secret, public = key.encode().splitlines()

    for text, seals, checkpoints in (
        (key.encode(), key.seals, public),
        (f"# web1\n\n{public}\n {secret} \n", key.seals, public),
        (secret, key.seals, None),
        (public, None, public),
    ):
        found = decode_auditor_key(text)
        assert found.seals == seals
        assert (None if found.checkpoints is None else found.checkpoints.encode()) == checkpoints
    assert secret not in repr(key)


@pytest.mark.parametrize(
    "text",
    ["", "00", "x" * 64, "00" * 33, f"{'00' * 32}\n{'11' * 32}", "a+b+c", f"{'00' * 32}\na+b+c", "# x"],
)
def test_a_bad_auditors_key_is_one_line(text: str) -> None:
    """It is not a broken trail."""
    with pytest.raises(ConfigError, match="FILE: is neither 64 hexadecimal digits nor"):
        decode_auditor_key(text, "FILE")


def test_the_past_key_is_written_over(tmp_path: Path) -> None:
    """Whoever has the old file open, or finds its blocks, finds nothing there."""
    path = tmp_path / KEY_NAME
    chain = Chain.begin(b"\x07" * 32)
    save_chain(path, chain)
    descriptor = os.open(path, os.O_RDONLY)
    line, after = chain.seal(encoded({"rexec": {"x": 1}}))
    save_chain(path, after)
    past = os.read(descriptor, 4096)
    os.close(descriptor)

    assert set(past) == {0}
    assert load_chain(path) == after
    assert line.endswith(load_chain(path).last_end())


def test_a_chain_without_its_key_is_not_kept(tmp_path: Path) -> None:
    """It could not be continued."""
    with pytest.raises(ValueError, match="without its key"):
        save_chain(tmp_path / KEY_NAME, Chain.begin(None))


GOOD = {"version": 2, "sequence": 2, "key": "00" * 32, "digest": "00" * 32, "seal": "00" * 32}
CHANGES: dict[str, dict[str, object]] = {
    "no key": {"key": None},
    "short key": {"key": "00"},
    "short digest": {"digest": "00"},
    "number as text": {"sequence": "1"},
    "number zero": {"sequence": 0},
    "no seal": {"seal": ""},
    "a seal before the first": {"sequence": 1},
    "foreign text": {"seal": "\u00e4" * 64},
}
KEY_FILES = {
    "no JSON": b"noise",
    "a list": b"[]",
    "deep": b"[" * 4000,
    **{name: json.dumps(GOOD | change).encode() for name, change in CHANGES.items()},
}


@pytest.mark.parametrize("case", KEY_FILES)
def test_a_damaged_key_file_is_one_line(tmp_path: Path, case: str) -> None:
    """Without the key nothing can be sealed."""
    files.write_file(tmp_path / KEY_NAME, KEY_FILES[case], mode=0o600)
    with pytest.raises(ConfigError, match=r"trail\.key: damaged; restore it, or begin a new trail"):
        load_chain(tmp_path / KEY_NAME)


def test_a_key_file_of_another_version_is_one_line(tmp_path: Path) -> None:
    """An earlier or later program keeps it differently."""
    files.write_file(tmp_path / KEY_NAME, json.dumps({**GOOD, "version": 1}).encode(), mode=0o600)
    with pytest.raises(ConfigError, match=r"made by another rexecd \(version 1\); restore it, or begin"):
        load_chain(tmp_path / KEY_NAME)


def test_a_damaged_signing_key_is_one_line(tmp_path: Path) -> None:
    """None at all is none."""
    assert load_signer(tmp_path) is None
    files.write_file(tmp_path / SIGNER_NAME, b"noise\n", mode=0o600)
    with pytest.raises(ConfigError, match=r"checkpoint\.key: damaged; restore it, or remove it and make"):
        load_signer(tmp_path)


def test_an_auditors_key_may_be_public_only(tmp_path: Path) -> None:
    """For whoever shall check and not be able to make a trail."""
    public = create_keys(tmp_path, "web1").checkpoints
    assert public is not None

    assert AuditorKey(None, public).encode() == f"{public.encode()}\n"
    assert Verifier.decode(public.encode()).name == "web1/rexecd"
