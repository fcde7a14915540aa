"""Finding in the trail of real sessions: show, follow, stats, story."""

import contextlib
import csv
import json
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Daemon, wait_for

ROOT = Path(__file__).parents[2]


def ran(daemon: Daemon, *lines: str) -> str:
    """Run these in one session and return the connection's id, when its end is recorded."""
    with daemon.caller() as caller:
        for line in lines:
            caller.run(line)
        assert caller.accepted
        connection = caller.accepted.connection_id
    daemon.wait_for_record("connection-closed", connection_id=connection)
    return connection


def found(daemon: Daemon, *arguments: str) -> list[dict[str, dict[str, str]]]:
    """Return the records that `audit show` finds."""
    done = daemon.rexecd("audit", "show", "--json", *arguments)
    assert (0, "") == (done.returncode, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_filters_find_what_they_name(daemon: Daemon) -> None:
    """The repeated ones are alternatives, different ones all have to hold; what never occurs is no error."""
    connection = ran(daemon, "echo needle", "both", "forbidden")
    of_it = ("--connection", connection)

    assert daemon.records(connection_id=connection) == found(daemon, *of_it, "--from", "127.0.0.1")
    assert {"echo", "both"} == {
        record["rule"]["name"] for record in found(daemon, *of_it, "--rule", "echo", "--rule", "both")
    }
    assert ["command-refused"] == [
        record["event"]["action"]
        for record in found(daemon, *of_it, "--outcome", "failure", "--from", "127.0.0.0/8", "--since", "2h")
    ]
    assert ["command-allowed"] == [
        record["event"]["action"] for record in found(daemon, *of_it, "--text", "needle", "--since", "today")
    ]
    assert 1 == len(found(daemon, *of_it, "--limit", "1"))
    for nothing in (
        ("--principal", "nobody"), ("--rule", "none"), ("--from", "10.0.0.1"), ("--until", "yesterday"),
        ("--principal", "bob", *of_it),
    ):  # fmt: skip
        assert [] == found(daemon, *nothing)


def test_csv_holds_no_formula_and_json_every_character(daemon: Daemon) -> None:
    """What a caller wrote is text to a spreadsheet."""
    connection = ran(daemon, "=cmd|x \x1b[31m\x7f", "echo a,b")
    done = daemon.rexecd("audit", "show", "--csv", "--local", "--connection", connection)
    rows = list(csv.DictReader(done.stdout.splitlines()))

    assert "=cmd|x \x1b[31m\x7f" in [
        record["rexec"].get("line") for record in found(daemon, "--connection", connection)
    ]
    assert ["'=cmd|x \\x1b[31m\\x7f", "echo a,b"] == [row["line"] for row in rows if row["line"]]
    assert len(daemon.records(connection_id=connection)) == len(rows)
    assert all(character.isprintable() or character == "\n" for character in done.stdout)


def test_stats_say_who_ran_what_and_who_was_refused(daemon: Daemon) -> None:
    """As a table, as JSON and as CSV."""
    connection = ran(daemon, "both", "both", "echo x", "forbidden")
    arguments = ("audit", "stats", "--connection", connection)
    sums = json.loads(daemon.rexecd(*arguments, "--json").stdout)
    table = daemon.rexecd(*arguments, "--local").stdout
    rows = list(csv.DictReader(daemon.rexecd(*arguments, "--csv").stdout.splitlines()))

    assert [("both", 2, 2), ("echo", 1, 0)] == [
        (row["rule"], row["runs"], row["failed"]) for row in sums["commands"]
    ]
    assert [{"count": 1, "who": "ann", "what": "forbidden", "code": "not-permitted"}] == sums["refused"]
    assert 3 == len(sums["slowest"])
    assert "principal  rule  runs  failed" in table
    assert ["commands", "commands", "slowest", "slowest", "slowest", "refused"] == [
        row["table"] for row in rows
    ]


def test_a_story_is_told_of_a_connection(daemon: Daemon) -> None:
    """From where it came to how it ended, also by the id of one of its requests."""
    connection = ran(daemon, "both", "forbidden", "brief")
    told = daemon.rexecd("audit", "story", connection)
    lines = told.stdout.splitlines()

    assert (0, "") == (told.returncode, told.stderr)
    assert told.stdout == daemon.rexecd("audit", "story", f"{connection}-2").stdout
    assert f"connection {connection}" == lines[0]
    for number, part in enumerate(
        [
            "opened from 127.0.0.1 port ", "accepted as ann by token ",
            "command 1: both, allowed by rule both at ", "  started as process ",
            "  ended with status 3 after ",
            "  4 bytes of output, 4 of error output, 0 of", "command 2: forbidden, refused: ",
            "command 3: brief, allowed by", "  started as process ",
            "  its time was over after ", "  6 bytes of output", "closed: ",
        ],
        start=2,
    ):  # fmt: skip
        assert lines[number].partition("s  ")[2].startswith(part), told.stdout
    assert "2 commands started, 1 refused" in lines[-1]


def test_a_story_that_nobody_knows_is_a_failure(daemon: Daemon) -> None:
    """One that asks for a connection wants to hear that there is none."""
    done = daemon.rexecd("audit", "story", "nothing")

    assert (1, "") == (done.returncode, done.stdout)
    assert "rexecd: error: no record of connection 'nothing'\n" == done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--since", "soon"], "'soon' is no time; write 2h or 3d (ago), today, yesterday, 2026-11-28 or"),
        (["--until", "2026-02-30"], "'2026-02-30' is no day"),
        (["--from", "10.0.0.1/8"], "'10.0.0.1/8' is not a network (did you mean '10.0.0.0/8'?)"),
        (["--action", "command-refuse"], "no record has the action 'command-refuse' (did you mean"),
        (["--outcome", "good"], "invalid choice: 'good'"),
        (["--limit", "0"], "'0' is no number from 1 to"),
        (["--json", "--csv"], "not allowed with argument"),
        (["--utc", "--local"], "not allowed with argument"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(daemon: Daemon, arguments: list[str], complaint: str) -> None:
    """One line that says what fits, and exit status 2."""
    done = daemon.rexecd("audit", "show", *arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert complaint in done.stderr.splitlines()[-1]


def test_damage_hides_nothing(daemon: Daemon, tmp_path: Path) -> None:
    """Lines that are no records are shown in their place, whatever is looked for."""
    connection = ran(daemon, "echo x")
    path = tmp_path / "damaged"
    whole = daemon.settings.audit.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\x1b[2J\n" + whole[0][:100] + b"\n" + b"".join(whole) + b"[" * 50_000)
    shown = daemon.rexecd("audit", "show", "--connection", connection, str(path))
    told = daemon.rexecd("audit", "story", connection, str(path))
    counted = daemon.rexecd("audit", "stats", "--connection", connection, str(path))

    assert ("", 0) == (shown.stderr, shown.returncode)
    assert f"{path}:1: not a record: '\\x1b[2J\\n'" == shown.stdout.splitlines()[0]
    assert len(daemon.records(connection_id=connection)) == sum(
        f" connection={connection} " in line for line in shown.stdout.splitlines()
    )
    assert "6 lines of the trail: no record" in told.stderr
    assert "6 lines not counted: no record" in counted.stdout


class Watcher:
    """`rexecd audit follow`, and what it has said so far."""

    def __init__(self, daemon: Daemon, *arguments: str) -> None:
        line = [sys.executable, "-I", "-m", "rexecd", "audit", "follow", "--config", str(daemon.made.config)]
        self.process = subprocess.Popen(
            [*line, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def saw(self, text: str) -> int:
        """Return how many lines hold this."""
        return sum(text in line for line in self.lines)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return the exit status and what was said on standard error."""
        self.process.send_signal(number)
        status = self.process.wait(20)
        self._reader.join()
        assert self.process.stderr
        assert self.process.stdout
        complaint = self.process.stderr.read()
        self.process.stderr.close()
        self.process.stdout.close()
        return status, complaint


@contextlib.contextmanager
def watching(daemon: Daemon, *arguments: str) -> Iterator[Watcher]:
    """Follow while something happens."""
    watcher = Watcher(daemon, *arguments)
    try:
        yield watcher
    finally:
        if watcher.process.returncode is None:
            watcher.end()


def test_following_goes_on_across_a_rotation(own_daemon: Daemon) -> None:
    """The trail is moved away while the service is down, and begun anew: nothing is missed or shown twice."""
    own_daemon.start()
    first = ran(own_daemon, "echo before", "echo secondly")
    with watching(own_daemon, "--limit", "2", "--action", "command-allowed", "--rule", "echo") as watcher:
        wait_for(lambda: 2 == len(watcher.lines))
        second = ran(own_daemon, "echo during", "both")
        wait_for(lambda: 3 == len(watcher.lines))
        own_daemon.stop()
        own_daemon.settings.audit.rename(own_daemon.settings.audit.with_suffix(".1"))
        own_daemon.start()
        third = ran(own_daemon, "echo after")
        wait_for(lambda: 4 == len(watcher.lines))
        ended = watcher.end(signal.SIGINT)

    assert (130, "") == ended
    assert (2, 1, 1) == tuple(watcher.saw(f" connection={each} ") for each in (first, second, third))


def test_following_begins_before_there_is_a_trail(own_daemon: Daemon) -> None:
    """It waits, says nothing, and ends without a word."""
    own_daemon.settings.audit.unlink(missing_ok=True)
    with watching(own_daemon, "--json", "--since", "1d") as watcher:
        lines = b'{"@timestamp":"2100-01-01T00:00:00.000000Z","rexec":{"sequence":1}}\nnoise\n'
        own_daemon.settings.audit.write_bytes(lines)
        wait_for(lambda: 2 == len(watcher.lines))
        own_daemon.settings.audit.write_bytes(b"again\n")
        wait_for(lambda: 3 == len(watcher.lines))
        ended = watcher.end()

    assert (-signal.SIGTERM, "") == ended
    assert ["noise\n", "again\n"] == [json.loads(line)["unreadable"]["text"] for line in watcher.lines[1:]]


def test_following_ends_with_its_reader(daemon: Daemon) -> None:
    """`rexecd audit follow | head -1` does not wait for the record after."""
    assert (141, b"") == daemon.rexecd_read_once("audit", "follow", "--csv")


def test_the_examples_of_the_document_work(daemon: Daemon) -> None:
    """Every one, as it is written."""
    connection = ran(daemon, "echo x")
    text = (ROOT / "docs/AUDIT.md").read_text().partition("## 7. Finding")[2]
    examples = [line for line in text.splitlines() if line.startswith("rexecd audit ")]
    assert len(examples) > 5
    for example in examples:
        words = shlex.split(example.replace("e200020f06ddbafe", connection), comments=True)
        if words[2] == "follow":
            with watching(daemon, *words[3:]) as watcher:
                # It may have begun to look only behind the first of these.
                wait_for(lambda seen=watcher: ran(daemon, "forbidden") and seen.lines)  # type: ignore[misc]
        else:
            plain = words[1 : words.index(">")] if ">" in words else words[1:]
            done = daemon.rexecd(*plain)
            assert (0, "") == (done.returncode, done.stderr), example
