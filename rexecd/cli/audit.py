"""The verbs that read the trail for people: show, follow, stats and story."""

import argparse
import contextlib
import json
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import Final

from rexecd.audit import cells, moments
from rexecd.audit import stats as counting
from rexecd.audit.find import Sieve, Wanted, action_of, is_framed
from rexecd.audit.find import select as select_records
from rexecd.audit.follow import Follower
from rexecd.audit.lines import Line, lines, whole
from rexecd.audit.search import Record, as_it_is, render
from rexecd.audit.story import Story
from rexecd.cli import say
from rexecd.cli.owner import act_as_owner
from rexecd.errors import ConfigError
from rexecd.networks import networks
from rexecd.settings import load_settings

#: Lines that are written at once.
_BATCH: Final = 256
#: Milliseconds between two looks at a trail that is followed.
_LOOK: Final = 500
#: Rows of each table of `stats`.
_ROWS: Final = 20


class _Printer:
    """Writes records in the form that was asked for."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._time = _time(arguments)
        self._lines: list[str] = []
        self._form: Callable[[Record], str] = self._table
        if arguments.json:
            self._form = _as_json
        elif arguments.csv:
            self._form = self._csv
            self._lines.append(cells.row(cells.HEADER))

    def add(self, record: Record) -> None:
        """Write a record, some time before or in `flush`."""
        self._lines.append(self._form(record))
        if len(self._lines) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what was kept back."""
        if self._lines:
            say.out("\n".join(self._lines))
            self._lines = []

    def _table(self, record: Record) -> str:
        return render(record, time=self._time)

    def _csv(self, record: Record) -> str:
        return cells.row(cells.of_record(record, time=self._time))


def show(arguments: argparse.Namespace) -> int:
    """Print what is wanted of the trail, one safe line a record, as JSON, or as CSV."""
    trail = _trail(arguments)
    printer = _Printer(arguments)
    for record in select_records(trail(), Sieve(_wanted(arguments)), last=arguments.limit):
        printer.add(record)
    printer.flush()
    return 0


def follow(arguments: argparse.Namespace) -> int:
    """Print what is recorded from now on, and before that what was asked for of what is there."""
    path = arguments.file or load_settings(arguments.config).audit
    act_as_owner(path if path.exists() else path.parent)
    printer, sieve, follower = _Printer(arguments), Sieve(_wanted(arguments)), Follower(path)
    with contextlib.closing(follower):
        most = None if arguments.limit is None and arguments.since else arguments.limit or 0
        for record in _there_already(follower, sieve, most):
            printer.add(record)
        while True:
            printer.flush()
            _wait()
            for record in select_records(follower.step(), sieve):
                printer.add(record)


def _there_already(follower: Follower, sieve: Sieve, most: int | None) -> Iterator[Record]:
    if most == 0:
        deque(follower.step(), maxlen=0)
        return iter(())
    return select_records(follower.step(), sieve, last=most)


def stats(arguments: argparse.Namespace) -> int:
    """Say who ran what how often, what took longest, and who was refused."""
    trail = _trail(arguments)
    sieve = Sieve(_wanted(arguments))
    counts = counting.Stats(arguments.limit or _ROWS)
    for line in trail():
        if action_of(line.data) in counting.COUNTED or not is_framed(line.data):
            record = sieve.find(line)
            if record is not None:
                counts.take(record)
    tables = counts.tables()
    time = _time(arguments)
    if arguments.json:
        say.out(_as_json({**tables, "damaged": counts.damaged}))
        return 0
    for row in tables["slowest"]:
        row["time"] = time(row["time"])
    if arguments.csv:
        rows = [{"table": name, **row} for name, table in tables.items() for row in table]
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["table"]
        say.out("\n".join([cells.row(names), *(cells.row(map(row.get, names)) for row in rows)]))
    else:
        _print_tables(tables, counts)
    return 0


def _print_tables(tables: dict[str, list[dict[str, object]]], counts: counting.Stats) -> None:
    left_out = counts.left_out()
    blocks = []
    for name, rows in tables.items():
        lines = [f"{name}:", *(f"  {line}" for line in counting.columns(rows))]
        if name in left_out:
            lines.append(f"  and {left_out[name]} more")
        blocks.append("\n".join(lines if rows else [f"{name}: none"]))
    if counts.damaged:
        blocks.append(f"{say.count(counts.damaged, 'line')} not counted: no record ('rexecd audit verify')")
    say.out("\n\n".join(blocks))


def story(arguments: argparse.Namespace) -> int:
    """Tell one connection; 1 if there is no record of it."""
    trail = _trail(arguments)
    before, _, number = arguments.connection.rpartition("-")
    connection = before if before and number.isdecimal() else arguments.connection
    sieve = Sieve(Wanted(values={"connection_id": frozenset({connection})}))
    told = Story(connection, time=_time(arguments))
    damaged = 0
    for record in select_records(trail(), sieve):
        if "unreadable" in record:
            damaged += 1
        else:
            for line in told.take(record):
                say.out(line)
    for line in told.end():
        say.out(line)
    if damaged:
        say.warning(
            "rexecd", f"{say.count(damaged, 'line')} of the trail: no record, see 'rexecd audit verify'"
        )
    if not told.is_told:
        raise ConfigError(f"no record of connection {connection!r}")
    return 0


def _trail(arguments: argparse.Namespace) -> Callable[[], Iterator[Line]]:
    """Return what reads the files, as whoever owns them: those that are named, or all of the trail."""
    named = list(arguments.files)
    if named:
        act_as_owner(named[0])
        return lambda: (line for path in named for line in lines(path))
    path = load_settings(arguments.config).audit
    act_as_owner(path if path.exists() else path.parent)
    return lambda: whole(path)


def _wanted(arguments: argparse.Namespace) -> Wanted:
    now = datetime.now(UTC)
    zone: tzinfo | None = UTC if arguments.utc else None
    try:
        since = arguments.since and moments.beginning(arguments.since, now=now, zone=zone)
        until = arguments.until and moments.end(arguments.until, now=now, zone=zone)
        values = {
            "principal": arguments.principals,
            "rule": arguments.rules,
            "action": arguments.actions,
            "outcome": arguments.outcomes,
            "connection_id": arguments.connections,
            "token_id": arguments.tokens,
        }
        return Wanted(
            values={name: frozenset(wanted) for name, wanted in values.items() if wanted},
            networks=networks(tuple(arguments.networks)),
            texts=tuple(arguments.texts),
            since=moments.stamp(since) if since else None,
            until=moments.stamp(until) if until else None,
        )
    except (ValueError, OverflowError) as error:
        raise ConfigError(str(error)) from None


def _time(arguments: argparse.Namespace) -> Callable[[object], object]:
    """Return how times are shown."""
    return (lambda written: moments.in_zone(written, None)) if arguments.local else as_it_is


def _as_json(record: Record) -> str:
    # Bytes 0x20 to 0x7e, as in the file.
    return json.dumps(record).replace("\x7f", "\\u007f")


def _wait() -> None:
    """Wait a moment, but no longer than there is somebody who reads; raise BrokenPipeError."""
    poller = select.poll()
    if sys.stdout is not None:  # it may have been closed before we began
        poller.register(sys.stdout, 0)
    if poller.poll(_LOOK):
        raise BrokenPipeError
