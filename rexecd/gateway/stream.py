"""One TLS connection, non-blocking, owned by one thread; every wait has a deadline and hears the stop.

Never `shutdown()` a TLS socket, and never touch it from two threads (ATTACKS TLS-11).
"""

import contextlib
import errno
import math
import select
import socket
import ssl
import time
from typing import Final

from rexecd.serving import STOPPING, Stop
from rexecd.wire.frames import RECORD

#: What is held longer costs more than a write of its own.
_HELD: Final = 16 * 1024
#: At the end what the peer still sends is read and dropped, so that our last words are not lost
#: in a reset (ATTACKS SRV-12); a peer that goes on talking is cut.
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1024 * 1024

#: How often a silent peer is asked whether it is still there, in the time that keepalive gives it.
_PROBES: Final = 4

#: What the kernel says of a peer that vanished without a word.
_VANISHED: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})

#: The peer closed its sending half: poll tells this even while nothing is read.
HANG_UP: Final = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class DeadlinePassed(Exception):
    """The peer took longer than it had."""


class Stopping(Exception):
    """The service stops, or drains; what there is to say of it is for the caller."""

    def __init__(self, text: str = STOPPING) -> None:
        super().__init__(text)


def has_begun(raw: socket.socket, deadline: float, stop: Stop) -> bool:
    """Wait for a peer's first byte, and leave it there; return False if its connection ended without one.

    Raise DeadlinePassed or Stopping.
    """
    poller = select.poll()
    poller.register(raw, select.POLLIN)
    poller.register(stop, select.POLLIN)
    ready = [descriptor for descriptor, _ in poller.poll(max(0.0, deadline - time.monotonic()) * 1000)]
    if not ready:
        raise DeadlinePassed
    if stop.fileno() in ready:
        raise Stopping
    try:
        return bool(raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def socket_options(keepalive: float) -> tuple[tuple[int, int, int], ...]:
    """Return (level, option, value) of a connection whose peer may be silent for so many seconds.

    Frames leave at once. After that silence it is asked whether it is there, and given up after as long
    again; so it is when output is under way and none of it is acknowledged for that long, or accepted.
    """
    return (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, math.ceil(keepalive)),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, math.ceil(keepalive / _PROBES)),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2 * keepalive * 1000)),
    )


class Stream:
    """A TLS connection to a caller."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, stop: Stop, *, keepalive: float) -> None:
        raw.setblocking(False)  # noqa: FBT003 - the library's own signature
        for level, option, value in socket_options(keepalive):
            raw.setsockopt(level, option, value)
        self._tls = context.wrap_socket(
            raw, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        self._stop = stop
        self._unsent = memoryview(b"")
        #: Leaves in front of what is put next.
        self._held = b""
        self._read_needs_write = False
        self._error = 0

    def fileno(self) -> int:
        """Return the socket's descriptor, for poll."""
        return self._tls.fileno()

    def handshake(self, deadline: float) -> None:
        """Complete the TLS handshake; raise ssl.SSLError, OSError, DeadlinePassed or Stopping."""
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.wait(select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                self.wait(select.POLLOUT, deadline)

    def protocol(self) -> str | None:
        """Return the protocol both sides agreed on (ALPN)."""
        return self._tls.selected_alpn_protocol()

    def peer_certificate(self) -> bytes:
        """Return the peer's certificate (DER), which TLS found good; empty where it showed none."""
        return self._tls.getpeercert(binary_form=True) or b""

    def description(self) -> str:
        """Return version and cipher, for the record."""
        cipher = self._tls.cipher()
        return f"{self._tls.version()} {cipher[0] if cipher else ''}"

    @property
    def interest(self) -> int:
        """Return what to poll for before the next read.

        A peer that asks for new keys and does not read makes OpenSSL wait to write before it reads
        on: polling for its bytes, which are there, would spin.
        """
        return select.POLLOUT if self._read_needs_write else select.POLLIN

    def read(self) -> bytes | None:
        """Return what is there, None if nothing is, `b""` at any kind of end."""
        self._read_needs_write = False
        try:
            return self._tls.recv(RECORD)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._read_needs_write = True
            return None
        except (ssl.SSLError, OSError):
            return b""

    def heed(self, events: int) -> None:
        """Take what poll said of the socket: its error, before it is read.

        The kernel tells an error once, and Python takes what OpenSSL makes of it for an end-of-file.
        """
        if events & select.POLLERR:
            with contextlib.suppress(OSError):
                self._error = self._tls.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or self._error

    def has_vanished(self) -> bool:
        """Return whether the connection ended because its peer no longer answers."""
        self.heed(select.POLLERR)
        return self._error in _VANISHED

    @property
    def unsent(self) -> bool:
        """Return whether bytes wait to be sent: nothing else may be put behind them yet."""
        return bool(self._unsent)

    @property
    def holds(self) -> bool:
        """Return whether something waits to leave together with what comes next."""
        return bool(self._held)

    def hold(self, data: bytes) -> None:
        """Keep bytes back until more is put, and send both in one piece; raise OSError.

        What becomes too much to be kept is put at once.
        """
        self._held += data
        if len(self._held) > _HELD:
            self.put(b"")

    def put(self, data: memoryview | bytes) -> None:
        """Send what fits now, behind what was held, and keep the rest; raise OSError if the peer is gone.

        The caller leaves the bytes alone until `unsent` is false: where nothing was held they are not copied.
        """
        if self._held:
            data, self._held = b"".join((self._held, data)), b""
        self._unsent = memoryview(data)
        self.flush()

    def flush(self) -> int:
        """Send what fits of the rest and return how many bytes that was; raise OSError.

        TLS takes a record at a time. A write that wants to read first waits for the rest of half a handshake
        message. Nobody honest sends those in halves: the error, an OSError, is the end.
        """
        before = len(self._unsent)
        with contextlib.suppress(ssl.SSLWantWriteError):
            while self._unsent:
                self._unsent = self._unsent[self._tls.send(self._unsent) :]
        return before - len(self._unsent)

    def put_all(self, data: bytes, deadline: float, *, hear_stop: bool = True) -> None:
        """Send everything behind what still waits; raise OSError, DeadlinePassed or Stopping."""
        if self._unsent:
            self._flush_all(deadline, hear_stop=hear_stop)
        self.put(data)
        self._flush_all(deadline, hear_stop=hear_stop)

    def _flush_all(self, deadline: float, *, hear_stop: bool) -> None:
        while self._unsent:
            if not self.flush():
                self.wait(select.POLLOUT, deadline, hear_stop=hear_stop)

    def wait(self, events: int, deadline: float, *, hear_stop: bool = True) -> None:
        """Wait until the socket is ready; raise DeadlinePassed or Stopping.

        The clock is asked before the socket: a peer that is always ready gets no more time.
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        poller = select.poll()
        poller.register(self._tls, events)
        if hear_stop:
            poller.register(self._stop, select.POLLIN)
        ready = dict(poller.poll(left * 1000))
        if not ready:
            raise DeadlinePassed
        if self._stop.fileno() in ready:
            raise Stopping
        self.heed(ready[self._tls.fileno()])

    def farewell(self) -> None:
        """Say close_notify.

        OpenSSL reads on for the peer's while it is at it, for as long as something comes: somebody
        has to look after the time (grace.py).
        """
        with contextlib.suppress(OSError, ValueError):
            self._tls.unwrap()

    def close(self) -> None:
        """Give the last words a moment to arrive, and close."""
        with contextlib.suppress(OSError), socket.socket(fileno=self._tls.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            self._linger(plain)

    def abort(self) -> None:
        """Close at once: a stranger gets not one byte more."""
        self._tls.close()

    def _linger(self, plain: socket.socket) -> None:
        deadline = time.monotonic() + _LINGER_SECONDS
        left = _LINGER_BYTES
        poller = select.poll()
        poller.register(plain, select.POLLIN)
        while left > 0 and poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            dropped = len(plain.recv(RECORD))
            if not dropped:
                return
            left -= dropped
