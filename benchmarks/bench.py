"""Everything side by side, in one run, on the loopback: `make bench`.

Rounds are interleaved (A B C A B C ...), so that a machine that gets slower does so for all. Printed, and
written as JSON, are medians, 99th percentiles, and ratios to the limits of the machine, measured beside them.
Nothing is asserted; a peer that is missing, or a round that cannot be, is named, and the others go on.
All that was started is stopped, and all is over before the minutes are that were given.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from benchmarks import caller
from benchmarks.measure import Found, repeating, said, show, summary
from benchmarks.peers import Peer, nrpe, rexecd
from benchmarks.rounds import bulk, features, growth, idle, mixed, parallel, shares, single
from benchmarks.rounds.plan import GB, Bench, Plan
from benchmarks.served import POLICY, SETTINGS, wide
from benchmarks.ssh import asyncssh, openssh
from benchmarks.targets import judged
from rexecd import __version__
from rexecd.cli.init import lay_out

RESULTS = Path(__file__).parent / "results"
#: What a reader of the file can rely on.
FORMAT = 1
#: More than any round but the last has at once.
_CONNECTIONS = 400
#: Seconds between two looks at how late one is.
_BEAT = 0.1
#: Seconds that are kept for stopping everything.
_RESERVE = 15.0


class Round(NamedTuple):
    """One table."""

    title: str
    run: Callable[[Bench], Found]


#: In this order; the last one takes what time is left.
ROUNDS = {
    "commands": Round("one after another, milliseconds", single.commands),
    "processes": Round("whole processes, milliseconds", single.processes),
    "output": Round("gigabytes out", bulk.output),
    "input": Round("gigabytes in", bulk.put),
    "slow": Round("memory while output is taken slowly", bulk.slow),
    "parallel": Round("callers at once", parallel.run),
    "shares": Round("processor time of a command, milliseconds", shares.run),
    "rules_of": Round("what a rule says more, milliseconds", features.rules),
    "trail": Round("the trail, milliseconds", features.trails),
    "rules": Round("a policy that grows, milliseconds", growth.rules),
    "tokens": Round("a store that grows, milliseconds", growth.tokens),
    "records": Round("a trail that grows, milliseconds", growth.records),
    "idle": Round("idle connections", idle.run),
    "mixed": Round("mixed load, first and last minute", mixed.run),
}


@contextlib.contextmanager
def own_user(directory: Path) -> Iterator[Peer]:
    """Run rexecd so that commands are the daemon's own user, as those of the others are."""
    with rexecd(directory, wide(_CONNECTIONS) + ("" if os.geteuid() else "run_as: root\n")) as peer:
        yield peer


@contextlib.contextmanager
def another_user(directory: Path) -> Iterator[Peer]:
    """Run rexecd as it comes: commands are another user, without capabilities."""
    if os.geteuid() != 0:
        raise RuntimeError("only root can run commands as another user")
    with rexecd(directory, f"{wide(_CONNECTIONS)}run_as: nobody\n") as peer:
        yield peer._replace(name="rexecd, as nobody", lines={}, pull=None, push=None)


@contextlib.contextmanager
def beating() -> Iterator[list[float]]:
    """Note every tenth of a second how late this process gets the processor: how busy the machine is."""
    late: list[float] = []
    last = time.perf_counter()

    def beat() -> None:
        nonlocal last
        late.append((time.perf_counter() - last - _BEAT) * 1e3)
        last = time.perf_counter()

    with repeating(beat, _BEAT):
        yield late


def machine() -> dict[str, Any]:
    """Return what it is measured on: nothing that names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rexecd": __version__,
        "processors": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "memory_GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "kernel": platform.release(),
    }


def done(name: str, bench: Bench) -> dict[str, Any]:
    """Do a round, print its table, and return what of it is kept."""
    title = ROUNDS[name].title
    begun = time.monotonic()
    try:
        if bench.left() < 0:
            raise RuntimeError("no time is left for it")
        found = ROUNDS[name].run(bench)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other rounds are not concerned
        print(f"\nwithout {name}: {said(error)}", file=sys.stderr)
        return {"title": title, "failed": said(error), "seconds": time.monotonic() - begun, "rows": {}}
    show(title, found.rows)
    seconds = time.monotonic() - begun
    print(f"{'':46}{seconds:.1f} s")
    return {"title": title, "seconds": seconds, "rows": found.rows, "series": found.series}


def measured(plan: Plan, names: Sequence[str], end: float) -> dict[str, Any]:
    """Start everything, do those rounds, and stop everything."""
    starters = [own_user, another_user, openssh, asyncssh, nrpe]
    with contextlib.ExitStack() as stack:
        peers, missing = caller.started(starters, stack)
        directory = Path(stack.enter_context(caller.scratch()))
        lay_out(directory, ["127.0.0.1"], settings=SETTINGS, policy=POLICY)
        bench = Bench(plan, peers, directory / "certs", end)
        late = stack.enter_context(beating())
        return {
            "format": FORMAT,
            "machine": machine(),
            "plan": plan._asdict(),
            "peers": {peer.name: peer.setup for peer in peers},
            "missing": missing,
            "rounds": {name: done(name, bench) for name in names},
            "late_ms": summary(late or [0.0]),
        }


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line says."""
    usual = Plan()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="of ten single commands each")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="of each load")
    parser.add_argument("--callers", type=int, nargs="*", default=usual.callers)
    parser.add_argument("--gigabytes", type=float, default=usual.size / GB, help="out; half of it in")
    parser.add_argument("--slow", type=float, default=usual.slow, help="seconds for the slow reader")
    parser.add_argument("--idle", type=int, nargs="*", default=usual.idle, help="connections")
    parser.add_argument("--rules", type=int, nargs="*", default=usual.rules)
    parser.add_argument("--tokens", type=int, nargs="*", default=usual.tokens)
    parser.add_argument("--records", type=int, nargs="*", default=usual.records)
    parser.add_argument("--mixed", type=float, default=usual.mixed, help="seconds of mixed load, at most")
    parser.add_argument("--window", type=float, default=usual.window, help="seconds between two looks at it")
    parser.add_argument("--minutes", type=float, default=14.5, help="for everything together")
    parser.add_argument(
        "--only", nargs="*", choices=[*ROUNDS], default=[], help="these rounds; kept in no new file"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where the figures go, instead of benchmarks/results/DATE.json; with --only into that of a run",
    )
    return parser.parse_args(words)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return how much of everything there is to be."""
    given = {name: value for name, value in vars(arguments).items() if name in Plan._fields}
    return Plan(**given)._replace(size=int(arguments.gigabytes * GB))


def _end(*_: object) -> NoReturn:
    raise SystemExit(143)


def main() -> None:
    """Measure, print, and write."""
    begun = time.monotonic()
    arguments = arguments_of()
    # Leave by the way on which everything is stopped.
    signal.signal(signal.SIGTERM, _end)
    end = begun + arguments.minutes * 60 - _RESERVE
    found = measured(plan_of(arguments), arguments.only or [*ROUNDS], end)
    found["seconds"] = time.monotonic() - begun
    show("the machine", {"a tenth of a second was late by, ms": found["late_ms"]})
    show("what it must reach", {row.figure: row.shown() for row in judged(found)})
    took = {name: each["seconds"] for name, each in found["rounds"].items()}
    print(f"\n{found['seconds']:.0f} s: " + ", ".join(f"{name} {each:.0f}" for name, each in took.items()))
    out = arguments.out
    if out is None and not arguments.only:
        RESULTS.mkdir(exist_ok=True)
        out = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%MZ}.json"
    if out is not None:
        if arguments.only and out.exists():
            found = taken_again(json.loads(out.read_text()), found)
        out.write_text(json.dumps(rounded(found), indent=1) + "\n")
        print(f"written: {out.name}")


def taken_again(run: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return a run in which some rounds are those that were found later, and say so."""
    date = found["machine"]["date"]
    later = {name: {**each, "again": date} for name, each in found["rounds"].items()}
    return {**run, "rounds": {**run["rounds"], **later}}


def rounded(found: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the same with no more than six digits of each figure."""
    match found:
        case float():
            return float(f"{found:.6g}")
        case dict():
            return {key: rounded(value) for key, value in found.items()}
        case list() | tuple():
            return [rounded(value) for value in found]
    return found


if __name__ == "__main__":
    main()
