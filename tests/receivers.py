"""What records and events are sent to, in the test's hands: a journal, a syslog of either kind, a log."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from rexecd.log import Log
from tests.harness import PATIENCE


class Receiver:
    """A Unix socket that takes what is sent to it."""

    def __init__(self, path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> None:
        self.path = path
        self._bound = socket.socket(socket.AF_UNIX, kind)
        self._bound.bind(str(path))
        self._bound.settimeout(PATIENCE)
        self._taken: socket.socket | None = None
        self._rest = b""
        if kind == socket.SOCK_STREAM:
            self._bound.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next(self) -> bytes:
        """Return the next datagram, or the next line of the stream."""
        if self._bound.type == socket.SOCK_DGRAM:
            return self._bound.recv(1 << 20)
        if self._taken is None:
            self._taken, _ = self._bound.accept()
            self._taken.settimeout(PATIENCE)
        while b"\n" not in self._rest:
            data = self._taken.recv(1 << 20)
            if not data:
                self._taken.close()
                self._taken = None  # and another one may come
                raise EOFError
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    @contextlib.contextmanager
    def gathering(self) -> Iterator[list[bytes]]:
        """Give a list of what comes while the block lasts, and what has come by its end."""
        gathered: list[bytes] = []
        over = threading.Event()

        def gather() -> None:
            while self._has_more(0.05) or not over.is_set():
                with contextlib.suppress(TimeoutError, EOFError):
                    gathered.append(self.next())

        self._bound.settimeout(0.05)
        thread = threading.Thread(target=gather)
        thread.start()
        try:
            yield gathered
        finally:
            over.set()
            thread.join()
            self._bound.settimeout(PATIENCE)

    def _has_more(self, seconds: float) -> bool:
        """Return whether anything comes in that time."""
        return b"\n" in self._rest or bool(select.select([self._taken or self._bound], [], [], seconds)[0])

    def close(self) -> None:
        """Be gone."""
        for sock in (self._taken, self._bound):
            if sock is not None:
                sock.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


class Journal(Receiver):
    """The journal's socket."""

    def entry(self) -> dict[str, str]:
        """Return the next entry, as the journal takes it apart."""
        return taken_apart(self.next())


class Told(Log):
    """A log that can be asked."""

    def __init__(self) -> None:
        super().__init__("test")
        self.lines: list[str] = []

    def info(self, message: str, **fields: object) -> None:
        """Keep it."""
        self.lines.append(f"info: {message} {fields}")

    def warning(self, message: str, **fields: object) -> None:
        """Keep it."""
        self.lines.append(f"warning: {message} {fields}")


def taken_apart(rest: bytes) -> dict[str, str]:
    """Return the fields of an entry of the journal."""
    fields: dict[str, str] = {}
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, end, rest = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
        fields[name.decode()] = value.decode()
    return fields
