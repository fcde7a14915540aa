"""The file of typed lines: for its owner alone, bounded, shared by sessions, and without tokens."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rexecd.client.errors import UsageError
from rexecd.client.history import MOST_BYTES, MOST_LINES, add, default_path, is_memorable, load
from tests.unit.client.fake_server import TOKEN


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a history would be."""
    return tmp_path / "state" / "rexec" / "history"


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_where_the_known_hosts_are() -> None:
    """Below the state directory, or nowhere."""
    assert "/s/rexec/history" == default_path({"XDG_STATE_HOME": "/s"})


def test_lines_are_kept_in_order_for_the_owner_alone(path: Path) -> None:
    """Whatever the umask is."""
    before = os.umask(0)
    try:
        for line in ("one", "two", "two", "one", "größe 'ä b'"):
            add(str(path), line)
    finally:
        os.umask(before)

    assert ["one", "two", "one", "größe 'ä b'"] == load(str(path))
    assert (0o600, 0o700) == (mode(path), mode(path.parent))


def test_where_there_is_none_there_are_no_lines(path: Path) -> None:
    """And none is made for looking."""
    assert [] == load(str(path))
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "line",
    ["", " echo x", "\techo x", f"echo {TOKEN}", "echo rxt_abc", "a\nb", "a\x1b[2J", "a\u202eb", "x" * 5000],
)
def test_some_lines_are_never_written(path: Path, line: str) -> None:
    """A token, what cannot be printed, what has a blank in front, what is too long to look for."""
    add(str(path), "before")
    add(str(path), line)

    assert "before\n" == path.read_text()
    assert len(line) > 4096 or not is_memorable(line)


def test_what_somebody_wrote_there_is_read_with_care(path: Path) -> None:
    """Neither a token nor an escape comes back on arrow-up; a cut last line is a line."""
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(f"one\n\x1b[2J\n\xff\n{TOKEN}\n\ntwo".encode("latin-1"))
    path.chmod(0o600)

    assert ["one", "\N{REPLACEMENT CHARACTER}", "two"] == load(str(path))
    add(str(path), "three")
    assert path.read_bytes().endswith(b"\ntwo\nthree\n")


def test_the_oldest_go_when_there_are_too_many(path: Path) -> None:
    """By lines and by bytes."""
    for number in range(MOST_LINES + 5):
        add(str(path), f"line {number}")
    lines = load(str(path))

    assert (MOST_LINES, "line 5", f"line {MOST_LINES + 4}") == (len(lines), lines[0], lines[-1])

    for number in range(100):
        add(str(path), f"{number} {'x' * 4000}")
    assert path.stat().st_size <= MOST_BYTES
    assert load(str(path))[-1].startswith("99 ")


def test_sessions_at_once_keep_each_others_lines(path: Path) -> None:
    """Also while the oldest go."""
    for number in range(MOST_LINES - 50):
        add(str(path), f"old {number}")

    def session(name: str) -> None:
        for number in range(50):
            add(str(path), f"{name} {number}")

    threads = [threading.Thread(target=session, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = load(str(path))

    assert MOST_LINES == len(lines)
    for name in "abcd":
        assert [f"{name} {number}" for number in range(50)] == [
            line for line in lines if line.startswith(f"{name} ")
        ]


def test_a_history_of_ours_that_others_can_read_is_closed_to_them(path: Path) -> None:
    """It was ours to change."""
    add(str(path), "one")
    path.chmod(0o644)
    load(str(path))

    assert 0o600 == mode(path)


def be_a_link(path: Path) -> None:
    """Lead elsewhere."""
    (path.parent / "elsewhere").touch(mode=0o600)
    path.symlink_to(path.parent / "elsewhere")


def be_a_dangling_link(path: Path) -> None:
    """Lead to what is not there."""
    path.symlink_to(path.parent / "elsewhere")


def be_another_name(path: Path) -> None:
    """Be a file that has a name elsewhere."""
    (path.parent / "elsewhere").touch(mode=0o600)
    path.hardlink_to(path.parent / "elsewhere")


def be_writable(path: Path) -> None:
    """Let the group write."""
    path.touch()
    path.chmod(0o660)


def be_in_a_writable_directory(path: Path) -> None:
    """Let everybody exchange it."""
    path.touch(mode=0o600)
    path.parent.chmod(0o777)


def be_a_fifo(path: Path) -> None:
    """Block whoever opens it."""
    os.mkfifo(path, 0o600)


def be_anothers(path: Path) -> None:
    """Belong to another user."""
    if os.geteuid():
        pytest.skip("needs uid 0")
    path.touch(mode=0o600)
    os.chown(path, 1, 1)


def be_too_large(path: Path) -> None:
    """Be something else, such as a log."""
    path.touch(mode=0o600)
    os.truncate(path, 2 * 1024 * 1024)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (be_a_link, "it is a link, which is not followed"),
        (be_a_dangling_link, "it is a link, which is not followed"),
        (be_another_name, "it has another name too"),
        (be_writable, r"others can write to it \(mode 0660\)"),
        (be_in_a_writable_directory, r"directory .*: others can write to it \(mode 0777\)"),
        (be_a_fifo, "not a file"),
        (Path.mkdir, "not a file|Is a directory"),
        (be_anothers, "it belongs to another user"),
        (be_too_large, "more than 1048576 bytes"),
    ],
)
def test_what_others_could_have_made_is_left_alone(
    path: Path, prepare: Callable[[Path], None], said: str
) -> None:
    """Neither read nor written, and its mode as it was."""
    path.parent.mkdir(parents=True, mode=0o700)
    prepare(path)
    before = os.lstat(path)
    for use in (lambda: load(str(path)), lambda: add(str(path), "one")):
        with pytest.raises(UsageError, match=said):
            use()
    after = os.lstat(path)

    assert (before.st_mode, before.st_size) == (after.st_mode, after.st_size)
    elsewhere = path.parent / "elsewhere"
    assert not elsewhere.exists() or elsewhere.stat().st_size == 0


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """As of any file."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"history '.*': Not a directory"):
        add(str(tmp_path / "file" / "rexec" / "history"), "one")
