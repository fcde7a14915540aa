"""A trail in trouble: no promise that is not kept, ends that are owed are written, and it recovers alone."""

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd import files
from rexecd.audit import trail as module
from rexecd.audit.events import Action
from rexecd.audit.keys import KEY_NAME, load_chain
from rexecd.audit.lines import parts
from rexecd.audit.trail import Terms, Trail
from rexecd.clock import Clock
from rexecd.errors import TrailError
from tests.trails import new_key, verified

PATIENCE = 10.0


class Place:
    """A trail, and what a disk does to it."""

    def __init__(self, directory: Path, sync: str) -> None:
        self.path = directory / "audit.jsonl"
        self.key_path = directory / KEY_NAME
        self.key = new_key(directory)
        self.trail = Trail.open(self.path, self.key_path, clock=Clock(), terms=Terms(sync=sync))

    def records(self) -> list[tuple[str, object]]:
        """Return the actions that stand in the file, and the counts they have."""
        found = map(json.loads, self.path.read_bytes().splitlines())
        return [(each["event"]["action"], each["rexec"].get("count")) for each in found]

    def is_good(self) -> bool:
        """Return what verify says, with the key file."""
        return verified([self.path], self.key, head=self.key_path, is_whole=True).good


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return a trail with the default terms."""
    made = Place(tmp_path, "interval")
    yield made
    made.trail.close()


@pytest.fixture
def careful(tmp_path: Path) -> Iterator[Place]:
    """Return a trail that waits for the disk at each record."""
    made = Place(tmp_path, "always")
    yield made
    made.trail.close()


class Disk:
    """os.write and os.fdatasync, as a disk does them that can be full, faulty or slow."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._write, self._sync = os.write, os.fdatasync
        self.is_full = self.is_faulty = self.fails_once = False
        #: Whether anything, and whether syncs, are answered.
        self.works, self.syncs_work = threading.Event(), threading.Event()
        self.works.set()
        self.syncs_work.set()
        #: Set when somebody waits for it.
        self.is_asked = threading.Event()
        self.syncs = 0
        patch.setattr(os, "write", self.write)
        patch.setattr(os, "fdatasync", self.sync)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write, if there is room."""
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._wait()
        return self._write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Sync, if that works."""
        self.syncs += 1
        self._wait()
        assert self.syncs_work.wait(PATIENCE)
        fails, self.fails_once = self.is_faulty or self.fails_once, False
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._sync(descriptor)

    def _wait(self) -> None:
        self.is_asked.set()
        assert self.works.wait(PATIENCE)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return a disk that works."""
    return Disk(monkeypatch)


def test_an_end_that_cannot_be_written_is_owed_and_comes_first(place: Place, disk: Disk) -> None:
    """One closing record for each opening one, in their order, before anything new."""
    trail = place.trail
    trail.append(Action.COMMAND_ALLOWED, count=1)
    disk.is_full = True
    trail.owe(Action.COMMAND_KILLED, count=2)
    with pytest.raises(TrailError):
        trail.append(Action.COMMAND_ALLOWED, count=3)
    trail.owe(Action.CONNECTION_CLOSED, count=4)

    assert (trail.owed, trail.healthy) == (2, False)
    disk.is_full = False
    trail.append(Action.COMMAND_ALLOWED, count=5)
    assert place.records() == [
        ("trail-opened", None),
        ("command-allowed", 1),
        ("trail-resumed", 1),
        ("command-killed", 2),
        ("connection-closed", 4),
        ("command-allowed", 5),
    ]
    assert (trail.owed, trail.healthy) == (0, True)


def test_what_is_owed_has_the_time_when_it_was(place: Place, disk: Disk) -> None:
    """The order is that of writing, the time that of happening."""
    disk.is_full = True
    place.trail.owe(Action.COMMAND_KILLED)
    disk.is_full = False
    place.trail.append(Action.COMMAND_ALLOWED)
    _, _, killed, allowed = (json.loads(line)["@timestamp"] for line in place.path.read_bytes().splitlines())

    assert killed < allowed


def test_a_trail_finds_out_by_itself_that_it_can_be_written_again(place: Place, disk: Disk) -> None:
    """At its next step, without waiting for anybody: then it is well, and owes nothing."""
    disk.is_full = True
    place.trail.owe(Action.COMMAND_KILLED)
    with pytest.raises(TrailError, match="No space left"):
        place.trail.persist()

    assert place.trail.owed == 1
    disk.is_full = False
    place.trail.persist()
    assert (place.trail.owed, place.trail.healthy) == (0, True)
    assert place.records()[-2:] == [("trail-resumed", 0), ("command-killed", None)]
    assert place.is_good()


def test_what_is_still_owed_at_the_end_counts_as_lost(place: Place, disk: Disk) -> None:
    """The next start looks for what has no end."""
    disk.is_full = True
    place.trail.owe(Action.COMMAND_KILLED)
    with pytest.raises(TrailError):
        place.trail.close()

    assert place.trail.lost == 1


def test_with_always_a_record_is_on_the_disk_before_the_act(careful: Place, disk: Disk) -> None:
    """An end need not wait: its act is over."""
    careful.trail.append(Action.COMMAND_ALLOWED)
    assert disk.syncs == 1
    careful.trail.owe(Action.COMMAND_EXITED)
    assert disk.syncs == 1


def test_who_waits_for_the_disk_waits_together(careful: Place, disk: Disk) -> None:
    """Twenty callers who come while one waits need one more sync, not twenty."""
    trail = careful.trail
    disk.syncs_work.clear()
    callers = [threading.Thread(target=trail.append, args=(Action.COMMAND_ALLOWED,)) for _ in range(21)]
    callers[0].start()
    assert disk.is_asked.wait(PATIENCE)
    for caller in callers[1:]:
        caller.start()
    deadline = time.monotonic() + PATIENCE
    while trail.sequence < 22 and time.monotonic() < deadline:
        time.sleep(0.001)
    disk.syncs_work.set()
    for caller in callers:
        caller.join()

    assert (trail.sequence, disk.syncs) == (22, 2)


def test_with_always_a_record_that_is_not_on_the_disk_is_no_promise(careful: Place, disk: Disk) -> None:
    """The act does not happen, nor any other until the disk works; the record that stands there verifies."""
    disk.is_faulty = True
    with pytest.raises(TrailError, match="cannot be made durable: Input/output error"):
        careful.trail.append(Action.COMMAND_ALLOWED, count=1)
    with pytest.raises(TrailError):
        careful.trail.append(Action.COMMAND_ALLOWED, count=2)
    disk.is_faulty = False
    careful.trail.persist()
    careful.trail.append(Action.COMMAND_ALLOWED, count=3)

    assert [count for _, count in careful.records()] == [None, 1, 2, 3]
    assert careful.trail.healthy
    careful.trail.persist()
    assert careful.is_good()


def test_with_always_a_failed_sync_fails_for_all_who_wait(careful: Place, disk: Disk) -> None:
    """A kernel says it once, to whoever syncs first: the next sync works, and proves nothing."""
    trail = careful.trail
    outcomes: list[object] = []

    def call() -> None:
        try:
            trail.append(Action.COMMAND_ALLOWED)
        except TrailError as error:
            outcomes.append(error.is_written)
        else:
            outcomes.append("acted")

    disk.syncs_work.clear()
    callers = [threading.Thread(target=call) for _ in range(3)]
    callers[0].start()
    assert disk.is_asked.wait(PATIENCE)
    for caller in callers[1:]:
        caller.start()
    deadline = time.monotonic() + PATIENCE
    while trail.sequence < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    disk.fails_once = True
    disk.syncs_work.set()
    for caller in callers:
        caller.join()
    before = careful.path.stat().st_ino
    trail.persist()

    assert outcomes == [True, True, True]
    assert careful.path.stat().st_ino != before
    assert careful.is_good()


def test_with_none_nobody_waits_for_the_disk(tmp_path: Path, disk: Disk) -> None:
    """The keys step on all the same."""
    place = Place(tmp_path, "none")
    place.trail.append(Action.COMMAND_ALLOWED)
    place.trail.persist()
    place.trail.close()

    assert disk.syncs == 0
    assert load_chain(place.key_path).sequence == 3


@pytest.mark.parametrize("is_set_aside", [False, True])
def test_after_a_failed_sync_everything_is_in_a_new_file(
    place: Place, disk: Disk, *, is_set_aside: bool
) -> None:
    """The kernel says once that a page was lost; what becomes of that page then is not relied on."""
    trail = place.trail
    trail.append(Action.COMMAND_ALLOWED)
    if is_set_aside:
        trail.set_aside("for a test")
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in files_of(place)}
    disk.is_faulty = True
    for _ in range(2):
        with pytest.raises(TrailError):
            trail.persist()
    with pytest.raises(TrailError, match="cannot be made durable"):
        trail.set_aside("for nothing")
    disk.is_faulty = False
    trail.persist()

    assert set(files_of(place)) == set(before)
    for path, (inode, data) in before.items():
        assert path.stat().st_ino != inode
        assert path.read_bytes().startswith(data)
    assert trail.healthy
    trail.append(Action.COMMAND_ALLOWED)
    trail.persist()
    assert verified(files_of(place), place.key, head=place.key_path, is_whole=True).good


def files_of(place: Place) -> list[Path]:
    """Return the files of the trail, the oldest first."""
    return [part.path for part in parts(place.path)]


def test_what_a_failed_sync_has_lost_is_never_called_durable(place: Place, disk: Disk) -> None:
    """The records are gone from the file: nothing runs until somebody has looked."""
    place.trail.append(Action.COMMAND_ALLOWED)
    disk.is_faulty = True
    with pytest.raises(TrailError):
        place.trail.persist()
    disk.is_faulty = False
    size = place.path.stat().st_size
    with place.path.open("r+b") as file:
        file.seek(size - 300)
        file.write(bytes(300))
    sequence = load_chain(place.key_path).sequence
    for _ in range(2):
        with pytest.raises(TrailError, match="what was written is not there any more"):
            place.trail.persist()
    with pytest.raises(TrailError, match="not there any more"):
        place.trail.append(Action.COMMAND_ALLOWED)

    assert load_chain(place.key_path).sequence == sequence
    with pytest.raises(TrailError):
        place.trail.close()


def test_a_disk_that_does_not_answer_holds_up_nobody_for_ever(
    place: Place, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes meanwhile is refused, ends are owed, and status says it; then it goes on."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    disk.works.clear()
    stuck = threading.Thread(target=place.trail.append, args=(Action.COMMAND_ALLOWED,), kwargs={"count": 1})
    stuck.start()
    assert disk.is_asked.wait(PATIENCE)
    with pytest.raises(TrailError, match="the disk has not answered for"):
        place.trail.append(Action.COMMAND_ALLOWED, count=2)
    place.trail.owe(Action.COMMAND_KILLED, count=3)

    assert "the disk has not answered for" in str(place.trail.last_error)
    disk.works.set()
    stuck.join()
    assert place.trail.healthy
    place.trail.append(Action.COMMAND_ALLOWED, count=4)
    assert [count for _, count in place.records()] == [None, 1, 3, 4]


def test_a_step_that_hangs_stops_everything_after_a_while(
    place: Place, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody waits for it: what is not kept is not promised; and it can be stopped."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    trail = place.trail
    trail.append(Action.COMMAND_ALLOWED)
    disk.syncs_work.clear()

    def take() -> None:
        with contextlib.suppress(TrailError):  # it has been closed by then
            trail.persist()

    step = threading.Thread(target=take)
    step.start()
    deadline = time.monotonic() + PATIENCE
    while trail.healthy and time.monotonic() < deadline:
        time.sleep(0.01)

    assert trail.behind > 0.0
    assert "the disk has not answered for more than" in str(trail.last_error)
    with pytest.raises(TrailError, match="the disk has not answered for more than"):
        trail.append(Action.COMMAND_ALLOWED)
    trail.owe(Action.COMMAND_EXITED)
    with pytest.raises(TrailError):
        trail.close()
    disk.syncs_work.set()
    step.join()


@pytest.mark.parametrize("is_set_aside", [False, True])
def test_files_that_are_made_anew_half_way_are_gone_on_with(
    place: Place, disk: Disk, monkeypatch: pytest.MonkeyPatch, *, is_set_aside: bool
) -> None:
    """The directory cannot be synced behind the renaming: it is tried again, and nothing looks foreign."""
    trail = place.trail
    trail.append(Action.COMMAND_ALLOWED)
    if is_set_aside:
        trail.set_aside("for a test")
    disk.is_faulty = True
    with pytest.raises(TrailError):
        trail.persist()
    disk.is_faulty = False
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_directory", fail)
        for _ in range(2):
            with pytest.raises(TrailError, match="cannot be made durable"):
                trail.persist()
    trail.persist()
    trail.append(Action.COMMAND_ALLOWED)
    trail.persist()

    assert [path.name for path in place.path.parent.iterdir() if "deleted" in path.name] == []
    assert verified(files_of(place), place.key, head=place.key_path, is_whole=True).good


def fail(_: Path) -> None:
    """Be a directory that cannot be synced."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_removed_file_is_not_made_anew(place: Place, disk: Disk) -> None:
    """Its name is gone, and what was in it: the chain goes on in the next, and nothing odd is left."""
    place.trail.append(Action.COMMAND_ALLOWED)
    place.path.unlink()
    disk.is_faulty = True
    with pytest.raises(TrailError):
        place.trail.persist()
    disk.is_faulty = False
    place.trail.persist()

    assert place.trail.healthy
    assert {path.name for path in place.path.parent.iterdir()} == {
        "audit.jsonl",
        "trail.key",
        "checkpoint.key",
    }


def test_a_step_is_due_after_so_many_records(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock says."""
    monkeypatch.setattr(module, "MOST_BEHIND", 3)
    for _ in range(2):
        place.trail.append(Action.COMMAND_ALLOWED)
    assert not place.trail.is_pressing.is_set()
    place.trail.append(Action.COMMAND_ALLOWED)

    assert place.trail.is_pressing.is_set()
    place.trail.persist()
    assert not place.trail.is_pressing.is_set()


def test_it_is_known_for_how_long_records_are_behind(place: Place) -> None:
    """Of the oldest whose key is not forgotten; nothing when there is none."""
    assert place.trail.behind == 0.0
    place.trail.append(Action.COMMAND_ALLOWED)
    assert place.trail.behind > 0.0
    place.trail.persist()
    assert place.trail.behind == 0.0
