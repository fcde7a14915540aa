"""The trail's file: append, recover, make durable, carry the chain.

Rule 1: a record has been written when `append` returns; if it raises TrailError nothing of it
stays in the file and the chain has not moved, so that the next append simply continues.
Rule 2: one writer, one lock. Who opens a trail holds the lock of the state directory.
Rule 3: at each persisted step the past keys are gone from memory and from the key file.
"""

import contextlib
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import structlog
from structlog.typing import EventDict

from rexecd import files, limits
from rexecd.audit import seal
from rexecd.audit.events import Action, shape
from rexecd.audit.seal import Broken, Chain
from rexecd.clock import Clock
from rexecd.errors import ConfigError, TrailError

KEY_NAME: Final = "trail.key"

_VERSION: Final = 1
_MAX_KEY_FILE: Final = 4 * 1024
_BLOCK: Final = 64 * 1024
_REMEDY: Final = "run 'rexecd audit verify', or move the file away to begin a new one"


#: Hears of a record: its action, its fields by our names, and its line. It must neither raise nor wait: the
#: trail is locked meanwhile.
Watcher = Callable[[Action, Mapping[str, object], bytes], None]


class Trail:
    """An open trail, to which any thread may append.

    `sequence` is the number of the last record, `lost` how many could not be written,
    `last_error` what is wrong now (None: nothing).
    """

    def __init__(self, descriptor: int, chain: Chain, *, path: Path, key_path: Path, clock: Clock) -> None:
        self._descriptor = descriptor
        # The chain and where it ends in the file: one value, so that they move together even
        # if an exception comes out of nowhere (a signal).
        self._head = (chain, os.fstat(descriptor).st_size)
        self._path = path
        self._key_path = key_path
        self._clock = clock
        self._unclean = False  # whether bytes of a failed write may stand behind that end
        self._persisted = 0  # the number of the record that comes after the persisted ones
        self._lock = threading.Lock()
        self._persisting = threading.Lock()
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        self._closed = False
        self._append_fault: str | None = None
        self._persist_fault: str | None = None
        self._watchers: list[Watcher] = []
        self.lost = 0

    @classmethod
    def open(cls, path: Path, key_path: Path, *, clock: Clock, **context: object) -> Self:
        """Return the trail at `path`, made ready to be continued; `context` is for records of that.

        A missing or empty file is begun with `trail-opened`; a last line without its end is cut
        off and recorded as `trail-repaired`. Raise ConfigError for unsafe files and for a trail
        that does not continue the persisted chain, TrailError if it cannot be written.
        """
        chain = load_chain(key_path)
        descriptor = files.open_private(path, os.O_RDWR | os.O_APPEND)
        try:
            chain, torn = _recover(descriptor, chain, path)
            trail = cls(descriptor, chain, path=path, key_path=key_path, clock=clock)
            trail._begin(torn, context)
        except BaseException:
            os.close(descriptor)
            raise
        return trail

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sequence(self) -> int:
        """Return the number of the last record."""
        return self._head[0].sequence - 1

    @property
    def last_error(self) -> str | None:
        """Return what keeps records from being written or kept, None if nothing does."""
        return self._append_fault or self._persist_fault

    @property
    def healthy(self) -> bool:
        """Return whether the last append and the last persist worked; for status only."""
        return self.last_error is None

    def append(self, action: Action, /, **fields: object) -> None:
        """Write one record; raise TrailError if that cannot be done, ValueError for a bug in `fields`."""
        with self._lock:
            record = shape(action, fields, now=self._clock.now())
            chain, size = self._head
            line, after = chain.seal(seal.encode(record))
            try:
                self._write(line, size)
            except OSError as error:
                self.lost += 1
                self._append_fault = f"{self._path}: cannot be written: {error.strerror or error}"
                raise TrailError(self._append_fault) from None
            self._head = (after, size + len(line))
            self._unclean = False
            self._append_fault = None
            for watcher in self._watchers:
                watcher(action, fields, line)

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of each record from now on, in their order, once it is written."""
        with self._lock:
            self._watchers.append(watcher)

    def persist(self) -> None:
        """Make all records so far durable and forget their keys; raise TrailError."""
        with self._persisting:
            with self._lock:
                chain, _ = self._head
                self._refuse_if_closed()
            if chain.sequence == self._persisted:
                return
            try:
                os.fdatasync(self._descriptor)
                _save_chain(self._key_path, chain)
            except (OSError, ConfigError) as error:
                self._persist_fault = f"{self._path}: cannot be made durable: {error}"
                raise TrailError(self._persist_fault) from None
            self._persisted = chain.sequence
            self._persist_fault = None

    def start_keeper(self, interval: float) -> None:
        """Persist every `interval` seconds from a thread of its own, until `close`."""
        self._keeper = threading.Thread(target=self._keep, args=(interval,), name="trail-keeper", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Persist, and close the file; raise TrailError if the last persist failed. Once is enough."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join()
        if self._closed:
            return
        try:
            self.persist()
        finally:
            with self._persisting, self._lock:
                self._closed = True
                os.close(self._descriptor)

    def recorder(self, **context: object) -> "Recorder":
        """Return a recorder that adds `context` to each of its records."""
        return Recorder(self, [_add_thread, _as_call], context)

    def _begin(self, torn: "_Torn | None", context: Mapping[str, object]) -> None:
        """Bring the file into the state that every append leaves."""
        chain, size = self._head
        if torn is not None:
            size -= torn.size
            self._head = (chain, size)
            self._unclean = True
        if size == 0:
            files.sync_directory(self._path.parent)
            self.append(Action.TRAIL_OPENED, previous_seal=chain.previous.hex(), **context)
        if torn is not None:
            self.append(Action.TRAIL_REPAIRED, cut_bytes=torn.size, cut_digest=torn.digest, **context)
        self.persist()

    def _write(self, line: bytes, size: int) -> None:
        """Append `line` to a file of `size` bytes, whole or not at all; raise OSError."""
        self._refuse_if_closed()
        if self._unclean:
            os.ftruncate(self._descriptor, size)
        self._unclean = True
        try:
            written = os.write(self._descriptor, line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes were written")
        except OSError:
            with contextlib.suppress(OSError):  # then the next append tries again
                os.ftruncate(self._descriptor, size)
            raise

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise TrailError(f"{self._path}: closed")

    def _keep(self, interval: float) -> None:
        while not self._stopping.wait(interval):
            try:
                self.persist()
            except Exception as error:  # noqa: BLE001 - the edge of a thread: status shows it, nothing ends
                self._persist_fault = str(error)


class Recorder(structlog.BoundLoggerBase):
    """Writes records of one context (a connection, a request) to a trail.

    The context is bound and passed down by hand: nothing depends on thread or global state.
    `bind(**context)` returns a recorder that knows more.
    """

    def record(self, action: Action, /, **fields: object) -> None:
        """Write one record, naming the thread; raise TrailError, and then the act must not happen."""
        self._proxy_to_logger("append", action, **fields)  # type: ignore[arg-type]  # the event is an Action


def create_key(state: Path, *, random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Make the key of a new trail in the state directory and return what verifies it, in hex.

    The return value belongs to the auditor and off this host: it is kept nowhere. Raise
    ConfigError if there is a key already.
    """
    path = state / KEY_NAME
    if os.path.lexists(path):
        raise ConfigError(f"{path}: there is a key already; another one would orphan its trail")
    chain = Chain.begin(random(seal.KEY_SIZE))
    _save_chain(path, chain)
    return chain.key.hex()


def load_chain(key_path: Path) -> Chain:
    """Return the chain where it was last persisted; raise ConfigError."""
    data = files.read_file(
        key_path,
        secret=True,
        most=_MAX_KEY_FILE,
        hint=files.RESTORE,
    )
    damaged = ConfigError(f"{key_path}: damaged; restore it, or begin a new trail with a new key")
    try:
        kept = json.loads(data)
        version, sequence = kept["version"], kept["sequence"]
        key, previous = bytes.fromhex(kept["key"]), bytes.fromhex(kept["previous"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise damaged from None
    if version != _VERSION:
        raise ConfigError(f"{key_path}: made by another rexecd (version {version!r}); use that one")
    if type(sequence) is not int or sequence < 1 or (len(key), len(previous)) != (seal.KEY_SIZE, 32):
        raise damaged
    return Chain(sequence, key, previous)


def _save_chain(key_path: Path, chain: Chain) -> None:
    kept = {
        "version": _VERSION,
        "sequence": chain.sequence,
        "key": chain.key.hex(),
        "previous": chain.previous.hex(),
    }
    files.write_file(key_path, json.dumps(kept).encode() + b"\n", mode=0o600)


class _Torn:
    """The end of a trail that is no whole line."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.digest = hashlib.sha256(data).hexdigest()


def _recover(descriptor: int, chain: Chain, path: Path) -> tuple[Chain, _Torn | None]:
    """Return the chain behind the last whole line, and what follows that line; raise ConfigError.

    Only what was written after the last persisted step is read; the rest is `verify`'s.
    """
    start = _persisted_end(descriptor, chain, path)
    for place, line in _lines(descriptor, start):
        if not line.endswith(b"\n") and len(line) <= limits.MAX_RECORD:
            return chain, _Torn(line)
        try:
            chain = chain.check(line)
        except Broken as broken:
            where = f"{path}:{_count_lines(descriptor, place) + 1}"
            raise ConfigError(f"{where}: {broken.text}; {_REMEDY}") from None
    return chain, None


def _persisted_end(descriptor: int, chain: Chain, path: Path) -> int:
    """Return where the records after the persisted ones begin; raise ConfigError."""
    if chain.sequence == 1:
        return 0
    size = os.fstat(descriptor).st_size
    last = chain.last_end()
    for start in range(size - 1 - (size - 1) % _BLOCK, -1, -_BLOCK):
        found = os.pread(descriptor, _BLOCK + len(last) - 1, start).rfind(last)
        if found >= 0:
            return start + found + len(last)
    # Not in this file: it must have been begun after the last persisted step.
    first, end, _ = os.pread(descriptor, limits.MAX_RECORD, 0).partition(b"\n")
    if end and not chain.is_next(first + end):
        where = f"{path}:{_count_lines(descriptor, size)}"
        raise ConfigError(f"{where}: ends without record {chain.sequence - 1}, the last one kept; {_REMEDY}")
    return 0


def _lines(descriptor: int, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield each line from `start` with its place; one that is too long comes in pieces."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(start)
        while line := file.readline(limits.MAX_RECORD + 1):
            yield start, line
            start += len(line)


def _count_lines(descriptor: int, end: int) -> int:
    """Return how many lines end before `end`."""
    return sum(os.pread(descriptor, min(_BLOCK, end - at), at).count(b"\n") for at in range(0, end, _BLOCK))


def _add_thread(_logger: object, _name: str, fields: EventDict) -> EventDict:
    fields["thread"] = threading.current_thread().name
    return fields


def _as_call(
    _logger: object, _name: str, fields: EventDict
) -> tuple[tuple[Any], dict[str, Any]]:  # structlog's own types: what it passes to Trail.append
    return (fields.pop("event"),), dict(fields)
