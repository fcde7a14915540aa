"""Where callers come in: listening sockets that look like one to an accept loop, and never block it."""

import contextlib
import select
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

#: While there is always somebody at one socket, the others are looked at after so many connections.
_BETWEEN_LOOKS: Final = 16


def listener(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; an empty host means every address there is. Raise OSError."""
    both = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=socket.SOMAXCONN, dualstack_ipv6=both)


def spelled(sock: socket.socket) -> str:
    """Return where a socket listens, as people write it: `192.0.2.1:7512`, `[::1]:7512`."""
    host, port = sock.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"


class Listeners:
    """Listening sockets behind one descriptor; they take turns."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = {sock.fileno(): sock for sock in sockets}
        self._poller = select.epoll()
        #: Those with somebody waiting, as far as is known; each is asked once before any is asked again.
        self._ready: deque[socket.socket] = deque()
        self._left = 0
        for sock in sockets:
            sock.setblocking(False)  # noqa: FBT003 - the library's own signature
            self._poller.register(sock, select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that is readable while somebody waits at any of them; -1 once closed."""
        return -1 if self._poller.closed else self._poller.fileno()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection and its peer; raise BlockingIOError if nobody is there (any more)."""
        if not self._left:
            self._look()
        self._left -= 1
        while self._ready or self._look():
            sock = self._ready.popleft()
            try:
                accepted = sock.accept()
            except BlockingIOError:
                continue
            self._ready.append(sock)
            return accepted
        raise BlockingIOError

    def settimeout(self, seconds: float) -> None:
        """Do nothing: here nobody ever waits."""

    def _look(self) -> bool:
        """See who is waited at; return whether there is anybody."""
        self._left = _BETWEEN_LOOKS
        ready = [self._sockets[number] for number, _ in self._poller.poll(0)]
        self._ready.extend(sock for sock in ready if sock not in self._ready)
        return bool(self._ready)

    def getsockname(self) -> Any:  # noqa: ANN401 - each family has its own
        """Return the first one's address."""
        return next(iter(self._sockets.values())).getsockname()

    def close(self) -> None:
        """Accept no more."""
        self._ready.clear()
        with contextlib.suppress(OSError):
            self._poller.close()
        for sock in self._sockets.values():
            sock.close()
