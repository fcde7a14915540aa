"""Which records are wanted, and finding them among millions.

Rule 1: what is wanted is said of the record that JSON gives (`holds`). Bytes only rule lines out before
they are parsed, and only where they cannot be read in another way: a line with a backslash is parsed.
Rule 2: what is no record is always given: it may be what is looked for, and nobody hides by damage.
Pure: lines come as an argument, and so do moments.
"""

import functools
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from rexecd.audit.events import FIELDS
from rexecd.audit.lines import Line
from rexecd.audit.search import Record, at, parse
from rexecd.networks import Network, is_within

#: How a line begins and ends that has the form of a record, and where its time stands.
_BEGINNING: Final = b'{"@timestamp":"'
_END: Final = b'"}}\n'
_STAMP: Final = slice(len(_BEGINNING), len(_BEGINNING) + len("2026-11-28T10:30:00.000000Z"))
_ACTION: Final = b'"action":"'
#: So near to its beginning a line says what it is about.
_HEAD: Final = 200
_ADDRESS: Final = re.compile(rb'"ip"\s*:\s*"([^"]*)"')
#: Addresses whose answer is kept.
_KNOWN: Final = 4096

#: Where `text` is looked for, by our names of the fields.
TEXTS: Final = ("line", "argv", "reason", "justification", "note", "rule_place", "working_directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What records have to be like: one of each that is not empty."""

    #: By our names of the fields, or `action`.
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()
    texts: tuple[str, ...] = ()
    #: Times as records have them: from the first one on, and before the second.
    since: str | None = None
    until: str | None = None

    @property
    def is_everything(self) -> bool:
        """Return whether any record will do."""
        times = self.since is not None or self.until is not None
        return not (any(self.values.values()) or self.networks or self.texts or times)


def holds(wanted: Wanted, record: Record) -> bool:
    """Return whether a record is wanted."""
    for name, values in wanted.values.items():
        value = at(record, _path(name))
        if values and not (isinstance(value, str) and value in values):
            return False
    if wanted.networks:
        address = at(record, FIELDS["address"])
        if not isinstance(address, str) or not is_within(address, wanted.networks):
            return False
    if wanted.texts and not _has_text(record, wanted.texts):
        return False
    if wanted.since is None and wanted.until is None:
        return True
    time = record.get("@timestamp")
    is_before = wanted.until is None or (isinstance(time, str) and time < wanted.until)
    return isinstance(time, str) and (wanted.since or "") <= time and is_before


class Sieve:
    """The same for lines, fast."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._is_open = wanted.is_everything
        groups = [[json.dumps(value) for value in values] for values in wanted.values.values()]
        groups.append([json.dumps(text)[1:-1] for text in wanted.texts])
        # What is written with a backslash is in no line that can be ruled out (`is_framed`).
        self._needles = [[text.encode() for text in group] for group in groups if group]
        self._since = (wanted.since or "").encode()
        self._until = (wanted.until or "").encode()
        self._is_near = functools.lru_cache(_KNOWN)(self._is_within)

    def find(self, line: Line) -> Record | None:
        """Return the record of a line if it is wanted; what is no record always (see `parse`)."""
        if self._is_ruled_out(line.data):
            return None
        record = parse(line)
        return record if self._is_open or "unreadable" in record or holds(self._wanted, record) else None

    def takes(self, line: Line) -> bool:
        """Return whether `find` would return something; without parsing, where everything is wanted."""
        return self._is_open or self.find(line) is not None

    def _is_ruled_out(self, data: bytes) -> bool:
        """Return whether the bytes alone say that a line is a record and not wanted."""
        if self._is_open or not is_framed(data):
            return False
        for needles in self._needles:
            for needle in needles:
                if needle in data:
                    break
            else:
                return True
        if self._since or self._until:
            time = data[_STAMP]
            if b'"' in time or data[_STAMP.stop : _STAMP.stop + 1] != b'"':  # not as we write it
                return False
            if time < self._since or (self._until and time >= self._until):
                return True
        return bool(self._wanted.networks) and not any(map(self._is_near, _ADDRESS.findall(data)))

    def _is_within(self, address: bytes) -> bool:
        return is_within(address.decode("ascii", "replace"), self._wanted.networks)


def is_framed(data: bytes) -> bool:
    """Return whether a line has the outer form of a record, and nothing in it is written in another way."""
    return data.startswith(_BEGINNING) and data.endswith(_END) and b"\\" not in data and data.isascii()


def action_of(data: bytes) -> bytes:
    """Return the action that stands near the beginning of a line; of another line nothing of use."""
    start = data.find(_ACTION, 0, _HEAD) + len(_ACTION)
    return data[start : data.find(b'"', start)]


def select(lines: Iterable[Line], sieve: Sieve, *, last: int | None = None) -> Iterator[Record]:
    """Yield what is wanted of the lines, or the `last` so many of it."""
    if last is None:
        for line in lines:
            record = sieve.find(line)
            if record is not None:
                yield record
        return
    yield from map(parse, deque(filter(sieve.takes, lines), maxlen=last))


def _path(name: str) -> tuple[str, ...]:
    return ("event", "action") if name == "action" else FIELDS[name]


def _has_text(record: Record, wanted: tuple[str, ...]) -> bool:
    for name in TEXTS:
        value = at(record, FIELDS[name])
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and any(each in text for each in wanted):
                return True
    return False
