"""The exposed process: a `ThreadingMixIn` server whose handshake happens in the connection's thread.

The listening socket is never wrapped: a silent peer would then hold up everyone in `accept`.
"""

import _thread
import contextlib
import random
import socket
import socketserver
import ssl
import struct
import time
from typing import Any, Final

from rexecd.gateway.grace import Grace
from rexecd.gateway.report import Reporter
from rexecd.gateway.session import Session
from rexecd.gateway.stranger import Peer, Surroundings, address_of
from rexecd.gateway.throttle import Figures, Place, Throttle
from rexecd.log import Log
from rexecd.seam.messages import Trouble
from rexecd.serving import BoundedThreadingServer, Listener, Stop
from rexecd.settings import Settings

#: Descriptors of one connection at most: socket, channel, three pipes, one spare;
#: and of the process itself.
DESCRIPTORS_EACH = 6
DESCRIPTORS_ELSE = 64
#: Threads that are no connection's: main, accept, reporter, and one to spare.
TASKS_ELSE = 4

#: Most connections that are shed in one turn of the accept loop.
_AT_ONCE: Final = 64
#: Connections that are shed this soon after others are a storm; it waits so long between two turns.
_STORM: Final = 0.01
_BREATH: Final = 0.002
_NOBODY: Final = Peer("", 0)
#: `struct linger`: on, and for no time.
_RESET: Final = struct.pack("ii", 1, 0)


class GatewayServer(BoundedThreadingServer):
    """Accepts callers; each gets a thread, which owns its socket until the end."""

    def __init__(
        self,
        sock: Listener,
        settings: Settings,
        context: ssl.SSLContext,
        reporter: Reporter,
        *,
        log: Log | None = None,
    ) -> None:
        stop, most = Stop(), settings.max_connections
        super().__init__(sock, socketserver.BaseRequestHandler, most=most, stop=stop, log=log)
        self.settings = settings
        self._reporter = reporter
        self._grace = Grace()
        self._shed_at = 0.0
        figures = Figures(*(getattr(settings, name) for name in Figures._fields))
        self._throttle = Throttle(figures, monotonic=time.monotonic, random=random.random)
        self._surroundings = Surroundings(settings, context, reporter, self._grace, stop)

    def get_request(self) -> tuple[socket.socket, Peer]:
        """Accept until somebody gets a place; who gets none is closed at once.

        After some it is time to see what else is due: raise BlockingIOError then, and when nobody is left.
        """
        shed = 0
        peer, why = _NOBODY, ""
        try:
            while shed < _AT_ONCE:
                sock, address = super().get_request()
                peer = Peer(*address_of(address))
                place = self._throttle.admit(peer.address)
                if isinstance(place, Place):
                    return sock, peer._replace(place=place)
                self._reset(sock)
                shed, why = shed + 1, place
        except BlockingIOError:
            if shed:
                self._breathe()
            raise
        finally:
            if shed:
                self._reporter.report(Trouble.SHED, peer.address, peer.port, why, count=shed)
        self._breathe()
        raise BlockingIOError

    def _breathe(self) -> None:
        """Let a storm gather for a moment.

        Being woken by each of its connections, and having the interpreter for nothing else, costs those who
        are served more than shedding does. The kernel keeps what comes meanwhile.
        """
        now = time.monotonic()
        if now < self._shed_at + _STORM:
            time.sleep(_BREATH)
            now += _BREATH
        self._shed_at = now

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Give the connection a thread."""
        try:
            super().process_request(request, client_address)
        except BaseException:
            client_address.place.leave()
            raise

    def start_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Start it without waiting until it runs, which `Thread.start` does.

        The accept loop and the new thread would take the interpreter from each other, and both be late.
        Nobody asks for a thread's name here.
        """
        _thread.start_new_thread(self.process_request_thread, (request, client_address))

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Serve the connection in its thread, and give its place back whatever happens."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            client_address.place.leave()

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Serve one connection; called in its thread."""
        address, port, _ = client_address
        self._log.debug("a caller has come", address=address, port=port, connections=self.active)
        Session(request, client_address, self._surroundings).run()
        self._log.debug("a caller has gone", address=address, port=port)

    def look_after(self) -> None:
        """Look after strangers, too."""
        super().look_after()
        self._grace.enforce()

    def renew(self, context: ssl.SSLContext) -> None:
        """Use another certificate and key from the next connection on; those that are open keep theirs."""
        self._surroundings = self._surroundings._replace(context=context)

    def shed(self, request: Any, client_address: Any, why: str) -> None:  # noqa: ANN401
        """Close a connection that has a place and gets no thread, without a byte, and count it."""
        self._reset(request)
        client_address.place.leave()
        self._reporter.report(Trouble.SHED, client_address.address, client_address.port, why)

    def _reset(self, sock: socket.socket) -> None:
        """Close at once, and leave the kernel nothing to remember of a storm."""
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close_request(sock)
