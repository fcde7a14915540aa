"""Control groups: where they are found, how they are laid out, and that nothing in them gets away.

First against a tree of files that answers as the kernel does, then against the kernel itself.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rexecd.errors import ConfigError
from rexecd.execution import cgroup
from rexecd.execution.cgroup import ControlGroups, Group, Places, find
from rexecd.policy.bounds import Resources
from tests.harness import is_alive, wait_for

ROOT = Path(__file__).parents[3]
#: The PID namespace we are in.
HERE = os.stat("/proc/self/ns/pid").st_ino
SHOWN = {"cgroup.procs", "cgroup.events", "cgroup.controllers", "cgroup.subtree_control"}
BELOW = {"cgroup.kill", "cgroup.max.depth"}
CONTROLLED = {
    "memory": {"memory.max", "memory.swap.max", "memory.oom.group", "memory.events"},
    "pids": {"pids.max", "pids.events"},
}


def pids_of(group: Group) -> list[int]:
    """Return the processes in a group and below."""
    found: list[int] = []
    for directory, _, _ in os.walk(group.path):
        with contextlib.suppress(OSError):
            found += map(int, Path(directory, "cgroup.procs").read_text().split())
    return found


def is_empty(group: Group) -> bool:
    """Return whether no process is in a group or below; zombies do not count."""
    try:
        return "populated 0" in (group.path / "cgroup.events").read_text().splitlines()
    except FileNotFoundError:
        return True


class Kernel:
    """A tree of files that answers as the kernel does, as far as it is asked here, with levers."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.point = top / "mount"
        self.places = Places(top / "mountinfo", top / "cgroup", top / "systemd")
        #: What writing to a file of this name fails with.
        self.refuses: dict[str, int] = {}
        #: Files that new groups do not have.
        self.lacks: set[str] = set()
        #: Who is in an uninterruptible sleep.
        self.deaf: set[int] = set()
        #: How often no group can be removed.
        self.busy = 0
        #: What is called before each write.
        self.before: Callable[[Path], None] = lambda _: None
        self.marks: dict[tuple[Path, str], bytes] = {}
        self._mkdir, self._rmdir, self._write = os.mkdir, os.rmdir, cgroup._write
        monkeypatch.setattr(os, "mkdir", self.mkdir)
        monkeypatch.setattr(os, "rmdir", self.rmdir)
        monkeypatch.setattr(os, "getxattr", self.getxattr)
        monkeypatch.setattr(cgroup, "_write", self.write)
        self.mkdir(self.point)
        self.tell(f"25 1 0:22 / {self.point} rw,nosuid - cgroup2 cgroup2 rw")
        self.stand_in("/")

    def tell(self, *mounts: str) -> None:
        """Say what is mounted."""
        lines = ["21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw", *mounts, ""]
        self.places.mounts.write_text("\n".join(lines))

    def stand_in(self, group: str) -> None:
        """Say which group this process is in."""
        self.places.own.write_text(f"8:pids:/other\n1:name=systemd:/other\n0::{group}\n")

    def own(self, group: str, *pids: int, controllers: str = "", mark: str = "user.delegate") -> Path:
        """Make this process's group, with these processes and what is offered to groups in it."""
        path = self.point
        for name in group.split("/"):
            path /= name
            with contextlib.suppress(FileExistsError):
                self.mkdir(path)
        self.stand_in(f"/{group}")
        (path / "cgroup.controllers").write_text(controllers)
        self.marks[path, mark] = b"1"
        self.hold(path, *pids)
        return path

    def hold(self, group: Path, *pids: int) -> None:
        """Put these processes into a group."""
        (group / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        for each in (group, *group.parents):
            if each.is_relative_to(self.point):
                held = any(procs.read_text() for procs in each.rglob("cgroup.procs"))
                (each / "cgroup.events").write_text(f"populated {held:d}\nfrozen 0\n")

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        """Make a group with its files."""
        self._mkdir(path, mode)
        given = (path.parent / "cgroup.subtree_control") if path != self.point else path / "none"
        controllers = given.read_text().split() if given.exists() else []
        names = SHOWN | BELOW.union(*(CONTROLLED[name] for name in controllers))
        for name in names - self.lacks:
            (path / name).touch()
        (path / "cgroup.controllers").write_text(" ".join(controllers))
        (path / "cgroup.events").write_text("populated 0\nfrozen 0\n")

    def rmdir(self, path: Path) -> None:
        """Remove a group that is empty and has none below."""
        self.busy -= 1
        if (
            self.busy >= 0
            or any(each.is_dir() for each in Path(path).iterdir())
            or (Path(path) / "cgroup.procs").read_text()
        ):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        for each in Path(path).iterdir():
            each.unlink()
        self._rmdir(path)

    def getxattr(self, path: Path, name: str) -> bytes:
        """Return a mark."""
        if (path, name) not in self.marks:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), str(path))
        return self.marks[path, name]

    def write(self, path: Path, text: str) -> None:
        """Do what is written."""
        self.before(path)
        number = self.refuses.get(path.name, 0)
        group = path.parent
        if path.name == "cgroup.subtree_control":
            if (group / "cgroup.procs").read_text() and group != self.point:
                number = number or errno.EBUSY
            text = f"{path.read_text()} {text[1:]}"
        if number:
            raise OSError(number, os.strerror(number), str(path))
        if path.name == "cgroup.procs":
            self._move(int(text), group)
        elif path.name == "cgroup.kill":
            for procs in group.rglob("cgroup.procs"):
                self.hold(procs.parent, *self.deaf.intersection(map(int, procs.read_text().split())))
        else:
            self._write(path, text)

    def _move(self, pid: int, group: Path) -> None:
        for procs in self.point.rglob("cgroup.procs"):
            pids = [int(line) for line in procs.read_text().split()]
            if pid in pids:
                self.hold(procs.parent, *(each for each in pids if each != pid))
        self.hold(group, *map(int, (group / "cgroup.procs").read_text().split()), pid)

    def find(self, wanted: str = "control-group") -> ControlGroups:
        """Return the groups, which have to be there."""
        groups = find(wanted, places=self.places).groups
        assert groups is not None
        return groups


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Return a kernel of files."""
    return Kernel(tmp_path, monkeypatch)


def _boot_systemd(kernel: Kernel) -> None:
    kernel.own("a.service", mark="other")
    kernel.places.systemd.touch()


def _mark_off(kernel: Kernel) -> None:
    _boot_systemd(kernel)
    kernel.marks[kernel.point / "a.service", "user.delegate"] = b"0"


WHY: dict[str, tuple[Callable[[Kernel], Any], str]] = {
    "no mount": (lambda kernel: kernel.tell(), "/sys/fs/cgroup: no file system of kind cgroup2 is mounted; "),
    "no list of mounts": (
        lambda kernel: kernel.places.mounts.unlink(),
        "mountinfo: No such file or directory",
    ),
    "read-only": (
        lambda kernel: kernel.tell(f"25 1 0:22 / {kernel.point} ro,nosuid - cgroup2 cgroup2 rw"),
        "mount: mounted read-only; a unit has to say ProtectControlGroups=no",
    ),
    "covered by a read-only one": (
        lambda kernel: kernel.tell(
            f"25 1 0:22 / {kernel.point} rw - cgroup2 cgroup2 rw",
            f"26 1 0:22 / {kernel.point} ro - cgroup2 x rw",
        ),
        "mount: mounted read-only",
    ),
    "version 1 only": (
        lambda kernel: kernel.places.own.write_text("8:pids:/\n"),
        "cgroup: this process is in no group of version 2",
    ),
    "a group that is gone": (
        lambda kernel: kernel.stand_in("/a.service (deleted)"),
        "mount: does not show this process's group '/a.service (deleted)'",
    ),
    "a group outside of the namespace": (
        lambda kernel: kernel.stand_in("/../a.service"),
        "mount: does not show this process's group '/../a.service'",
    ),
    "a group beside the mounted ones": (
        lambda kernel: kernel.tell(f"25 1 0:22 /b {kernel.point} rw - cgroup2 cgroup2 rw"),
        "mount: does not show this process's group '/'",
    ),
    "not delegated": (_boot_systemd, "a.service: not delegated by systemd; a unit has to say Delegate=yes"),
    "delegation refused": (_mark_off, "a.service: not delegated by systemd"),
    "an old kernel": (
        lambda kernel: kernel.lacks.add("cgroup.kill"),
        "has no cgroup.kill; Linux 5.14 or later",
    ),
    "a refusing kernel": (
        lambda kernel: kernel.refuses.update({"cgroup.max.depth": errno.EROFS}),
        "cgroup.max.depth: Read-only file system",
    ),
}


@pytest.mark.parametrize("case", WHY)
def test_where_there_are_no_groups_the_reason_is_told(case: str, kernel: Kernel) -> None:
    """Start-up goes on without, or ends if they were demanded; nothing is left behind in either case."""
    break_it, why = WHY[case]
    break_it(kernel)
    found = find("auto", places=kernel.places)

    assert found.groups is None
    assert why in found.why
    with pytest.raises(ConfigError) as caught:
        find("control-group", places=kernel.places)
    assert (f"no control groups: {found.why}",) == caught.value.faults
    assert [] == list(kernel.point.rglob("rexecd-*"))


@pytest.mark.parametrize("closed", ["", "cgroup.procs"])
def test_a_group_of_somebody_else_is_not_taken(
    closed: str, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both the directory and the list of its processes have to be ours to write."""
    path = kernel.point / closed
    monkeypatch.setattr(os, "access", lambda asked, *_, **__: asked != path)

    assert f"{path}: not writable for uid {os.geteuid()}; " in find("auto", places=kernel.places).why


def test_without_being_asked_nothing_is_looked_at(tmp_path: Path) -> None:
    """Not even whether there are any."""
    found = find("subreaper", places=Places(*[tmp_path / "none"] * 3))

    assert (None, "'subreaper' was asked for") == found


@pytest.mark.parametrize("mark", ["user.delegate", "trusted.delegate"])
def test_what_systemd_has_delegated_is_taken(mark: str, kernel: Kernel) -> None:
    """Either of its marks says so."""
    own = kernel.own("system.slice/a.service", mark=mark)
    kernel.places.systemd.touch()

    assert own == kernel.find("auto").path.parent


def test_the_mount_is_found_wherever_it_is(kernel: Kernel, tmp_path: Path) -> None:
    """Beside one that is read-only, under a name with a space, showing a part, or covering another one."""
    point = tmp_path / "a b"
    kernel.point = point
    kernel.mkdir(point)
    kernel.own("c")
    kernel.stand_in("/outer/c")
    escaped = str(point).replace(" ", "\\040")
    kernel.tell(
        "24 1 0:22 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw",
        f"25 1 0:22 / {escaped} ro - cgroup2 cgroup2 rw",
        f"26 1 0:22 /outer {escaped} rw,nosuid shared:7 - cgroup2 cgroup2 rw,nsdelegate",
        f"27 1 0:23 / {tmp_path} rw - cgroup cgroup rw,pids",
    )

    assert point / "c" == kernel.find().path.parent


def test_processes_of_a_delegated_group_make_way_for_controllers(kernel: Kernel) -> None:
    """Those that are forked meanwhile as well; then groups keep to what they are given."""
    own = kernel.own("a.service", 11, 12, controllers="cpu memory pids")
    late = iter([13, 14])

    def fork(path: Path) -> None:
        if path == own / "supervisor" / "cgroup.procs" and (pid := next(late, None)):
            kernel.hold(own, *map(int, (own / "cgroup.procs").read_text().split()), pid)

    kernel.before = fork
    groups = kernel.find()
    group = groups.make(Resources(memory=4096, processes=5))

    assert ("", "11\n12\n13\n14\n") == (
        (own / "cgroup.procs").read_text(),
        (own / "supervisor" / "cgroup.procs").read_text(),
    )
    assert {"memory", "pids"} == groups.controllers
    told = {"memory.max": "4096", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "6"}
    assert told == {name: (group.path / name).read_text() for name in told}


def test_a_monitor_that_is_started_again_stays_where_it_is(kernel: Kernel) -> None:
    """It begins where the one before had moved everybody to, one below the group that is delegated."""
    own = kernel.own("a.service", controllers="pids")
    kernel.own("a.service/supervisor", 11, mark="other")
    groups = kernel.find()

    assert own == groups.path.parent
    assert {"pids"} == groups.controllers
    assert "11\n" == (own / "supervisor" / "cgroup.procs").read_text()


def test_nobody_is_moved_for_nothing(kernel: Kernel) -> None:
    """Where there are no controllers for groups below, processes stay where systemd had put them."""
    own = kernel.own("a.service", 11, controllers="cpu io")
    kernel.find()

    assert "11\n" == (own / "cgroup.procs").read_text()


def _nothing(_: Kernel) -> None:
    """Break nothing."""


NO_CONTROLLERS: dict[str, tuple[str, str, Callable[[Kernel], Any]]] = {
    "none are offered": ("cpu io", "user.delegate", _nothing),
    "nobody says that all in it are ours": ("memory pids", "other", _nothing),
    "they cannot be moved": (
        "memory pids",
        "user.delegate",
        lambda kernel: kernel.refuses.update({"cgroup.procs": errno.EPERM}),
    ),
    "they cannot be switched on": (
        "memory pids",
        "user.delegate",
        lambda kernel: kernel.refuses.update({"cgroup.subtree_control": errno.EPERM}),
    ),
}


@pytest.mark.parametrize("case", NO_CONTROLLERS)
def test_without_controllers_there_are_groups_all_the_same(case: str, kernel: Kernel) -> None:
    """They end what is in them; of memory others have to think, and of processes nobody can."""
    offered, mark, break_it = NO_CONTROLLERS[case]
    own = kernel.own("a.service", 11, controllers=offered, mark=mark)
    break_it(kernel)
    groups = kernel.find()

    assert frozenset() == groups.controllers
    assert ["11\n"] == [procs.read_text() for procs in own.rglob("cgroup.procs") if procs.read_text()]
    assert groups.make(Resources(memory=4096)).path.is_dir()
    with pytest.raises(ConfigError, match="processes: needs a control group with the pids controller"):
        groups.make(Resources(processes=5))


def test_the_root_of_all_groups_keeps_its_processes(kernel: Kernel) -> None:
    """There controllers and processes get on, and most of them are not ours."""
    (kernel.point / "cgroup.controllers").write_text("memory pids")
    kernel.hold(kernel.point, 1, 11)

    assert {"memory", "pids"} == kernel.find().controllers
    assert "1\n11\n" == (kernel.point / "cgroup.procs").read_text()


def test_a_group_that_cannot_be_limited_is_none(kernel: Kernel) -> None:
    """Nobody gets one that keeps to nothing, and its directory is gone."""
    kernel.own("a.service", controllers="memory pids")
    groups = kernel.find()
    kernel.refuses["memory.max"] = errno.EINVAL
    with pytest.raises(OSError, match=r"memory\.max"):
        groups.make(Resources(memory=4096))

    assert [] == [path for path in groups.path.iterdir() if path.is_dir()]


def test_a_kernel_without_swap_has_no_ceiling_for_it(kernel: Kernel) -> None:
    """Nothing is missing then."""
    kernel.own("a.service", controllers="memory")
    groups = kernel.find()
    kernel.lacks.add("memory.swap.max")

    assert not (groups.make(Resources(memory=4096)).path / "memory.swap.max").exists()


@pytest.mark.parametrize("file", ["memory.max", "memory.oom.group", "memory.swap.max", "pids.max"])
def test_a_limit_that_was_lifted_is_seen(kernel: Kernel, file: str) -> None:
    """Root can write there, from within as well."""
    kernel.own("a.service", controllers="memory pids")
    group = kernel.find().make(Resources(memory=1 << 26, processes=5))

    assert group.is_as_made()

    (group.path / file).write_text("max\n")

    assert not group.is_as_made()

    (group.path / file).unlink()

    assert not group.is_as_made()


def test_many_threads_get_a_group_each(kernel: Kernel) -> None:
    """Whoever asks at the same time."""
    groups, made = kernel.find(), list[Path]()

    def work() -> None:
        made.extend(groups.make(Resources()).path for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 160 == len(set(made))
    assert groups.close()
    assert not groups.path.exists()


def test_a_verdict_is_about_what_came_since_the_last_one(kernel: Kernel) -> None:
    """The kernel counts on when a worker has its next command."""
    group = Group(kernel.own("a"))
    memory, pids = group.path / "memory.events", group.path / "pids.events"

    assert "" == group.verdict()
    memory.write_text("low 0\nmax 7\noom 1\noom_kill 0\noom_group_kill 0\n")
    pids.write_text("max 0\n")
    assert "" == group.verdict()
    pids.write_text("max 3\n")
    assert ["processes", ""] == [group.verdict(), group.verdict()]
    memory.write_text("low 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 1\n")
    pids.write_text("max 4\n")
    assert ["memory", ""] == [group.verdict(), group.verdict()]


def test_what_the_kernel_does_not_end_is_told_in_time(kernel: Kernel) -> None:
    """A process in an uninterruptible sleep holds nobody else up, and is there for the next attempt."""
    group = kernel.find().make(Resources())
    kernel.hold(group.path, 11)
    kernel.deaf.add(11)
    before = time.monotonic()

    assert not group.remove(before + 0.25)
    assert 0.25 <= time.monotonic() - before < 5
    assert [11] == pids_of(group)
    kernel.deaf.clear()
    assert group.remove(time.monotonic() + 5)
    assert group.remove(time.monotonic() + 5)


@pytest.mark.parametrize(("times", "gone"), [(3, True), (10**9, False)])
def test_a_group_that_is_busy_is_tried_again_for_a_time(times: int, gone: bool, kernel: Kernel) -> None:
    """Somebody joins, or makes a group below, while it is removed."""
    group = kernel.find().make(Resources())
    kernel.busy = times

    assert gone is group.remove(time.monotonic() + 0.2)
    assert gone is not group.path.exists()


def test_a_group_that_cannot_be_killed_is_told_at_once(kernel: Kernel) -> None:
    """It is no use to ask again."""
    group = kernel.find().make(Resources())
    kernel.hold(group.path, 11)
    kernel.refuses["cgroup.kill"] = errno.EOPNOTSUPP

    assert not group.remove(time.monotonic() + 60)


def _began(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_what_dead_monitors_left_is_removed_at_the_start(kernel: Kernel) -> None:
    """With all that is in it, nested or not; also where another process has the number now."""
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    left = [
        kernel.point / name
        for name in (f"rexecd-{HERE}-{ended.pid}-1", f"rexecd-{HERE}-{os.getpid()}-1", f"rexecd-{HERE}-1-1")
    ]
    for number, path in enumerate(left):
        for each in (path, path / "worker-1", path / "worker-1" / "nested"):
            kernel.mkdir(each)
        kernel.hold(path / "worker-1" / "nested", 11 + number)
    groups = kernel.find()

    assert {groups.path} == set(kernel.point.glob("rexecd-*"))


def test_what_belongs_to_others_stays(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A living monitor's, one whose files are hidden, another user's, and what only looks like it."""
    other = os.getppid()
    names = [
        f"rexecd-{HERE}-{other}-{_began(other)}",
        f"rexecd-{HERE}-99999999-1",
        "rexecd-1-4194304-1",
        f"rexecd-{HERE}-x-1",
        "rexecd-1",
        "rexecd.service",
    ]
    for name in names:
        kernel.mkdir(kernel.point / name)
    kernel.find()

    assert set(names) < {path.name for path in kernel.point.iterdir()}
    kernel.mkdir(kernel.point / f"rexecd-{HERE}-4194304-1")
    with monkeypatch.context() as changed:
        changed.setattr(os, "kill", lambda *_: None)
        assert not cgroup._is_abandoned(kernel.point / f"rexecd-{HERE}-4194304-1")
    with monkeypatch.context() as changed:
        changed.setattr(os, "geteuid", lambda: 12345)
        assert not cgroup._is_abandoned(kernel.point / f"rexecd-{HERE}-4194304-1")
    assert cgroup._is_abandoned(kernel.point / f"rexecd-{HERE}-4194304-1")
    assert not cgroup._is_abandoned(kernel.point / f"rexecd-{HERE}-4194303-1")


# From here on it is the kernel itself.


@pytest.fixture
def groups() -> Iterator[ControlGroups]:
    """Give this machine's own groups, and leave none behind."""
    groups, why = find("auto")
    if groups is None:
        pytest.skip(f"no control groups here: {why}")
    yield groups
    assert groups.close()
    assert not groups.path.exists()


@contextlib.contextmanager
def joined(group: Group, script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program in a group; its output is ours to read, and it is collected at the end."""
    join = "import os, sys; os.write(os.open(sys.argv[1], os.O_WRONLY), b'0'); "
    argv = [sys.executable, "-c", join + script, str(group.join_path), *map(str, arguments)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line of a program."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


PRELUDE = """
import signal, time
def rest():
    time.sleep(50)
    os._exit(0)
def enter(group, who=0):
    os.write(os.open(group + "/cgroup.procs", os.O_WRONLY), b"%d" % who)
own = os.path.dirname(sys.argv[1]) + "/own"
"""
UP = "print('up', flush=True)\nrest()\n"
#: Programs, and how many processes there are of each when it says so.
ESCAPES = {
    "another session": ("if not os.fork(): os.setsid(); rest()", 2),
    "an orphan in its own session": (
        "if not os.fork():\n os.setsid()\n if os.fork(): os._exit(0)\n rest()\nos.wait()",
        2,
    ),
    "deaf to all that can be ignored": (
        "for number in set(signal.valid_signals()) - {9, 19}: signal.signal(number, signal.SIG_IGN)",
        1,
    ),
    "stopped": ("if not os.fork(): os.kill(os.getpid(), signal.SIGSTOP)", 2),
    "a group of its own": ("os.makedirs(own + '/b')\nif not os.fork(): enter(own + '/b'); rest()", 2),
    "a frozen group of its own": (
        "os.mkdir(own)\nenter(own, os.fork() or rest())\nopen(own + '/cgroup.freeze', 'w').write('1')",
        2,
    ),
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_nothing_gets_away(escape: str, groups: ControlGroups) -> None:
    """Whatever a command does to be left alone, it ends with its group, and the group is gone."""
    script, number = ESCAPES[escape]
    group = groups.make(Resources())
    with joined(group, f"{PRELUDE}{script}\n{UP}") as process:
        assert "up" == said(process)
        pids = wait_for(
            lambda: pids_of(group) if len(pids_of(group)) == number else [], f"{number} processes"
        )

        assert not is_empty(group)
        assert group.remove(time.monotonic() + 5)
        assert [] == [pid for pid in pids if is_alive(pid)]
        assert -signal.SIGKILL == process.wait()
    assert (True, [], "") == (is_empty(group), pids_of(group), group.verdict())


def test_a_storm_of_forks_is_ended(groups: ControlGroups) -> None:
    """Each has a child and ends, so that no list of them is ever true; it is bounded, should this fail."""
    storm = (
        "print('up', flush=True)\nuntil = time.monotonic() + 20\n"
        "for _ in range(3):\n if not os.fork(): break\n"
        "while time.monotonic() < until:\n if os.fork(): os._exit(0)\n"
    )
    group = groups.make(Resources())
    with joined(group, PRELUDE + storm) as process:
        assert "up" == said(process)
        process.wait()

        assert not is_empty(group)
        assert group.remove(time.monotonic() + 5)


LATE = """
for number in range(40):
    if not os.fork():
        time.sleep(number / 4000)
        try: enter(os.path.dirname(sys.argv[2]))
        except OSError: os._exit(0)
        rest()
print('up', flush=True)
while True:
    try: os.wait()
    except ChildProcessError: break
"""


def test_who_joins_while_a_group_is_removed_does_not_stay(groups: ControlGroups) -> None:
    """A worker that was a moment late is killed, or finds no group to join."""
    outside, group = groups.make(Resources()), groups.make(Resources())
    with joined(outside, PRELUDE + LATE, group.join_path) as process:
        wait_for(lambda: not is_empty(group), "the first one")

        assert group.remove(time.monotonic() + 5)
        assert "up" == said(process)
        assert 0 == process.wait()
    assert not group.path.exists()


def test_the_other_groups_are_left_alone(groups: ControlGroups) -> None:
    """To end one command is to end one command; to end all is one call."""
    first, second = groups.make(Resources()), groups.make(Resources())
    with joined(first, PRELUDE + UP) as one, joined(second, PRELUDE + UP) as other:
        assert ["up", "up"] == [said(one), said(other)]
        first.kill()
        one.wait()

        assert is_alive(other.pid)
        assert [other.pid] == pids_of(second)
        assert groups.close()
        assert not is_alive(other.pid)


MONITOR = """
from rexecd.execution.cgroup import find
from rexecd.policy.bounds import Resources
groups = find("control-group").groups
print(groups.make(Resources()).join_path, flush=True)
input()
groups.close()
"""


def test_a_monitor_that_was_killed_leaves_nothing_for_good(groups: ControlGroups) -> None:
    """The next one to start ends what it had running; as long as it lives nobody touches that."""
    place = groups.make(Resources())
    argv = [sys.executable, "-c", MONITOR]
    streams: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, cwd=ROOT, **streams) as monitor:
        theirs = Group(Path(said(monitor)).parent)
        with joined(theirs, PRELUDE + UP) as command:
            assert "up" == said(command)
            subprocess.run(argv, cwd=ROOT, input="\n", text=True, check=True, stdout=subprocess.DEVNULL)

            assert is_alive(command.pid)
            assert place.path.exists()
            monitor.kill()
            monitor.wait()
            subprocess.run(argv, cwd=ROOT, input="\n", text=True, check=True, stdout=subprocess.DEVNULL)

            assert not is_alive(command.pid)
            assert not theirs.path.parent.exists()


DELEGATED = """
from pathlib import Path
from rexecd.execution import cgroup
own = Path(sys.argv[1]).parent
before = cgroup.find("control-group").groups
before.close()
cgroup._make_way(own)
after = cgroup.find("control-group").groups
after.close()
print(before.path == after.path, before.path.parent == own, cgroup._pids(own), flush=True)
print(*[line.strip() for line in open("/proc/self/cgroup") if line.startswith("0::")], flush=True)
"""


def test_processes_of_a_delegated_group_leave_it_and_it_is_found_again(groups: ControlGroups) -> None:
    """The kernel moves them, and from below it is still theirs to divide."""
    group = groups.make(Resources())
    try:
        os.setxattr(group.path, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no marks on groups here: {error.strerror}")
    with joined(group, DELEGATED) as process:
        assert "True True []" == said(process)
        assert said(process).endswith(f"/{group.path.name}/supervisor")


def limited(groups: ControlGroups, controller: str) -> None:
    """Skip where a limit cannot be tried."""
    if controller not in groups.controllers:
        pytest.skip(f"no {controller} controller here")


def test_more_processes_than_allowed_are_refused(groups: ControlGroups) -> None:
    """One more than asked for is there for the worker; who wanted more is told why it had none."""
    limited(groups, "pids")
    group = groups.make(Resources(processes=4))
    count = (
        "made = 0\ntry:\n while made < 9:\n  if not os.fork(): rest()\n  made += 1\nexcept OSError: pass\n"
    )
    with joined(group, PRELUDE + count + "print(made, flush=True)\nrest()\n") as process:
        assert "4" == said(process)
        assert ["processes", ""] == [group.verdict(), group.verdict()]


def test_more_memory_than_allowed_ends_the_whole_tree(groups: ControlGroups) -> None:
    """Swapped or not, and those who had little of it too."""
    limited(groups, "memory")
    group = groups.make(Resources(memory=64 * 1024 * 1024))
    eat = "print('up', flush=True)\nif not os.fork(): x = b'x' * (200 << 20)\nrest()\n"
    with joined(group, PRELUDE + eat) as process:
        assert "up" == said(process)
        assert -signal.SIGKILL == process.wait()
        assert "memory" == group.verdict()
        wait_for(lambda: is_empty(group), "the end of the other one")
