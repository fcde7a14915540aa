"""Idle connections: how long they take to open, what they cost, and what a command costs beside them."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes
from benchmarks.load import Generator, generator
from benchmarks.measure import Found, Row, Rows, summaries
from benchmarks.peers import POLICY, Operation, Peer, Starter, peer_of
from benchmarks.rounds.plan import Bench
from benchmarks.served import apart, take_turns, wide
from benchmarks.ssh import asyncssh, openssh

BESIDE = "rexecd: {} connections"
GONE = "rexecd: {} callers vanish at once"
#: Processes that hold them: a handshake costs a caller as much as the server.
_GENERATORS = 4
#: So many of each other server, of which each is a process or an object of its own.
_OTHERS = 100
#: Connections for whoever asks beside them, and seconds in which one looks at how those go who vanish.
_SPARE = 16
_PATIENCE = 10.0
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
    """Open ever more connections of one daemon; ask it, and another one that has none; let all go at once."""
    settings = wide(max(bench.plan.idle) + _SPARE) + ("" if os.geteuid() else "run_as: root\n")
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(2):
            running, daemon = stack.enter_context(apart(settings, POLICY, "bench", _LENIENT))
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rexec-bench-")))
            peers.append((peer_of(running, directory), daemon))
        (alone, _), (peer, daemon) = peers
        # In thousands of threads an orderly end takes minutes.
        stack.callback(_kill, daemon)
        rows, used = _ours(bench, alone, peer, daemon)
    few = min(_OTHERS, *bench.plan.idle)
    for name, starter in {"OpenSSH": openssh, "asyncssh": asyncssh}.items():
        there = bench.peer(name)
        if there is not None and there.load:
            rows[f"{name}: {few} connections"] = _theirs(starter, few)
    return Found(rows, {"processes": used})


def _ours(bench: Bench, alone: Peer, peer: Peer, daemon: processes.Daemon) -> tuple[Rows, list[Row]]:
    """Return the rows, and what both processes used at each step."""
    rows: Rows = {}
    _beside(bench, alone, peer)
    before = {name: processes.pss(pid) for name, pid in daemon._asdict().items()}
    used = [_facts(daemon, 0)]
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(generator(peer.load)) for _ in range(_GENERATORS)]
        _open(loads, 0)
        opened, seconds = 0, 0.0
        for number in sorted(bench.plan.idle):
            seconds += _open(loads, number)
            opened = number
            row: Row = {"connections": opened, "open_seconds": seconds, "opened_per_second": opened / seconds}
            used.append(_facts(daemon, opened))
            for name, pid in daemon._asdict().items():
                row[f"{name}_KiB_each"] = (processes.pss(pid) - before[name]) / opened
            row["KiB_each"] = row["gateway_KiB_each"] + row["monitor_KiB_each"]
            rows[BESIDE.format(number)] = row | _beside(bench, alone, peer)
        rows[GONE.format(opened)] = _gone(loads, daemon.gateway, opened)
    return rows, used


def _gone(loads: Sequence[Generator], gateway: int, number: int) -> Row:
    """Let all callers vanish at once; return how quickly the gateway is done with them."""
    threads, begun = processes.threads(gateway), time.monotonic()
    for load in loads:
        load.kill()
    deadline = begun + _PATIENCE
    while (left := processes.threads(gateway)) > threads - number and time.monotonic() < deadline:
        time.sleep(0.05)
    seconds = time.monotonic() - begun
    return {"connections": number, "closed_per_second": (threads - left) / seconds}


def _kill(daemon: processes.Daemon) -> None:
    for pid in daemon:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


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


def _beside(bench: Bench, alone: Peer, peer: Peer) -> Row:
    """Return what a command takes of a daemon with idle connections, and of one without, which take turns."""
    operations: dict[str, Operation] = {}
    with contextlib.ExitStack() as stack:
        for name, each in (("alone", alone), ("beside", peer)):
            if each.opened is not None and each.once is not None:
                operations[name] = stack.enter_context(each.opened())
                operations[f"{name}, new"] = each.once
        fewer = {name: 2 for name in operations if "new" in name}
        take_turns(operations, rounds=1, each=_WARM, fewer=fewer)
        found = summaries(take_turns(operations, rounds=bench.plan.rounds, each=10, fewer=fewer))
    p50 = {name: row["p50"] for name, row in found.items()}
    row = found["beside"] | {"alone_p50": p50["alone"], "ratio": p50["beside"] / p50["alone"]}
    return row | {"new_p50": p50["beside, new"], "new_ratio": p50["beside, new"] / p50["alone, new"]}


def _theirs(starter: Starter, number: int) -> Row:
    """Return what idle connections cost another server, begun anew: it, and all processes below it."""
    with (
        tempfile.TemporaryDirectory(prefix="rexec-bench-") as name,
        starter(Path(name)) as peer,
        generator(peer.load) as load,
    ):
        before, _ = processes.tree_pss([peer.pid])
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
