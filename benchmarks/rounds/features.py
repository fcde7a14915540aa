"""What features cost a command: another user, limits, a sandbox; the trail, durable or not."""

import contextlib
import functools
import os

from benchmarks import limits, trail
from benchmarks.execution import LIMITS, SANDBOX, make_rules
from benchmarks.measure import Found, divided, summaries
from benchmarks.peers import Operation
from benchmarks.rounds.plan import Bench
from benchmarks.served import SETTINGS, popen, runner, served, take_turns

RUN_AS = "run_as: nobody"
#: A row of the table, and what its rule says more.
_RULES = {
    "the daemon's own user": [],
    "run_as": [RUN_AS],
    "limits": [LIMITS],
    "run_as, limits": [RUN_AS, LIMITS],
    "sandbox": [SANDBOX],
    "run_as, limits, sandbox": [RUN_AS, LIMITS, SANDBOX],
}
RUN_AS_AND_LIMITS = "run_as, limits"
WITHOUT, SYNC = "without a trail", "sync: {}"


def rules(bench: Bench) -> Found:
    """Run rules with ever more in them, over one open connection."""
    if os.geteuid():
        raise RuntimeError("only root can run commands as somebody else")
    with (
        served(f"{SETTINGS}run_as: root\n", make_rules(_RULES.values()), "bench") as running,
        running.connect() as session,
    ):
        operations: dict[str, Operation] = {limits.POPEN: popen}
        operations |= {name: runner(session, f"row{number}") for number, name in enumerate(_RULES)}
        for operation in operations.values():
            operation()
        taken = take_turns(operations, rounds=bench.plan.rounds, each=10)
    rows = summaries(taken)
    divided(rows, "p50", list(_RULES), limits.POPEN)
    return Found(rows)


def trails(bench: Bench) -> Found:
    """Run a command of daemons without a trail and with each kind of it; many callers at once, too."""
    syncs = (None, "interval", "none", "always")
    with contextlib.ExitStack() as stack:
        connects = {
            SYNC.format(sync) if sync else WITHOUT: stack.enter_context(trail.opened(sync)) for sync in syncs
        }
        sessions = {name: stack.enter_context(connect()) for name, connect in connects.items()}
        operations: dict[str, Operation] = {name: runner(each, "true") for name, each in sessions.items()}
        take_turns(operations, rounds=1, each=10)
        # The share is some percent of a command: as many as it takes to see that.
        rows = summaries(take_turns(operations, rounds=bench.plan.rounds * 4, each=10))
        at_once = {
            name: functools.partial(trail.at_once, connect, 16, 10) for name, connect in connects.items()
        }
        rates = {name: [rate() for _ in range(bench.plan.passes)] for name, rate in at_once.items()}
    divided(rows, "p50", list(rows), WITHOUT)
    for name, several in rates.items():
        rows[name]["16_callers_per_second"] = sorted(several)[len(several) // 2]
    return Found(rows)
