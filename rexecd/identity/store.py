"""What of identity survives a restart: one SQLite file that holds digests, never tokens.

A write has reached the disk when its method returns (`synchronous = FULL`), but for when tokens were last
used: that is written now and then, and what a crash loses of it nobody misses.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Final, NamedTuple, Self

from rexecd import files
from rexecd.errors import ConfigError, RexecError, Unavailable
from rexecd.identity.tokens import Terms, TokenRecord, Use

_TABLE: Final = """
CREATE TABLE token (
    token_id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    created TEXT NOT NULL,
    revoked TEXT
)
"""
_CERTIFICATE_TABLE: Final = """
CREATE TABLE revoked_certificate (
    fingerprint TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    expires TEXT NOT NULL,
    revoked TEXT NOT NULL
)
"""
#: What makes of each version the next one.
_MIGRATIONS: Final = (
    (_TABLE,),
    (
        "ALTER TABLE token ADD COLUMN expires TEXT",
        "ALTER TABLE token ADD COLUMN networks TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE token ADD COLUMN only_for TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE token ADD COLUMN note TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE token ADD COLUMN used TEXT",
        "ALTER TABLE token ADD COLUMN used_from TEXT NOT NULL DEFAULT ''",
        _CERTIFICATE_TABLE,
    ),
)
_COLUMNS: Final = (
    "token_id, digest, principal, created, revoked, expires, networks, only_for, note, used, used_from"
)
_INSERT: Final = f"INSERT INTO token ({_COLUMNS}) VALUES ({', '.join('?' * (_COLUMNS.count(',') + 1))})"  # noqa: S608
#: What passes by itself, or once there is room on the disk again.
_PASSING: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR")


class RevokedCertificate(NamedTuple):
    """A client certificate that is refused."""

    #: SHA-256 of its DER form, in hex.
    fingerprint: str
    subject: str
    expires: datetime
    revoked: datetime


class Store:
    """The tables in one file; any thread may use it, and other processes may read it meanwhile.

    Every method raises Unavailable for what passes (locked, disk full), ConfigError for the rest, and
    changes all that it says or nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        _prepare(path)
        with _faults(path):
            # Autocommit: where a change takes more than one statement, `_changing` says so.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with _faults(path):
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._migrate()
        except RexecError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def records(self) -> dict[str, TokenRecord]:
        """Return every token by its id, dead ones too, the oldest first."""
        with self._lock, _faults(self._path):
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM token ORDER BY created, token_id"  # noqa: S608 - no value in it
            ).fetchall()
        with self._damage():
            return {row[0]: _record(*row) for row in rows}

    def add(self, record: TokenRecord) -> None:
        """Keep a new token; raise ConfigError for an id that is there already."""
        with self._changing() as connection:
            connection.execute(_INSERT, _row(record))

    def replace(self, token_id: str, record: TokenRecord, *, until: datetime) -> None:
        """Keep a new token, and let the old one end at `until`."""
        with self._changing() as connection:
            connection.execute(_INSERT, _row(record))
            connection.execute("UPDATE token SET expires = ? WHERE token_id = ?", (_text(until), token_id))

    def revoke(self, token_ids: Iterable[str], when: datetime) -> None:
        """Mark tokens as revoked; those that are already keep their time."""
        with self._changing() as connection:
            connection.executemany(
                "UPDATE token SET revoked = ? WHERE token_id = ? AND revoked IS NULL",
                [(_text(when), token_id) for token_id in token_ids],
            )

    def forget(self, token_ids: Iterable[str]) -> None:
        """Remove tokens."""
        with self._changing() as connection:
            connection.executemany("DELETE FROM token WHERE token_id = ?", [(each,) for each in token_ids])

    def note_uses(self, uses: Mapping[str, Use]) -> None:
        """Write down when and from where tokens were last used; it need not be on the disk at once."""
        with self._changing(is_lasting=False) as connection:
            connection.executemany(
                "UPDATE token SET used = ?, used_from = ? WHERE token_id = ?",
                [(_text(use.when), use.address, token_id) for token_id, use in uses.items()],
            )

    def revoked_certificates(self) -> dict[str, RevokedCertificate]:
        """Return every client certificate that is refused, by its fingerprint."""
        with self._lock, _faults(self._path):
            rows = self._connection.execute(
                "SELECT fingerprint, subject, expires, revoked FROM revoked_certificate ORDER BY revoked"
            ).fetchall()
        with self._damage():
            return {row[0]: RevokedCertificate(row[0], row[1], _time(row[2]), _time(row[3])) for row in rows}

    def revoke_certificate(self, certificate: RevokedCertificate) -> None:
        """Refuse a client certificate from now on; one that is refused already keeps its time."""
        row = (
            certificate.fingerprint,
            certificate.subject,
            _text(certificate.expires),
            _text(certificate.revoked),
        )
        with self._changing() as connection:
            connection.execute("INSERT OR IGNORE INTO revoked_certificate VALUES (?, ?, ?, ?)", row)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock, _faults(self._path):
            self._connection.close()

    @contextlib.contextmanager
    def _changing(self, *, is_lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """Change something in one transaction."""
        execute = self._connection.execute
        with self._lock, _faults(self._path):
            execute(f"PRAGMA synchronous = {'FULL' if is_lasting else 'NORMAL'}")
            execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self._path}: damaged: {error}; restore it from a backup") from None

    def _migrate(self) -> None:
        """Make the tables in a new file, or what is missing in an older one; refuse what we did not write."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            version = execute("PRAGMA user_version").fetchone()[0]
            if version > len(_MIGRATIONS):
                raise ConfigError(f"{self._path}: made by a newer rexecd (schema {version}); use that one")
            if version == 0 and execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise ConfigError(f"{self._path}: not a token store; move it away")
            for statement in (each for step in _MIGRATIONS[version:] for each in step):
                execute(statement)
            execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
            execute("COMMIT")
        except BaseException:
            execute("ROLLBACK")
            raise


def _prepare(path: Path) -> None:
    """Create the file with the right mode, or judge the one that is there; raise ConfigError.

    By name, not by descriptor: closing a second descriptor would drop the locks that another
    connection of this process holds on the file (SQLite, "How To Corrupt").
    """
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
        except FileExistsError:
            files.judge(path, path.lstat(), secret=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be opened: {error.strerror}") from None


@contextlib.contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into one line of ours."""
    try:
        yield
    except sqlite3.Error as error:
        line = f"{path}: {error}"
        if getattr(error, "sqlite_errorname", "").startswith(_PASSING):
            raise Unavailable(line) from None
        raise ConfigError(line) from None


def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _row(record: TokenRecord) -> tuple[object, ...]:
    terms, used = record.terms, record.used
    return (
        record.token_id,
        record.digest,
        record.principal,
        _text(record.created),
        None if record.revoked is None else _text(record.revoked),
        None if terms.expires is None else _text(terms.expires),
        " ".join(map(str, terms.networks)),
        " ".join(terms.only),
        terms.note,
        None if used is None else _text(used.when),
        "" if used is None else used.address,
    )


def _record(  # noqa: PLR0917 - a row of the table
    token_id: str,
    digest: bytes,
    principal: str,
    created: str,
    revoked: str | None,
    expires: str | None,
    networks: str,
    only: str,
    note: str,
    used: str | None,
    used_from: str,
) -> TokenRecord:
    # SQLite keeps what it is given, whatever a column is declared as.
    texts: tuple[object, ...] = (token_id, principal, created, networks, only, note, used_from)
    texts += tuple(time for time in (revoked, expires, used) if time is not None)
    if not all(isinstance(text, str) for text in texts) or type(digest) is not bytes:
        raise TypeError(f"token {token_id!r}: a value of the wrong type")
    return TokenRecord(
        token_id,
        digest,
        principal,
        _time(created),
        Terms(
            expires=None if expires is None else _time(expires),
            networks=tuple(map(ip_network, networks.split())),
            only=tuple(only.split()),
            note=note,
        ),
        revoked=None if revoked is None else _time(revoked),
        used=None if used is None else Use(_time(used), used_from),
    )
