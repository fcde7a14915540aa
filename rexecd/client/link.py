"""A TLS socket that never blocks, with a queue of frames to send.

Rule 1: one thread owns it (OpenSSL objects are not safe for two).
Rule 2: a failed write is not yet the end: the server's last word may wait to be read.
"""

import contextlib
import os
import socket
import ssl
from collections import deque

from rexecd.portable import READING, WRITING
from rexecd.wire.frames import RECORD


class Link:
    """Bytes in and out as far as they go at once."""

    __slots__ = (
        "_alert",
        "_backlog",
        "_is_broken",
        "_is_head_held",
        "_process",
        "_queue",
        "_read_needs_write",
        "_sent",
        "_sock",
    )

    def __init__(self, sock: ssl.SSLSocket) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._process = os.getpid()
        self._queue: deque[bytes] = deque()
        self._sent = 0  # bytes of the first frame that are gone
        self._backlog = 0
        self._is_broken = False
        self._is_head_held = False  # OpenSSL has seen the first frame: nothing may overtake it
        self._read_needs_write = False
        self._alert = ""

    def fileno(self) -> int:
        """Return the descriptor to poll, -1 once closed."""
        return self._sock.fileno()

    @property
    def backlog(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._backlog

    @property
    def alert(self) -> str:
        """Return what the server's TLS ended the connection with (`SSLV3_ALERT_...`), if it said so."""
        return self._alert

    @property
    def interest(self) -> int:
        """Return what to poll for.

        While a read waits to write (the server asked for new keys and does not read), polling for
        its bytes, which are there, would spin.
        """
        if self._read_needs_write:
            return WRITING
        return READING | (WRITING if self._queue and not self._is_broken else 0)

    def push(self, frame: bytes, *, is_urgent: bool = False) -> None:
        """Queue one frame; an urgent one overtakes all that have not begun to leave."""
        if is_urgent:
            self._queue.insert(1 if self._is_head_held else 0, frame)
        else:
            self._queue.append(frame)
        self._backlog += len(frame)

    def flush(self) -> None:
        """Send what can be sent now."""
        while self._queue and not self._is_broken:
            try:
                # A blocked write is tried again with the same bytes, as OpenSSL demands.
                count = self._sock.send(memoryview(self._queue[0])[self._sent :])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._is_head_held = True
                return
            except OSError:
                self._is_broken = True
                return
            self._account(count)

    def read(self) -> bytes | None:
        """Return bytes that are there, `b""` at the end (in good order or not), None for not yet."""
        self._read_needs_write = False
        try:
            return self._sock.recv(RECORD)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._read_needs_write = True
            return None
        except OSError as error:
            self._alert = getattr(error, "reason", None) or ""
            # A reset, a bad record and an end without close_notify mean the same here: whatever
            # counts was said in a message before.
            return b""

    def close(self) -> None:
        """End the connection, and give the socket back; in a forked process only that."""
        if os.getpid() == self._process:
            # A fork that still has a copy would keep the connection up, and with it a command that was left.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _account(self, count: int) -> None:
        self._sent += count
        self._backlog -= count
        self._is_head_held = self._sent < len(self._queue[0])
        if not self._is_head_held:
            self._queue.popleft()
            self._sent = 0
