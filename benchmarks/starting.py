"""Ways to start a command, side by side: `make bench-starting` (root is needed for another user).

Rounds are interleaved; printed are medians from the start to the collected end of /bin/true with two
pipes, ratios to a bare Popen, and how many a second come of eight threads. Nothing is asserted.
"""

import argparse
import contextlib
import json
import os
import select
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from rexecd.execution.cgroup import find
from rexecd.execution.jobs import Ids, Job, Profile
from rexecd.execution.workers import Workers
from rexecd.policy.bounds import NetworkAccess, Resources, Sandbox

_TRUE = "/bin/true"
_NOBODY = 65534
_THREADS = 8
_BECOME = ("/usr/bin/setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs")
_LIMITS = Resources(cpu=10, open_files=256, file_size=1 << 20)
_CLOSED = Sandbox(read=("/etc",), write=(), network=NetworkAccess.NONE)
Start = Callable[[], None]


def popen(prefix: tuple[str, ...] = (), **options: Any) -> Start:  # noqa: ANN401 - those of Popen
    """Return a start by `subprocess`, waited for by pidfd as a daemon does."""

    def start() -> None:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [*prefix, _TRUE], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env={}, **options
        )
        descriptor = os.pidfd_open(process.pid)
        poll(descriptor)
        process.communicate()
        os.close(descriptor)

    return start


def working(workers: Workers, profile: Profile, *, is_fresh: bool = False) -> Start:
    """Return a start by a worker, a new one each time if `is_fresh`."""

    def start() -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        output, output_near = os.pipe()
        errors, errors_near = os.pipe()
        job = Job([_TRUE], {}, "/", 0o027)
        worker, _ = workers.start(profile, job, [null, output_near, errors_near])
        for descriptor in (null, output_near, errors_near):
            os.close(descriptor)
        poll(worker.fileno())
        worker.outcome()
        if is_fresh:
            workers.end(worker)
        else:
            workers.give(worker)
        os.close(output)
        os.close(errors)

    return start


def poll(descriptor: int) -> None:
    """Wait until a descriptor is readable."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poller.poll()


@contextlib.contextmanager
def all_ways() -> Iterator[dict[str, Start]]:
    """Yield the ways by name."""
    nobody = Ids(_NOBODY, _NOBODY, (_NOBODY,))
    ways = {
        "Popen": popen(),
        "Popen(user=)": popen(user=_NOBODY, group=_NOBODY, extra_groups=[_NOBODY]),
        "setpriv and prlimit in front": popen((*_BECOME, "--", "/usr/bin/prlimit", "--nofile=256", "--")),
    }
    with (
        contextlib.closing(Workers(find("auto").groups)) as grouped,
        contextlib.closing(Workers(None)) as plain,
    ):
        ways["worker, own user"] = working(plain, Profile())
        ways["worker, another user"] = working(plain, Profile(nobody))
        ways["worker, another user, limits"] = working(plain, Profile(nobody, _LIMITS))
        ways["worker, the same, control group"] = working(grouped, Profile(nobody, _LIMITS))
        ways["worker, the same, sandbox"] = working(grouped, Profile(nobody, _LIMITS, _CLOSED))
        ways["a new worker each time"] = working(plain, Profile(nobody), is_fresh=True)
        yield ways


def rate(start: Start, number: int) -> float:
    """Return how many a second eight threads start."""

    def many() -> None:
        for _ in range(number // _THREADS):
            start()

    threads = [threading.Thread(target=many) for _ in range(_THREADS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return number / (time.perf_counter() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with all_ways() as ways:
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, start in ways.items():
                for _ in range(arguments.each):
                    begun = time.perf_counter()
                    start()
                    taken[name].append((time.perf_counter() - begun) * 1e3)
        rates = {name: rate(start, 800) for name, start in ways.items()}
    medians = {name: statistics.median(values) for name, values in taken.items()}
    if arguments.json:
        print(json.dumps({"medians_ms": medians, "rates": rates}, indent=2))
        return
    for name, median in medians.items():
        print(f"{name:<34} {median:7.2f} ms {median / medians['Popen']:6.2f} x {rates[name]:7.0f}/s")


if __name__ == "__main__":
    main()
