"""`rexecd gateway`: the exposed process, from its settings to its end.

It imports no policy, identity, execution or audit code, and before its first thread it denies
itself execve.
"""

import argparse
import os
import signal
import socket
import threading
from typing import Final

from rexecd.cli import say
from rexecd.confine import deny_exec, hide_memory, raise_descriptor_limit
from rexecd.errors import ConfigError
from rexecd.gateway.report import Reporter
from rexecd.gateway.server import DESCRIPTORS_EACH, DESCRIPTORS_ELSE, GatewayServer, listener
from rexecd.serving import Signals
from rexecd.settings import Settings, address, load_settings
from rexecd.systemd import inherited_sockets
from rexecd.tls import server_context

_REPORT_TIME: Final = 2.0


def gateway(arguments: argparse.Namespace) -> int:
    """Serve callers until a signal, or the end of `--lifeline`; return 0 for an orderly stop."""
    settings = load_settings(arguments.config)
    needed = settings.max_connections * DESCRIPTORS_EACH + DESCRIPTORS_ELSE
    raise_descriptor_limit(needed, what=f"max_connections: {settings.max_connections}")
    context = server_context(settings.certificate, settings.key)
    sock = _socket(settings, arguments.listen)
    hide_memory()
    deny_exec()
    signals = Signals([signal.SIGTERM, signal.SIGINT])
    reporter = Reporter(settings.seam_socket)
    reporter.start()
    server = GatewayServer(sock, settings, context, reporter)
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    host, port = sock.getsockname()[:2]
    say.out(f"rexecd: ready on {f'[{host}]' if ':' in host else host}:{port}")
    lifeline = [] if arguments.lifeline is None else [arguments.lifeline]
    signals.wait(*lifeline)
    ended = server.stop_and_wait(settings.stop_time)
    reporter.stop(_REPORT_TIME)
    if not ended:
        say.error("rexecd", f"gateway: {say.count(server.active, 'session')} did not end in time")
    return 0


def _socket(settings: Settings, listen: str | None) -> socket.socket:
    """Return the inherited listener if there is one, else the one of the settings or --listen."""
    inherited = inherited_sockets(os.environ)
    if inherited:
        return inherited[0]
    host, port = address(listen) if listen else settings.listen
    try:
        return listener(host, port)
    except OSError as error:
        where = f"{host or '*'}:{port}"
        raise ConfigError(
            f"cannot listen on {where}: {error.strerror}: choose another with 'listen' or --listen"
        ) from None
