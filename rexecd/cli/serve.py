"""`rexecd serve`: both processes for a terminal, a container, the demo and the tests.

It starts the monitor, then the gateway, tells the monitor which process the gateway is, and
ends both when either dies or a signal comes: the first signal lets them drain, the gateway before
the monitor, and a second one ends both at once. Should it be killed itself, the pipes it holds end,
and with them both processes.
"""

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from typing import Final

from rexecd.cli import say
from rexecd.confine import adopt_orphans, children, hide_memory
from rexecd.errors import ConfigError
from rexecd.log import Log, open_log
from rexecd.serving import ENDING, Signals
from rexecd.settings import load_settings
from rexecd.systemd import Manager

#: A process has this long to become ready, and longer than its own stop time to end.
_READY_TIME: Final = 30.0
_STOP_MARGIN: Final = 5.0
_SWEEP_TIME: Final = 5.0
_LOOK_AGAIN: Final = 0.01


class Child:
    """One of the two processes, and the pipe whose end it dies with."""

    def __init__(self, verb: str, *options: str, log: Log) -> None:
        self.verb = verb
        self._log = log
        read, self._lifeline = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-m", "rexecd", verb, *options, "--lifeline", str(read)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=[read],
                start_new_session=True,  # Ctrl-C is for `serve`, which ends both in order
            )
        finally:
            os.close(read)
        self._descriptor = os.pidfd_open(self.process.pid)

    def fileno(self) -> int:
        """Return the pidfd: readable once the process has ended."""
        return self._descriptor

    def tell(self, line: str) -> None:
        """Write a line to the process's lifeline."""
        os.write(self._lifeline, line.encode())

    def ready_line(self) -> str:
        """Return the line the process prints when it is ready, or an empty one if it ended."""
        output = self.process.stdout
        if output is None:
            return ""
        poller = select.poll()
        poller.register(output, select.POLLIN)
        return output.readline().decode() if poller.poll(_READY_TIME * 1000) else ""

    def hurry(self) -> None:
        """Let it stop at once: that is what it makes of the end of its lifeline."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def end(self, seconds: float) -> None:
        """Stop it at once, and kill it if it has not ended within `seconds`."""
        self.process.terminate()  # it may not listen to its lifeline yet
        self.hurry()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._log.error(f"{self.verb} did not stop in {seconds:g}s and is killed")
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Release the descriptors."""
        self.hurry()
        os.close(self._descriptor)
        if self.process.stdout:
            self.process.stdout.close()

    def how_it_ended(self) -> str:
        """Return how the process ended, for people."""
        code = self.process.wait()
        if code < 0:
            return f"{self.verb} was ended by signal {-code} ({signal.Signals(-code).name})"
        return f"{self.verb} ended with status {code}"


def serve(arguments: argparse.Namespace) -> int:
    """Run both processes; return 0 for an orderly stop and 1 if either died."""
    manager = Manager(os.environ)
    settings = load_settings(arguments.config)
    log = open_log("rexecd-serve", settings.log_level)
    hide_memory()
    adopt_orphans()
    config = ["--config", str(settings.source)]
    listen = [word for each in arguments.listen or () for word in ("--listen", each)]
    patience = settings.stop_time + _STOP_MARGIN
    signals = Signals([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD])
    with contextlib.ExitStack() as stack:
        stack.callback(_sweep, children())
        monitor = _start(stack, patience, "monitor", *config, log=log)
        if not monitor.ready_line():
            return _failed(monitor, log)
        gateway = _start(stack, patience, "gateway", *config, *listen, log=log)
        try:
            monitor.tell(f"{gateway.process.pid}\n")
        except BrokenPipeError:
            return _failed(monitor, log)
        ready = gateway.ready_line()
        if not ready:
            return _failed(gateway, log)
        say.out(ready.rstrip("\n"))
        manager.ready()
        status = _attend(signals, gateway, monitor, manager, log)
        manager.stopping("draining", seconds=2 * (settings.drain + patience))
        if not status:
            _drain(signals, gateway, monitor, seconds=settings.drain + patience)
        gateway.hurry()
        monitor.hurry()
        return status


def _attend(signals: Signals, gateway: Child, monitor: Child, manager: Manager, log: Log) -> int:
    """Sleep until a signal ends the service (0) or a process dies (1); pass SIGHUP on to both."""
    while True:
        numbers, ended = signals.wait(gateway.fileno(), monitor.fileno(), seconds=manager.interval or None)
        manager.alive()
        for child in (gateway, monitor):
            if child.fileno() in ended:
                log.error(f"{child.how_it_ended()}; the service stops")
        if ended:
            return 1
        if ENDING.intersection(numbers):
            return 0
        if signal.SIGHUP in numbers:
            for child in (monitor, gateway):
                child.process.send_signal(signal.SIGHUP)
        for pid in children() - {gateway.process.pid, monitor.process.pid}:
            _collect(pid)  # what a command left outside its group is ours when its parent has died


def _drain(signals: Signals, *each: Child, seconds: float) -> None:
    """Let one process after the other end in its own time, each in `seconds`, or until another signal."""
    for child in each:
        child.process.terminate()
        deadline = time.monotonic() + seconds
        ended: list[int] = []
        while not ended and (left := deadline - time.monotonic()) > 0:
            numbers, ended = signals.wait(child.fileno(), seconds=left)
            if ENDING.intersection(numbers):
                return


def _sweep(others: set[int]) -> None:
    """End what commands left behind, when both processes are gone: also after a monitor's sudden death.

    `others` were our children before (a container's entry point that became `serve`). What changed its
    user may be beyond our reach, so this is given up after a while.
    """
    deadline = time.monotonic() + _SWEEP_TIME
    while (orphans := children() - others) and time.monotonic() < deadline:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            _collect(pid)
        time.sleep(_LOOK_AGAIN)


def _collect(pid: int) -> None:
    """Collect an adopted child if it has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _start(stack: contextlib.ExitStack, patience: float, verb: str, *options: str, log: Log) -> Child:
    """Start one process; leaving the stack ends it, the last started first."""
    child = Child(verb, *options, log=log)
    stack.callback(child.close)
    stack.callback(child.end, patience)
    return child


def _failed(child: Child, log: Log) -> int:
    """Say that a process did not become ready; it has said why itself."""
    deadline = time.monotonic() + 1.0
    while child.process.poll() is None and time.monotonic() < deadline:
        select.select([child], [], [], 0.1)
    if child.process.poll() is None:
        raise ConfigError(f"{child.verb} was not ready in {_READY_TIME:g}s")
    log.error(f"{child.how_it_ended()} before it was ready")
    return 1
