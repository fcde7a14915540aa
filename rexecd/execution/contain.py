"""Watch one command and end all of its process group: TERM, a grace, KILL.

The process is not reaped before its group is gone: while the leader is a zombie its number
cannot be given to anyone else, so no signal ever reaches a stranger (ATTACKS EXE-09).
What left the group (setsid(2), setpgid(2), a shell's job control) is not caught here.
"""

import contextlib
import os
import signal
import subprocess
import time
from typing import NamedTuple

from rexecd.wire.messages import Ending


class Outcome(NamedTuple):
    """How a command ended; `status` as in wire.Exit, `duration` in seconds."""

    ending: Ending
    status: int
    duration: float


class Execution:
    """A running command and the group it leads."""

    def __init__(self, process: subprocess.Popen[bytes], *, started: float, deadline: float) -> None:
        self._process = process
        self._started = started
        self._deadline = deadline
        self._kill_at: float | None = None
        self._timed_out = False
        self._descriptor = os.pidfd_open(process.pid)

    @property
    def pid(self) -> int:
        """Return the leader's process id, which is also its group's and session's."""
        return self._process.pid

    @property
    def ending(self) -> bool:
        """Return whether this side has begun to end it."""
        return self._kill_at is not None

    @property
    def timed_out(self) -> bool:
        """Return whether the reason is its deadline."""
        return self._timed_out

    def fileno(self) -> int:
        """Return the pidfd: readable once the leader has ended."""
        return self._descriptor

    def wait_time(self) -> float:
        """Return the seconds until `tick` has something to do."""
        due = self._deadline if self._kill_at is None else self._kill_at
        return max(0.0, due - time.monotonic())

    def tick(self, *, grace: float) -> None:
        """Do what is due: TERM at the deadline, KILL when the grace is over."""
        now = time.monotonic()
        if self._kill_at is not None:
            if now >= self._kill_at:
                self.signal(signal.SIGKILL)
                # A process that the kernel cannot end yet is asked again after another grace.
                self._kill_at = now + grace
        elif now >= self._deadline:
            self._timed_out = True
            self.end(grace=grace)

    def end(self, *, grace: float) -> None:
        """Send TERM to the group, and KILL when `grace` seconds have passed; once is enough."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)  # a stopped process would sleep through TERM

    def signal(self, number: int) -> None:
        """Send a signal to the whole group, as far as it is there and ours.

        A program that changed its user (sudo) is beyond the reach of a daemon that is not root.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def abandon(self) -> None:
        """Kill the group and give the descriptor back; on the way out of a fault, without waiting."""
        self.signal(signal.SIGKILL)
        os.close(self._descriptor)

    def reap(self) -> Outcome:
        """Kill what is left of the group, collect the leader and return how it ended.

        Only call this when the descriptor is readable: the leader is gone, its zombie holds the
        group's number until the last line.
        """
        duration = time.monotonic() - self._started
        self.abandon()
        code = self._process.wait()
        if self._timed_out:
            return Outcome(Ending.TIMED_OUT, code if code >= 0 else 128 - code, duration)
        if code < 0:
            return Outcome(Ending.SIGNALLED, -code, duration)
        return Outcome(Ending.EXITED, code, duration)
