"""The token store: it keeps what it is given, refuses unsafe files, and is used by threads."""

import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.errors import ConfigError, Unavailable
from rexecd.identity.store import RevokedCertificate, Store
from rexecd.identity.tokens import DIGITS, Terms, TokenRecord, Use, mint

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


#: What the first version made of its file.
FIRST_TABLE = """
CREATE TABLE token (
    token_id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    created TEXT NOT NULL,
    revoked TEXT
)
"""


def make_first(path: Path, *records: TokenRecord) -> None:
    """Write a file of the first version by hand."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(FIRST_TABLE)
    connection.execute("PRAGMA user_version = 1")
    for record in records:
        connection.execute(
            "INSERT INTO token VALUES (?, ?, ?, ?, ?)",
            (
                record.token_id,
                record.digest,
                record.principal,
                record.created.isoformat(),
                record.revoked and record.revoked.isoformat(),
            ),
        )
    connection.close()
    path.chmod(0o600)


def test_a_file_of_the_first_version_keeps_its_tokens(path: Path) -> None:
    """They have no end, as they always had none; a revoked one stays revoked."""
    good, revoked = new_record(), replace(new_record(), revoked=WHEN)
    make_first(path, good, revoked)
    later = replace(new_record(), terms=Terms(expires=WHEN))
    with Store(path) as store:
        before = store.records()
        store.add(later)
    with Store(path) as store:
        after = store.records()

    assert {good.token_id: good, revoked.token_id: revoked} == before
    assert before[good.token_id].flaw(WHEN + timedelta(days=100 * 365)) is None
    assert {**before, later.token_id: later} == after


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    """A file of the first version with a table of the second one's name is nobody's to mend."""
    make_first(path, new_record())
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE revoked_certificate (x)")
    with pytest.raises(ConfigError, match="already exists"):
        Store(path)

    assert (1,) == connection.execute("PRAGMA user_version").fetchone()
    assert 5 == len(connection.execute("PRAGMA table_info(token)").fetchall())
    connection.close()


TIMES = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
NETWORKS = st.sampled_from(["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::/0"]).map(ip_network)
RECORDS = st.builds(
    TokenRecord,
    st.text(DIGITS, min_size=8, max_size=8),
    st.binary(min_size=32, max_size=32),
    st.sampled_from(["ci", "ops", "a.b-c"]),
    TIMES,
    st.builds(
        Terms,
        st.none() | TIMES,
        st.lists(NETWORKS, max_size=4).map(tuple),
        st.lists(st.sampled_from(["disk", "service.*", "*"]), max_size=3).map(tuple),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    ),
    revoked=st.none() | TIMES,
    used=st.none() | st.builds(Use, TIMES, st.sampled_from(["192.0.2.1", "2001:db8::1", ""])),
)


@given(st.lists(RECORDS, max_size=5, unique_by=(lambda each: each.token_id, lambda each: each.digest)))
def test_whatever_is_kept_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, records: list[TokenRecord]
) -> None:
    """Every time to the microsecond, every network, every character of a note."""
    with Store(tmp_path_factory.mktemp("store") / "tokens.sqlite") as store:
        for record in records:
            store.add(record)

        assert {record.token_id: record for record in records} == store.records()


def test_a_token_is_replaced_wholly_or_not_at_all(path: Path) -> None:
    """The new one is there and the old one ends; or, where the new one cannot be kept, neither."""
    old, new, until = new_record(), new_record(), WHEN + timedelta(days=1)
    ending = replace(old, terms=Terms(expires=until))
    with Store(path) as store:
        store.add(old)
        store.replace(old.token_id, new, until=until)
        after = store.records()
        with pytest.raises(ConfigError, match="UNIQUE"):
            store.replace(new.token_id, replace(new_record(), token_id=old.token_id), until=until)

        assert {old.token_id: ending, new.token_id: new} == after == store.records()


def test_uses_are_noted_for_tokens_that_are_there(path: Path) -> None:
    """The last one counts; one of a token that was forgotten meanwhile is nobody's."""
    one, other = new_record(), new_record()
    use = Use(WHEN + timedelta(hours=1), "192.0.2.1")
    with Store(path) as store:
        store.add(one)
        store.add(other)
        store.note_uses({one.token_id: Use(WHEN, "2001:db8::1"), "nobody12": use})
        store.note_uses({one.token_id: use})

        assert {one.token_id: replace(one, used=use), other.token_id: other} == store.records()


def test_a_change_after_a_note_of_uses_is_on_the_disk_again(path: Path) -> None:
    """Noting uses does without the disk; nothing else may."""
    with Store(path) as store:
        levels = []
        store._connection.set_trace_callback(
            lambda statement: levels.append(statement) if statement.startswith("PRAGMA") else None
        )
        store.note_uses({})
        store.add(new_record())

    assert ["PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"] == levels


def test_a_forgotten_token_leaves_room_for_its_id(path: Path) -> None:
    """Nothing of it is left; forgetting what is not there does nothing."""
    record = new_record()
    with Store(path) as store:
        store.add(record)
        store.forget([record.token_id, "nobody12"])
        store.forget([record.token_id])
        after = store.records()
        store.add(record)

        assert {} == after
        assert {record.token_id: record} == store.records()


def test_a_certificate_is_refused_once(path: Path) -> None:
    """The first time is kept, and survives."""
    certificate = RevokedCertificate("ab" * 32, "CN=ci", WHEN + timedelta(days=9), WHEN)
    with Store(path) as store:
        store.revoke_certificate(certificate)
        store.revoke_certificate(certificate._replace(revoked=WHEN + timedelta(days=1)))
    with Store(path) as store:
        assert {certificate.fingerprint: certificate} == store.revoked_certificates()


DAMAGE = {
    "short digest": "digest = x'00'",
    "digest that is text": f"digest = '{'0' * 32}'",
    "no digits in the id": "token_id = '../../..'",
    "id that is bytes": "token_id = x'3031323334353637'",
    "name of nobody": "principal = ''",
    "name that is bytes": "principal = x'6369'",
    "time that is none": "created = 'yesterday'",
    "time that is bytes": "created = x'32'",
    "time without a zone": "revoked = '2026-01-02T03:04:05'",
    "end that is none": "expires = ''",
    "network that is none": "networks = '10.0.0.1/8'",
    "network that is bytes": "networks = x'31302e302e302e302f38'",
    "commands that are bytes": "only_for = x'6469736b'",
    "note that is bytes": "note = x'00'",
    "use that is none": "used = 'now'",
    "address that is bytes": "used = created, used_from = x'00'",
}


@pytest.mark.parametrize("case", DAMAGE)
def test_any_damaged_value_is_one_line(path: Path, case: str) -> None:
    """Whatever column: a token that is not as it was made lets nobody in, and says where to look."""
    with Store(path) as store:
        store.add(new_record())
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE token SET {DAMAGE[case]}")
    connection.close()
    with (
        Store(path) as store,
        pytest.raises(ConfigError, match=r"damaged: .*; restore it from a backup") as caught,
    ):
        store.records()

    assert "\n" not in str(caught.value)


def test_a_damaged_time_of_a_certificate_is_one_line(path: Path) -> None:
    """It might otherwise be accepted again."""
    with Store(path) as store:
        store.revoke_certificate(RevokedCertificate("ab" * 32, "CN=ci", WHEN, WHEN))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE revoked_certificate SET expires = x'00'")
    connection.close()
    with Store(path) as store, pytest.raises(ConfigError, match="damaged"):
        store.revoked_certificates()
