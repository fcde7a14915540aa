"""One command after another, and whole processes."""

import contextlib

from benchmarks import caller, limits
from benchmarks.measure import Found, divided, summaries, summary
from benchmarks.peers import Operation
from benchmarks.rounds.plan import Bench
from benchmarks.served import popen, take_turns

OPEN = "{}: open connection"
NEW = "{}: new connection"
#: A connection of OpenSSH's takes a tenth of a second.
_FEWER = 2


def commands(bench: Bench) -> Found:
    """Measure one command after another: over an open connection, and with one of its own."""
    with contextlib.ExitStack() as stack:
        operations: dict[str, Operation] = {
            limits.SPAWN: limits.spawn,
            limits.POPEN: popen,
            limits.HANDSHAKE: stack.enter_context(limits.bare_tls(bench.certs)),
        }
        peers = [peer for peer in bench.peers if peer.opened is not None and peer.once is not None]
        for peer in peers:
            if peer.opened is not None and peer.once is not None:
                operations[OPEN.format(peer.name)] = stack.enter_context(peer.opened())
                operations[NEW.format(peer.name)] = peer.once
        for operation in operations.values():
            operation()
        fewer = {NEW.format("OpenSSH"): _FEWER}
        taken = take_turns(operations, rounds=bench.plan.rounds, each=10, fewer=fewer)
    rows = summaries(taken)
    divided(rows, "p50", [OPEN.format(peer.name) for peer in peers], limits.POPEN)
    divided(rows, "p50", [NEW.format(peer.name) for peer in peers], limits.HANDSHAKE, limits.POPEN)
    return Found(rows)


def processes(bench: Bench) -> Found:
    """Measure whole processes, from the fork to the exit status, and the processor time of the caller's."""
    taken = caller.measure(caller.lines_of(bench.peers), bench.plan.rounds)
    rows = {name: summary([one.wall for one in all_]) for name, all_ in taken.items()}
    for name, all_ in taken.items():
        rows[name]["cpu_p50"] = summary([one.cpu for one in all_])["p50"]
    if caller.OURS in rows:
        divided(rows, "p50", list(rows), caller.OURS)
    return Found(rows)
