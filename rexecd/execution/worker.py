"""A worker: prepared for one profile, it starts one command at a time, and ends all the command began.

Rule 1: it has one thread and no secret; from its first command on it has no privilege either, and no
way back to one.
Rule 2: it is the parent of its command and, as a child subreaper (prctl(2)), of whatever the command
leaves behind. It serves the next command only when it has no child left.
Rule 3: its command's process is collected last: until then its number, which is also its group's,
cannot be given to anyone else (ATTACKS EXE-09).
Rule 4: another command of the same user could change its limits; it looks before each start.
Rule 5: each process is collected by wait4(2), so that what it used is counted for its command and no other.
"""

import contextlib
import os
import platform
import resource
import select
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rexecd.confine import (
    adopt_orphans,
    forbid_new_privileges,
    hide_memory,
    system_call,
    wake_with_parent,
)
from rexecd.execution import becoming, sandbox
from rexecd.execution.becoming import Unfit
from rexecd.execution.jobs import Job, Kind, Order, Preparation, Report, Usage, decode_job, may_begin, receive

#: How long what a command left behind is killed again and again before it is given up.
_SWEEP_TIME: Final = 5.0
_LOOK_AGAIN: Final = 0.002
#: The same for the command's own process, which the kernel ends at once unless it cannot.
_LOOK_FOR_END: Final = 0.1
#: Larger than what the kernel hands out at once, so that no number is cut.
_LISTED: Final = 1 << 16
_SCORE_SIZE: Final = 16
_LIMITS: Final = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
#: A ceiling of processor time is for commands; the worker, which has it too, ends long before.
_SHARE_OF_CPU: Final = 0.25
#: The kernel's number of ioprio_get(2), and its IOPRIO_WHO_PROCESS.
_IOPRIO_GET: Final = {"x86_64": 252, "aarch64": 31, "riscv64": 31}.get(platform.machine())
_THIS_PROCESS: Final = 1


class _Gone(Exception):
    """The monitor, or the pool that kept this worker, has closed the socket."""


class Worker:
    """The worker's whole life; made in a child of the launcher."""

    def __init__(self, sock: socket.socket, claim: int, preparation: Preparation) -> None:
        self._socket = sock
        self._claim = claim
        self._profile = preparation.profile
        self._group = preparation.group
        self._cpu = preparation.profile.resources.cpu

    def run(self) -> None:
        """Prepare, say so, and serve until the socket ends."""
        try:
            missing = self._prepare()
        except (Unfit, OSError) as error:
            self._say(Report(Kind.UNFIT, text=str(error)))
            return
        self._as_prepared = self._settings()
        with contextlib.suppress(_Gone, ConnectionError):
            self._say(Report(Kind.READY, text="\n".join(missing)))
            while self._serve():
                pass

    def _prepare(self) -> list[str]:
        """Become what the profile says; return what of a best-effort sandbox is missing.

        Raise OSError or Unfit, and then nothing may be started.
        """
        os.setsid()
        adopt_orphans()
        forbid_new_privileges()
        self._score = os.open("/proc/self/oom_score_adj", os.O_RDONLY | os.O_CLOEXEC)
        self._children = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
        becoming.catch_signals()
        self._wake = _wake_at_ends()
        self._members = -1
        if self._group:
            self._members = becoming.join(self._group)
        wanted, missing = self._profile.sandbox, []
        if wanted is not None:
            missing += sandbox.before(wanted)
        if self._profile.resources.nice is not None:
            with becoming.saying("limits: nice"):
                os.setpriority(os.PRIO_PROCESS, 0, self._profile.resources.nice)
        becoming.join_new_keyring()  # ours came from whoever started the monitor; this one is empty
        becoming.become(self._profile.ids)
        if wanted is not None:
            missing += sandbox.after(wanted)
            if missing and not wanted.best_effort:
                raise Unfit("; ".join(missing))
        hide_memory()  # a change of identity gave it back
        wake_with_parent()  # who stopped us shall not keep us from hearing that the monitor has gone
        becoming.limit(self._profile.resources)
        return missing

    def _serve(self) -> bool:
        """Start one command and see it to its end; return whether another one may come."""
        select.select([self._socket], [], [])
        if self._settings() != self._as_prepared:  # nor could the job be received with every setting
            self._say(Report(Kind.SPOILED))
            return False
        packet, descriptors = receive(self._socket)
        if not packet:
            return False
        if not descriptors:
            return True  # an order that came too late for its command
        self._usage = Usage()
        try:
            if not may_begin(self._claim):
                return False  # it was given to another one meanwhile
            pid = _start(decode_job(packet), descriptors)
        except OSError as error:
            self._say(Report(Kind.FAILED, error.errno or 0, text=str(error.filename or "")))
            return True
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            self._say(Report(Kind.STARTED, pid))
            self._watch(pid)
        finally:
            status, is_clean = self._end(pid)
        self._say(Report(Kind.ENDED, status, is_clean, usage=self._usage))
        return is_clean and not self._is_spent()

    def _watch(self, pid: int) -> None:
        """Wait for the command's end, doing meanwhile what the monitor says; raise _Gone."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poller.poll()}
            if self._wake in ready:
                os.read(self._wake, 4096)
                if _has_ended(pid):
                    return
                self._collect_orphans(pid)
            if self._socket.fileno() in ready:
                self._obey(pid)

    def _obey(self, pid: int) -> None:
        order, _ = receive(self._socket)
        if not order:
            raise _Gone
        if order[0] == Order.SIGNAL:
            _signal_group(pid, order[1])
        else:
            self._kill_all(pid)

    def _collect_orphans(self, pid: int) -> None:
        """Collect what has ended of what the command left to us; the command itself is for later.

        Again while there was something: of thousands that end together a list shows only some.
        """
        while [child for child in self._list_children() if child != pid and self._is_collected(child)]:
            pass

    def _is_collected(self, child: int) -> bool:
        with contextlib.suppress(ChildProcessError):
            collected, _, used = os.wait4(child, os.WNOHANG)
            if collected:
                self._usage = self._usage.plus(used)
            return collected == child
        return False

    def _end(self, pid: int) -> tuple[int, bool]:
        """Kill and collect everything, the command's own process last.

        Return its wait status and whether nothing is left. One that the kernel does not end (it
        waits for a disk) is waited for: nothing may be said of it before.
        """
        deadline = time.monotonic() + _SWEEP_TIME
        while not _has_ended(pid):  # who traces it keeps it from us, and is killed as well
            if time.monotonic() > deadline and _is_zombie(pid):
                return signal.SIGKILL, False  # whoever traces it is no child of ours
            self._kill_all(pid)
            self._rest(_LOOK_FOR_END)
        # Where it is our only child nobody below it lives: who lost a parent would be ours too.
        while self._list_children() != [pid] and time.monotonic() < deadline:
            self._kill_all(pid)
            self._collect_orphans(pid)
            self._rest(_LOOK_AGAIN)
        _, status, used = os.wait4(pid, 0)
        self._usage = self._usage.plus(used)
        while not (is_clean := _has_no_child()) and time.monotonic() < deadline:
            for child in self._list_children():
                _kill(child)
            self._collect_orphans(pid)
            self._rest(_LOOK_AGAIN)
        return status, is_clean and self._is_alone() and becoming.has_cleared_keyring()

    def _is_alone(self) -> bool:
        """Return whether nobody else is in our control group.

        Who let itself be adopted in the PID namespace of another command is no child of ours.
        """
        if self._members < 0:
            return True
        return list(map(int, os.pread(self._members, _LISTED, 0).split())) == [os.getpid()]

    def _kill_all(self, pid: int) -> None:
        """Kill the command's group and every child of ours; grandchildren become that when these end."""
        _signal_group(pid, signal.SIGKILL)
        for child in self._list_children():
            _kill(child)

    def _rest(self, seconds: float) -> None:
        """Wait until something has ended, or for `seconds`."""
        if select.select([self._wake], [], [], seconds)[0]:
            os.read(self._wake, 4096)

    def _list_children(self) -> list[int]:
        """Return our children, those adopted included (proc_pid_children(5))."""
        return list(map(int, os.pread(self._children, _LISTED, 0).split()))

    def _settings(self) -> tuple[object, ...]:
        """Return what another process of our user could change of us, and a command would inherit."""
        limits = tuple(resource.getrlimit(which) for which in _LIMITS)
        disk = 0 if _IOPRIO_GET is None else system_call(_IOPRIO_GET, _THIS_PROCESS, 0)
        policy = (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), disk)
        return (*limits, *policy, frozenset(os.sched_getaffinity(0)), os.pread(self._score, _SCORE_SIZE, 0))

    def _is_spent(self) -> bool:
        return self._cpu is not None and time.process_time() > self._cpu * _SHARE_OF_CPU

    def _say(self, report: Report) -> None:
        self._socket.send(report.encode())


def _wake_at_ends() -> int:
    """Return a descriptor that becomes readable whenever a child of ours ends."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    return False


def _start(job: Job, descriptors: Sequence[int]) -> int:
    """Start the program in a session of its own and return its process id; raise OSError.

    Descriptors came in order above those we keep, so none is overwritten before it is copied.
    """
    os.umask(job.umask)
    os.chdir(job.working_directory)
    try:
        return os.posix_spawn(
            job.argv[0],
            job.argv,
            job.environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, each, number) for number, each in enumerate(descriptors)],
            setsid=True,
        )
    finally:
        os.chdir("/")  # an idle worker must not keep a file system from being unmounted


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _has_no_child() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
