"""The exposed process: a `ThreadingMixIn` server whose handshake happens in the connection's thread.

The listening socket is never wrapped: a silent peer would then hold up everyone in `accept`.
"""

import socket
import socketserver
import ssl
from typing import Any

from rexecd.gateway.grace import Grace
from rexecd.gateway.report import Reporter
from rexecd.gateway.session import Session, Surroundings, address_of
from rexecd.log import Log
from rexecd.seam.messages import Trouble
from rexecd.serving import BoundedThreadingServer, Stop
from rexecd.settings import Settings

#: Descriptors of one connection at most: socket, channel, three pipes, one spare;
#: and of the process itself.
DESCRIPTORS_EACH = 6
DESCRIPTORS_ELSE = 64
#: Threads that are no connection's: main, accept, reporter, and one to spare.
TASKS_ELSE = 4


def listener(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; an empty host means every address there is. Raise OSError."""
    both = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=socket.SOMAXCONN, dualstack_ipv6=both)


class GatewayServer(BoundedThreadingServer):
    """Accepts callers; each gets a thread, which owns its socket until the end."""

    def __init__(
        self,
        sock: socket.socket,
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
        self._surroundings = Surroundings(settings, context, reporter, self._grace, stop)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Serve one connection; called in its thread."""
        address, port = address_of(client_address)
        self._log.debug("a caller has come", address=address, port=port, connections=self.active)
        Session(request, client_address, self._surroundings).run()
        self._log.debug("a caller has gone", address=address, port=port)

    def service_actions(self) -> None:
        """Look after strangers; `serve_forever` calls this at each turn, at least twice a second."""
        super().service_actions()
        self._grace.enforce()

    def renew(self, context: ssl.SSLContext) -> None:
        """Use another certificate and key from the next connection on; those that are open keep theirs."""
        self._surroundings = self._surroundings._replace(context=context)

    def shed(self, request: Any, client_address: Any, why: str) -> None:  # noqa: ANN401
        """Close at once, without a thread and without a byte; it is counted, not recorded singly."""
        self.close_request(request)
        self._reporter.report(Trouble.SHED, *address_of(client_address), why)
