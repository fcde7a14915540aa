"""Files that are set aside, by us or by logrotate: nothing is lost, and all of them verify together."""

import errno
import gzip
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.audit import archive
from rexecd.audit.events import Action
from rexecd.audit.keeper import Care, Keeper
from rexecd.audit.keys import KEY_NAME, load_chain
from rexecd.audit.lines import lines, parts, whole
from rexecd.audit.seal import Change
from rexecd.audit.trail import Terms, Trail
from rexecd.audit.verify import Knowledge, Report, verify
from rexecd.audit.writer import Watcher
from rexecd.clock import Clock
from rexecd.errors import ConfigError, TrailError
from rexecd.log import Log
from tests.trails import new_key

PATIENCE = 10.0
SMALL = 64 * 1024


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)
        self.clock = Clock(lambda: self.time, self.monotonic)

    def monotonic(self) -> float:
        """Return seconds."""
        return self.time.timestamp()

    def pass_(self, **time: float) -> None:
        """Let some time go by."""
        self.time += timedelta(**time)


class Place:
    """A directory with a trail of small files."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.path = directory / "audit.jsonl"
        self.key_path = directory / KEY_NAME
        self.key = new_key(directory)
        self.hands = Hands()

    def open(self, *watchers: Watcher, max_size: int = SMALL) -> Trail:
        """Return the trail, opened."""
        return Trail.open(
            self.path,
            self.key_path,
            clock=self.hands.clock,
            terms=Terms(max_size=max_size),
            watchers=watchers,
        )

    def keeper(self, trail: Trail, **care: float | bool) -> Keeper:
        """Return what looks after the trail; it is not started."""
        log = Log("test", level="error")
        return Keeper(trail, self.path, Care(**care), clock=self.hands.clock, log=log)  # type: ignore[arg-type]

    def verify(self) -> Report:
        """Return what is found in the whole trail, with the key file."""
        known = Knowledge(key=self.key, head=load_chain(self.key_path), is_whole=True)
        return verify(whole(self.path), known, where=self.path)

    def names(self) -> list[str]:
        """Return the names of the trail's files, in their order."""
        return [part.path.name for part in parts(self.path)]

    def first(self, path: Path | None = None) -> dict[str, dict[str, object]]:
        """Return the first record of a file."""
        return dict(json.loads(next(lines(path or self.path)).data))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a directory with a key and no trail yet."""
    return Place(tmp_path / "state")


def fill(trail: Trail, count: int) -> None:
    """Write records of a kilobyte and a half each."""
    for number in range(count):
        trail.append(Action.COMMAND_ALLOWED, count=number, line="x" * 1000)


def test_a_file_that_would_grow_too_large_is_set_aside(place: Place) -> None:
    """Under a name that sorts, and the new one says what it goes on from."""
    with place.open() as trail:
        fill(trail, 100)
    aside = place.directory / "audit.jsonl.000000000001"

    assert place.names()[0] == aside.name
    assert SMALL - 3000 < aside.stat().st_size <= SMALL
    first = place.first()
    assert first["event"]["action"] == "trail-opened"
    assert str(first["event"]["reason"]).startswith("the one before was set aside at ")
    assert (place.verify().good, place.verify().last) == (True, trail.sequence)


def test_a_limit_smaller_than_two_records_still_goes_on(place: Place) -> None:
    """A file has its beginning and one more record at least."""
    with place.open(max_size=1) as trail:
        fill(trail, 3)

    assert len(place.names()) == 3
    assert place.verify().last == 6


def logrotate_moves(path: Path) -> None:
    """As it does by default."""
    path.rename(path.with_name("audit.jsonl-20261128"))


def logrotate_makes_anew(path: Path) -> None:
    """With `create`."""
    logrotate_moves(path)
    path.touch(0o600)


def logrotate_copies(path: Path) -> None:
    """With `copytruncate`."""
    shutil.copy(path, path.with_name("audit.jsonl-20261128"))
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("rotate", "reason"),
    [
        (logrotate_moves, "moved away"),
        (logrotate_makes_anew, "moved away"),
        (logrotate_copies, "cut to nothing"),
    ],
)
def test_what_logrotate_does_is_noticed_at_the_next_record(
    place: Place, rotate: Callable[[Path], None], reason: str
) -> None:
    """With a signal or without; the new file says what came about."""
    with place.open() as trail:
        fill(trail, 3)
        rotate(place.path)
        fill(trail, 2)
    first, report = place.first(), place.verify()

    assert first["event"]["action"] == "trail-opened"
    assert first["event"]["reason"] == f"the one before was {reason}"
    assert (report.good, report.first, report.last) == (True, 1, 7)


def test_a_file_that_was_removed_is_gone_on_from_and_found(place: Place) -> None:
    """The record says so, and verify that it is missing."""
    with place.open() as trail:
        fill(trail, 3)
        place.path.unlink()
        fill(trail, 2)
    finding = place.verify().finding

    assert place.first()["event"]["reason"] == "the one before was removed"
    assert finding is not None
    assert finding.change is Change.MISSING
    assert finding.text == "records 1 to 4 are missing, and no record tells of their removal"


def test_a_file_that_somebody_else_writes_is_not_written_on(place: Place) -> None:
    """It says so, and goes on in a new file when that one is moved away."""
    trail = place.open()
    fill(trail, 2)
    with place.path.open("ab") as file:
        file.write(b"noise\n")
    with pytest.raises(TrailError, match="somebody else has written it; run 'rexecd audit verify', and move"):
        fill(trail, 1)
    place.path.rename(place.directory / "evidence")
    fill(trail, 1)
    trail.close()

    assert [line.number for line in lines(place.path)] == [1, 2, 3]
    assert place.first()["rexec"]["sequence"] == 4


def test_another_file_in_its_place_is_not_written_on(place: Place) -> None:
    """An editor writes a new file and renames it: what it holds is not what we have written."""
    trail = place.open()
    fill(trail, 2)
    (place.directory / "edited").write_bytes(place.path.read_bytes())
    (place.directory / "edited").replace(place.path)
    with pytest.raises(TrailError, match="not as it was left"):
        fill(trail, 1)
    with pytest.raises(TrailError, match="not as it was left"):
        trail.close()


def test_a_vanished_directory_refuses_until_it_is_back(place: Place) -> None:
    """Records that nobody could find are none; then it goes on by itself (ATTACKS AUD-06)."""
    (place.directory / "audit").mkdir()
    trail = Trail.open(place.directory / "audit" / "a.jsonl", place.key_path, clock=place.hands.clock)
    fill(trail, 2)
    away = (place.directory / "audit").rename(place.directory / "gone")
    with pytest.raises(TrailError, match="not found"):
        fill(trail, 1)
    away.rename(place.directory / "audit")
    fill(trail, 1)
    trail.close()
    known = Knowledge(key=place.key, head=load_chain(place.key_path), is_whole=True)

    path = place.directory / "audit" / "a.jsonl"
    assert verify(whole(path), known, where=path).last == 5


def test_a_signal_begins_a_new_file_at_once(place: Place) -> None:
    """But not one after the other with nothing in them."""
    with place.open() as trail:
        fill(trail, 2)
        assert not trail.is_pressing.is_set()
        for _ in range(3):
            trail.set_aside("for a test")
        assert trail.is_pressing.is_set()  # a step, and a checkpoint, is due

    assert place.names() == ["audit.jsonl.000000000001", "audit.jsonl"]
    assert place.first()["event"]["reason"] == "for a test"


def test_what_cannot_be_set_aside_is_gone_on_with(place: Place) -> None:
    """A name that is taken; it is said, and tried again later."""
    trail = place.open()
    fill(trail, 30)
    blocked = archive.aside(place.path, 1)
    blocked.mkdir()
    fill(trail, 30)

    assert "cannot be set aside: File exists" in str(trail.aside_error)
    assert place.names() == ["audit.jsonl"]
    blocked.rmdir()
    place.hands.pass_(seconds=61)
    fill(trail, 1)
    trail.close()
    assert trail.aside_error is None
    assert place.names() == ["audit.jsonl.000000000001", "audit.jsonl"]


def test_a_file_of_an_earlier_trail_is_never_written_over(place: Place) -> None:
    """Not by its name, nor when what was set aside under that is compressed."""
    earlier = place.path.with_name("audit.jsonl.000000000001.gz")
    earlier.write_bytes(b"evidence")
    with place.open() as trail:
        fill(trail, 200)
        place.keeper(trail).tidy()

        assert trail.aside_error is not None
        assert "cannot be set aside: File exists" in trail.aside_error
    assert earlier.read_bytes() == b"evidence"


def test_an_old_file_is_set_aside(place: Place) -> None:
    """By the time of its first record, also of a file that was there before."""
    with place.open() as trail:
        fill(trail, 1)
    place.hands.pass_(days=2)
    begun = threading.Event()
    trail = place.open(lambda action, *_: begun.set() if action is Action.TRAIL_OPENED else None)
    keeper = place.keeper(trail, step=0.001, max_age=86400.0)
    keeper.start()

    assert begun.wait(PATIENCE)
    keeper.stop()
    trail.close()
    assert place.names() == ["audit.jsonl.000000000001", "audit.jsonl"]
    assert place.first()["event"]["reason"] == "the one before was set aside after 86400s"


def test_an_old_file_in_trouble_is_set_aside_when_that_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step comes first, so that age does not keep the trail from finding out."""
    with place.open() as trail:
        fill(trail, 1)
    place.hands.pass_(days=2)
    begun, tried = threading.Event(), threading.Semaphore(0)
    real, failing = os.fdatasync, threading.Event()

    def sync(descriptor: int) -> None:
        tried.release()
        if failing.is_set():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync)
    trail = place.open(lambda action, *_: begun.set() if action is Action.TRAIL_OPENED else None)
    failing.set()
    keeper = place.keeper(trail, step=0.05, max_age=86400.0)
    trail.append(Action.COMMAND_ALLOWED)
    trail.is_pressing.set()
    keeper.start()
    for _ in range(4):
        assert tried.acquire(timeout=PATIENCE)
    assert not begun.is_set()
    failing.clear()

    assert begun.wait(PATIENCE)
    keeper.stop()
    trail.close()
    assert place.verify().good


def test_all_but_the_newest_are_compressed(place: Place) -> None:
    """They verify, are found and shown as before, with their time and mode."""
    with place.open() as trail:
        fill(trail, 200)
        keeper = place.keeper(trail)
        aside = archive.asides(place.path)
        times = [each.path.stat().st_mtime_ns for each in aside]
        keeper.tidy()
        keeper.tidy()
    packed = archive.asides(place.path)

    assert [each.path.suffix == ".gz" for each in packed] == [True] * (len(packed) - 1) + [False]
    assert [each.path.stat().st_mtime_ns for each in packed] == times
    assert {each.path.stat().st_mode & 0o777 for each in packed} == {0o600}
    assert (place.verify().good, place.verify().last) == (True, trail.sequence)


def test_compressing_that_was_cut_short_is_begun_again(place: Place) -> None:
    """Half a compressed file, or a whole one beside the plain one: nobody takes it for another."""
    with place.open() as trail:
        fill(trail, 200)
        one, two, *_ = archive.asides(place.path)
        one.path.with_name(one.path.name + ".gz.new").write_bytes(b"half")
        two.path.with_name(two.path.name + ".gz").write_bytes(gzip.compress(two.path.read_bytes())[:-9])
        assert place.verify().good
        place.keeper(trail).tidy()

    assert place.verify().good
    assert [path.name for path in place.directory.glob("*.new")] == []
    assert not one.path.exists()
    assert not two.path.exists()


def test_what_was_kept_long_enough_is_removed_and_that_is_recorded(place: Place) -> None:
    """First the record; and what is gone in order is no finding."""
    with place.open() as trail:
        fill(trail, 200)
        keeper = place.keeper(trail, keep=86400.0)
        files = archive.asides(place.path)
        for each in files[:2]:
            os.utime(each.path, (0, 0))
        keeper.tidy()
    report = place.verify()
    pruned = [json.loads(line.data) for line in whole(place.path) if b"trail-pruned" in line.data]

    assert (report.good, report.first) == (True, files[2].first)
    assert f"records before {files[2].first} were removed when their time was over" in str(report)
    assert [(each["rexec"]["removed_until"], each["rexec"]["count"]) for each in pruned] == [
        (files[2].first - 1, 2)
    ]


def test_what_lies_between_files_that_stay_is_not_removed(place: Place) -> None:
    """A clock that was set back, or a touched file, makes no hole; the newest stays in any case."""
    with place.open() as trail:
        fill(trail, 200)
        files = archive.asides(place.path)
        for each in files[1:]:
            os.utime(each.path, (0, 0))
        before = place.names()
        place.keeper(trail, keep=86400.0, compress=False).tidy()
        assert place.names() == before
        os.utime(files[0].path, (0, 0))
        place.keeper(trail, keep=86400.0, compress=False).tidy()

    assert place.names() == [files[-1].path.name, "audit.jsonl"]


@pytest.mark.parametrize("which", ["first", "middle", "newest"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_the_loss_of_any_whole_file_is_found(place: Place, which: str, is_packed: bool) -> None:
    """Whichever it is, plain or compressed."""
    with place.open() as trail:
        fill(trail, 200)
        if is_packed:
            place.keeper(trail).tidy()
    files = archive.asides(place.path)
    files[{"first": 0, "middle": 1, "newest": -1}[which]].path.unlink()
    finding = place.verify().finding

    assert finding is not None
    assert finding.change is Change.MISSING


def test_a_damaged_compressed_file_is_one_line(place: Place) -> None:
    """With its name."""
    with place.open() as trail:
        fill(trail, 200)
        place.keeper(trail).tidy()
    packed = archive.asides(place.path)[1].path
    packed.write_bytes(packed.read_bytes()[:-2000])
    with pytest.raises(ConfigError, match=r"\.gz: damaged, it cannot be uncompressed"):
        place.verify()


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".bz2", "bz2"), (".xz", "lzma"), (".gz", "gzip")],
)
def test_what_logrotate_compresses_with_is_read(place: Place, suffix: str, pack: str) -> None:
    """Whatever of it the standard library knows; the rest is refused with a remedy."""
    with place.open() as trail:
        fill(trail, 3)
        old = place.path.rename(place.directory / "audit.jsonl.1")
        fill(trail, 3)
    module = __import__(pack)
    (place.directory / f"audit.jsonl.1{suffix}").write_bytes(module.compress(old.read_bytes()))
    old.unlink()

    assert (place.verify().good, place.verify().last) == (True, 8)
    (place.directory / "audit.jsonl.0.zst").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"\.zst: uncompress it first: only \.gz, \.bz2 and \.xz"):
        place.verify()


def test_what_is_no_file_holds_up_nobody(place: Place) -> None:
    """A pipe of that name: whoever reads is not kept waiting for a writer."""
    os.mkfifo(place.path)
    with pytest.raises(ConfigError, match="not a regular file; put one in its place"):
        list(lines(place.path))


def test_a_copy_that_was_left_behind_does_not_stop_a_start(place: Place) -> None:
    """An older copy of the file in which the last step is: the longer one counts."""
    with place.open() as trail:
        fill(trail, 5)
        short = place.path.read_bytes()
        fill(trail, 5)
        trail.set_aside("for a test")
    found = kill(place, place.open())
    found.path.unlink()
    (found.directory / "audit.jsonl.000000000001.bak").write_bytes(short)
    with found.open() as again:
        assert again.sequence == trail.sequence + 1


def test_names_of_others_are_left_alone(place: Place) -> None:
    """What is not of our form is neither compressed nor removed, and what is not of the trail not read."""
    with place.open() as trail:
        fill(trail, 3)
        place.path.rename(place.directory / "audit.jsonl.1")
        fill(trail, 3)
        for name in ("audit.jsonlx", "other.jsonl.000000000001", "audit.jsonl.new", "audit.jsonl.12"):
            (place.directory / name).write_bytes(b"")
        place.keeper(trail, keep=1.0).tidy()

    assert place.names() == ["audit.jsonl.1", "audit.jsonl"]
    assert archive.asides(place.path) == []


def kill(place: Place, trail: Trail) -> Place:
    """Return the place as it would be found, had the process been killed now."""
    directory = place.directory.with_name(f"{place.directory.name}+")
    shutil.copytree(place.directory, directory)
    trail.close()
    found = object.__new__(Place)
    found.directory, found.key, found.hands = directory, place.key, place.hands
    found.path, found.key_path = directory / "audit.jsonl", directory / KEY_NAME
    return found


def moved(place: Place) -> None:
    """Move the file away, as logrotate does while nobody writes."""
    place.path.rename(place.directory / "audit.jsonl.1")


def compressed(place: Place) -> None:
    """Compress it at once, too."""
    (place.directory / "audit.jsonl.1.gz").write_bytes(gzip.compress(place.path.read_bytes()))
    place.path.unlink()


def copied(place: Place) -> None:
    """Copy it and cut it."""
    shutil.copy(place.path, place.directory / "audit.jsonl.1")
    os.truncate(place.path, 0)


@pytest.mark.parametrize("rotate", [moved, compressed, copied])
@pytest.mark.parametrize("is_torn", [False, True])
def test_records_behind_the_last_step_are_found_in_a_file_that_was_set_aside(
    place: Place, rotate: Callable[[Place], None], is_torn: bool
) -> None:
    """Killed, and rotated before the next start: no number is given twice."""
    trail = place.open()
    fill(trail, 5)
    found = kill(place, trail)
    if is_torn and rotate is not compressed:
        with found.path.open("ab") as file:
            file.write(b'{"torn')
    rotate(found)
    with found.open() as again:
        assert again.sequence == (8 if is_torn and rotate is not compressed else 7)

    assert (found.verify().good, found.verify().first) == (True, 1)


def test_a_crash_between_the_renaming_and_the_next_step_loses_nothing(place: Place) -> None:
    """Our own setting aside waits for no disk: a start finds the rest in both files."""
    trail = place.open()
    fill(trail, 100)  # more than one file, and no step since the first record
    found = kill(place, trail)
    assert load_chain(found.key_path).sequence == 2
    with found.open() as again:
        assert again.sequence == trail.sequence

    assert (found.verify().good, found.verify().last) == (True, trail.sequence)


def test_older_files_that_are_gone_are_not_waited_for(place: Place) -> None:
    """Moved to another machine while nobody wrote: the chain goes on from the key file."""
    with place.open() as trail:
        fill(trail, 100)
    for part in parts(place.path):
        part.path.unlink()
    with place.open() as again:
        assert again.sequence == trail.sequence + 1


def test_reading_survives_a_file_that_is_set_aside_meanwhile(place: Place) -> None:
    """Neither a record twice nor one left out."""
    with place.open() as trail:
        fill(trail, 100)
        reading = whole(place.path)
        seen = [next(reading) for _ in range(3)]
        fill(trail, 10)
        trail.set_aside("for a test")
        place.keeper(trail).tidy()
        fill(trail, 5)
        seen += reading
    numbers = [json.loads(line.data)["rexec"]["sequence"] for line in seen]

    assert numbers == list(range(1, trail.sequence + 1))


def move(place: Place, _: Trail) -> None:
    """Rotate as logrotate does."""
    if place.path.exists():
        place.path.rename(fresh(place))


def copy(place: Place, _: Trail) -> None:
    """Rotate as logrotate does with copytruncate."""
    if place.path.exists():
        shutil.copy(place.path, fresh(place))
        os.truncate(place.path, 0)


def fresh(place: Place) -> Path:
    """Return a name of a file that was set aside, which there is not yet."""
    return place.directory / f"audit.jsonl-{len(list(place.directory.iterdir()))}-{secrets.token_hex(4)}"


DEEDS: dict[str, Callable[[Place, Trail], None]] = {
    "append": lambda _, trail: trail.append(Action.COMMAND_ALLOWED),
    "fill": lambda _, trail: fill(trail, 50),
    "persist": lambda _, trail: trail.persist(),
    "signal": lambda _, trail: trail.set_aside("for a test"),
    "tidy": lambda place, trail: place.keeper(trail).tidy(),
    "prune": lambda place, trail: place.keeper(trail, keep=8 * 3600.0).tidy(),
    "move": move,
    "copy": copy,
}
STEPS = st.sampled_from([*DEEDS, "append", "reopen", "kill", "tear"])


def play(place: Place, history: list[str]) -> Report:
    """Do all that to a trail, and return what verify says at the end."""
    trail = place.open()
    for step in history:
        place.hands.pass_(hours=1)
        if step in DEEDS:
            DEEDS[step](place, trail)
            continue
        if step == "reopen":
            trail.close()
        else:
            place = kill(place, trail)
        if step == "tear" and place.path.exists():
            with place.path.open("ab") as file:
                file.write(b'{"@timestamp":"2026-01')
        trail = place.open()
    trail.close()
    return place.verify()


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=14))
def test_no_history_with_rotation_raises_a_false_alarm(
    tmp_path_factory: pytest.TempPathFactory, history: list[str]
) -> None:
    """Whatever happened, in whatever order, the whole trail verifies."""
    report = play(Place(tmp_path_factory.mktemp("history") / "state"), history)

    assert report.good, report
    assert report.records == report.last - report.first + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=1000, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=30))
def test_a_thousand_long_histories_raise_no_false_alarm(
    tmp_path_factory: pytest.TempPathFactory, history: list[str]
) -> None:
    """The same, longer and more of them."""
    report = play(Place(tmp_path_factory.mktemp("history") / "state"), history)

    assert report.good, report
