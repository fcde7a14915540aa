"""Idle connections: how long they take to open, what they cost, and what a command costs beside them."""

import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes
from benchmarks.load import Generator, generator
from benchmarks.measure import Found, Row, Rows, summary
from benchmarks.peers import POLICY, Peer, peer_of
from benchmarks.rounds.plan import Bench
from benchmarks.served import apart, take_turns, wide

BESIDE = "rexecd: {} connections"
ALONE = ("rexecd: alone, before", "rexecd: alone, after")
#: Processes that hold them: a handshake costs a caller as much as the server.
_GENERATORS = 4
#: So many of each other server, of which each is a process or an object of its own.
_OTHERS = 100
#: Connections for whoever asks beside them, and seconds until those who have gone are forgotten.
_SPARE = 16
_PATIENCE = 30.0
_WARM = 30
#: A daemon refuses to start where it could come to need more descriptors than it may have: four a connection.
#: Those here are idle, which takes two: it takes what it may have.
_LENIENT = """
import resource
from rexecd import confine
def lift(needed, *, what):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
confine.raise_descriptor_limit = lift
"""


def run(bench: Bench) -> Found:
    """Open ever more connections of a daemon of its own; ask beside them; let them go."""
    rows: Rows = {}
    used: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="rexec-bench-") as name:
        settings = wide(max(bench.plan.idle, default=1) + _SPARE) + ("" if os.geteuid() else "run_as: root\n")
        with apart(settings, POLICY, "bench", _LENIENT) as (running, daemon):
            _ours(bench, peer_of(running, Path(name)), daemon, rows, used)
    for other in ("OpenSSH", "asyncssh"):
        found = bench.peer(other)
        if found is not None and bench.plan.idle:
            few = min(_OTHERS, *bench.plan.idle)
            rows[f"{other}: {few} connections"] = _theirs(found, few)
    alone = [rows[name]["p50"] for name in ALONE]
    for row in rows.values():
        if "p50" in row:
            row["ratio"] = row["p50"] / (sum(alone) / 2)
    return Found(rows, {"processes": used})


def _ours(bench: Bench, peer: Peer, daemon: processes.Daemon, rows: Rows, used: list[Row]) -> None:
    _beside(bench, peer)
    before = {name: processes.usage(pid) for name, pid in daemon._asdict().items()}
    used.append(_facts(daemon, 0))
    rows[ALONE[0]] = _beside(bench, peer)
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(generator(peer.load)) for _ in range(_GENERATORS)]
        for load in loads:
            load.order(0)
        for load in loads:
            load.answer()
        opened, seconds = 0, 0.0
        for number in sorted(bench.plan.idle):
            took = _open(loads, number)
            opened, seconds = number, seconds + took
            row: Row = {"connections": opened, "open_seconds": seconds, "opened_per_second": opened / seconds}
            used.append(_facts(daemon, opened))
            for name, pid in daemon._asdict().items():
                row[f"{name}_KiB_each"] = (processes.pss(pid) - before[name].pss_kib) / opened
            row["KiB_each"] = row["gateway_KiB_each"] + row["monitor_KiB_each"]
            rows[BESIDE.format(number)] = row | _beside(bench, peer)
        leaving = time.monotonic()
    _wait_until_alone(daemon.gateway, before["gateway"].threads)
    used.append(_facts(daemon, 0))
    rows[ALONE[1]] = {"closed_seconds": time.monotonic() - leaving} | _beside(bench, peer)


def _open(loads: Sequence[Generator], number: int) -> float:
    """Let the generators hold so many connections together; return the seconds that took."""
    begun = time.perf_counter()
    shares = [number // len(loads) + (each < number % len(loads)) for each in range(len(loads))]
    for load, share in zip(loads, shares, strict=True):
        load.order(share)
    for load in loads:
        load.answer()
    return time.perf_counter() - begun


def _facts(daemon: processes.Daemon, connections: int) -> Row:
    row: Row = {"connections": connections}
    for name, pid in daemon._asdict().items():
        now = processes.usage(pid)
        row[f"{name}_MiB"] = now.pss_kib / 1024
        row[f"{name}_descriptors"] = now.descriptors
        row[f"{name}_threads"] = now.threads
    return row


def _beside(bench: Bench, peer: Peer) -> Row:
    """Return what a command takes, over a connection that was opened for it."""
    if peer.opened is None or peer.once is None:
        raise RuntimeError("nothing can be asked")
    with peer.opened() as run_one:
        for _ in range(_WARM):
            run_one()
        taken = take_turns(
            {"open": run_one, "new": peer.once}, rounds=bench.plan.rounds, each=10, fewer={"new": 2}
        )
    return summary(taken["open"]) | {"new_p50": summary(taken["new"])["p50"]}


def _wait_until_alone(pid: int, threads: int) -> None:
    """Wait until a process has no more threads than it had."""
    deadline = time.monotonic() + _PATIENCE
    while processes.threads(pid) > threads + 2 and time.monotonic() < deadline:
        time.sleep(0.1)


def _theirs(peer: Peer, number: int) -> Row:
    """Return what idle connections cost another server: it, and all processes below it."""
    before, _ = processes.tree_pss([peer.pid])
    with generator(peer.load) as load:
        load.order(0)
        load.answer()
        took = _open([load], number)
        after, count = processes.tree_pss([peer.pid])
    return {
        "connections": number,
        "open_seconds": took,
        "opened_per_second": number / took,
        "KiB_each": (after - before) / number,
        "processes": count,
    }
