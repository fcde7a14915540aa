"""What a command and a new connection cost as policy, tokens and trail grow, and what verifying takes.

Daemons of every size run side by side and take turns.
"""

import contextlib
import functools
import itertools
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from benchmarks.audit import events
from benchmarks.measure import Found, Row, Rows, summary
from benchmarks.peers import Operation
from benchmarks.rounds.plan import Bench
from benchmarks.served import POLICY, SETTINGS, Served, runner, served, take_turns
from rexecd.audit.events import compose
from rexecd.audit.keys import KEY_NAME, load_chain, save_chain
from rexecd.cli.init import Layout
from rexecd.identity.store import _INSERT, Store, _row
from rexecd.identity.tokens import Terms, TokenRecord, mint

#: What grows, and how a size of it is called in the table.
KINDS = ("rules", "tokens", "records")
COMMAND, CONNECTION = "{:,} {}: command", "{:,} {}: new connection"
VERIFY = "verify {:,} records"
#: One file, whatever its size.
_TRAIL = "audit: {file: audit/audit.jsonl, max_size: 16GiB}\n"
#: So many records are composed, and sealed over and over.
_COMPOSED = 10_000
_WARM = 20


def policy_of(rules: int) -> str:
    """Return a policy with so many rules, of which one is in the middle."""
    lines = [*POLICY.splitlines()]
    lines += (
        f"""\
  service.check{number}:
    summary: Check service number {number}
    run: [/bin/true, "--lines={{lines}}", "{{unit}}"]
    parameters:
      unit: {{type: choice, of: [nginx, postgresql, redis]}}
      lines: {{type: integer, min: 1, max: 1000, default: 50}}"""
        for number in range(rules - 1)
    )
    return "\n".join(lines) + "\n"


def line_of(rules: int) -> str:
    """Return what asks for the rule in the middle."""
    return f"service.check{(rules - 1) // 2} nginx"


def fill_store(made: Layout, count: int) -> None:
    """Keep so many tokens that nobody holds."""
    with Store(made.config.parent / "state" / "tokens.sqlite") as store:
        now = datetime.now(UTC)
        minted = (mint(secrets.token_bytes) for _ in range(count))
        kept = (TokenRecord(one.token_id, one.digest, "bench", now, Terms()) for one in minted)
        # All in one transaction; the store itself adds one at a time, and waits for the disk each time.
        with store._changing() as connection:  # noqa: SLF001 - see above
            connection.executemany(_INSERT, map(_row, kept))


def fill_trail(made: Layout, count: int) -> None:
    """Write a sealed trail of so many records, which the daemon then continues."""
    key = made.config.parent / "state" / KEY_NAME
    chain = load_chain(key)
    now = datetime.now(UTC)
    few = itertools.islice(events(), min(count, _COMPOSED))
    composed = [compose(action, fields, now=now) for action, fields in few]
    path = made.config.parent / "audit" / "audit.jsonl"
    path.touch(mode=0o600)
    with path.open("ab", buffering=1 << 20) as file:
        for prefix in itertools.islice(itertools.cycle(composed), count):
            line, chain = chain.seal(prefix)
            file.write(line)
    save_chain(key, chain)


def verify(made: Layout) -> float:
    """Return the seconds a verification of the whole trail takes."""
    trail = made.config.parent / "audit" / "audit.jsonl"
    words = ["audit", "verify", "--key", str(made.verification_key), str(trail)]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-m", "rexecd", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def rules(bench: Bench) -> Found:
    """Measure with ever more rules."""
    with contextlib.ExitStack() as stack:
        running = {
            size: (stack.enter_context(served(SETTINGS, policy_of(size), "bench")), line_of(size))
            for size in bench.plan.rules
        }
        return _grown(bench, "rules", running, stack)


def tokens(bench: Bench) -> Found:
    """Measure with ever more tokens."""
    return _prepared(bench, "tokens", bench.plan.tokens, fill_store)


def records(bench: Bench) -> Found:
    """Measure with an ever longer trail; the longest is verified first."""
    verified: Rows = {}
    longest = max(bench.plan.records, default=0)

    def prepare(made: Layout, size: int) -> None:
        if size:
            fill_trail(made, size)
        if size and size == longest:
            verified[VERIFY.format(size)] = {"seconds": verify(made)}

    found = _prepared(bench, "records", bench.plan.records, prepare)
    return Found({**verified, **found.rows}, found.series)


def _prepared(bench: Bench, kind: str, sizes: Sequence[int], prepare: Callable[[Layout, int], None]) -> Found:
    with contextlib.ExitStack() as stack:
        running = {
            size: (
                stack.enter_context(
                    served(SETTINGS + _TRAIL, POLICY, "bench", functools.partial(_with, prepare, size))
                ),
                "true",
            )
            for size in sizes
        }
        return _grown(bench, kind, running, stack)


def _with(prepare: Callable[[Layout, int], None], size: int, made: Layout) -> None:
    prepare(made, size)


def _grown(
    bench: Bench, kind: str, running: dict[int, tuple[Served, str]], stack: contextlib.ExitStack
) -> Found:
    """Measure daemons of each size in turns."""
    operations: dict[str, Operation] = {}
    for size, (each, line) in running.items():
        operations[COMMAND.format(size, kind)] = runner(stack.enter_context(each.connect()), line)
        operations[CONNECTION.format(size, kind)] = functools.partial(each.once, line)
    fewer = {CONNECTION.format(size, kind): 3 for size in running}
    take_turns(operations, rounds=1, each=_WARM)
    taken = take_turns(operations, rounds=bench.plan.rounds, each=10, fewer=fewer)
    rows: Rows = {name: summary(all_) for name, all_ in taken.items()}
    smallest = min(running, default=0)
    for size in running:
        for name in (COMMAND, CONNECTION):
            row = rows[name.format(size, kind)]
            row["ratio"] = row["p50"] / rows[name.format(smallest, kind)]["p50"]
    series: list[Row] = [
        {
            "size": size,
            "command_p50": rows[COMMAND.format(size, kind)]["p50"],
            "connection_p50": rows[CONNECTION.format(size, kind)]["p50"],
        }
        for size in running
    ]
    return Found(rows, {kind: series})
