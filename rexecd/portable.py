"""What not every platform has: poll(2), locks, owners, flags of open(2). No other file of a caller asks.

Rule: where something is missing, what it protects from is not noticed, and no call fails for it. On Windows
files are protected by the directory they are in, a user's own.
"""

import os
import select
import socket
import sys
from collections.abc import Mapping

from rexecd.typed import Final

#: What a descriptor can be waited for; those of poll(2) on Linux.
READING: Final = getattr(select, "POLLIN", 1)
WRITING: Final = getattr(select, "POLLOUT", 4)

#: select(2) is for sockets only.
ONLY_SOCKETS: Final = sys.platform == "win32"
#: macOS's poll(2) does not know terminals; its select(2) does.
_HAS_POLL: Final = hasattr(select, "poll") and sys.platform != "darwin"
#: Whether files say whose they are, and who may read and write them.
HAS_OWNERS: Final = hasattr(os, "geteuid")


def flags(*names: str) -> int:
    """Return flags of open(2), as far as they are known here, with those that every file of ours gets.

    Not inherited, never the controlling terminal, no line ends translated.
    """
    return sum(getattr(os, name, 0) for name in {*names, "O_CLOEXEC", "O_NOCTTY", "O_BINARY", "O_NOINHERIT"})


def wait(interests: Mapping[int, int], milliseconds: float | None) -> set[int]:
    """Return which descriptors are ready for what they are mapped to, or have failed; None waits for ever."""
    if _HAS_POLL:
        poll = select.poll()
        for descriptor, events in interests.items():
            poll.register(descriptor, events)
        return {descriptor for descriptor, _ in poll.poll(milliseconds)}
    readers = [descriptor for descriptor, events in interests.items() if events & READING]
    writers = [descriptor for descriptor, events in interests.items() if events & WRITING]
    seconds = None if milliseconds is None else milliseconds / 1000
    # Windows reports a failed connection among the last.
    found = select.select(readers, writers, writers, seconds)
    return {descriptor for kind in found for descriptor in kind}


def write(descriptor: int, data: bytes) -> None:
    """Write all of `data`, also where the descriptor does not block; raise OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            wait({descriptor: WRITING}, None)


def lock(descriptor: int, *, is_shared: bool = False) -> None:
    """Wait until nobody else has a file; raise OSError."""
    try:
        import fcntl  # noqa: PLC0415 - not on every platform
    except ImportError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)


def file_name(text: str) -> str:
    """Return what a file may be called for a host: on Windows a colon begins something else."""
    return text.replace(":", "_") if ONLY_SOCKETS else text


def set_mode(descriptor: int, mode: int) -> None:
    """Set who may read and write an open file, whatever the umask took away; raise OSError."""
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)


class Pumped:
    """What a descriptor gives, read ahead by a thread, as a socket that can be waited for."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._inner, self._outer = socket.socketpair()
        import threading  # noqa: PLC0415 - seldom

        self._error: OSError | None = None
        threading.Thread(target=self._pump, name="input", daemon=True).start()

    def fileno(self) -> int:
        """Return what to wait for."""
        return self._outer.fileno()

    def read(self) -> bytes:
        """Return bytes, `b""` at the end; raise OSError."""
        data = self._outer.recv(self._size)
        if not data and self._error is not None:
            raise self._error
        return data

    def close(self) -> None:
        """Give the socket back; the thread ends with its next bytes."""
        self._outer.close()

    def _pump(self) -> None:
        with self._inner:
            try:
                while data := os.read(self._descriptor, self._size):
                    try:
                        self._inner.sendall(data)
                    except OSError:  # nobody wants it any more
                        return
            except OSError as error:
                self._error = error
