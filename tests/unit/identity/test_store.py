"""The token store: it keeps what it is given, refuses unsafe files, and is used by threads."""

import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rexecd.errors import ConfigError, Unavailable
from rexecd.identity.store import Store
from rexecd.identity.tokens import TokenRecord, mint

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def new_record(principal: str = "ci") -> TokenRecord:
    """Return the record of a token nobody holds."""
    minted = mint(secrets.token_bytes)
    return TokenRecord(minted.token_id, minted.digest, principal, WHEN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store may be made."""
    return tmp_path / "tokens.sqlite"


def test_records_survive_closing(path: Path) -> None:
    """What was added is there again, times to the microsecond."""
    one, other = new_record(), replace(new_record(), revoked=WHEN)
    with Store(path) as store:
        store.add(one)
        store.add(other)
    with Store(path) as store:
        assert store.records() == {one.token_id: one, other.token_id: other}


def test_revoking_works_once(path: Path) -> None:
    """The first time is kept; an unknown token and a second time change nothing."""
    record = new_record()
    with Store(path) as store:
        store.add(record)

        store.revoke([record.token_id, "nobody12"], WHEN)
        store.revoke([record.token_id], datetime.now(UTC))
        assert {record.token_id: replace(record, revoked=WHEN)} == store.records()


def test_an_id_is_given_once(path: Path) -> None:
    """A second record of one id would be two tokens with one name."""
    record = new_record()
    with Store(path) as store:
        store.add(record)
        with pytest.raises(ConfigError, match="UNIQUE"):
            store.add(replace(new_record(), token_id=record.token_id))


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_all_files_are_private_whatever_the_umask(path: Path, umask: int) -> None:
    """The log beside the database holds the same digests."""
    before = os.umask(umask)
    try:
        with Store(path) as store:
            store.add(new_record())
            modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == {0o600}


def test_only_digests_are_stored(path: Path) -> None:
    """No file of the store holds the token or its secret part."""
    minted = mint(secrets.token_bytes)
    with Store(path) as store:
        store.add(TokenRecord(minted.token_id, minted.digest, "ci", WHEN))
        content = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert minted.digest in content
    assert minted.text[13:].encode() not in content


def make_newer(path: Path) -> None:
    """Write a database of a later schema."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    path.chmod(0o600)


def make_foreign(path: Path) -> None:
    """Write a database of somebody else."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    path.chmod(0o600)


def make_noise(path: Path) -> None:
    """Write what is no database."""
    path.write_bytes(b"no database at all" * 100)
    path.chmod(0o600)


def make_open(path: Path) -> None:
    """Write a file that others can read."""
    path.touch()
    path.chmod(0o644)


def make_link(path: Path) -> None:
    """Put a symlink in the place."""
    (path.parent / "elsewhere").touch(0o600)
    path.symlink_to(path.parent / "elsewhere")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer schema": (make_newer, r"made by a newer rexecd \(schema 3\)"),
    "foreign database": (make_foreign, "not a token store"),
    "no database": (make_noise, "file is not a database"),
    "readable by others": (make_open, "readable by others"),
    "symlink": (make_link, "symbolic link"),
    "directory": (Path.mkdir, "not a regular file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line(path: Path, case: str) -> None:
    """The operator reads place and fault, and no traceback."""
    make, message = BAD[case]
    make(path)
    with pytest.raises(ConfigError, match=message) as error:
        Store(path)

    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    """`rexecd init` was not run."""
    with pytest.raises(ConfigError, match="cannot be opened: No such file"):
        Store(tmp_path / "none" / "tokens.sqlite")


def test_a_damaged_row_is_one_line(path: Path) -> None:
    """A digest that was shortened by hand can let nobody in."""
    with Store(path) as store:
        store.add(new_record())
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE token SET digest = x'00'")
    connection.close()
    with Store(path) as store, pytest.raises(ConfigError, match=r"damaged: .* no SHA-256"):
        store.records()


def test_a_store_that_is_closed_or_locked_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes is Unavailable, what does not is ConfigError."""
    with Store(path) as store:
        store._connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            store.add(new_record())
        other.close()
    with pytest.raises(ConfigError, match="closed"):
        store.records()


def add_five(store: Store) -> None:
    """Add five tokens."""
    for _ in range(5):
        store.add(new_record())


def test_threads_may_share_a_store(path: Path) -> None:
    """Eight threads add at once, and all of it is there."""
    with Store(path) as store:
        threads = [threading.Thread(target=add_five, args=(store,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(store.records()) == 40
