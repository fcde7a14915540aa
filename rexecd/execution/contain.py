"""Watch one command and end all of it: TERM to its group, a grace, KILL to everything it started.

The worker carries the signals and says when all is over; the time is kept here. A worker that does not
answer any more (its command may have stopped or killed it) is ended from outside.
"""

import os
import signal
import time
from typing import Final, NamedTuple

from rexecd.execution.jobs import Order, Usage
from rexecd.execution.link import Worker
from rexecd.execution.workers import Workers
from rexecd.wire.messages import Ending

#: What the kernel sends for a ceiling of the rule, and the ceiling's name.
_OF_CEILINGS: Final = {signal.SIGXCPU: "cpu", signal.SIGXFSZ: "file_size"}
#: Seconds between two looks at a worker: another process of its user can stop it.
_LOOK_EVERY: Final = 1.0


class Outcome(NamedTuple):
    """How a command ended; `status` as in wire.Exit, `duration` in seconds."""

    ending: Ending
    status: int
    duration: float
    #: The ceiling of its rule that it ran into: `memory`, `processes`, `cpu`, `file_size`; "" for none known.
    limit: str = ""
    #: Whether nothing it started is left.
    is_clean: bool = True
    #: Whether its worker was killed under it, and the command with it.
    is_lost: bool = False
    #: What it used, in its worker's word; None if there is no worker to say it.
    usage: Usage | None = None


class Execution:
    """A running command, and the worker that watches it from near by."""

    def __init__(
        self, workers: Workers, worker: Worker, pid: int, *, started: float, deadline: float
    ) -> None:
        self.pid = pid
        self._workers = workers
        self._worker = worker
        self._started = started
        self._deadline = deadline
        self._look_at = started + _LOOK_EVERY
        self._kill_at: float | None = None
        self._timed_out = False
        self._is_killed = False
        self._is_over = False

    @property
    def ending(self) -> bool:
        """Return whether this side has begun to end it."""
        return self._kill_at is not None

    @property
    def timed_out(self) -> bool:
        """Return whether the reason is its deadline."""
        return self._timed_out

    def fileno(self) -> int:
        """Return what is readable once the command and all it started have ended, or its worker has."""
        return self._worker.fileno()

    def wait_time(self) -> float:
        """Return the seconds until `tick` has something to do."""
        due = self._deadline if self._kill_at is None else self._kill_at
        return max(0.0, min(due, self._look_at) - time.monotonic())

    def tick(self, *, grace: float) -> None:
        """Do what is due: TERM at the deadline, KILL when the grace is over, then KILL from outside.

        Now and then it is looked whether somebody has stopped the worker.
        """
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            if self._worker.is_stopped:
                self._worker.kill()  # it would hear of nothing any more, its command's end included
        if self._kill_at is not None:
            if now >= self._kill_at:
                self._kill()
                # A process that the kernel cannot end yet is asked again after another grace.
                self._kill_at = now + grace
        elif now >= self._deadline:
            self._timed_out = True
            self.end(grace=grace)

    def end(self, *, grace: float) -> None:
        """Send TERM to the group, and KILL to everything when `grace` seconds have passed; once is enough."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)  # a stopped process would sleep through TERM

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group, as far as it is there."""
        if not self._is_over:  # the worker may be with another command by then
            self._worker.order(Order.SIGNAL, number)

    def abandon(self) -> None:
        """End everything at once and give the worker up; on the way out of a fault."""
        self._workers.end(self._worker)

    def reap(self) -> Outcome:
        """Return how the command ended, and let the worker go on to the next one.

        Only call this when the descriptor is readable. Of a worker that was killed the command was
        killed too; how it would have ended nobody knows.
        """
        self._is_over = True
        report = self._worker.outcome()
        duration = time.monotonic() - self._started
        limit = self._limit_of_group()
        if report is None:
            is_clean = self._workers.end(self._worker)
            code = -signal.SIGKILL
        else:
            code, is_clean = os.waitstatus_to_exitcode(report.number), bool(report.detail)
            if is_clean:
                self._workers.give(self._worker)
            else:
                is_clean = self._workers.end(self._worker)
        outcome = self._outcome(code, duration, limit)
        is_lost = report is None and not self.ending
        usage = None if report is None else report.usage
        return outcome._replace(is_clean=is_clean, is_lost=is_lost, usage=usage)

    def _outcome(self, code: int, duration: float, limit: str) -> Outcome:
        if self._timed_out:
            return Outcome(Ending.TIMED_OUT, code if code >= 0 else 128 - code, duration, limit)
        if code < 0:
            return Outcome(Ending.SIGNALLED, -code, duration, limit or self._ceiling_behind(-code))
        return Outcome(Ending.EXITED, code, duration, limit)

    def _limit_of_group(self) -> str:
        """Return which ceiling of its control group it ran into; it costs two files to ask."""
        group, resources = self._worker.group, self._worker.profile.resources
        if group is None or (resources.memory is None and resources.processes is None):
            return ""
        return group.verdict()

    def _ceiling_behind(self, number: int) -> str:
        name = _OF_CEILINGS.get(signal.Signals(number), "") if number in signal.valid_signals() else ""
        return name if name and getattr(self._worker.profile.resources, name) is not None else ""

    def _kill(self) -> None:
        if self._is_killed or self._worker.is_stopped:
            self._worker.kill()
        self._is_killed = True
        self._worker.order(Order.END)
