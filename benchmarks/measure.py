"""What is made of single measurements: medians, percentiles, ratios, and a table for a terminal."""

import contextlib
import re
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]
Rows = dict[str, Row]


class Found(NamedTuple):
    """What a round has found: a table, and what was taken one after the other, for plots."""

    rows: Rows
    series: dict[str, list[Row]] = {}  # noqa: RUF012 - never changed


def summary(taken: Sequence[float]) -> Row:
    """Return median and 99th percentile of milliseconds, and how many there were.

    >>> summary([1.0, 2.0, 9.0])
    {'p50': 2.0, 'p99': 9.0, 'count': 3}
    """
    ordered = sorted(taken)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"p50": statistics.median(ordered), "p99": p99, "count": len(ordered)}


def summaries(taken: Mapping[str, Sequence[float]]) -> Rows:
    """Return the summary of each operation."""
    return {name: summary(all_) for name, all_ in taken.items()}


def divided(rows: Rows, figure: str, names: Sequence[str], *limits: str) -> None:
    """Add to those rows how often their figure holds the same figure of the limits together.

    >>> rows = {"limit": {"p50": 2.0}, "ours": {"p50": 3.0}}
    >>> divided(rows, "p50", ["ours"], "limit")
    >>> rows["ours"]["ratio"]
    1.5
    """
    below = sum(rows[limit][figure] for limit in limits)
    for name in names:
        if figure in rows.get(name, {}) and below:
            rows[name]["ratio"] = rows[name][figure] / below


@contextlib.contextmanager
def repeating(work: Callable[[], object], seconds: float) -> Iterator[None]:
    """Do something beside the rest, with so many seconds between two times."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(seconds):
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def shown(cell: object) -> str:
    """Return a cell as it is read: no more digits than mean something.

    >>> [shown(each) for each in (1234.5, 12.345, 0.01234, 7, None, "flat")]
    ['1,234', '12.3', '0.012', '7', '', 'flat']
    """
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case float():
            digits = 0 if abs(cell) >= 100 else 1 if abs(cell) >= 10 else 2 if abs(cell) >= 1 else 3
            return f"{cell:,.{digits}f}"
    return str(cell)


def said(error: BaseException) -> str:
    """Return what an error says, in one line, without the directories of this machine.

    >>> said(OSError("no such file: '/tmp/x1/rexecd.yaml':8:1"))
    "no such file: 'rexecd.yaml':8:1"
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"/(?:[^/\s'\"]+/)*", "", lines[0])


def columns(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of all figures, in the order in which they first come."""
    return list(dict.fromkeys(column for row in rows.values() for column in row))


def show(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one table."""
    names = columns(rows)
    table = [["", *names]] + [[name, *(shown(row.get(each)) for each in names)] for name, row in rows.items()]
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(f"\n{title}")
    for name, *cells in table:
        line = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, wide[1:], strict=True))
        print(f"{name:{wide[0]}}{line}".rstrip(), flush=True)
