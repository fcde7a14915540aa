"""What a process uses, from /proc: memory, processor, descriptors, threads."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What one process uses now."""

    #: Proportional share: a page of two processes is half of each. Without what the kernel holds for sockets.
    pss_kib: int
    rss_kib: int
    descriptors: int
    threads: int
    cpu_seconds: float


class Daemon(NamedTuple):
    """The processes of a running rexecd."""

    gateway: int
    monitor: int


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for task in listed for word in task.read_text().split()]


def below(pid: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield pid
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for child in children(pid):
            yield from below(child)


def find_daemon(pid: int) -> Daemon:
    """Return both processes of a `rexecd serve`; raise RuntimeError where they are not to be found."""
    found = {verb_of(child): child for child in children(pid)}
    try:
        return Daemon(found["gateway"], found["monitor"])
    except KeyError as error:
        raise RuntimeError(f"no {error.args[0]} below process {pid}") from None


def verb_of(pid: int) -> str:
    """Return which process of rexecd it is: `gateway`, `monitor`, or nothing of the kind."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return next((verb for verb in ("monitor", "gateway") if verb in words), f"stray process {words}")


def pss(pid: int) -> int:
    """Return the KiB of a process's memory, its share of what is shared."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def rss(pid: int) -> int:
    """Return the KiB of a process's memory that are resident."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * (os.sysconf("SC_PAGE_SIZE") // 1024)


def cpu(pid: int, *, of_children: bool = False) -> float:
    """Return the seconds of processor time of a process, or of its ended children (proc_pid_stat(5))."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    first = 13 if of_children else 11
    return (int(words[first]) + int(words[first + 1])) / _TICK


class Worked(NamedTuple):
    """The seconds of processor time of a worker, and of the commands it has collected."""

    own: float
    commands: float


def workers_of(daemon: Daemon) -> dict[int, Worked]:
    """Return what each process below the monitor has used so far, by its number."""
    found = {}
    for pid in list(below(daemon.monitor))[1:]:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found[pid] = Worked(cpu(pid), cpu(pid, of_children=True))
    return found


def machine_cpu() -> tuple[int, int]:
    """Return how long all processors were busy, and how long they were there, in the kernel's ticks."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0]
    words = [int(word) for word in first.split()[1:9]]
    return sum(words) - words[3] - words[4], sum(words)


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def usage(pid: int) -> Usage:
    """Return what a process uses."""
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Usage(pss(pid), rss(pid), descriptors, threads(pid), cpu(pid))


def tree_pss(pids: Sequence[int]) -> tuple[int, int]:
    """Return the KiB of processes and all below them, and how many those are."""
    found = []
    for each in (each for pid in pids for each in below(pid)):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append(pss(each))
    return sum(found), len(found)
