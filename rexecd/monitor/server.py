"""The trusted process's two doors: the seam for the gateway, and the operator's own.

Both are `ThreadingMixIn` servers over AF_UNIX packets; who connects is asked of the kernel.
"""

import contextlib
import os
import socket
import socketserver
from collections.abc import Callable
from typing import Any, Final

from rexecd.audit.events import Action
from rexecd.errors import TrailError
from rexecd.execution.workers import MOST_IDLE
from rexecd.log import Log
from rexecd.monitor.admin import AdminSession
from rexecd.monitor.service import Service
from rexecd.monitor.session import MonitorSession
from rexecd.seam.channel import Channel, PeerProcess
from rexecd.seam.messages import ADMIN, SEAM
from rexecd.serving import BoundedThreadingServer, Stop
from rexecd.settings import Settings

#: The gateway has a channel for each connection, and one for its reports.
_SPARE_CHANNELS: Final = 8
_MOST_OPERATORS: Final = 8
#: How long one waits for a place among them; silent ones are gone by then.
_TURN: Final = 10.0
#: How long the gateway may leave a message unread before its channel is given up.
_SEND_TIMEOUT: Final = 10.0

#: Of one channel: itself, one for a file that is looked at, and the flags of its token and its certificate.
_DESCRIPTORS_EACH: Final = 4
#: Of one command: six pipe ends, /dev/null, the worker's three and those of making it, its control group's,
#: three for one that may outlive its reader, and some for parameters that are passed so.
_DESCRIPTORS_COMMAND: Final = 25
#: A worker and its command; and main, both accept loops, the trail's keeper and its sinks, the metrics' file,
#: the launcher, and some to spare.
_TASKS_COMMAND: Final = 2
_TASKS_ELSE: Final = 12
#: Workers that wait, and the process itself.
_DESCRIPTORS_ELSE: Final = 3 * MOST_IDLE + 64


def descriptors_needed(settings: Settings) -> int:
    """Return how many descriptors the monitor has at most; more passed at once is answered with "busy"."""
    connections = settings.max_connections * _DESCRIPTORS_EACH
    return connections + settings.max_commands * _DESCRIPTORS_COMMAND + _DESCRIPTORS_ELSE


def tasks_needed(settings: Settings) -> int:
    """Return how many threads and processes the monitor has at most, with one process of each command."""
    threads = settings.max_connections + _SPARE_CHANNELS + _MOST_OPERATORS + _TASKS_ELSE
    return threads + settings.max_commands * _TASKS_COMMAND + MOST_IDLE


Admits = Callable[[PeerProcess], bool]


class SeamServer(BoundedThreadingServer):
    """Accepts the gateway's channels; each gets a thread."""

    def __init__(
        self, sock: socket.socket, service: Service, admits: Admits, *, log: Log | None = None
    ) -> None:
        most = service.settings.max_connections + _SPARE_CHANNELS
        super().__init__(sock, socketserver.BaseRequestHandler, most=most, stop=service.stop, log=log)
        self._service = service
        self._admits = admits

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's types
        """Serve one channel, in its thread."""
        channel = Channel(request, SEAM, timeout=_SEND_TIMEOUT)
        peer = channel.peer()
        if self._admits(peer):
            MonitorSession(channel, self._service).run()
        else:
            why = f"process {peer.pid} of user {peer.uid} is not the gateway"
            self._log.warning(f"the seam was tried by another: {why}")
            with contextlib.suppress(TrailError):
                self._service.recorder.record(Action.SEAM_VIOLATED, reason=why)


class AdminServer(BoundedThreadingServer):
    """Accepts operators' commands."""

    def __init__(self, sock: socket.socket, service: Service, *, log: Log | None = None) -> None:
        # A stop of its own: the operator may still ask for the status of a service that drains.
        most = _MOST_OPERATORS
        super().__init__(sock, socketserver.BaseRequestHandler, most=most, stop=Stop(), log=log)
        self._service = service

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Let one that is one too many wait for its turn: nobody's question is lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._active < self._most, _TURN)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        """Answer one operator's command; only the daemon's own user and root come this far."""
        channel = Channel(request, ADMIN, timeout=_SEND_TIMEOUT)
        if channel.peer().uid in {0, os.geteuid()}:
            AdminSession(channel, self._service).run()
