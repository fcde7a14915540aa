"""The trail's file: every history verifies, a failed write leaves nothing, and it goes on by itself."""

import contextlib
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd import files
from rexecd.audit import seal
from rexecd.audit.events import Action
from rexecd.audit.keeper import Care, Keeper
from rexecd.audit.keys import KEY_NAME, load_chain
from rexecd.audit.recorder import Recorder
from rexecd.audit.trail import Trail
from rexecd.clock import Clock
from rexecd.errors import ConfigError, TrailError
from rexecd.log import Log
from tests.trails import new_key, verified

PATIENCE = 10.0
TOKEN = "rxt_AbCdEf12_0123456789012345678901234567890123456789012zzzzzz"
CLOCK = Clock(lambda: datetime(2026, 1, 2, tzinfo=UTC))


class Place:
    """A directory with a trail and its key."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.path = directory / "audit.jsonl"
        self.key_path = directory / KEY_NAME
        self.key = new_key(directory)

    def open(self) -> Trail:
        """Return the trail, opened."""
        return Trail.open(self.path, self.key_path, clock=CLOCK)

    def actions(self) -> list[str]:
        """Return the actions that stand in the file."""
        return [json.loads(line)["event"]["action"] for line in self.path.read_bytes().splitlines()]

    def verify(self, *older: Path) -> str:
        """Return what verify says of the older files and this one, with the key file."""
        return str(verified([*older, self.path], self.key, head=self.key_path))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a directory with a key and no trail yet."""
    return Place(tmp_path / "state")


@contextlib.contextmanager
def kept(place: Place, trail: Trail) -> Iterator[None]:
    """Take a step every millisecond."""
    keeper = Keeper(trail, place.path, Care(step=0.001), clock=CLOCK, log=Log("test", level="error"))
    keeper.start()
    try:
        yield
    finally:
        keeper.stop()


@pytest.fixture
def trail(place: Place) -> Iterator[Trail]:
    """Return a new trail, closed afterwards."""
    with place.open() as opened:
        yield opened


def test_a_new_file_begins_with_trail_opened(place: Place, trail: Trail) -> None:
    """It says what it is sealed to, is private, and its key has moved on in the key file."""
    record = json.loads(place.path.read_bytes())

    assert (record["event"]["action"], record["rexec"]["previous_digest"]) == ("trail-opened", "00" * 32)
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    assert place.key.hex().encode() not in place.key_path.read_bytes()
    assert (trail.sequence, trail.healthy, trail.last_error, trail.lost) == (1, True, None, 0)


def test_a_record_is_in_the_file_when_append_returns(place: Place, trail: Trail) -> None:
    """Not in a buffer."""
    trail.append(Action.COMMAND_ALLOWED, principal="ci", line="disk")

    assert json.loads(place.path.read_bytes().splitlines()[-1])["rexec"]["line"] == "disk"
    assert trail.sequence == 2


def test_hostile_text_and_tokens_never_reach_the_file(place: Place, trail: Trail) -> None:
    """Printable ASCII only, one line a record, and no secret."""
    for text in ("\x7f\x9b2J", "a\u2028b\u202ec", '"}}\n{"x":"', "\ud800'", f"login {TOKEN}", "\x00" * 9999):
        trail.append(Action.COMMAND_REFUSED, line=text, argv=[text], reason=repr(text))
    content = place.path.read_bytes()

    assert {*content} <= {0x0A, *range(0x20, 0x7F)}
    assert content.count(b"\n") == 7
    assert TOKEN[13:].encode() not in content


def test_a_bug_in_the_fields_moves_nothing(place: Place, trail: Trail) -> None:
    """What cannot be shaped was not written."""
    with pytest.raises(ValueError, match="no field"):
        trail.append(Action.COMMAND_ALLOWED, unheard="of")
    trail.append(Action.COMMAND_ALLOWED)
    trail.persist()

    assert "records 1 to 2 unbroken" in place.verify()


def test_reopening_only_appends(place: Place) -> None:
    """A restart needs no record of its own; the chain goes on."""
    for _ in range(3):
        with place.open() as trail:
            trail.append(Action.SERVICE_STARTED)

    assert place.actions() == ["trail-opened"] + ["service-started"] * 3
    assert "records 1 to 4 unbroken" in place.verify()


def test_a_new_file_goes_on_with_the_chain(place: Place) -> None:
    """Moved away while stopped: both files verify together, and the new one alone."""
    with place.open() as trail:
        trail.append(Action.SERVICE_STARTED)
    older = place.path.rename(place.directory / "older.jsonl")
    with place.open() as trail:
        trail.append(Action.SERVICE_STARTED)

    assert "records 1 to 4 unbroken" in place.verify(older)
    assert "records 3 to 4 unbroken" in place.verify()
    assert "records before 3 are in none of these files" in place.verify()


def kill(place: Place, trail: Trail) -> Place:
    """Return the place as it would be found, had the process been killed now."""
    directory = place.directory.with_name(f"{place.directory.name}+")
    if directory.exists():
        shutil.rmtree(directory)
    shutil.copytree(place.directory, directory)
    trail.close()
    found = object.__new__(Place)
    found.directory, found.key = directory, place.key
    found.path, found.key_path = directory / "audit.jsonl", directory / KEY_NAME
    return found


def test_records_behind_the_persisted_step_are_found_again(place: Place) -> None:
    """Killed between two steps: the file is ahead of the key file."""
    trail = place.open()
    for _ in range(300):
        trail.append(Action.COMMAND_ALLOWED, line="x" * 1000)
    found = kill(place, trail)
    with found.open() as again:
        assert again.sequence == 301

    assert "records 1 to 301 unbroken" in found.verify()


def test_a_torn_end_is_cut_off_and_recorded(place: Place) -> None:
    """Half a line: its length and digest stay."""
    trail = place.open()
    trail.append(Action.SERVICE_STARTED)
    found = kill(place, trail)
    os.truncate(found.path, found.path.stat().st_size - 10)
    torn = found.path.read_bytes().splitlines()[-1]
    found.open().close()
    record = json.loads(found.path.read_bytes().splitlines()[-1])

    assert found.actions() == ["trail-opened", "trail-repaired"]
    assert record["rexec"]["cut_bytes"] == len(torn)
    assert "records 1 to 2 unbroken" in found.verify()


def test_a_torn_first_record_begins_the_file_anew(place: Place) -> None:
    """Nothing whole is in the file: it is as good as empty."""
    place.path.touch(0o600)
    place.path.write_bytes(b'{"@timestamp":"2026')
    place.open().close()

    assert place.actions() == ["trail-opened", "trail-repaired"]
    assert "records 1 to 2 unbroken" in place.verify()


def test_a_file_begun_after_the_persisted_step_is_continued(place: Place) -> None:
    """Killed between the first record of a new file and the first step."""
    with place.open() as trail:
        trail.append(Action.SERVICE_STARTED)
    key_file = place.key_path.read_bytes()
    place.path.unlink()
    place.open().close()
    files.write_file(place.key_path, key_file, mode=0o600)
    with place.open() as trail:
        assert trail.sequence == 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["append", "append", "persist", "reopen", "kill", "tear", "move"]), max_size=14)
)
def test_no_history_raises_a_false_alarm(
    tmp_path_factory: pytest.TempPathFactory, history: list[str]
) -> None:
    """Whatever happened, in whatever order, all files together verify."""
    place = Place(tmp_path_factory.mktemp("history") / "state")
    older: list[Path] = []
    trail = place.open()
    for number, step in enumerate(history):
        match step:
            case "append":
                trail.append(Action.COMMAND_ALLOWED, count=number)
            case "persist":
                trail.persist()
            case "reopen":
                trail.close()
            case "move":
                trail.close()
                older.append(place.path.rename(place.directory.parent / f"{number}.jsonl"))
            case _:
                place = kill(place, trail)
                if step == "tear":
                    with place.path.open("ab") as file:
                        file.write(b'{"@timestamp":"2026-01')
        if step not in {"append", "persist"}:
            trail = place.open()
    trail.close()
    report = verified([*older, place.path], place.key, head=place.key_path)

    assert report.good, report
    assert (report.first, report.last) == (1, report.records)


def edit_last(place: Place) -> None:
    """Change a byte of the last record."""
    content = bytearray(place.path.read_bytes())
    content[-200] ^= 1
    place.path.write_bytes(content)


def cut(place: Place) -> None:
    """Take the last record off."""
    lines = place.path.read_bytes().splitlines(keepends=True)
    place.path.write_bytes(b"".join(lines[:-1]))


def cut_inside(place: Place) -> None:
    """Take half of the last record off."""
    os.truncate(place.path, place.path.stat().st_size - 10)


def append_noise(place: Place) -> None:
    """Add a line that is no record."""
    place.path.write_bytes(place.path.read_bytes() + b"noise\n")


def append_zeros(place: Place) -> None:
    """Add what some file systems leave after a power loss."""
    place.path.write_bytes(place.path.read_bytes() + bytes(100_000))


def other_trail(place: Place) -> None:
    """Put another trail in its place."""
    other = Place(place.directory / "other")
    other.open().close()
    other.path.replace(place.path)


DAMAGE: dict[str, tuple[Callable[[Place], None], str]] = {
    "cut": (cut, ":3: ends without record 4, the last one kept"),
    "cut inside a line": (cut_inside, ":3: ends without record 4, the last one kept"),
    "noise behind": (append_noise, ":5: not a record of a trail"),
    "zeros behind": (append_zeros, ":5: the line has no end"),
    "another trail": (other_trail, ":1: ends without record 4, the last one kept"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_trail_that_does_not_continue_is_not_opened(place: Place, case: str) -> None:
    """One line with file, line number and remedy; the file stays as it was, as evidence."""
    damage, message = DAMAGE[case]
    with place.open() as trail:
        for _ in range(3):
            trail.append(Action.SERVICE_STARTED)
    damage(place)
    before = place.path.read_bytes()
    with pytest.raises(ConfigError) as error:
        place.open()

    assert (
        f"{place.path}{message}; run 'rexecd audit verify', or move the file away to begin a new one"
        == str(error.value)
    )
    assert place.path.read_bytes() == before


def test_a_record_edited_behind_the_persisted_step_is_found_at_the_start(place: Place) -> None:
    """What the key file does not know yet is checked line by line."""
    trail = place.open()
    for _ in range(3):
        trail.append(Action.SERVICE_STARTED)
    found = kill(place, trail)
    edit_last(found)
    with pytest.raises(ConfigError, match=r"audit.jsonl:4: record 4 does not fit its seal .*; run"):
        found.open()


def test_a_missing_key_file_says_how_to_make_one(tmp_path: Path) -> None:
    """Nothing is created without it."""
    with pytest.raises(ConfigError, match="not found; restore it, or make one with 'rexecd audit init-key'"):
        Trail.open(tmp_path / "audit.jsonl", tmp_path / KEY_NAME, clock=CLOCK)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "writable by others"])
def test_an_unsafe_file_is_not_written_to(place: Place, tmp_path: Path, kind: str) -> None:
    """The trail does not append to what somebody put in its place (ATTACKS AUD-10)."""
    victim = tmp_path / "victim"
    victim.touch(0o600)
    match kind:
        case "symlink":
            place.path.symlink_to(victim)
        case "hard link":
            place.path.hardlink_to(victim)
        case "fifo":
            os.mkfifo(place.path, 0o600)
        case _:
            place.path.touch()
            place.path.chmod(0o666)
    with pytest.raises(ConfigError):
        place.open()

    assert victim.stat().st_size == 0


class Disk:
    """os.write as a disk would do it that fills up."""

    def __init__(self, fate: int | None) -> None:
        self.fate = fate

    def __call__(self, descriptor: int, data: bytes, *, write: Any = os.write) -> int:
        """Write nothing, `fate` bytes, or all (None)."""
        if self.fate is None:
            return int(write(descriptor, data))
        if self.fate == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(write(descriptor, data[: self.fate]))


@pytest.mark.parametrize("fate", [0, 1, 100])
def test_a_failed_write_leaves_nothing_and_the_next_works(
    place: Place, trail: Trail, monkeypatch: pytest.MonkeyPatch, fate: int
) -> None:
    """The chain has not moved: no restart is needed when there is room again (ATTACKS AUD-06)."""
    disk = Disk(fate)
    monkeypatch.setattr(os, "write", disk)
    before = place.path.read_bytes()
    for _ in range(2):
        with pytest.raises(TrailError, match=r"audit.jsonl: cannot be written: "):
            trail.append(Action.COMMAND_ALLOWED)

        assert place.path.read_bytes() == before
    assert (trail.sequence, trail.lost, trail.healthy) == (1, 2, False)
    disk.fate = None
    trail.append(Action.COMMAND_ALLOWED)
    trail.persist()

    assert trail.healthy
    assert place.actions() == ["trail-opened", "trail-resumed", "command-allowed"]
    assert "records 1 to 3 unbroken" in place.verify()


def test_a_cut_that_fails_is_tried_again(place: Place, trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line that could not be removed goes before anything else is written."""
    disk, real = Disk(50), os.ftruncate

    def fail(_descriptor: int, _size: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "write", disk)
    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(TrailError, match="100 of"):
        trail.append(Action.COMMAND_ALLOWED)
    disk.fate = None
    with pytest.raises(TrailError, match="Read-only"):
        trail.append(Action.COMMAND_ALLOWED)
    monkeypatch.setattr(os, "ftruncate", real)
    trail.append(Action.COMMAND_ALLOWED)
    trail.persist()

    assert "records 1 to 3 unbroken" in place.verify()


def test_an_interrupt_inside_a_write_leaves_nothing(
    place: Place, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception from a signal handler, after the bytes went out and before anybody knows."""
    real = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        real(descriptor, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trail.append(Action.COMMAND_ALLOWED)
    monkeypatch.setattr(os, "write", real)
    trail.append(Action.COMMAND_REFUSED)
    trail.persist()

    assert place.actions() == ["trail-opened", "command-refused"]
    assert "records 1 to 2 unbroken" in place.verify()


FULL = """
import resource, signal, sys
from pathlib import Path
from rexecd.audit.events import Action
from rexecd.audit.trail import Trail
from rexecd.clock import Clock
from rexecd.errors import TrailError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, key = map(Path, sys.argv[1:])
with Trail.open(path, key, clock=Clock()) as trail:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
    for _ in range(30):
        try:
            trail.append(Action.COMMAND_ALLOWED, line="x" * 200)
        except TrailError:
            pass
    print(trail.sequence, trail.lost)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    trail.append(Action.COMMAND_REFUSED)
"""


def test_a_real_size_limit_leaves_no_half_record(place: Place) -> None:
    """The kernel writes a part of a line first: it is taken back."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, place.path, place.key_path],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=30,
    )
    last, lost = map(int, done.stdout.split())

    assert (last > 3, last - 1 + lost) == (True, 30)
    assert f"records 1 to {last + 2} unbroken" in place.verify()  # and one of the trouble


def test_while_a_persist_fails_nothing_is_recorded(
    place: Place, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be kept is not promised; a step that works ends it, and is recorded with what it was."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        trail.append(Action.COMMAND_ALLOWED)
        with pytest.raises(TrailError, match=r"cannot be made durable: .*Input/output error"):
            trail.persist()
        with pytest.raises(TrailError, match="cannot be made durable"):
            trail.append(Action.COMMAND_ALLOWED)

        assert trail.last_error is not None
    trail.persist()
    resumed = json.loads(place.path.read_bytes().splitlines()[-1])

    assert trail.healthy
    assert place.actions() == ["trail-opened", "command-allowed", "trail-resumed"]
    assert resumed["rexec"]["count"] == 1
    assert "cannot be made durable: Input/output error" in resumed["event"]["reason"]
    assert "records 1 to 3 unbroken" in place.verify()


def test_a_step_without_records_touches_nothing(
    place: Place, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle server does not write."""
    monkeypatch.setattr(os, "fdatasync", None)
    trail.persist()

    assert trail.healthy
    assert load_chain(place.key_path).sequence == 2


def test_the_keeper_persists_and_survives_faults(
    place: Place, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing disk does not end its thread; the next turn works."""
    real, tried, failing = os.fdatasync, threading.Event(), threading.Event()
    failing.set()

    def sometimes(descriptor: int) -> None:
        if failing.is_set():
            tried.set()
            raise RuntimeError("an error nobody thought of")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", sometimes)
    trail.append(Action.COMMAND_ALLOWED)
    with kept(place, trail):
        assert tried.wait(PATIENCE)
        failing.clear()
    trail.close()

    assert trail.healthy
    assert load_chain(place.key_path).sequence == 3


def test_a_closed_trail_refuses(place: Place) -> None:
    """Nothing can be recorded any more, and closing twice is no error."""
    trail = place.open()
    trail.close()
    trail.close()
    with pytest.raises(TrailError, match="closed"):
        trail.append(Action.COMMAND_ALLOWED)
    with pytest.raises(TrailError, match="closed"):
        trail.persist()


def test_threads_append_whole_records_in_order(place: Place, trail: Trail) -> None:
    """Eight threads, a keeper beside them: one unbroken chain."""

    def work(number: int) -> None:
        recorder = trail.recorder(connection_id=f"c{number}")
        for count in range(100):
            recorder.record(Action.COMMAND_ALLOWED, count=count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with kept(place, trail):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    trail.persist()

    assert "records 1 to 801 unbroken" in place.verify()


def test_a_recorder_carries_its_context(place: Place, trail: Trail) -> None:
    """What is bound stands in each record, with the thread; binding more leaves the first as it was."""
    recorder = trail.recorder(connection_id="c1")
    more = recorder.bind(principal="ci")
    recorder.record(Action.CONNECTION_OPENED, address="10.0.0.1")
    more.record(Action.AUTH_ACCEPTED)
    first, second = map(json.loads, place.path.read_bytes().splitlines()[1:])

    assert isinstance(more, Recorder)
    assert (first["rexec"]["connection_id"], second["rexec"]["connection_id"]) == ("c1", "c1")
    assert ("user" in first, second["user"]["name"]) == (False, "ci")
    assert first["process"]["thread"]["name"] == threading.current_thread().name


def test_a_recorder_raises_what_the_trail_raises(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """No library between them swallows it (ATTACKS AUD-07)."""
    monkeypatch.setattr(os, "write", Disk(0))
    with pytest.raises(TrailError):
        trail.recorder().record(Action.COMMAND_ALLOWED)


def test_a_watcher_hears_of_what_is_written_and_of_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first record on, with the line as it stands in the file."""
    heard: list[tuple[Action, object, int]] = []
    trail = Trail.open(
        place.path,
        place.key_path,
        clock=CLOCK,
        watchers=[lambda action, fields, line: heard.append((action, fields.get("pid"), seal.number(line)))],
    )
    trail.append(Action.COMMAND_STARTED, pid=7)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: 0)
        with pytest.raises(TrailError):
            trail.append(Action.COMMAND_STARTED, pid=8)
    trail.close()

    assert heard == [
        (Action.TRAIL_OPENED, None, 1),
        (Action.COMMAND_STARTED, 7, 2),
        (Action.TRAIL_RESUMED, None, 3),
    ]


def test_structlog_is_not_configured() -> None:
    """Whoever embeds us keeps their own logging."""
    assert not structlog.is_configured()


def test_a_replay_takes_no_memory(place: Place) -> None:
    """Thousands of records behind the persisted step are read line by line."""
    trail = place.open()
    for _ in range(3000):
        trail.append(Action.COMMAND_ALLOWED, line="x" * 1000)
    found = kill(place, trail)
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from rexecd.audit.trail import Trail\n"
        "from rexecd.clock import Clock\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "Trail.open(Path(sys.argv[1]), Path(sys.argv[2]), clock=Clock()).close()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, found.path, found.key_path],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=30,
    )

    assert int(done.stdout) * 1024 < found.path.stat().st_size / 2
