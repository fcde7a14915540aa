"""Read a trail, and show its records safely. Which ones is said in find.py.

Everything streams: memory does not grow with the trail. A trail is taken as hostile here; its
writer may have been anyone.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rexecd import limits
from rexecd.audit.lines import Line, lines

#: A record as JSON gives it: nothing is known of what is inside.
Record = dict[str, Any]


def read(paths: Iterable[Path]) -> Iterator[Record]:
    """Yield every record of the files, as `parse` gives it; raise ConfigError."""
    for path in paths:
        yield from map(parse, lines(path))


def parse(line: Line) -> Record:
    """Return the record of a line.

    A line that is none gives a marker: `{"unreadable": {"path": ..., "line": ..., "text": ...}}`.
    """
    try:
        record = json.loads(line.data)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        return record
    text = line.data[: limits.MAX_NAME].decode("ascii", "backslashreplace")
    return {"unreadable": {"path": str(line.path), "line": line.number, "text": text}}


#: What `render` shows behind time, number and action, and where it stands.
SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "principal": ("user", "name"),
    "token": ("rexec", "token_id"),
    "rule": ("rule", "name"),
    "outcome": ("event", "outcome"),
    "code": ("rexec", "code"),
    "reason": ("event", "reason"),
    "connection": ("rexec", "connection_id"),
    "request": ("rexec", "request_id"),
    "from": ("source", "ip"),
    "as": ("process", "user", "name"),
    "because": ("rexec", "justification"),
    "exit": ("process", "exit_code"),
    "signal": ("rexec", "signal"),
    "duration": ("event", "duration"),
    "count": ("rexec", "count"),
    "detail": ("rexec", "detail"),
    "line": ("rexec", "line"),
}
#: What can stand bare. Anything else is quoted and escaped, so that nobody can forge a field.
_BARE: Final = re.compile(r"[A-Za-z0-9._:@/+-]+")


def as_it_is(value: object) -> object:
    """Return a record's time as it stands there."""
    return value


def render(record: Mapping[str, object], *, time: Callable[[object], object] = as_it_is) -> str:
    """Return one line for people; whatever the record holds, only bytes 0x20 to 0x7e.

    `time` says how the record's time is shown.
    """
    broken = record.get("unreadable")
    if broken is not None:
        place, line, text = (safe(at(broken, (name,))) for name in ("path", "line", "text"))
        return f"{place}:{line}: not a record: {text}"
    words = [
        safe(time(at(record, ("@timestamp",)))),
        safe(at(record, ("rexec", "sequence"))),
        safe(at(record, ("event", "action"))),
    ]
    for name, path in SHOWN.items():
        value = at(record, path)
        if value is None:
            continue
        if name == "duration" and isinstance(value, int):
            value = in_seconds(value)
        words.append(f"{name}={safe(value)}")
    return " ".join(words)


def in_seconds(nanoseconds: object) -> str | None:
    """Return a record's duration for people, None for what is none."""
    if not isinstance(nanoseconds, int) or abs(nanoseconds) >= 2**63:
        return None
    return f"{nanoseconds // 10**6 / 1000:.3f}s"


def at(record: object, path: tuple[str, ...]) -> object:
    """Return the value at `path`, None where there is none."""
    for name in path:
        if not isinstance(record, dict):  # as JSON gives it; of Mapping it would take thrice as long
            return None
        record = record.get(name)
    return record


def safe(value: object) -> str:
    """Return any value as one word, or quoted, in bytes 0x20 to 0x7e."""
    if value is None:
        return "-"
    if type(value) is int:
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _BARE.fullmatch(text) else ascii(text)
