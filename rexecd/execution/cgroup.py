"""Control groups (cgroups(7), version 2): one per worker, so that nothing a command starts gets away.

Rule 1: a group is taken only where it is ours to divide: systemd has delegated it, or there is no systemd.
Rule 2: whatever is in a group is killed before the group is removed, and nothing outside of it ever is.
Rule 3: names tell whose a group is. A lock would not do: what was left behind could hold it.

A command that runs as the daemon's own user can leave its group, as root can; others cannot.
"""

import contextlib
import errno
import itertools
import os
import re
import select
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from rexecd.errors import ConfigError
from rexecd.execution.mounted import below, find_mount
from rexecd.policy.bounds import Resources

#: The controllers that hold limits of ours.
_CONTROLLERS: Final = frozenset({"memory", "pids"})
#: Where our own processes go: a group with controllers for others may hold none itself.
_SUPERVISOR: Final = "supervisor"
#: How often they are looked for: each time may find what the one before has forked.
_ROUNDS: Final = 10
#: What systemd writes on what it has delegated (the second is for root only, and older).
_MARKS: Final = ("user.delegate", "trusted.delegate")
#: A monitor's groups: where its process id counts, that, and when it began, in ticks since the machine did.
_NAME: Final = re.compile("rexecd-([0-9]{1,20})-([0-9]{1,7})-([0-9]{1,20})")
#: Deepest nesting below a monitor's groups: by path names they are removed.
_DEPTH: Final = 32
#: Seconds until those who have joined meanwhile are killed as well.
_AGAIN: Final = 0.1
#: Seconds for groups of a monitor that is gone, and for all of our own.
_PATIENCE: Final = 5.0
#: While somebody joins, makes a group below, or removes the same one.
_PASSING: Final = frozenset({errno.EBUSY, errno.ENOENT, errno.ENODEV})
#: What a process that is not there, or not in this group any more, makes of a question.
_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP})
#: Which count of which file shows that a limit was hit, and what that limit is called.
_LIMITS: Final = (("memory.events", "oom_kill", "memory"), ("pids.events", "max", "processes"))
_EVENTS_SIZE: Final = 4096
_UNPOPULATED: Final = "populated 0"


class Places(NamedTuple):
    """Where the machine tells about itself."""

    mounts: Path = Path("/proc/self/mountinfo")
    own: Path = Path("/proc/self/cgroup")
    #: There if systemd runs this machine (sd_booted(3)).
    systemd: Path = Path("/run/systemd/system")


HERE: Final = Places()


class Found(NamedTuple):
    """The groups that can be used, or why there are none."""

    groups: "ControlGroups | None"
    why: str


class Group:
    """One control group and all below it. One that is removed is empty, and can be removed again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: dict[str, int] = {}
        self._limits: dict[str, str] = {}

    @property
    def join_path(self) -> Path:
        """Return the file to which a process writes `0` in order to be in this group from then on."""
        return self.path / "cgroup.procs"

    def limit(self, file: str, value: str) -> None:
        """Write a limit, and remember how the kernel took it; raise OSError."""
        _write(self.path / file, value)
        self._limits[file] = _read(self.path / file)

    def is_as_made(self) -> bool:
        """Return whether the limits are still those that were written.

        Root, and who has the daemon's own user, can change them.
        """
        try:
            return all(_read(self.path / file) == text for file, text in self._limits.items())
        except OSError:
            return False

    def kill(self) -> None:
        """Kill every process in it and below, those being forked included; raise OSError."""
        _write(self.path / "cgroup.kill", "1")

    def verdict(self) -> str:
        """Return which limit was hit since this was last asked: `memory`, `processes` or nothing.

        A worker has one command after the other, and the kernel counts for all of them.
        """
        hit = ""
        for file, key, limit in _LIMITS:
            count = _count(self.path / file, key)
            if count > self._seen.get(limit, 0):
                self._seen[limit] = count
                hit = hit or limit
        return hit

    def remove(self, deadline: float) -> bool:
        """Kill what is in it and remove it with all below; return whether nothing is left.

        Until `deadline` (monotonic) it is waited for processes that the kernel cannot end yet.
        """
        while self.path.exists():
            try:
                self._empty(deadline)
                self._clear()
            except OSError as error:
                if error.errno not in _PASSING or time.monotonic() >= deadline:
                    return False
        return True

    def _empty(self, deadline: float) -> None:
        """Kill until nobody is left; raise OSError, which is TimeoutError at the deadline."""
        descriptor = os.open(self.path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLPRI)
            while _UNPOPULATED.encode() not in os.pread(descriptor, _EVENTS_SIZE, 0).splitlines():
                self.kill()
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), str(self.path))
                poller.poll(min(left, _AGAIN) * 1000)
        finally:
            os.close(descriptor)

    def _clear(self) -> None:
        """Remove the empty group, and before it those that were made below; raise OSError."""
        try:
            self.path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            for directory, _, _ in os.walk(self.path, topdown=False):
                Path(directory).rmdir()


class ControlGroups:
    """All groups of one monitor; `find` makes it. Any thread may use it."""

    def __init__(self, path: Path, controllers: frozenset[str]) -> None:
        self.path = path
        #: Those of `memory` and `pids` that hold limits here.
        self.controllers = controllers
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def make(self, resources: Resources) -> Group:
        """Return a new group that keeps to the memory and processes of `resources`.

        Without the controller for it, memory is left to others to bound, but for processes there is
        nobody else: raise ConfigError. Raise OSError if the kernel gives no group.
        """
        if resources.processes is not None and "pids" not in self.controllers:
            raise ConfigError("processes: needs a control group with the pids controller")
        with self._lock:
            path = self.path / f"worker-{next(self._numbers)}"
        path.mkdir(mode=0o755)
        group = Group(path)
        try:
            self._limit(group, resources)
        except OSError:
            path.rmdir()
            raise
        return group

    def close(self) -> bool:
        """Kill and remove all that is left; return whether nothing is."""
        return Group(self.path).remove(time.monotonic() + _PATIENCE)

    def _limit(self, group: Group, resources: Resources) -> None:
        if resources.processes is not None:
            group.limit("pids.max", str(resources.processes + 1))  # the worker is one of them
        if resources.memory is not None and "memory" in self.controllers:
            group.limit("memory.max", str(resources.memory))
            group.limit("memory.oom.group", "1")  # all or none, the worker with them
            if (group.path / "memory.swap.max").exists():  # not in a kernel without swap
                group.limit("memory.swap.max", "0")


def find(wanted: str, *, places: Places = HERE) -> Found:
    """Return the groups this process may use, after removing what dead monitors left in them.

    `wanted` is `subreaper` for none, `auto` for those there are, and for anything else (that is
    `control-group`) raise ConfigError where there are none.
    """
    if wanted == "subreaper":
        return Found(None, "'subreaper' was asked for")
    try:
        own, is_marked = _own_group(places)
        _sweep(own)
        return Found(_begin(own, is_marked=is_marked), "")
    except ConfigError as error:
        why = str(error)
    except OSError as error:
        why = f"{error.filename}: {error.strerror}"
    if wanted == "auto":
        return Found(None, why)
    raise ConfigError(f"no control groups: {why}")


def obstacle(*, places: Places = HERE) -> str:
    """Return why this process could have no groups, without making any; empty if it could."""
    try:
        _own_group(places)
    except ConfigError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def offered(*, places: Places = HERE) -> frozenset[str]:
    """Return the controllers this machine's control groups have, whoever may use them."""
    try:
        point, _, _ = find_mount(places.mounts)
        return _CONTROLLERS.intersection(_read(Path(point) / "cgroup.controllers").split())
    except (ConfigError, OSError):
        return frozenset()


def _own_group(places: Places) -> tuple[Path, bool]:
    """Return the group to divide, and whether systemd has delegated it; raise ConfigError or OSError."""
    point, root, is_read_only = find_mount(places.mounts)
    listed = re.search("^0::(/.*)$", _read(places.own), re.MULTILINE)
    if listed is None:
        raise ConfigError(f"{places.own}: this process is in no group of version 2")
    own = below(point, listed[1], root)
    if own is None:
        raise ConfigError(f"{point}: does not show this process's group {listed[1]!r}")
    if is_read_only:
        raise ConfigError(f"{point}: mounted read-only; a unit has to say ProtectControlGroups=no")
    if own.name == _SUPERVISOR and _is_marked(own.parent):  # a monitor before us went there
        own = own.parent
    is_marked = _is_marked(own)
    if places.systemd.exists() and not is_marked:
        raise ConfigError(f"{own}: not delegated by systemd; a unit has to say Delegate=yes")
    for path in (own, own / "cgroup.procs"):
        if not os.access(path, os.W_OK, effective_ids=True):
            raise ConfigError(f"{path}: not writable for uid {os.geteuid()}; delegate it, or start as root")
    return own, is_marked


def _is_marked(path: Path) -> bool:
    """Return whether systemd has delegated a group."""
    for mark in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(path, mark) == b"1":
                return True
    return False


def _sweep(own: Path) -> None:
    """Kill and remove the groups of monitors of ours that are gone; what cannot be is for the next start."""
    left = [Group(path) for path in own.iterdir() if _is_abandoned(path)]
    deadline = time.monotonic() + _PATIENCE
    for group in left:
        with contextlib.suppress(OSError):
            group.kill()
    for group in left:
        group.remove(deadline)


def _is_abandoned(path: Path) -> bool:
    """Return whether a directory holds the groups of a monitor of our user that is gone for certain.

    A process id alone proves nothing, it is given again. A process whose files are hidden is there.
    """
    found = _NAME.fullmatch(path.name)
    try:
        if found is None or path.stat().st_uid != os.geteuid() or found[1] != _namespace():
            return False
        with contextlib.suppress(PermissionError):
            os.kill(int(found[2]), 0)
        return _began(int(found[2])) != found[3]
    except ProcessLookupError:
        return True
    except OSError:  # hidden; or another start was quicker
        return False


def _namespace() -> str:
    """Return the number of our PID namespace: another container may divide the same group."""
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _began(pid: int) -> str:
    """Return when a process began, in ticks since the machine did (proc_pid_stat(5)); raise OSError."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[19]


def _begin(own: Path, *, is_marked: bool) -> ControlGroups:
    """Make the groups' own directory; raise OSError, or ConfigError for a kernel that cannot kill them."""
    base = own / f"rexecd-{_namespace()}-{os.getpid()}-{_began(os.getpid())}"
    base.mkdir(mode=0o755)
    try:
        if not (base / "cgroup.kill").exists():
            raise ConfigError(f"{base}: has no cgroup.kill; Linux 5.14 or later is needed")
        _write(base / "cgroup.max.depth", str(_DEPTH))
        return ControlGroups(base, _controllers(own, base, is_marked=is_marked))
    except (OSError, ConfigError):
        base.rmdir()
        raise


def _controllers(own: Path, base: Path, *, is_marked: bool) -> frozenset[str]:
    """Return the controllers that groups below `base` have: all there are, or none where we cannot.

    Only a delegated group holds nobody but us, whom we may move out of the way.
    """
    offered = _CONTROLLERS.intersection(_read(own / "cgroup.controllers").split())
    with contextlib.suppress(OSError):
        if offered and is_marked:
            _make_way(own)
    return frozenset(name for name in offered if _switch_on(own, name) and _switch_on(base, name))


def _make_way(own: Path) -> None:
    """Move every process of a group to one below it; raise OSError."""
    supervisor = Group(own / _SUPERVISOR)
    supervisor.path.mkdir(mode=0o755, exist_ok=True)
    for _ in range(_ROUNDS):
        ours = _pids(own)
        if not ours:
            return
        for pid in ours:
            with contextlib.suppress(ProcessLookupError):
                _write(supervisor.join_path, str(pid))


def _switch_on(group: Path, controller: str) -> bool:
    """Let the groups directly below have a controller; return whether they have it."""
    try:
        _write(group / "cgroup.subtree_control", f"+{controller}")
    except OSError:
        return False
    return True


def _pids(group: Path) -> list[int]:
    """Return the processes in one group; none of a group that is gone, or that only holds threads."""
    try:
        return list(map(int, _read(group / "cgroup.procs").split()))
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise


def _count(path: Path, key: str) -> int:
    """Return one number of a file of names and numbers; 0 where there is none."""
    try:
        found = re.search(f"^{key} ([0-9]+)$", _read(path), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _write(path: Path, text: str) -> None:
    """Write what the kernel takes or refuses as a whole; raise OSError with the path."""
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
