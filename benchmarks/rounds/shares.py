"""Whose processor time a command is: the caller's, the gateway's, the monitor's, its worker's, its own."""

import contextlib
from collections.abc import Mapping

from benchmarks import processes
from benchmarks.load import Generator, generator
from benchmarks.measure import Found, Row
from benchmarks.rounds.plan import Bench

OURS = "rexecd"
CALLERS = (1, 16)
#: As many times longer than a load is: processor time is counted in hundredths of a second.
_LONGER = 3


def run(bench: Bench) -> Found:
    """Load rexecd, and divide what each of its processes has used by the commands that were answered."""
    peer = bench.peer(OURS)
    if peer is None:
        raise RuntimeError("rexecd is not here")
    daemon = processes.find_daemon(peer.pid)
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(generator(peer.load))
        return Found(
            {
                f"{callers} {'caller' if callers == 1 else 'callers'}": _shares(
                    daemon, load, callers, bench.plan.seconds * _LONGER
                )
                for callers in CALLERS
            }
        )


def _shares(daemon: processes.Daemon, load: Generator, callers: int, seconds: float) -> Row:
    load.order(callers, seconds / _LONGER)  # workers are prepared, and connections there
    load.answer()
    before, workers, busy = _used(daemon), processes.workers_of(daemon), processes.machine_cpu()
    load.order(callers, seconds)
    answer = load.answer()
    after, now = _used(daemon), processes.machine_cpu()
    commands = answer["count"]
    if not commands:
        raise RuntimeError("no command was answered")
    row: Row = {"per_second": answer["per_second"], "p50": answer["p50"]}
    each = {"caller": answer["generator_cpu"] / answer["per_second"]}
    each |= {name: (after[name] - before[name]) / commands for name in after}
    each |= {name: used / commands for name, used in grown(workers, processes.workers_of(daemon)).items()}
    row |= {f"{name}_ms": share * 1e3 for name, share in each.items()}
    row["together_ms"] = sum(each.values()) * 1e3
    row["busy"] = (now[0] - busy[0]) / max(1, now[1] - busy[1])
    return row


def _used(daemon: processes.Daemon) -> dict[str, float]:
    return {"gateway": processes.cpu(daemon.gateway), "monitor": processes.cpu(daemon.monitor)}


def grown(before: Mapping[int, processes.Worked], after: Mapping[int, processes.Worked]) -> dict[str, float]:
    """Return what workers and their commands have used between two looks; who has ended had nothing to do.

    >>> grown({1: processes.Worked(1.0, 5.0), 2: processes.Worked(9.0, 9.0)}, {1: processes.Worked(1.5, 7.0)})
    {'worker': 0.5, 'command': 2.0}
    """
    none = processes.Worked(0.0, 0.0)
    pairs = [(before.get(pid, none), now) for pid, now in after.items()]
    return {
        "worker": sum(now.own - then.own for then, now in pairs),
        "command": sum(now.commands - then.commands for then, now in pairs),
    }
