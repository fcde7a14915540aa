"""Minutes of mixed load: whether times, memory, descriptors and threads are at the end what they were."""

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks import processes
from benchmarks.measure import Found, Row, Rows
from benchmarks.rounds.plan import Bench

OURS = "rexecd"


class Load(NamedTuple):
    """Callers of one kind, and how often each of them asks in a second."""

    callers: int
    each: float


#: Together they keep both processors about half busy.
KINDS = {
    "commands": Load(8, 10),
    "connections": Load(2, 5),
    "output": Load(2, 4),
    "input": Load(2, 4),
    "refusals": Load(2, 10),
}
#: Seconds before the first window, for programs to start; and after the last, for them to end.
_LEAD = 2.0
_MARGIN = 10.0
_PATIENCE = 60.0


def run(bench: Bench) -> Found:
    """Load for as long as there is, and look at both processes at the end of each window."""
    peer = bench.peer(OURS)
    if peer is None:
        raise RuntimeError("rexecd is not here")
    daemon = processes.find_daemon(peer.pid)
    window = bench.plan.window
    windows = int(min(bench.plan.mixed, bench.left() - _LEAD - _MARGIN) / window)
    if windows < 2:
        raise RuntimeError("no time is left for it")
    begin = time.monotonic() + _LEAD
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(_started([name, *peer.load[1:]], load, [begin, window, windows]))
            for name, load in KINDS.items()
        }
        samples = _watch(daemon, begin, window, windows)
        windows_of = {name: _answer(process) for name, process in running.items()}
    return Found(
        drifts(windows_of, samples, window),
        {"processes": samples, **{name: list(rows) for name, rows in windows_of.items()}},
    )


@contextlib.contextmanager
def _started(words: Sequence[str], load: Load, times: Sequence[float]) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "benchmarks.mix", *words, *map(str, (*load, *times))]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _watch(daemon: processes.Daemon, begin: float, window: float, windows: int) -> list[Row]:
    """Return what both processes use at the end of each window."""
    samples: list[Row] = []
    last = {name: processes.cpu(pid) for name, pid in daemon._asdict().items()}
    busy, there = processes.machine_cpu()
    for number in range(1, windows + 1):
        time.sleep(max(0.0, begin + number * window - time.monotonic()))
        row: Row = {"seconds": number * window}
        for name, pid in daemon._asdict().items():
            used = processes.usage(pid)
            row[f"{name}_MiB"] = used.pss_kib / 1024
            row[f"{name}_descriptors"] = used.descriptors
            row[f"{name}_threads"] = used.threads
            row[f"{name}_cpu"] = (used.cpu_seconds - last[name]) / window
            last[name] = used.cpu_seconds
        busy_now, there_now = processes.machine_cpu()
        row["machine_busy"] = (busy_now - busy) / max(1, there_now - there)
        busy, there = busy_now, there_now
        samples.append(row)
    return samples


def _answer(process: subprocess.Popen[str]) -> list[Row]:
    out, _ = process.communicate(timeout=_PATIENCE)
    return [json.loads(line) for line in out.splitlines()]


def drifts(windows: dict[str, list[Row]], samples: Sequence[Row], window: float) -> Rows:
    """Return medians of the first and of the last minute: of each kind, and of what each process used.

    A minute is a third of it where it lasted shorter than three.
    """
    few = max(1, min(round(60 / window), len(samples) // 3))
    rows: Rows = {}
    for name, all_ in windows.items():
        first, last = ([each["p50"] for each in part if "p50" in each] for part in (all_[:few], all_[-few:]))
        row: Row = {}
        if first and last:
            row = {"first": statistics.median(first), "last": statistics.median(last)}
            row["ratio"] = row["last"] / row["first"]
        row |= {key: sum(each[key] for each in all_) for key in ("count", "failed")}
        rows[f"{name}: p50"] = row
    figures = [
        *(
            f"{name}_{what}"
            for what in ("MiB", "descriptors", "threads", "cpu")
            for name in processes.Daemon._fields
        ),
        "machine_busy",
    ]
    for figure in figures:
        values = [sample[figure] for sample in samples]
        first_, last_ = (statistics.median(part) for part in (values[:few], values[-few:]))
        ratio = last_ / first_ if first_ else None
        rows[figure.replace("_", ": ")] = {"first": first_, "last": last_, "ratio": ratio}
    return rows
