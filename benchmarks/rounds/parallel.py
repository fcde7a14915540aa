"""Many callers at once: how many commands a second all of them get together."""

import contextlib
import statistics

from benchmarks import limits
from benchmarks.load import Generator, generator
from benchmarks.measure import Found, Row, Rows, divided
from benchmarks.rounds.plan import Bench

AT_ONCE = "{}: {} callers"


def run(bench: Bench) -> Found:
    """Load all peers in turns, of each a generator in a process of its own, with ever more connections."""
    rows: Rows = {}
    bare: list[float] = []
    with contextlib.ExitStack() as stack:
        loads = {peer.name: stack.enter_context(generator(peer.load)) for peer in bench.peers if peer.load}
        for callers in sorted(bench.plan.callers):
            bare.append(limits.spawning(2, bench.plan.seconds))
            for name, answers in _turns(bench, loads, callers).items():
                rows[AT_ONCE.format(name, callers)] = answers
    found: Rows = {limits.LOOPS: {"per_second": statistics.median(bare)}, **rows}
    divided(found, "per_second", list(rows), limits.LOOPS)
    return Found(found)


def _turns(bench: Bench, loads: dict[str, Generator], callers: int) -> Rows:
    """Let each generator have its turns with so many callers; drop one that fails."""
    answers: dict[str, list[Row]] = {name: [] for name in loads}
    failed: Rows = {}
    for number in range(bench.plan.passes + 1):
        for name in [each for each in loads if each not in failed]:
            try:
                # The first time only connects.
                loads[name].order(callers, bench.plan.seconds if number else 0)
                answer = loads[name].answer()
            except (RuntimeError, OSError, ValueError) as error:
                failed[name] = {"failed": str(error)}
                continue
            if number:
                answers[name].append(answer)
    for name in failed:
        del loads[name]
    return {name: failed.get(name) or median_of(all_) for name, all_ in answers.items()}


def median_of(answers: list[Row]) -> Row:
    """Return the median of each figure, but of counts the sum.

    >>> median_of([{"p50": 1.0, "count": 2}, {"p50": 3.0, "count": 2}, {"p50": 2.0, "count": 1}])
    {'p50': 2.0, 'count': 5}
    """
    return {
        key: sum(each[key] for each in answers)
        if key == "count"
        else statistics.median(each[key] for each in answers)
        for key in answers[0]
    }
