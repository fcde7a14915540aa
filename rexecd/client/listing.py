"""What a caller may run, for people and for programs.

`clean` escapes what must not reach a terminal: every text here came from the server.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from rexecd.wire.messages import Entry

Clean = Callable[[str], str]

#: A longer usage gets a line of its own, so that one does not push all summaries away.
_MOST_COLUMN: Final = 40
#: Deepest nesting of a schema that is passed on; one of a command needs a handful.
_MAX_SCHEMA_DEPTH: Final = 32


def make_table(entries: Iterable[Entry], clean: Clean) -> str:
    """Return one line per command, usage and summary aligned; empty for no commands."""
    rows = [(clean(entry.usage or entry.name), clean(entry.summary)) for entry in entries]
    width = max((len(usage) for usage, _ in rows if len(usage) <= _MOST_COLUMN), default=_MOST_COLUMN)
    return "".join(_row(usage, summary, width) for usage, summary in rows)


def make_help(entry: Entry, clean: Clean) -> str:
    """Return usage, summary, description and parameters of one command."""
    parts = [f"usage: {clean(entry.usage or entry.name)}\n"]
    parts += [f"{_lines(text, clean)}\n" for text in (entry.summary, entry.description) if text]
    if entry.parameters:
        parts.append("parameters:\n" + "".join(f"  {clean(line)}\n" for line in entry.parameters))
    return "\n".join(parts)


def find_entry(entries: Sequence[Entry], name: str) -> Entry | None:
    """Return the entry of that name, None if this caller may not run it."""
    return next((entry for entry in entries if entry.name == name), None)


def as_object(entry: Entry) -> Mapping[str, object]:
    """Return the entry as it stands in JSON; `schema` is an object, or None if there is none."""
    return {**entry._asdict(), "parameters": list(entry.parameters), "schema": read_schema(entry.schema)}


def read_schema(text: str) -> Mapping[str, object] | None:
    """Return the JSON object in a server's text, None if it holds none that can be passed on."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return schema if isinstance(schema, dict) and _is_plain(schema, _MAX_SCHEMA_DEPTH) else None


def _is_plain(value: object, depth: int) -> bool:
    """Return whether a value can be written as JSON again: not too deep, and without NaN and infinities."""
    if isinstance(value, dict):
        return depth > 0 and all(_is_plain(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(each, depth - 1) for each in value)
    return not isinstance(value, float) or math.isfinite(value)


def _row(usage: str, summary: str, width: int) -> str:
    if not summary:
        return f"{usage}\n"
    gap = f"\n{' ' * width}" if len(usage) > width else " " * (width - len(usage))
    return f"{usage}{gap}  {summary}\n"


def _lines(text: str, clean: Clean) -> str:
    return "\n".join(clean(line) for line in text.split("\n"))
