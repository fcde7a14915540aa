"""A worker: prepared for one profile, it starts one command at a time, and ends all the command began.

Rule 1: it has one thread and no secret; from its first command on it has no privilege either, and no
way back to one.
Rule 2: it is the parent of its command and, as a child subreaper (prctl(2)), of whatever the command
leaves behind. It serves the next command only when it has no child left.
Rule 3: its command's process is collected last: until then its number, which is also its group's,
cannot be given to anyone else (ATTACKS EXE-09).
Rule 4: another command of the same user could change its limits; it looks before each start.
"""

import contextlib
import errno
import os
import platform
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rexecd.confine import (
    adopt_orphans,
    drop_capabilities,
    forbid_new_privileges,
    hide_memory,
    system_call,
    wake_with_parent,
)
from rexecd.execution import sandbox
from rexecd.execution.jobs import Ids, Job, Kind, Order, Preparation, Report, decode_job, receive
from rexecd.policy.bounds import Resources

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
_KEYCTL: Final = {"x86_64": 250, "aarch64": 219, "riscv64": 219}.get(platform.machine())
_KEYCTL_GET_KEYRING_ID: Final = 0
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_KEYCTL_CLEAR: Final = 7
_SESSION_KEYRING: Final = -3
_IOPRIO_GET: Final = {"x86_64": 252, "aarch64": 31, "riscv64": 31}.get(platform.machine())
_THIS_PROCESS: Final = 1


class Unfit(Exception):
    """The worker cannot be prepared as it was asked to be."""


class _Gone(Exception):
    """The monitor, or the pool that kept this worker, has closed the socket."""


class Worker:
    """The worker's whole life; made in a child of the launcher."""

    def __init__(self, sock: socket.socket, preparation: Preparation) -> None:
        self._socket = sock
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
        _catch_signals()
        self._wake = _wake_at_ends()
        self._members = -1
        if self._group:
            self._members = _join(self._group)
        wanted, missing = self._profile.sandbox, []
        if wanted is not None:
            missing += sandbox.before(wanted)
        if self._profile.resources.nice is not None:
            with _saying("limits: nice"):
                os.setpriority(os.PRIO_PROCESS, 0, self._profile.resources.nice)
        with _saying("session keyring"):  # ours came from whoever started the monitor; this one is empty
            _keyctl(_KEYCTL_JOIN_SESSION_KEYRING, None)
        _become(self._profile.ids)
        if wanted is not None:
            missing += sandbox.after(wanted)
            if missing and not wanted.best_effort:
                raise Unfit("; ".join(missing))
        hide_memory()  # a change of identity gave it back
        wake_with_parent()  # who stopped us shall not keep us from hearing that the monitor has gone
        _limit(self._profile.resources)
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
        self._say(Report(Kind.TAKEN))
        try:
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
        self._say(Report(Kind.ENDED, status, is_clean))
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
        while [child for child in self._list_children() if child != pid and _is_collected(child)]:
            pass

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
        _, status = os.waitpid(pid, 0)
        while not (is_clean := _has_no_child()) and time.monotonic() < deadline:
            for child in self._list_children():
                _kill(child)
            self._collect_orphans(pid)
            self._rest(_LOOK_AGAIN)
        return status, is_clean and self._is_alone() and _has_cleared_keyring()

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


def _catch_signals() -> None:
    """Catch what is ignored here: an ignored signal would stay so in the command, a caught one does not.

    Telling posix_spawn(3) to do it for every signal takes 0.13 ms each time.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _wake_at_ends() -> int:
    """Return a descriptor that becomes readable whenever a child of ours ends."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _join(group: str) -> int:
    """Enter a control group and return a descriptor of its list of processes; raise OSError."""
    descriptor = os.open(group, os.O_RDWR | os.O_CLOEXEC)
    os.write(descriptor, b"0")
    return descriptor


def _become(ids: Ids | None) -> None:
    """Take every id of an identity, and give up all capabilities for good; raise Unfit or OSError."""
    if ids is not None and not _are_ours(ids):
        with _saying(f"cannot become uid {ids.uid}, gid {ids.gid}"):
            os.setgroups(ids.groups)
            os.setresgid(ids.gid, ids.gid, ids.gid)
            os.setresuid(ids.uid, ids.uid, ids.uid)
    drop_capabilities()
    if ids is not None and not _are_ours(ids):
        raise Unfit("the kernel did not give the identity that was asked for")


def _keyctl(operation: int, argument: int | None) -> None:
    """Do something with a keyring, where this kernel has such for us and our commands; raise OSError."""
    try:
        if _KEYCTL is not None:
            system_call(_KEYCTL, operation, argument)
    except OSError as error:
        if error.errno != errno.ENOSYS and not (error.errno == errno.EPERM and _are_keyrings_denied()):
            raise


def _are_keyrings_denied() -> bool:
    """Return whether a filter denies keyctl(2) altogether, as containers do: then to commands as well."""
    try:
        system_call(_KEYCTL or 0, _KEYCTL_GET_KEYRING_ID, _SESSION_KEYRING)
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _has_cleared_keyring() -> bool:
    """Empty the keyring that the next command will have too; return whether that was possible."""
    try:
        _keyctl(_KEYCTL_CLEAR, _SESSION_KEYRING)
    except OSError:
        return False
    return True


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    return False


def _are_ours(ids: Ids) -> bool:
    """Return whether this process is that already, in every one of its ids."""
    uids, gids = {*os.getresuid()}, {*os.getresgid()}
    return uids == {ids.uid} and gids == {ids.gid} and {*os.getgroups(), ids.gid} == {*ids.groups, ids.gid}


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    """Say what it was that the kernel refuses."""
    try:
        yield
    except OSError as error:
        raise Unfit(f"{what}: {error.strerror}") from None


def _limit(resources: Resources) -> None:
    """Set the ceilings, soft and hard; none is ever raised above what this process may have.

    Of processor time the hard one is a second above: where both are the same the kernel does not say
    by its signal why it kills.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: resources.cpu,
        resource.RLIMIT_NOFILE: resources.open_files,
        resource.RLIMIT_FSIZE: resources.file_size,
        resource.RLIMIT_AS: resources.memory,
    }
    for which, most in wanted.items():
        if most is not None:
            _, hard = resource.getrlimit(which)
            above = most + 1 if which == resource.RLIMIT_CPU else most
            kept = above if hard == resource.RLIM_INFINITY else min(above, hard)
            resource.setrlimit(which, (min(most, kept), kept))


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


def _is_collected(child: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(child, os.WNOHANG)[0] == child
    return False


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
