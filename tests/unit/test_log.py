"""The daemon's own log: a line or an entry for each event, and nothing that should not be there."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.log import Level, Log, open_log
from tests.receivers import Journal

TOKEN = "rxt_Abcdefgh_" + "s" * 49


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Give a journal."""
    made = Journal(tmp_path / "socket")
    yield made
    made.close()


class Said:
    """What was written to standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._so_far = ""

    def getvalue(self) -> str:
        """Return all of it."""
        self._so_far += self._capsys.readouterr().err
        return self._so_far


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Said:
    """Give what is written to standard error."""
    return Said(capsys)


@pytest.fixture
def opened(journal: Journal) -> Iterator[Callable[[], Log]]:
    """Give what opens a log as a process does, for life."""
    made: list[Log] = []

    def make() -> Log:
        made.append(open_log("rexecd-monitor", "info", journal=journal.path))
        return made[-1]

    yield make
    for log in made:
        if log._journal is not None:
            log._journal.close()


@pytest.fixture
def leads_to_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make standard error the stream that systemd has connected."""
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")


@pytest.mark.parametrize(
    ("level", "expected"),
    {
        "debug": ["debug: d", "i", "warning: w", "error: e"],
        "info": ["i", "warning: w", "error: e"],
        "warning": ["warning: w", "error: e"],
        "error": ["error: e"],
    }.items(),
)
def test_an_event_is_a_line_from_the_level_on(level: str, expected: list[str], stderr: Said) -> None:
    """As our programs speak."""
    log = Log("rexecd-gateway", level=level)
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")

    assert [f"rexecd: {line}" for line in expected] == stderr.getvalue().splitlines()


def test_fields_stand_behind_the_message_and_nobody_can_forge_one(stderr: Said) -> None:
    """What is not known is left out; what is not plain is quoted."""
    Log("x").info("started", version="1.0", address="[::1]:7512", none=None, empty="", also=["a", "b"])
    Log("x").info("started", reason='a" version=2\nrexecd: forged \x1b[2J \\', number=3)

    assert [
        "rexecd: started version=1.0 address=[::1]:7512 also=a,b",
        r'rexecd: started reason="a\" version=2\nrexecd: forged \\x1b[2J \\" number=3',
    ] == stderr.getvalue().splitlines()


@pytest.mark.usefixtures("leads_to_journal")
def test_where_standard_error_is_the_journals_an_event_is_an_entry(
    journal: Journal, stderr: Said, opened: Callable[[], Log]
) -> None:
    """With its level as syslog counts, who says it, and the fields; several lines come with their length."""
    log = opened()
    log.warning("started", policy_digest="d", missing="one=1\ntwo\x1b", nothing=None)
    log.debug("no")
    log.error("ended")

    assert {
        "MESSAGE": r'started policy_digest=d missing="one=1\ntwo\\x1b"',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "rexecd-monitor",
        "REXECD_POLICY_DIGEST": "d",
        "REXECD_MISSING": "one=1\ntwo\\x1b",
    } == journal.entry()
    last = journal.entry()
    assert ("ended", "3") == (last["MESSAGE"], last["PRIORITY"])
    assert "" == stderr.getvalue()


@pytest.mark.parametrize("stream", [None, "", "1:2", "no number"])
def test_elsewhere_it_is_standard_error(
    monkeypatch: pytest.MonkeyPatch, journal: Journal, stderr: Said, stream: str | None
) -> None:
    """The variable is inherited by those whose standard error was led elsewhere."""
    if stream is None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    else:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    open_log("rexecd-monitor", "info", journal=journal.path).info("started")

    assert "rexecd: started\n" == stderr.getvalue()


@pytest.mark.usefixtures("leads_to_journal")
def test_a_journal_that_cannot_be_reached_loses_nothing(
    tmp_path: Path, journal: Journal, stderr: Said, opened: Callable[[], Log]
) -> None:
    """Neither at the start nor later, nor when it does not read."""
    open_log("x", "info", journal=tmp_path / "missing").info("one")
    log = opened()
    for number in range(2000):  # more than a queue of datagrams holds
        log.info(f"event {number}")
    journal.close()
    log.info("gone")
    lines = stderr.getvalue().splitlines()

    assert lines[0].startswith("rexecd: warning: the journal cannot be reached")
    assert "rexecd: one" == lines[1]
    assert "rexecd: event 1999" in lines
    assert "rexecd: gone" == lines[-1]


@pytest.mark.parametrize("stream", ["none", "closed", "full"])
def test_logging_never_fails(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    """Not without a standard error, nor with a closed one, nor with a full disk behind it."""
    found: io.StringIO | None = None if stream == "none" else io.StringIO()
    if found is not None and stream == "closed":
        found.close()
    elif found is not None:

        def fail(_: str) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(found, "write", fail)
    monkeypatch.setattr(sys, "stderr", found)
    Log("x").error("nobody hears")


@pytest.mark.usefixtures("leads_to_journal")
def test_a_token_is_masked_wherever_it_stands(
    journal: Journal, stderr: Said, opened: Callable[[], Log]
) -> None:
    """In messages, fields and lists, here and there."""
    for log in (Log("x"), opened()):
        log.info(f"a {TOKEN}", field=TOKEN, many=[TOKEN, "b"], path=Path(TOKEN))
    entry = journal.entry()
    line = "a rxt_... field=rxt_... many=rxt_...,b path=rxt_..."

    assert f"rexecd: {line}\n" == stderr.getvalue()
    assert line == entry["MESSAGE"]
    assert "sss" not in str(entry)


@given(st.text(), st.text())
def test_a_line_is_a_line_whatever_is_in_it(message: str, value: str) -> None:
    """And of bounded length."""
    with pytest.MonkeyPatch.context() as patch:
        written = io.StringIO()
        patch.setattr(sys, "stderr", written)
        Log("x").info(message * 50, value=value * 50)

    assert 1 == len(written.getvalue().splitlines())
    assert len(written.getvalue()) < 60_000


def test_levels_are_those_of_syslog() -> None:
    """By the words of the setting."""
    assert {"debug": 7, "info": 6, "warning": 4, "error": 3} == {each.word: each.priority for each in Level}


def test_it_brings_nothing_that_starts_a_program() -> None:
    """The gateway loads it."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import rexecd.log; print(*sys.modules, sep='\\n')"
    root = str(Path(__file__).parents[2])
    line = [sys.executable, "-I", "-c", program, root]
    done = subprocess.run(line, capture_output=True, text=True, check=True)

    assert not {"subprocess", "asyncio", "structlog", "logging"} & set(done.stdout.splitlines())
