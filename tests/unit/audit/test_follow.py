"""Following a trail: nothing is left out, whatever happens to the file."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd import limits
from rexecd.audit import archive, seal
from rexecd.audit.events import Action
from rexecd.audit.follow import Follower
from rexecd.audit.keys import KEY_NAME
from rexecd.audit.lines import lines
from rexecd.audit.trail import Trail
from rexecd.clock import Clock
from rexecd.errors import ConfigError
from tests.trails import new_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the trail will be."""
    return tmp_path / "trail"


def append(path: Path, data: bytes) -> None:
    """Write more of a trail."""
    with path.open("ab") as file:
        file.write(data)


def step(follower: Follower) -> list[bytes]:
    """Return what has come since."""
    return [line.data for line in follower.step()]


def test_lines_come_when_they_are_whole(path: Path) -> None:
    """Not before, and once."""
    follower = Follower(path)
    steps = [step(follower)]
    for data in (b"one\ntw", b"", b"o\n", b"three\n"):
        append(path, data)
        steps.append(step(follower))
    follower.close()

    assert [[], [b"one\n"], [], [b"two\n"], [b"three\n"]] == steps


def test_a_renamed_file_is_read_to_its_end(path: Path) -> None:
    """Its writer may go on with it until there is a new one."""
    follower = Follower(path)
    append(path, b"one\n")
    found = step(follower)
    old = path.rename(path.with_suffix(".1"))
    append(old, b"two\n")
    found += step(follower)
    append(old, b"three\n")
    append(path, b"four\n")
    found += step(follower)
    append(path, b"five\n")
    found += step(follower)
    follower.close()

    assert [b"one\n", b"two\n", b"three\n", b"four\n", b"five\n"] == found


def test_files_that_were_set_aside_between_two_looks_are_read(tmp_path: Path) -> None:
    """Several of them, compressed or not: neither left out nor given twice."""
    new_key(tmp_path)
    path = tmp_path / "audit.jsonl"
    follower = Follower(path)
    found = []
    with Trail.open(path, tmp_path / KEY_NAME, clock=Clock()) as trail:
        for count in range(4):
            trail.append(Action.COMMAND_ALLOWED, count=count)
            if count == 0:
                found += step(follower)
            trail.set_aside("for a test")
        archive.pack(path)
        trail.append(Action.COMMAND_ALLOWED, count=4)
        found += step(follower)
        found += step(follower)
    follower.close()

    assert list(range(1, trail.sequence + 1)) == [seal.number(line) for line in found]


@pytest.mark.parametrize("after", [b"", b"x\n", b"other\n", b"something much longer\n"])
def test_a_cut_file_is_read_from_its_beginning(path: Path, after: bytes) -> None:
    """Also where as much, or more, has been written since."""
    follower = Follower(path)
    append(path, b"first\n")
    before = step(follower)
    path.write_bytes(after)
    found = step(follower)
    append(path, b"last\n")
    found += step(follower)
    follower.close()

    assert [b"first\n"] == before
    assert [*filter(None, [after]), b"last\n"] == found


def test_half_a_line_of_a_file_that_is_gone_is_shown(path: Path) -> None:
    """It is damage, and nobody may hide it."""
    follower = Follower(path)
    append(path, b"one\nhal")
    found = step(follower)
    path.unlink()
    append(path, b"two\n")
    found += step(follower)
    append(path, b"hal")
    found += step(follower)
    path.write_bytes(b"three\n")
    found += step(follower)
    follower.close()

    assert [b"one\n", b"hal", b"two\n", b"hal", b"three\n"] == found


@given(st.lists(st.binary(max_size=40) | st.integers(1, 40_000).map(bytes), max_size=6))
def test_it_gives_what_reading_gives(tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes]) -> None:
    """The same lines with the same numbers, wherever a writer was interrupted; and memory has a bound."""
    path = tmp_path_factory.mktemp("trail") / "trail"
    follower = Follower(path)
    found = []
    for block in [*blocks, b"\n"]:
        append(path, block)
        found += list(follower.step())
        assert len(follower._rest) <= limits.MAX_RECORD
    follower.close()

    assert b"".join(line.data for line in lines(path)) == b"".join(line.data for line in found)
    assert all(len(line.data) <= limits.MAX_RECORD + 1 for line in found)
    if max(map(len, path.read_bytes().split(b"\n"))) < limits.MAX_RECORD:
        assert list(lines(path)) == found


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """A directory, or a pipe, is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        follower = Follower(path)
        with pytest.raises(ConfigError, match="cannot be read: "):
            step(follower)
        follower.close()
