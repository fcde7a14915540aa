"""The monitor's workers: taken, given back, and ended with everything below them.

Rule 1: a worker belongs to one command at a time. Nobody else talks to it.
Rule 2: what a worker could not end, or a worker that was killed left behind, is ended here: by its
control group if it has one, else as children that came to the monitor and are nobody's.
Rule 3: ending is never left to chance: what is not given back is ended.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rexecd.confine import adopt_orphans, children, leave_orphans
from rexecd.errors import Code, ConfigError, Refused
from rexecd.execution.cgroup import ControlGroups, Group
from rexecd.execution.jobs import Job, Preparation, Profile
from rexecd.execution.link import Spoiled, Unfit, Worker, is_in_state, is_readable
from rexecd.execution.sandbox import identify

#: A worker that nobody needed for so long is ended.
_IDLE_TIME: Final = 60.0
#: Each takes two or three MiB: more are kept only for the moment in which as many callers may come again.
MOST_IDLE: Final = 64
_SURPLUS_TIME: Final = 10.0
#: How long one may take to end.
_END_TIME: Final = 5.0
_LOOK_AGAIN: Final = 0.005
#: How often another worker is asked when one was spoiled.
_ATTEMPTS: Final = 3
_BUSY: Final = "the server is out of processes or memory; try later"
#: Without a control group `memory` is the address space, and the worker has to live in it too.
_LEAST_MEMORY: Final = 64 * 1024 * 1024


class Use(NamedTuple):
    """How many workers there are: with a command, and waiting for one."""

    busy: int
    idle: int


class Workers:
    """All workers of one monitor, and the launcher they come from. Any thread may take and give."""

    def __init__(
        self,
        groups: ControlGroups | None,
        *,
        most_commands: int = MOST_IDLE,
        controllers: frozenset[str] = frozenset(),
        obstacle: str = "",
    ) -> None:
        """Start the launcher; raise ConfigError if it cannot be.

        There are at most `most_commands` and MOST_IDLE workers, whoever asks for no more than that at a time.
        `controllers` are taken on trust where there are no groups, for `check`.
        """
        self._groups = groups
        self._most = most_commands + MOST_IDLE
        #: What ends a command to the last process, and which of its ceilings bind the whole tree.
        self.containment = "subreaper" if groups is None else "control-group"
        #: Why there are no groups that might have been, for people.
        self.obstacle = obstacle
        self.controllers = controllers if groups is None else groups.controllers
        self._lock = threading.Lock()
        self._sweeping = threading.Lock()
        self._idle: dict[Profile, list[Worker]] = {}
        self._busy: set[Worker] = set()
        self._others = children()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as on_failure, theirs:
            on_failure.callback(ours.close)
            self._launcher = _launch(theirs.fileno())
            on_failure.pop_all()
        adopt_orphans()
        self._orders = ours
        self._end_of_launcher = os.pidfd_open(self._launcher.pid)

    def fileno(self) -> int:
        """Return a descriptor that is readable once the launcher has ended: nothing can be started then."""
        return self._end_of_launcher

    @property
    def use(self) -> Use:
        """Return how many workers there are."""
        with self._lock:
            return Use(len(self._busy), sum(map(len, self._idle.values())))

    def start(self, profile: Profile, job: Job, descriptors: list[int]) -> tuple[Worker, int]:
        """Start a command in a worker of this profile; return both and the command's process id.

        Raise OSError for a program that cannot be started, Refused for a machine that has nothing
        left, or cannot give the profile.
        """
        for attempt in range(_ATTEMPTS):
            worker = self._take(profile, is_new=attempt > 0)  # who spoils one that waits spoils them all
            try:
                return worker, worker.start(job, descriptors)
            except Spoiled:
                self.end(worker)
            except OSError:
                self.give(worker)
                raise
        raise Refused(Code.BUSY, _BUSY, reason="no worker lives long enough to start the program")

    def give(self, worker: Worker) -> None:
        """Take back a worker that has no command, and has told so."""
        if worker.group is not None and not worker.group.is_as_made():
            self.end(worker)  # its command has lifted what would bind the next one
            return
        if worker.profile.serves_once:
            self.end(worker)
            with contextlib.suppress(OSError):
                self._keep(self._prepare(worker.profile))  # the next one need not wait
            return
        self._keep(worker)

    def end(self, worker: Worker) -> bool:
        """End a worker and all that is below it; return whether nothing is left."""
        with self._lock:
            self._busy.discard(worker)
        has_ended = worker.end(_END_TIME)
        is_empty = worker.group is None or worker.group.remove(time.monotonic() + _END_TIME)
        return self.sweep() and is_empty and has_ended

    @contextlib.contextmanager
    def spared(self, start: Callable[[], subprocess.Popen[bytes]]) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process that is none of ours, and leave it alone meanwhile: ending it is the caller's."""
        with self._sweeping:  # or it would be a stranger for a moment
            process = start()
            self._others.add(process.pid)
        try:
            yield process
        finally:
            with self._sweeping:
                self._others.discard(process.pid)

    def sweep(self, *, seconds: float = _END_TIME) -> bool:
        """Kill and collect children of ours that are not the launcher; return whether none is left.

        A worker keeps what its command leaves; only what a killed worker had comes to us. What forks faster
        than it is killed is not ended in one go: thousands may be left, whose numbers the machine lacks.
        """
        deadline = time.monotonic() + seconds
        try:
            while self._sweep_once():
                if time.monotonic() > deadline:
                    return False
                time.sleep(_LOOK_AGAIN)
        except OSError:  # no descriptor to look with: another time
            return False
        return True

    def _sweep_once(self) -> bool:
        """Kill the strangers among our children, and collect who has ended; return whether to look again.

        One that has ended and cannot be collected (somebody traces it) is left for another time. Who
        ends leaves its own children to us, so that only a round that finds nothing new is the last.
        """
        with self._sweeping:  # or another thread's collecting would set a number free before it is killed
            strangers = self._list_strangers()
            living = {pid for pid in strangers if not is_in_state(pid, b"ZX")}
            for pid in living:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            kept = {pid for pid in strangers if not _is_collected(pid)}
            return bool(living) or self._list_strangers() != kept

    def _list_strangers(self) -> set[int]:
        return children() - self._others - {self._launcher.pid}

    def retire(self) -> None:
        """End workers that have been idle for long, and the eldest of too many."""
        for worker in self._pick_tired():
            self.end(worker)

    def probe(self, profile: Profile) -> tuple[str, ...]:
        """Make a worker of this profile, and keep it; return what of its sandbox is missing.

        Raise ConfigError if this host cannot give the profile.
        """
        try:
            worker = self._take(profile)
        except Refused as refused:
            raise ConfigError(refused.reason or refused.text) from None
        self._keep(worker)
        return worker.missing

    def close(self) -> None:
        """End all workers and the launcher."""
        with self._lock:
            idle = [worker for workers in self._idle.values() for worker in workers]
            self._idle.clear()
        for worker in idle:
            self.end(worker)
        self._orders.close()
        if not is_readable(self._end_of_launcher, _END_TIME):
            self._launcher.kill()  # somebody has stopped it
        self._launcher.wait()
        os.close(self._end_of_launcher)
        self.sweep()
        leave_orphans()
        if self._groups is not None:
            self._groups.close()

    def _take(self, profile: Profile, *, is_new: bool = False) -> Worker:
        """Return a worker that is ready; raise Refused."""
        with self._lock:
            idle = None if is_new else self._idle.get(profile)
            worker = idle.pop() if idle else None
            if worker is not None:
                self._busy.add(worker)
        try:
            if worker is not None and worker.files != identify(profile.sandbox):
                self.end(worker)  # its sandbox is about files that have been replaced
                worker = None
            if worker is None:
                worker = self._prepare(profile)
                with self._lock:
                    self._busy.add(worker)
                    are_too_many = self._number() > self._most
                if are_too_many:
                    self.retire()
            worker.wait_until_ready()
        except (OSError, Unfit, Spoiled) as error:
            if worker is not None:
                self.end(worker)
            self._continue_launcher()
            if isinstance(error, Unfit):
                text = "the program could not be started"
                raise Refused(Code.NOT_STARTED, text, reason=str(error)) from None
            why = f"cannot start a process: {error}" if str(error) else "a worker was not ready in time"
            raise Refused(Code.BUSY, _BUSY, reason=why) from None
        return worker

    def _keep(self, worker: Worker) -> None:
        worker.idle_since = time.monotonic()
        with self._lock:
            self._busy.discard(worker)
            self._idle.setdefault(worker.profile, []).append(worker)

    def _number(self) -> int:
        return len(self._busy) + sum(map(len, self._idle.values()))

    def _pick_tired(self) -> list[Worker]:
        """Take out of the idle those that are so for long, and the eldest of too many."""
        now = time.monotonic()
        with self._lock:
            waiting = sorted(
                (each for idle in self._idle.values() for each in idle), key=lambda each: each.idle_since
            )
            over, surplus = self._number() - self._most, len(waiting) - MOST_IDLE
            tired = [
                worker
                for index, worker in enumerate(waiting)
                if index < over
                or worker.idle_since + (_SURPLUS_TIME if index < surplus else _IDLE_TIME) <= now
            ]
            for worker in tired:
                self._idle[worker.profile].remove(worker)
            self._idle = {profile: idle for profile, idle in self._idle.items() if idle}
        return tired

    def _prepare(self, profile: Profile) -> Worker:
        """Ask the launcher for a worker, without waiting for it; raise OSError or Unfit."""
        files = identify(profile.sandbox)
        group, kept = self._group_for(profile)
        preparation = Preparation(kept, "" if group is None else str(group.join_path))
        with contextlib.ExitStack() as on_failure:
            if group is not None:
                on_failure.callback(lambda: group.remove(time.monotonic() + _END_TIME))
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            on_failure.callback(ours.close)
            with theirs:
                claim = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                on_failure.callback(os.close, claim)
                passed = [theirs.fileno(), claim]
                socket.send_fds(self._orders, [preparation.encode()], passed, socket.MSG_DONTWAIT)
            on_failure.pop_all()
        return Worker(profile, ours, claim, group, files)

    def _continue_launcher(self) -> None:
        """Wake the launcher, should somebody have stopped it: a command of its own user can."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._end_of_launcher, signal.SIGCONT)

    def _group_for(self, profile: Profile) -> tuple[Group | None, Profile]:
        """Return a new control group, and the profile without the ceilings that the group keeps."""
        resources = profile.resources
        if resources.processes is not None and "pids" not in self.controllers:
            what = "needs a control group with the pids controller"
            raise Unfit(f"limits: processes: {what}; see containment in rexecd.yaml(5)")
        if "memory" in self.controllers:
            profile = profile._replace(resources=resources._replace(memory=None))
        elif resources.memory is not None and resources.memory < _LEAST_MEMORY:
            raise Unfit("limits: memory: less than 64MiB needs a control group with the memory controller")
        return (None if self._groups is None else self._groups.make(resources)), profile


def _launch(orders: int) -> subprocess.Popen[bytes]:
    """Start the launcher, which takes its orders from a descriptor; raise ConfigError."""
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-m", "rexecd.execution.launcher", str(orders)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env={"LANG": "C.UTF-8"},
            pass_fds=[orders],
            start_new_session=True,
        )
    except OSError as error:
        what = f"cannot be started, and so no command ({error.strerror})"
        raise ConfigError(f"{sys.executable}: {what}: make it executable for uid {os.geteuid()}") from None


def _is_collected(pid: int) -> bool:
    """Collect a child if it has ended; return whether it is a child no more."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
