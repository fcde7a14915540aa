"""Records as rows for spreadsheets and programs: comma-separated values.

Rule 1: what a caller wrote never becomes a formula: a cell that could begin one begins with `'` (CWE-1236).
Rule 2: one record is one line, and nothing in it steers a terminal.
"""

import csv
import io
from collections.abc import Callable, Iterable
from typing import Final

from rexecd.audit.search import SHOWN, Record, as_it_is, at, in_seconds
from rexecd.printable import printable

#: What spreadsheets take for the beginning of a formula, also behind a tab or the end of a line.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_COLUMNS: Final = {name: path for name, path in SHOWN.items() if name not in {"detail", "line"}}
#: Recorded in nanoseconds, given in seconds.
_TIMES: Final = ("duration", "cpu_time")
HEADER: Final = ("time", "number", "action", *_COLUMNS, "line")


def row(values: Iterable[object]) -> str:
    """Return one line of cells, without its end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([cell(value) for value in values])
    return text.getvalue()


def cell(value: object) -> str:
    """Return what stands in a cell; None is an empty one."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else ascii(value)
    return ("'" if text.startswith(_FORMULA) else "") + printable(text)


def of_record(record: Record, *, time: Callable[[object], object] = as_it_is) -> tuple[object, ...]:
    """Return the cells of a record, as HEADER names them; what is no record has the action `not-a-record`."""
    broken = record.get("unreadable")
    if broken is not None:
        place = f"{at(broken, ('path',))}:{at(broken, ('line',))}"
        found: dict[str, object] = {"action": "not-a-record", "reason": place, "line": at(broken, ("text",))}
    else:
        found = {name: at(record, path) for name, path in _COLUMNS.items()}
        for name in _TIMES:
            found[name] = (in_seconds(found[name]) or "").removesuffix("s") or None
        found["time"] = time(record.get("@timestamp"))
        found["number"] = at(record, ("rexec", "sequence"))
        found["action"] = at(record, ("event", "action"))
        found["line"] = at(record, ("rexec", "line"))
    return tuple(found.get(name) for name in HEADER)
