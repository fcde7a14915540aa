"""One worker, from the monitor's side: what it is told, what it says, and how it is ended from outside.

Rule 1: a command is never started twice. A worker takes the permission before it starts anything, and a job
is given to another one only if the permission could be taken back.
Rule 2: no worker is waited for without a limit: another process of its user can stop or kill it.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Final

from rexecd.execution.cgroup import Group
from rexecd.execution.jobs import (
    MAX_PACKET,
    MAX_REPORT,
    Job,
    Kind,
    Order,
    Profile,
    Report,
    decode_report,
    may_begin,
    receive,
)

#: How long a worker may take to be prepared, to start a program, and to say how it ended.
_READY_TIME: Final = 10.0
_OUTCOME_TIME: Final = 5.0
#: How long one may be silent until it is looked whether somebody has stopped it.
_SILENCE: Final = 0.1


class Unfit(Exception):
    """This host cannot give what a profile asks for."""


class Spoiled(Exception):
    """The worker is of no use any more; the command was not started."""


class Worker:
    """One worker, from the monitor's side; `Workers` makes them."""

    def __init__(
        self,
        profile: Profile,
        sock: socket.socket,
        claim: int,
        group: Group | None,
        files: tuple[object, ...] = (),
    ) -> None:
        self.profile = profile
        #: Which files its sandbox is about.
        self.files = files
        self.group = group
        self._socket = sock
        # Rather than a poll before each report.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(_SILENCE * 1e6)))
        #: Holds the permission to start a command (jobs.may_begin).
        self._claim = claim
        self._pidfd = -1
        self._is_prepared = False
        self.pid = 0
        #: What of a best-effort sandbox this host did not give.
        self.missing: tuple[str, ...] = ()
        self.idle_since = 0.0

    def fileno(self) -> int:
        """Return the descriptor that is readable when it has something to say."""
        return self._socket.fileno()

    def wait_until_ready(self) -> None:
        """Wait until it is prepared; raise Unfit, or OSError where there is nothing to be had."""
        while not (self._is_prepared and self.pid):
            report, descriptors = self._hear(_READY_TIME)
            if report.kind is Kind.BORN and descriptors:
                self.pid, self._pidfd = report.number, descriptors[0]
            elif report.kind is Kind.READY:
                self._is_prepared = True
                self.missing = tuple(report.text.splitlines())
            elif report.kind is Kind.UNFIT:
                raise Unfit(report.text)
            else:
                raise OSError(report.number, os.strerror(report.number))

    def start(self, job: Job, descriptors: list[int]) -> int:
        """Start a command and return its process id; 0 if it was quicker to stop or kill its worker.

        Raise OSError for one that cannot be started, Spoiled if that was not tried, nor ever will be.
        """
        packet = job.encode()
        if len(packet) > MAX_PACKET:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG), job.argv[0])
        os.eventfd_write(self._claim, 1)
        with contextlib.suppress(ConnectionError):  # then it has nothing to say either
            socket.send_fds(self._socket, [packet], descriptors)
        try:
            report, _ = self._hear(_READY_TIME)
        except Spoiled:
            if may_begin(self._claim):
                raise
            return 0  # a second start would be one too many
        if report.kind is Kind.SPOILED:
            raise Spoiled
        if report.kind is Kind.FAILED:
            raise OSError(report.number, os.strerror(report.number), report.text or job.argv[0])
        return report.number

    def order(self, order: Order, number: int = 0) -> None:
        """Give an order about the running command; one that is gone needs none."""
        with contextlib.suppress(OSError):
            self._socket.send(bytes([order, number]), socket.MSG_DONTWAIT)

    def outcome(self) -> Report | None:
        """Return how the command ended; None if the worker was killed meanwhile."""
        with contextlib.suppress(Spoiled):
            report, _ = self._hear(_OUTCOME_TIME)
            return report if report.kind is Kind.ENDED else None
        return None

    @property
    def is_stopped(self) -> bool:
        """Return whether a signal has stopped it, so that it obeys nobody."""
        return is_in_state(self.pid, b"T")

    def kill(self) -> None:
        """End the process at once, whatever it is doing; where we may not, at least hear no more of it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # one that was never ready has no pidfd
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self.group is not None:
            with contextlib.suppress(OSError):
                self.group.kill()

    def end(self, seconds: float) -> bool:
        """Kill it and give its descriptors back; return whether it has ended within `seconds`."""
        self.kill()
        self._socket.close()
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1
        if self._pidfd < 0:
            return True
        has_ended = is_readable(self._pidfd, seconds)
        os.close(self._pidfd)
        self._pidfd = -1
        return has_ended

    def _hear(self, seconds: float) -> tuple[Report, list[int]]:
        """Return what it says and the descriptors with it; raise Spoiled if that is nothing."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                packet, descriptors = receive(self._socket, MAX_REPORT)
                break
            except BlockingIOError:  # _SILENCE has passed
                if time.monotonic() >= deadline or is_in_state(self.pid, b"T"):
                    raise Spoiled from None
            except OSError as error:
                raise Spoiled(str(error)) from None
        if not packet:
            raise Spoiled
        try:
            return decode_report(packet), descriptors
        except ValueError:
            raise Spoiled("it does not make sense") from None


def is_readable(descriptor: int, seconds: float) -> bool:
    """Return whether there is something to read within `seconds`."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def is_in_state(pid: int, states: bytes) -> bool:
    """Return whether a process is in one of these states (proc_pid_stat(5)): `T` is stopped, `X` gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in states
    except OSError:
        return b"X" in states
