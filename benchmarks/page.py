"""Make the tables of docs/PERFORMANCE.md from the newest run in benchmarks/results; --check compares them."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Row, columns, shown
from benchmarks.targets import MISSING, Run, judged

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results"
DOCUMENT: Final = HERE.parent / "docs" / "PERFORMANCE.md"
#: A table stands between these, and is made anew as a whole.
_BEGIN: Final = "<!-- {}: made by `make docs` -->\n"
_END: Final = "<!-- end of {} -->\n"
#: How a figure is headed.
HEADS: Final = {
    "p50": "p50, ms",
    "p99": "p99, ms",
    "count": "n",
    "ratio": "ratio",
    "cpu_p50": "caller's CPU, ms",
    "per_second": "commands/s",
    "generator_cpu": "generator's CPU",
    "GB_per_second": "GB/s",
    "caller_cpu": "caller's CPU",
    "gateway_cpu": "gateway's CPU",
    "first_MiB": "first, MiB",
    "most_MiB": "most, MiB",
    "last_MiB": "last, MiB",
    "grown_MiB": "grown by, MiB",
    "16_callers_per_second": "16 callers, commands/s",
    "open_seconds": "opened in, s",
    "closed_per_second": "closed/s",
    "alone_p50": "alone, p50, ms",
    "new_ratio": "ratio",
    "opened_per_second": "opened/s",
    "gateway_KiB_each": "gateway, KiB each",
    "monitor_KiB_each": "monitor, KiB each",
    "KiB_each": "together, KiB each",
    "new_p50": "new connection, p50, ms",
    "failed": "failed",
    **{
        f"{name}_ms": f"{name}, ms"
        for name in ("caller", "gateway", "monitor", "worker", "command", "together")
    },
    "busy": "processors busy",
}


def newest(results: Path = RESULTS) -> dict[str, Any]:
    """Return the newest run, or one in which nothing was measured."""
    found = sorted(results.glob("*.json"))
    run: dict[str, Any] = json.loads(found[-1].read_text(encoding="utf-8")) if found else {"rounds": {}}
    return run


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table: names to the left, figures to the right.

    >>> print(table(["", "n"], [["spawn", "7"]]), end="")
    |  | n |
    | --- | ---: |
    | spawn | 7 |
    """
    rule = ["---", *("---:" for _ in heads[1:])]
    return _line(heads) + _line(rule) + "".join(map(_line, rows))


def of_rows(rows: Mapping[str, Row]) -> str:
    """Return the table of a round."""
    names = columns(rows)
    heads = ["", *(HEADS.get(name, name.replace("_", " ")) for name in names)]
    return table(heads, ([name, *(shown(row.get(each)) for each in names)] for name, row in rows.items()))


def targets(run: Run) -> str:
    """Return what it must reach, and what was measured."""
    heads = ["figure", "must", "aim", "measured", "reached"]
    return (
        _line(heads)
        + _line("---" for _ in heads)
        + "".join(
            _line(
                [
                    row.figure,
                    row.must,
                    row.aim,
                    row.measured,
                    f"**{row.reached}**" if row.reached == "no" else row.reached,
                ]
            )
            for row in judged(run)
        )
    )


def machine(run: Run) -> str:
    """Return what was measured on, and with what."""
    facts = run.get("machine", {})
    if not facts:
        return f"{MISSING}\n"
    lines = [f"* {name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    lines += [f"* {name}: {setup}" for name, setup in run["peers"].items()]
    lines += [f"* without {name}: {why}" for name, why in run["missing"].items()]
    late = run["late_ms"]
    lines.append(
        f"* beside it all a process that wakes ten times a second was late by {shown(late['p50'])} ms (p50), "
        f"{shown(late['p99'])} ms (p99)"
    )
    took = ", ".join(f"{name} {each['seconds']:.0f} s" for name, each in run["rounds"].items())
    lines.append(f"* {run['seconds']:.0f} seconds altogether: {took}")
    lines += [f"* {name}: taken again by itself, {again}" for name, again in taken_again(run).items()]
    return "".join(f"{line}\n" for line in lines)


def taken_again(run: Run) -> dict[str, str]:
    """Return which rounds were measured later than the others, and when."""
    return {name: each["again"] for name, each in run["rounds"].items() if "again" in each}


def of_round(run: Run, name: str) -> str:
    """Return the table of a round, or why there is none."""
    found = run["rounds"].get(name, {})
    return of_rows(found["rows"]) if found.get("rows") else f"{MISSING}: {found.get('failed', 'left out')}\n"


def idle_processes(run: Run) -> str:
    """Return what both processes held at each number of connections."""
    rows = run["rounds"].get("idle", {}).get("series", {}).get("processes", [])
    if not rows:
        return f"{MISSING}\n"
    names = [name for name in rows[0] if name != "connections"]
    heads = ["connections", *(name.replace("_", ", ") for name in names)]
    return table(heads, ([shown(row["connections"]), *(shown(row[name]) for name in names)] for row in rows))


_ROUNDS: Final = (
    *("commands", "processes", "output", "input", "slow", "parallel", "shares", "rules_of", "trail"),
    *("rules", "tokens", "records", "idle", "mixed"),
)


def parts(run: Run) -> dict[str, str]:
    """Return every part of the page that is made."""
    made = {"targets": targets(run), "machine": machine(run)}
    made |= {name: of_round(run, name) for name in _ROUNDS}
    return {**made, "idle_processes": idle_processes(run)}


def render(text: str, run: Run) -> str:
    """Return the page with every table as the run has it; raise ValueError where one has no place."""
    for name, part in parts(run).items():
        begin, end = _BEGIN.format(name), _END.format(name)
        before, found, rest = text.partition(begin)
        _, closed, behind = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"PERFORMANCE.md: no place for the table of {name}")
        text = f"{before}{begin}\n{part}\n{end}{behind}"
    return text


def main(arguments: list[str]) -> int:
    """Write the page, or only compare it; return the exit status."""
    old = DOCUMENT.read_text(encoding="utf-8")
    new = render(old, newest())
    if arguments == ["--check"]:
        print("" if new == old else "docs/PERFORMANCE.md: not as benchmarks/page.py makes it\n", end="")
        return int(new != old)
    DOCUMENT.write_text(new, encoding="utf-8")
    print(f"docs/PERFORMANCE.md {'unchanged' if new == old else 'changed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
