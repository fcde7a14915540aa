"""A whole call, from the shell's fork to the exit status, beside ssh and check_nrpe: `make bench-caller`.

Every program runs /bin/true on this machine over the loopback, with a server of its own kind (peers.py). They
take turns. Printed are median, spread and the program's own CPU time, and ratios of the medians. Nothing is
asserted; what is missing is said.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import said
from benchmarks.peers import Peer, Starter, nrpe, rexecd
from benchmarks.ssh import openssh

#: The line that all others are compared with.
OURS = "rexec, new connection"


class Call(NamedTuple):
    """One call, in milliseconds."""

    wall: float
    cpu: float


def call(line: Sequence[str]) -> Call:
    """Run a program to its end; raise RuntimeError where that is none of the good ones."""
    begun = time.perf_counter()
    null = subprocess.DEVNULL
    process = subprocess.Popen(line, stdin=null, stdout=null, stderr=null)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{line[0]} ended with {process.returncode}")
    return Call(wall * 1e3, (used.ru_utime + used.ru_stime) * 1e3)


def measure(lines: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Call]]:
    """Return every call, over rounds in which all take turns; the first round is not counted."""
    taken: dict[str, list[Call]] = {name: [] for name in lines}
    for number in range(rounds + 1):
        for name, line in lines.items():
            one = call(line)
            if number:
                taken[name].append(one)
    return taken


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a directory for one run."""
    return tempfile.TemporaryDirectory(prefix="rexec-bench-")


def started(starters: Iterable[Starter], stack: contextlib.ExitStack) -> tuple[list[Peer], dict[str, str]]:
    """Return the programs that are here, each with its server, and why others are not; say that, too."""
    directory = Path(stack.enter_context(scratch()))
    found: list[Peer] = []
    missing: dict[str, str] = {}
    for starter in starters:
        made = directory / starter.__name__
        made.mkdir()
        try:
            found.append(stack.enter_context(starter(made)))
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            missing[starter.__name__] = said(error)
            print(f"without {starter.__name__}: {said(error)}", file=sys.stderr)
    return found, missing


def lines_of(peers: Iterable[Peer]) -> dict[str, list[str]]:
    """Return all command lines, and what an interpreter costs that does nothing."""
    lines = {name: line for peer in peers for name, line in peer.lines.items()}
    return lines | {"python, and what TLS needs there": [sys.executable, "-I", "-c", "import ssl"]}


def report(taken: Mapping[str, Sequence[Call]]) -> None:
    """Print the table."""
    ours = statistics.median(one.wall for one in taken[OURS])
    heads = "".join(f"{head:>8}" for head in ("median", "min", "max", "sigma", "cpu", "ratio"))
    print(f"{'whole process, milliseconds':34}{heads}")
    for name, all_ in taken.items():
        wall = [one.wall for one in all_]
        cpu = statistics.median(one.cpu for one in all_)
        median = statistics.median(wall)
        numbers = (median, min(wall), max(wall), statistics.stdev(wall), cpu)
        print(f"{name:34}{''.join(f'{number:8.1f}' for number in numbers)}{median / ours:8.2f}")


def main() -> None:
    """Start the servers, measure, and end them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        peers, _ = started([rexecd, openssh, nrpe], stack)
        taken = measure(lines_of(peers), arguments.rounds)
    if arguments.json:
        print(json.dumps({name: [one._asdict() for one in all_] for name, all_ in taken.items()}))
    else:
        report(taken)


if __name__ == "__main__":
    main()
