"""What may be read, and that what is written is there whole or not at all."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd import files
from rexecd.errors import ConfigError, Unavailable

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a readable file of ours."""
    made = tmp_path / "file"
    made.write_bytes(b"text\n")
    made.chmod(0o600)
    return made


def fault(error: pytest.ExceptionInfo[ConfigError]) -> str:
    """Return the one line of a fault."""
    assert len(error.value.faults) == 1
    assert "\n" not in error.value.faults[0]
    return error.value.faults[0]


def test_a_file_of_ours_is_read(path: Path) -> None:
    """The content comes back as it is."""
    assert files.read_file(path) == b"text\n"


def test_a_missing_file_comes_with_the_hint(tmp_path: Path) -> None:
    """Who asked knows how the file is made."""
    with pytest.raises(ConfigError) as error:
        files.read_file(tmp_path / "none", hint="run 'rexecd init'")

    assert f"{tmp_path}/none: not found; run 'rexecd init'" == fault(error)


def test_a_symlink_is_refused(path: Path, tmp_path: Path) -> None:
    """The last part of a path may not lead elsewhere, dangling or not."""
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "dangling").symlink_to(tmp_path / "none")

    for name in ("link", "dangling"):
        with pytest.raises(ConfigError) as error:
            files.read_file(tmp_path / name)

        assert f"{tmp_path}/{name}: is a symbolic link; name the file itself" == fault(error)


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "device"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    """A FIFO would block for ever, a device never end (ATTACKS CFG-07)."""
    odd = tmp_path / "odd"
    match kind:
        case "fifo":
            os.mkfifo(odd, 0o600)
        case "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(odd))
        case "directory":
            odd.mkdir()
        case _:
            odd = Path("/dev/zero")

    with pytest.raises(ConfigError) as error:
        files.read_file(odd)

    assert f"{odd}: not a regular file; put one in its place" == fault(error)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o664, 0o777])
def test_a_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    """Whoever could write it could have written anything."""
    path.chmod(mode)

    with pytest.raises(ConfigError, match=f"writable by group or others .mode {mode:04o}.; chmod go-w it"):
        files.read_file(path)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o601, 0o610, 0o650, 0o755])
def test_a_secret_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    """The same file is fine as long as it is no secret."""
    path.chmod(mode)

    assert files.read_file(path) == b"text\n"
    with pytest.raises(ConfigError) as error:
        files.read_file(path, secret=True)
    assert f"{path}: readable by others (mode {mode:04o}); chmod 640 it" == fault(error)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_secret_of_owner_and_group_is_read(path: Path, mode: int) -> None:
    """A group may be allowed to read a key."""
    path.chmod(mode)

    assert files.read_file(path, secret=True) == b"text\n"


@ROOT_ONLY
def test_a_file_of_somebody_else_is_refused(path: Path) -> None:
    """Its owner could change it after it was checked."""
    os.chown(path, 12345, -1)

    with pytest.raises(ConfigError, match="owned by uid 12345, not by root or uid 0; chown it"):
        files.read_file(path)


def test_size_is_bounded_exactly(path: Path) -> None:
    """The ceiling itself is allowed, one byte more is not."""
    assert files.read_file(path, most=5) == b"text\n"
    with pytest.raises(ConfigError, match="larger than 4 bytes"):
        files.read_file(path, most=4)


def test_what_cannot_be_opened_says_why(path: Path) -> None:
    """A path that runs through a file is nobody's hint."""
    with pytest.raises(ConfigError, match="cannot be opened: Not a directory"):
        files.read_file(path / "below")


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o777])
def test_writing_sets_the_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The mode is an argument, not an accident."""
    before = os.umask(umask)
    try:
        files.write_file(tmp_path / "new", b"1", mode=0o640)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_writing_replaces_and_leaves_nothing_beside(path: Path, tmp_path: Path) -> None:
    """A reader sees the old or the new file; what a crash left is cleared away."""
    (tmp_path / ".file.new").write_bytes(b"left by a crash")
    with path.open("rb") as old:
        files.write_file(path, b"other", mode=0o600)

        assert old.read() == b"text\n"
    assert path.read_bytes() == b"other"
    assert [path] == list(tmp_path.iterdir())


def test_writing_over_a_symlink_replaces_the_link(path: Path, tmp_path: Path) -> None:
    """What the link pointed to stays as it is."""
    link = tmp_path / "link"
    link.symlink_to(path)

    files.write_file(link, b"other", mode=0o600)

    assert not link.is_symlink()
    assert path.read_bytes() == b"text\n"


def test_a_failed_write_changes_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space: the old file stays, and no half of the new one."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError) as error:
        files.write_file(path, b"other", mode=0o600)

    assert f"{path}: cannot be written: No space left on device" == fault(error)
    assert path.read_bytes() == b"text\n"
    assert [path] == list(tmp_path.iterdir())


def test_writing_into_nowhere_is_one_line(tmp_path: Path) -> None:
    """A missing directory is the operator's to make."""
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        files.write_file(tmp_path / "none" / "file", b"", mode=0o600)


def test_a_lock_is_held_until_it_is_closed(tmp_path: Path) -> None:
    """The second one hears at once that there is a first."""
    place = tmp_path / "lock"
    with files.lock(place):
        with pytest.raises(Unavailable, match="held by another process"):
            files.lock(place)
        assert stat.S_IMODE(place.stat().st_mode) == 0o600

    files.lock(place).close()


def test_a_lock_is_not_taken_through_links(path: Path, tmp_path: Path) -> None:
    """Neither through a symbolic nor through a hard one."""
    (tmp_path / "symbolic").symlink_to(path)
    with pytest.raises(ConfigError, match="symbolic link"):
        files.lock(tmp_path / "symbolic")
    (tmp_path / "hard").hardlink_to(path)
    with pytest.raises(ConfigError, match=r"has 2 names \(hard links\)"):
        files.lock(tmp_path / "hard")


def test_a_lock_that_cannot_be_had_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is not a running daemon."""

    def fail(_file: object, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(ConfigError, match="lock: cannot be locked: No locks available"):
        files.lock(tmp_path / "lock")


def test_what_cannot_be_read_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk."""

    def fail(_descriptor: int, _size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(ConfigError, match="file: cannot be read: Input/output error"):
        files.read_file(path)


def test_a_private_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """The descriptor works and is not inherited."""
    before = os.umask(0o777)
    try:
        descriptor = files.open_private(tmp_path / "new", os.O_RDWR)
    finally:
        os.umask(before)

    assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program of ours in a directory of its own."""
    made = tmp_path / "bin" / "program"
    made.parent.mkdir(mode=0o755)
    made.touch()
    made.chmod(0o755)
    return made


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o555, 0o100, 0o711, 0o4755])
def test_a_program_only_its_owner_can_change_has_no_fault(program: Path, mode: int) -> None:
    """Any mode with an execute bit and without a write bit for others."""
    program.chmod(mode)

    assert files.program_fault(str(program)) is None


def test_the_systems_programs_have_no_fault() -> None:
    """Also where /bin is a link."""
    assert files.program_fault("/bin/sh") is None
    assert files.program_fault("/usr/bin/env") is None


def test_what_cannot_be_started_says_why(program: Path) -> None:
    """The kernel would say so later; `rexecd check` says it now."""
    program.chmod(0o644)
    place = program.parent

    assert f"'{program}' is not executable (mode 0644); chmod +x it" == files.program_fault(str(program))
    assert f"'{place}' is not a regular file" == files.program_fault(str(place))
    assert f"'{place}/none' not found" == files.program_fault(f"{place}/none")
    assert f"'{program}/x' cannot be looked at: Not a directory" == files.program_fault(f"{program}/x")


def test_a_script_needs_no_right_to_be_executed(program: Path) -> None:
    """Its interpreter only reads it; who can change it matters all the same."""
    program.chmod(0o644)
    assert files.script_fault(str(program)) is None
    program.chmod(0o666)

    expected = f"'{program}' can be changed by group or others (mode 0666); chmod go-w it"
    assert expected == files.script_fault(str(program))
    assert f"'{program.parent}' is not a regular file" == files.script_fault(str(program.parent))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o720])
def test_a_program_that_others_can_write_is_a_fault(program: Path, mode: int) -> None:
    """Also where the group is said to be its owner's alone."""
    program.chmod(mode)

    expected = f"'{program}' can be changed by group or others (mode {mode:04o}); chmod go-w it"
    assert expected == files.program_fault(str(program)) == files.trust_fault(str(program))


@pytest.mark.parametrize("levels", [0, 1])
def test_a_directory_that_others_can_write_is_a_fault(program: Path, levels: int) -> None:
    """Whoever can put another file in its place, or another directory in its parent's."""
    place = program.parents[levels]
    place.chmod(0o775)

    expected = f"'{place}' can be changed by group or others (mode 0775); chmod go-w it"
    assert expected == files.program_fault(str(program))


def test_in_a_sticky_directory_what_is_ours_stays(program: Path) -> None:
    """As in /tmp; the bit does nothing for a file."""
    program.parent.chmod(0o1777)
    assert files.program_fault(str(program)) is None
    program.chmod(0o1777)

    assert "can be changed by group or others (mode 1777)" in str(files.program_fault(str(program)))


@ROOT_ONLY
@pytest.mark.root
def test_whatever_belongs_to_somebody_else_is_a_fault(program: Path) -> None:
    """The file, a directory above it, a link to it: each could be changed by its owner."""
    link = program.parent / "link"
    link.symlink_to(program)
    for place, asked in ((program, program), (program.parent, program), (link, link)):
        os.chown(place, 12345, -1, follow_symlinks=False)
        expected = f"'{place}' belongs to uid 12345, not to root or uid 0; chown it"

        assert expected == files.program_fault(str(asked))
        os.chown(place, 0, -1, follow_symlinks=False)
    assert files.program_fault(str(link)) is None


def test_every_link_on_the_way_is_judged_where_it_lies(program: Path, tmp_path: Path) -> None:
    """A safe program behind a link that others can replace is not safe."""
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "second").symlink_to("../bin")
    (tmp_path / "first").symlink_to(loose / "second")
    name = f"{tmp_path}/first/program"
    assert files.program_fault(name) is None
    loose.chmod(0o777)

    assert f"'{loose}' can be changed by group or others (mode 0777); chmod go-w it" == files.program_fault(
        name
    )
    assert files.program_fault(str(program)) is None


def test_a_program_that_is_not_there_has_no_answer_about_trust(tmp_path: Path) -> None:
    """Neither yes nor no: whoever asks has to stop."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileNotFoundError):
        files.trust_fault(f"{tmp_path}/none")
    with pytest.raises(OSError) as caught:
        files.trust_fault(f"{tmp_path}/loop")

    assert errno.ELOOP == caught.value.errno
    assert "cannot be looked at: Too many levels" in str(files.program_fault(f"{tmp_path}/loop"))


_NAMES = st.sampled_from(["a~", "b~", "c~", "..", ".", ""])
_PATHS = st.lists(_NAMES, min_size=1, max_size=5).map("/".join)


@settings(max_examples=150, deadline=None)
@given(
    links=st.dictionaries(st.sampled_from(["a~/b~", "a~/c~", "b~", "b~/a~", "c~"]), _PATHS),
    absolute=st.booleans(),
    asked=_PATHS,
)
def test_the_way_to_a_program_is_the_kernels(links: dict[str, str], absolute: bool, asked: str) -> None:
    """Whatever links there are: the file that is judged is the one that would be started."""
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / "a~").mkdir()
        if "b~/a~" in links:
            (Path(top) / "b~").mkdir()
        for name, target in links.items():
            with contextlib.suppress(OSError):
                os.symlink(f"{top}/{target}" if absolute else target or ".", f"{top}/{name}")

        assert _found(lambda path: files._follow(path)[1], f"{top}/{asked}") == _found(
            os.stat, f"{top}/{asked}"
        )


def _found(look: Callable[[str], os.stat_result], path: str) -> int:
    """Return the inode that lies at a path, or the error's number below zero."""
    try:
        return look(path).st_ino
    except OSError as error:
        return -(error.errno or 0)


def test_a_path_is_resolved_as_the_kernel_would(tmp_path: Path) -> None:
    """Links of every kind, `..` behind them, and what does not exist."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").touch()
    links = {"to": "a/b", "up": "to/..", "abs": str(tmp_path / "a"), "odd": "./a//b/.", "lost": "gone/x"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    for path in ("", "a/b", "to", "to/..", "up/b", "abs/b/../c", "odd/x", "lost/y", "gone/../a", "file/x"):
        whole = f"{tmp_path}/{path}"

        assert os.path.realpath(whole) == files.Resolver()(whole)
    assert "/" == files.Resolver()("/../..")


@pytest.mark.parametrize("count", [41, 3000])
def test_too_many_links_are_an_error(tmp_path: Path, count: int) -> None:
    """A chain, however long, costs no more than the kernel would give it."""
    for number in range(count):
        (tmp_path / str(number)).symlink_to(str(number + 1))
    with pytest.raises(OSError, match="Too many levels"):
        files.Resolver()(f"{tmp_path}/0")

    assert f"{tmp_path}/{count}" == files.Resolver()(f"{tmp_path}/{count - 40}")


def test_links_through_thousands_of_names_use_up_what_a_request_has(tmp_path: Path) -> None:
    """The bound is on all paths of one request together."""
    (tmp_path / "a").mkdir()
    (tmp_path / "0").symlink_to("a/../" * 800 + "a")
    resolver = files.Resolver()
    with pytest.raises(OSError, match="Too many levels"):
        for number in range(100):
            resolver(f"{tmp_path}/0/{number}")

    assert f"{tmp_path}/a/x" == files.Resolver()(f"{tmp_path}/0/x")


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    """It leads nowhere."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels"):
        files.Resolver()(f"{tmp_path}/one/x")


def test_a_directory_that_cannot_be_listed_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for the operator, whoever the daemon runs as."""

    def refuse(_: int) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        files.list_directory(tmp_path)


def _read_or_word(path: Path) -> bytes:
    """Return what is read, or `changes` where nothing is."""
    try:
        return files.read_file(path)
    except ConfigError as error:
        return b"changes" if "changes while it is read" in str(error) else str(error).encode()


def test_a_file_is_read_as_it_stood_at_one_moment(tmp_path: Path) -> None:
    """Whoever writes into it while it is read makes no mixture: it is read again, or refused."""
    path = tmp_path / "file"
    versions = [letter * 300_000 for letter in (b"a", b"b")]
    path.write_bytes(versions[0])
    over = threading.Event()

    def write() -> None:
        descriptor = os.open(path, os.O_WRONLY)
        while not over.is_set():
            for version in versions:
                for at in range(0, len(version), 10_000):
                    os.pwrite(descriptor, version[at : at + 10_000], at)
                over.wait(0.02)
        os.close(descriptor)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        found = {_read_or_word(path) for _ in range(40)}
    finally:
        over.set()
        thread.join()

    assert found <= {*versions, b"changes"}


def test_a_file_that_never_stands_still_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with what to do instead."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    read = files._read

    def change(descriptor: int, most: int) -> bytes:
        data = read(descriptor, most)
        path.write_bytes(data + b"x")
        return data

    monkeypatch.setattr(files, "_read", change)
    with pytest.raises(ConfigError) as caught:
        files.read_file(path)

    assert f"{path}: changes while it is read; write a new file and rename it" == str(caught.value)


def test_a_file_from_the_future_is_read(tmp_path: Path) -> None:
    """A clock that was set back keeps nothing from being read."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, (2**33, 2**33))

    assert b"x" == files.read_file(path)


def test_who_can_rename_above_a_file_can_replace_it(tmp_path: Path) -> None:
    """Every directory on the way counts; a sticky one lets nobody touch what is ours."""
    path = tmp_path / "one" / "two" / "file"
    path.parent.mkdir(parents=True)
    files.check_way(path)
    files.check_way(tmp_path / "missing" / "file")
    (tmp_path / "one").chmod(0o1777)
    files.check_way(path)
    (tmp_path / "one").chmod(0o777)
    with pytest.raises(ConfigError, match="somebody else could replace it"):
        files.check_way(path)
