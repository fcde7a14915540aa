"""Gigabytes: out of a command, into one, and taken slowly."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from benchmarks import limits, processes
from benchmarks.measure import Found, Row, Rows, divided, repeating, summary
from benchmarks.peers import Peer
from benchmarks.rounds.plan import GB, Bench

_PASSES = 3
#: Seconds after which no further pass is begun.
_MOST = 20.0
#: Seconds between two samples.
_PULSE = 0.1
OURS = "rexecd"
#: It takes ten times as long for the same, and is as quick with less.
_LESS = {"asyncssh": 8}
Move = Callable[[int], object]


def output(bench: Bench) -> Found:
    """Measure bytes from a command into the caller, beside a TLS stream with nothing at its ends."""
    moves = {peer.name: peer.pull for peer in bench.peers if peer.pull is not None}
    return _moved(bench, moves, bench.plan.size, is_output=True)


def put(bench: Bench) -> Found:
    """Measure bytes from the caller into a command."""
    moves = {peer.name: peer.push for peer in bench.peers if peer.push is not None}
    return _moved(bench, moves, bench.plan.size // 2, is_output=False)


def _moved(bench: Bench, moves: Mapping[str, Move], size: int, *, is_output: bool) -> Found:
    bare = functools.partial(limits.stream, bench.certs, is_output=is_output)
    ours = bench.peer(OURS)
    every: dict[str, Move] = {limits.STREAM: bare, **moves}
    sizes = {name: size // _LESS.get(name, 1) for name in every}
    taken: dict[str, list[Row]] = {name: [] for name in every}
    begun = time.monotonic()
    for number in range(_PASSES):
        if number and time.monotonic() - begun > _MOST:
            break
        for name, move in every.items():
            one = functools.partial(move, sizes[name])
            taken[name].append(_timed(one, ours if name == OURS else None))
    rows: Rows = {}
    for name, all_ in taken.items():
        median = {key: summary([each[key] for each in all_])["p50"] for key in all_[0]}
        rows[name] = {
            "GB": sizes[name] / GB,
            "GB_per_second": sizes[name] / median.pop("seconds") / GB,
            "count": len(all_),
            **median,
        }
    divided(rows, "GB_per_second", list(moves), limits.STREAM)
    return Found(rows)


def _timed(move: Callable[[], object], peer: Peer | None) -> Row:
    """Return the seconds of a move; of ours also which share of a processor both ends had."""
    gateway = processes.find_daemon(peer.pid).gateway if peer is not None else None
    before = processes.cpu(gateway) if gateway else 0.0
    own, begun = time.process_time(), time.perf_counter()
    move()
    seconds = time.perf_counter() - begun
    row: Row = {"seconds": seconds}
    if gateway:
        row["caller_cpu"] = (time.process_time() - own) / seconds
        row["gateway_cpu"] = (processes.cpu(gateway) - before) / seconds
    return row


def slow(bench: Bench) -> Found:
    """Measure the memory of both processes while a caller takes output slowly."""
    peer = bench.peer(OURS)
    if peer is None or peer.pull is None:
        raise RuntimeError("rexecd is not here")
    daemon = processes.find_daemon(peer.pid)
    size = bench.plan.size // 2
    # What any first command needs is not what is looked for.
    peer.pull(size // 100)
    begun = time.monotonic()

    def each(taken: int) -> None:
        early = begun + bench.plan.slow * taken / size - time.monotonic()
        if early > 0:
            time.sleep(early)

    with _sampled(daemon) as samples:
        peer.pull_slowly(size, each)
    seconds = time.monotonic() - begun
    rows: Rows = {}
    for name in ("gateway", "monitor"):
        all_ = [sample[name] for sample in samples]
        rows[name] = {"first_MiB": all_[0], "most_MiB": max(all_), "last_MiB": all_[-1]}
        rows[name]["grown_MiB"] = max(all_) - all_[0]
    rows["caller"] = {"GB_per_second": size / seconds / GB, "seconds": seconds}
    return Found(rows, {"slow": samples})


@contextmanager
def _sampled(daemon: processes.Daemon) -> Iterator[list[Row]]:
    """Note the memory of both processes every now and then, from beginning to end."""
    samples: list[Row] = []
    begun = time.monotonic()

    def sample() -> None:
        row: Row = {"seconds": time.monotonic() - begun}
        samples.append(row | {name: processes.rss(pid) / 1024 for name, pid in daemon._asdict().items()})

    sample()
    with repeating(sample, _PULSE):
        yield samples
    sample()
