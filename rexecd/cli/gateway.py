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

from rexecd import __version__
from rexecd.cli import say
from rexecd.confine import deny_exec, hide_memory, raise_descriptor_limit
from rexecd.errors import ConfigError
from rexecd.gateway.certificate import CertificateWatch
from rexecd.gateway.listeners import Listeners, listener, spelled
from rexecd.gateway.report import Reporter
from rexecd.gateway.server import DESCRIPTORS_EACH, DESCRIPTORS_ELSE, TASKS_ELSE, GatewayServer
from rexecd.log import open_log
from rexecd.serving import ENDING, Signals, prepare_for_many
from rexecd.settingkeys import address
from rexecd.settings import Settings, load_settings
from rexecd.systemd import Manager
from rexecd.tasks import check_tasks

_REPORT_TIME: Final = 2.0
#: What a socket unit calls each of the listeners (FileDescriptorName=).
LISTENER: Final = "callers"


def gateway(arguments: argparse.Namespace) -> int:
    """Serve callers until a signal, or the end of `--lifeline`; return 0 for an orderly stop."""
    manager = Manager(os.environ)
    settings = load_settings(arguments.config)
    log = open_log("rexecd-gateway", settings.log_level)
    needed = settings.max_connections * DESCRIPTORS_EACH + DESCRIPTORS_ELSE
    what = f"max_connections: {settings.max_connections}"
    raise_descriptor_limit(needed, what=what)
    check_tasks(settings.max_connections + TASKS_ELSE, what=what)
    reporter = Reporter(settings.seam_socket)
    watch = CertificateWatch(settings, reporter, log)
    sockets = _sockets(manager, settings, arguments.listen)
    hide_memory()
    deny_exec()
    signals = Signals([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    reporter.start()
    where = ", ".join(map(spelled, sockets))
    server = GatewayServer(Listeners(sockets), settings, watch.identity.context, reporter, log=log)
    tell = manager.at_each_turn(lambda: _status(server, settings))

    def turn() -> None:
        tell()
        watch.look()

    server.on_turn = turn
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    log.info("gateway started", version=__version__, address=where, seam=settings.seam_socket)
    watch.announce()
    prepare_for_many()
    say.out(f"rexecd: ready on {where}")
    manager.ready(_status(server, settings))
    lifelines = [] if arguments.lifeline is None else [arguments.lifeline]
    _wait_for_the_end(server, manager, signals, lifelines, watch)
    manager.stopping("draining", seconds=settings.drain + settings.stop_time + _REPORT_TIME)
    server.drain(signals, *lifelines, seconds=settings.drain)
    ended = server.stop_and_wait(settings.stop_time)
    reporter.stop(_REPORT_TIME)
    if not ended:
        log.error("gateway: sessions did not end in time", sessions=server.active)
    log.info("gateway stopped")
    return 0


def _wait_for_the_end(
    server: GatewayServer, manager: Manager, signals: Signals, lifelines: list[int], watch: CertificateWatch
) -> None:
    """Sleep until a signal ends the service, or the lifeline does; renew the certificate at each SIGHUP."""
    while True:
        numbers, ended = signals.wait(*lifelines)
        if ended or ENDING.intersection(numbers):
            return
        if signal.SIGHUP in numbers:
            manager.reloading()
            renewed = watch.renew()
            if renewed is not None:
                server.renew(renewed.context)
            manager.ready()


def _status(server: GatewayServer, settings: Settings) -> str:
    return f"{server.active} of at most {say.count(settings.max_connections, 'connection')}"


def _sockets(manager: Manager, settings: Settings, listen: list[str] | None) -> list[socket.socket]:
    """Return the inherited listeners if there are any, else those of --listen or the settings."""
    inherited = manager.listeners(LISTENER, _is_tcp)
    return inherited or [_listener(*at) for at in (map(address, listen) if listen else settings.listen)]


def _listener(host: str, port: int) -> socket.socket:
    try:
        return listener(host, port)
    except OSError as error:
        where = f"{f'[{host}]' if ':' in host else host or '*'}:{port}"
        raise ConfigError(
            f"cannot listen on {where}: {_reason(error)}: choose another with 'listen' or --listen"
        ) from None


def _reason(error: OSError) -> str | None:
    # The library adds the address to what the system says.
    return os.strerror(error.errno) if error.errno else error.strerror


def _is_tcp(sock: socket.socket) -> bool:
    return sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6)
