"""`rexecd monitor`: the trusted process, from the lock on its state to its end."""

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rexecd import __version__
from rexecd.audit.events import Action
from rexecd.audit.keeper import Care, Keeper
from rexecd.audit.keys import load_signer
from rexecd.audit.sinks import opened_sinks
from rexecd.audit.trail import Terms, Trail
from rexecd.cli import say
from rexecd.clock import Clock
from rexecd.confine import hide_memory, raise_descriptor_limit, restore_signals
from rexecd.errors import ConfigError, RexecError, TrailError
from rexecd.execution.cgroup import find
from rexecd.execution.identity import check_can_end
from rexecd.execution.probe import probe
from rexecd.execution.workers import Workers
from rexecd.files import check_directory, lock
from rexecd.identity.store import Store
from rexecd.log import Log, open_log
from rexecd.monitor.doors import Doors, Gatekeeper, gateway_account, opened_doors, prepare_directory
from rexecd.monitor.exposition import Form
from rexecd.monitor.leftovers import settle
from rexecd.monitor.measure import metrics
from rexecd.monitor.meter import Meter
from rexecd.monitor.metricsfile import MetricsFile
from rexecd.monitor.publisher import FILE_NAME, NO_CHECKPOINTS, Publisher
from rexecd.monitor.server import AdminServer, SeamServer, descriptors_needed, tasks_needed
from rexecd.monitor.service import Service, load_feasible
from rexecd.policy.model import Policy
from rexecd.serving import ENDING, Signals, prepare_for_many
from rexecd.settings import Settings, load_settings
from rexecd.systemd import Manager
from rexecd.tasks import check_tasks

#: For closing the operator's door, ending workers, and the trail's last step.
_LAST_SECONDS: Final = 15.0
#: How often it is looked for workers that nobody needs any more, and how the trail is.
_LOOK_EVERY: Final = 1.0
#: The same while something is left that could not be ended in time, and how long it is gone on with then.
_SOON: Final = 0.2
_MOMENT: Final = 0.5
#: How often it is written down when tokens were last used.
_NOTE_EVERY: Final = 4.0


@contextlib.contextmanager
def opened_service(
    settings: Settings,
    policy: Policy | None = None,
    workers: Workers | None = None,
    log: Log | None = None,
) -> Iterator[Service]:
    """Open policy (unless one is given), store and trail under the state's lock, and close them again.

    With workers the policy is tried with them. Raise ConfigError, or Unavailable if another process
    holds the lock.
    """
    for directory in (settings.state, settings.audit.parent):
        check_directory(directory)
    log = log or Log("rexecd")
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock(settings.lock))
        policy = policy or load_feasible(settings)
        # The trail is closed before they are: its last records go there, too.
        sinks = stack.enter_context(
            opened_sinks(log, journal=settings.audit_journal, syslog=settings.audit_syslog)
        )
        meter = Meter()
        store = Store(settings.tokens)
        try:
            trail = Trail.open(
                settings.audit,
                settings.trail_key,
                clock=Clock(),
                terms=Terms(settings.audit_sync, settings.audit_max_size),
                watchers=(meter.count, *(sink.put for sink in sinks)),
                policy_digest=policy.digest,
            )
        except BaseException:
            store.close()
            raise
        service = Service(settings, policy, store, trail, workers, log=log, meter=meter, sinks=sinks)
        stack.callback(service.close)
        if workers is not None:
            service.take_missing(probe(policy, workers))
        yield service


@contextlib.contextmanager
def kept_trail(service: Service, workers: Workers) -> Iterator[dict[str, object]]:
    """Look after the service's trail: its steps and checkpoints, and its old files; raise ConfigError.

    Yield what a monitor that was killed has left in it.
    """
    settings, trail, log = service.settings, service.trail, service.log
    with contextlib.ExitStack() as stack:
        signer = load_signer(settings.state)
        if signer is None:
            log.warning(NO_CHECKPOINTS)
        else:
            path = settings.audit.with_name(FILE_NAME)
            command = settings.audit_checkpoint_command
            publisher = Publisher(signer, path, command, starting=workers.spared, log=log)
            stack.callback(publisher.close)
            trail.on_step = publisher.publish
            service.publisher = publisher
        stack.callback(trail.close)  # with the last step, and its checkpoint
        care = Care(settings.audit_step, settings.audit_max_age, settings.audit_compress, settings.audit_keep)
        keeper = Keeper(trail, settings.audit, care, clock=service.clock, log=log)
        left = settle(trail, settings.audit)  # before files are given other names
        keeper.start()
        stack.callback(keeper.stop)
        yield left


@contextlib.contextmanager
def opened_workers(settings: Settings) -> Iterator[Workers]:
    """Start what starts commands, and end it again with all of them; raise ConfigError."""
    groups, why = find(settings.containment)
    check_can_end(containment="subreaper" if groups is None else "control-group")
    try:
        obstacle = "" if settings.containment == "subreaper" else why
        workers = Workers(groups, most_commands=settings.max_commands, obstacle=obstacle)
    except ConfigError:
        if groups is not None:
            groups.close()
        raise
    try:
        yield workers
    finally:
        workers.close()


def monitor(arguments: argparse.Namespace) -> int:
    """Serve the gateway and the operator until a signal, or the end of `--lifeline`."""
    manager = Manager(os.environ)
    settings = load_settings(arguments.config)
    log = open_log("rexecd-monitor", settings.log_level)
    restore_signals()
    for number in (signal.SIGHUP, signal.SIGUSR1):  # until there is somebody who waits for them
        signal.signal(number, lambda *_: None)
    os.umask(0o077)
    is_alone = arguments.lifeline is None
    gateway = gateway_account(settings) if is_alone else None  # `serve` runs both as one user
    prepare_directory(settings, gateway)
    keeper = Gatekeeper(os.geteuid() if gateway is None else gateway.uid, by_pid=not is_alone)
    with opened_workers(settings) as workers:
        what = f"max_connections: {settings.max_connections} with max_commands: {settings.max_commands}"
        raise_descriptor_limit(descriptors_needed(settings), what=what)
        check_tasks(tasks_needed(settings), what=what)
        with (
            opened_service(settings, workers=workers, log=log) as service,
            kept_trail(service, workers) as left,
            opened_doors(settings, manager, gateway) as doors,
        ):
            return _serve(_Parts(service, workers, keeper, manager, left), doors, arguments.lifeline)


class _Parts(NamedTuple):
    """What a monitor is made of."""

    service: Service
    workers: Workers
    keeper: Gatekeeper
    manager: Manager
    #: What one that was killed has left.
    left: dict[str, object]


def _serve(parts: _Parts, doors: Doors, lifeline: int | None) -> int:
    """Answer until the end, and bring it about in order; return 1 if it was not asked for."""
    service, workers, keeper, manager, left = parts
    settings, log = service.settings, service.log
    os.chdir("/")
    hide_memory()
    signals = Signals([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
    if left:
        log.warning("the monitor before was killed", **left)
    service.recorder.record(Action.SERVICE_STARTED, version=__version__, **left)
    service.recorder.record(Action.POLICY_LOADED)
    seam_server = SeamServer(doors.seam, service, keeper.admits, log=log)
    turn = manager.at_each_turn(lambda: _news(service))

    def at_each_turn() -> None:
        turn()
        service.credentials.end_dead()  # here, because the loop turns while the service drains, too

    seam_server.on_turn = at_each_turn
    admin_server = AdminServer(doors.admin, service, log=log)
    for name, server in (("accept", seam_server), ("admin", admin_server)):
        threading.Thread(target=server.serve_forever, name=name, daemon=True).start()
    _introduce(service, workers)
    if settings.metrics_file is not None:
        service.metrics_file = _metrics_file(service, settings.metrics_file)
    prepare_for_many()
    say.out(f"rexecd: monitor ready on {settings.seam_socket}")
    manager.ready(_news(service))
    lifelines = [] if lifeline is None else [lifeline]
    status = _wait_for_the_end(parts, signals, lifelines)
    manager.stopping("draining", seconds=settings.drain + settings.stop_time + _LAST_SECONDS)
    seam_server.drain(signals, workers.fileno(), *lifelines, seconds=settings.drain)
    if not seam_server.stop_and_wait(settings.stop_time):
        log.error("monitor: sessions did not end in time", sessions=seam_server.active)
    admin_server.stop_and_wait(1.0)
    with contextlib.suppress(TrailError):
        service.recorder.record(Action.SERVICE_STOPPED)
    if service.metrics_file is not None:
        service.metrics_file.stop()
    log.info("monitor stopped")
    return status


def _metrics_file(service: Service, path: Path) -> MetricsFile:
    """Begin to write the metrics for the node exporter."""
    written = MetricsFile(path, lambda is_up: metrics(service, Form.PROMETHEUS, is_up=is_up), service.log)
    written.start()
    return written


def _introduce(service: Service, workers: Workers) -> None:
    """Log how the service is, in one event; one that lacks something deserves a look."""
    message = (
        f"monitor started: commands run as {service.run_as} where their rule does not say; {_ends(workers)}"
    )
    missing = [f"control groups ({workers.obstacle})"] if workers.obstacle else []
    missing += service.missing
    (service.log.warning if missing else service.log.info)(
        message,
        version=__version__,
        address=service.settings.seam_socket,
        policy_digest=service.policy.digest,
        containment=workers.containment,
        controllers=sorted(workers.controllers),
        run_as=service.run_as,
        missing="; ".join(missing),
    )


def _ends(workers: Workers) -> str:
    """Return what ends commands, for people."""
    if workers.containment == "subreaper":
        return "they are ended as children (subreaper)"
    if not workers.controllers:
        return "they are ended by control groups, which bind neither memory nor processes here"
    return f"they are ended by control groups, which bind {' and '.join(sorted(workers.controllers))}"


def _news(service: Service) -> str:
    """Return how the service is, in the few words of `systemctl status`."""
    facts = [
        f"policy {service.policy.digest[:12]}",
        say.count(service.sessions.now, "session"),
        f"{say.count(service.admission.running, 'command')} running",
        service.workers.containment,
    ]
    if service.policy_error is not None:
        facts.append("the last reload was refused")
    if not service.trail.healthy:
        facts.append("THE TRAIL CANNOT BE WRITTEN: nothing runs")
    return ", ".join(facts)


def _wait_for_the_end(parts: _Parts, signals: Signals, lifelines: list[int]) -> int:
    """Sleep until a signal ends the service or the lifeline does (0), or nothing can be started (1).

    Reload at each SIGHUP, and end workers that nobody needs.
    """
    service, workers, keeper, manager, _ = parts
    fault: str | None = None
    is_tidy = True
    noted = service.clock.monotonic()
    while True:
        numbers, ready = signals.wait(workers.fileno(), *lifelines, seconds=_LOOK_EVERY if is_tidy else _SOON)
        fault = _watch_trail(service, fault)
        if service.clock.monotonic() >= noted + _NOTE_EVERY:
            noted = service.clock.monotonic()
            _note_uses(service)
        if signal.SIGHUP in numbers:
            manager.reloading()
            _reload(service)
            manager.ready(_news(service))
        if signal.SIGUSR1 in numbers:
            with contextlib.suppress(TrailError):  # status and log say what is wrong
                service.trail.set_aside("the one before was set aside for a signal")
        if ENDING.intersection(numbers):
            return 0
        if workers.fileno() in ready:
            service.log.error("monitor: the launcher of commands has ended; the service stops")
            return 1
        for lifeline in set(lifelines).intersection(ready):
            line = os.read(lifeline, 64)
            if not line:
                return 0
            keeper.introduce(int(line))
        workers.retire()
        is_tidy = workers.sweep(seconds=_MOMENT)


def _note_uses(service: Service) -> None:
    """Write down when tokens were last used; what cannot be written now is written later."""
    try:
        service.credentials.write_uses()
    except RexecError as error:
        service.log.warning(f"when tokens were last used is not written down: {error}")


def _reload(service: Service) -> None:
    """Reload the policy for a signal; what is wrong goes to the log and the trail."""
    try:
        service.reload()
    except ConfigError:
        return  # it has been logged, fault by fault
    except TrailError as error:
        service.log.error(f"{error} (the old policy stays in force)")


def _watch_trail(service: Service, told: str | None) -> str | None:
    """Log once what is wrong with the trail, and once that nothing is any more; return what is now."""
    fault = service.trail.last_error
    if fault and fault != told:
        service.log.error(fault, lost=service.trail.lost)
    elif told and not fault:
        service.log.info("the trail is well again", lost=service.trail.lost)
    return fault
