"""What records and events are sent to, in the test's hands: a journal, and a syslog of either kind."""

import contextlib
import socket
from pathlib import Path
from typing import Self

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
                raise EOFError
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

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
