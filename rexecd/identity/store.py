"""The tokens that survive a restart: one SQLite file that holds digests, never tokens."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from rexecd import files
from rexecd.errors import ConfigError, RexecError, Unavailable
from rexecd.identity.tokens import TokenRecord

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE token (
    token_id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    created TEXT NOT NULL,
    revoked TEXT
)
"""
#: What passes by itself, or once there is room on the disk again.
_PASSING: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR")


class Store:
    """The token table in one file; any thread may use it.

    Every method raises Unavailable for what passes (locked, disk full), ConfigError for the rest.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        _prepare(path)
        with _faults(path):
            # Autocommit: each method is one statement, so one transaction.
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
        """Return every token by its id, revoked ones too, the oldest first."""
        with self._lock, _faults(self._path):
            rows = self._connection.execute(
                "SELECT token_id, digest, principal, created, revoked FROM token ORDER BY created, token_id"
            ).fetchall()
        try:
            return {row[0]: _record(*row) for row in rows}
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self._path}: damaged: {error}; restore it from a backup") from None

    def add(self, record: TokenRecord) -> None:
        """Keep a new token; raise ConfigError for an id that is there already."""
        row = (
            record.token_id,
            record.digest,
            record.principal,
            _text(record.created),
            None if record.revoked is None else _text(record.revoked),
        )
        with self._lock, _faults(self._path):
            self._connection.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?)", row)

    def revoke(self, token_id: str, when: datetime) -> bool:
        """Mark a token as revoked; return whether one was there and not revoked yet."""
        with self._lock, _faults(self._path):
            cursor = self._connection.execute(
                "UPDATE token SET revoked = ? WHERE token_id = ? AND revoked IS NULL",
                (_text(when), token_id),
            )
        return cursor.rowcount == 1

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock, _faults(self._path):
            self._connection.close()

    def _migrate(self) -> None:
        """Make the table in a new file; refuse what we did not write."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            version = execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise ConfigError(f"{self._path}: made by a newer rexecd (schema {version}); use that one")
            if version == 0:
                if execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise ConfigError(f"{self._path}: not a token store; move it away")
                execute(_SCHEMA)
                execute(f"PRAGMA user_version = {_VERSION}")
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


def _record(token_id: str, digest: bytes, principal: str, created: str, revoked: str | None) -> TokenRecord:
    ended = None if revoked is None else datetime.fromisoformat(revoked)
    return TokenRecord(token_id, digest, principal, datetime.fromisoformat(created), ended)
