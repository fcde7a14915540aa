"""Where else every record goes: the journal, a syslog socket. The file is the one that decides.

Rule 1: a sink never keeps the trail waiting: what its receiver does not take now waits in a bounded queue,
and what finds no room there is dropped and counted.
Rule 2: each has one thread, which makes the entry and sends it, in the trail's order. A receiver that is
absent, slow, or started anew costs nobody anything: it is tried again.
"""

import contextlib
import errno
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from rexecd.audit.entries import journal_entry, syslog_message
from rexecd.audit.events import Action
from rexecd.journal import JOURNAL
from rexecd.log import Log

#: Bytes of records that wait for a receiver: some thousands of them.
MOST_WAITING: Final = 4 * 1024 * 1024
#: How long one attempt to send waits; after so many a receiver is not just busy.
_PATIENCE: Final = 0.25
_ATTEMPTS: Final = 8
#: Before the next attempt where nobody listens.
_RETRY: Final = 1.0
#: How long the end of the service waits for what still waits.
LAST_SECONDS: Final = 1.0
_FULL: Final = "it does not read what is sent"


class Condition(NamedTuple):
    """How a sink is: records sent, dropped for good, and bytes of them that wait; what is wrong now."""

    sent: int
    dropped: int
    waiting: int
    error: str | None


class Sink:
    """One receiver of all records, at a Unix socket of datagrams or of a stream."""

    def __init__(
        self,
        name: str,
        path: Path,
        form: Callable[[bytes], bytes],
        log: Log,
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.name = name
        self._path = path
        self._form = form
        self._log = log
        self._most = most_waiting
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # Each number has one thread that changes it: the trail's the first two, the sink's own the others.
        self._put = 0
        self._refused = 0
        self._taken = 0
        self._sent = 0
        self._lost = 0
        self._error: str | None = None
        #: How many of the refused are known to the log, and whether it has said so and not yet the end of it.
        self._seen = 0
        self._is_full = False
        self._socket: socket.socket | None = None
        self._has_worked = False  # whether this connection has taken anything
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name=f"trail-{name}", daemon=True)

    @property
    def condition(self) -> Condition:
        """Return how it is."""
        return Condition(self._sent, self._refused + self._lost, self._put - self._taken, self._error)

    def start(self) -> None:
        """Connect, so that a fault is told at once, and begin to send."""
        try:
            self._socket = _connected(self._path)
        except OSError as error:
            self._fail(error.strerror or str(error))
        self._thread.start()

    def put(self, _action: Action, _fields: Mapping[str, object], line: bytes) -> None:
        """Take a record, or count it as dropped; a watcher of the trail, which calls it under its lock."""
        size = len(line)
        if self._put - self._taken + size > self._most:
            self._refused += 1
        else:
            self._put += size
            self._queue.put(line)

    def close(self, seconds: float = LAST_SECONDS) -> None:
        """Send what waits, but not for longer than that; nothing may be put any more."""
        self._deadline = time.monotonic() + seconds
        self._stopping.set()
        self._queue.put(None)
        self._thread.join(seconds + 4 * _PATIENCE)

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                is_sent = self._deliver(self._form(line))
            except Exception as error:  # noqa: BLE001 - the edge of a thread: one record is not worth its end
                is_sent = False
                self._fail(f"a record cannot be sent: {type(error).__name__}")
            self._sent += is_sent
            self._lost += not is_sent
            self._taken += len(line)
            if self._is_full and self._queue.empty():
                self._is_full = False
                self._log.warning(f"{self._where}: up to date again", dropped=self.condition.dropped)
        self._disconnect()

    def _deliver(self, data: bytes) -> bool:
        """Send one record, however long it takes; return False where it was given up."""
        rest = memoryview(b"")
        attempts = 0
        while time.monotonic() < self._deadline:
            self._look_for_dropped()
            try:
                if self._socket is None:
                    self._socket = _connected(self._path)
                    rest = memoryview(b"")
                rest = rest or memoryview(_framed(data, self._socket))
                rest = rest[self._socket.send(rest, socket.MSG_NOSIGNAL) :]
            except TimeoutError:
                attempts += 1
                if attempts >= _ATTEMPTS:
                    self._fail(_FULL)
                continue
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    return False
                self._fail(error.strerror or str(error))
                if not self._may_try_again():
                    return False
                continue
            self._has_worked = True
            if not rest:
                self._recover()
                return True
        return False

    def _may_try_again(self) -> bool:
        """Give the connection up, and wait unless it has worked; return False when the service ends."""
        has_worked = self._has_worked
        self._disconnect()
        return has_worked or not self._stopping.wait(_RETRY)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._has_worked = False

    @property
    def _where(self) -> str:
        return f"trail-{self.name}: {self._path}"

    def _fail(self, why: str) -> None:
        """Take what is wrong, and log it once."""
        if self._error is None:
            self._log.warning(f"{self._where}: {why}: records wait, at most {self._most} bytes of them")
        self._error = why

    def _recover(self) -> None:
        if self._error is not None:
            self._error = None
            self._log.info(f"{self._where}: takes records again", dropped=self.condition.dropped)

    def _look_for_dropped(self) -> None:
        """Log once that there is no more room, until everything that waits has gone."""
        if self._refused > self._seen:
            self._seen = self._refused
            if not self._is_full:
                self._is_full = True
                self._log.warning(
                    f"{self._where}: too much waits: records are dropped here, not in the trail"
                )


def _connected(path: Path) -> socket.socket:
    """Return a socket that leads to a receiver of datagrams or, failing that, of a stream; raise OSError."""
    try:
        return _connected_by(path, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
    return _connected_by(path, socket.SOCK_STREAM)


def _connected_by(path: Path, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.settimeout(_PATIENCE)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def _framed(data: bytes, sock: socket.socket) -> bytes:
    """Return a record as this socket takes it: on a stream a line each (RFC 6587, 3.4.2)."""
    return data if sock.type == socket.SOCK_DGRAM else data + b"\n"


@contextlib.contextmanager
def opened_sinks(
    log: Log, *, journal: bool, syslog: Path | None, journal_path: Path = JOURNAL
) -> Iterator[tuple[Sink, ...]]:
    """Open the receivers that are asked for, until the block ends; the trail has to be closed by then."""
    host, pid = socket.gethostname(), os.getpid()
    sinks = []
    if journal:
        sinks.append(Sink("journal", journal_path, journal_entry, log))
    if syslog is not None:
        sinks.append(Sink("syslog", syslog, lambda line: syslog_message(line, host=host, pid=pid), log))
    for sink in sinks:
        sink.start()
    try:
        yield tuple(sinks)
    finally:
        for sink in sinks:
            sink.close()
