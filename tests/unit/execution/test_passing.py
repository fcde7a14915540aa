"""What reaches a program by descriptor: secrets through pipes, files opened where no link leads astray."""

import errno
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rexecd.errors import Code, Refused
from rexecd.execution import spawn as spawning
from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Workers
from rexecd.policy.model import PassedFile, PassedText
from tests.unit.execution.starting import invocation, run, see

COMMANDS = Path(__file__).parents[2] / "data" / "commands"
SECRET = b"open sesame\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file to pass."""
    made = tmp_path / "file"
    made.write_text("content\n")
    return made


def test_a_secret_on_stdin_arrives_and_ends(workers: Workers) -> None:
    """The program sees all of it and then end-of-file; there is no far end for the caller."""
    execution, streams = spawn(invocation("/bin/cat", passed=(PassedText(None, SECRET),)), workers)
    outcome = see(execution)
    output = os.read(streams.stdout, 99)
    streams.close()

    assert streams.stdin is None
    assert (0, SECRET) == (outcome.status, output)


def test_a_secret_by_descriptor_completes_its_argument(workers: Workers) -> None:
    """The argument may begin with an option of the program."""
    script = 'cat "${1#--key-file=}"; echo "$1"'
    passed = (PassedText(4, SECRET),)
    output = run(workers, "/bin/sh", "-c", script, "sh", "--key-file=/dev/fd/", passed=passed).output
    content, _, argument = output.rstrip("\n").rpartition("\n")

    assert SECRET.decode() == content + "\n"
    assert argument.removeprefix("--key-file=/dev/fd/").isdigit()


def test_a_secret_stands_in_no_argument_nor_variable(workers: Workers) -> None:
    """What `ps` shows is a number."""
    arguments = ("/bin/sh", "-c", 'cat /proc/$$/cmdline /proc/$$/environ; : "$1"', "sh", "/dev/fd/")
    passed = (PassedText(4, SECRET), PassedText(None, SECRET))

    assert SECRET.decode().strip() not in run(workers, *arguments, passed=passed).output


@pytest.mark.parametrize("data", [b"", b"x", b"\0\xff\n", b"x" * 1024])
def test_a_secret_arrives_byte_for_byte(workers: Workers, data: bytes) -> None:
    """Also an empty one, and the longest."""
    passed = (PassedText(1, data), PassedText(None, data))
    execution, streams = spawn(invocation("/bin/cat", "/dev/fd/", "-", passed=passed), workers)
    see(execution)
    output = os.read(streams.stdout, 9999) if data else b""
    streams.close()

    assert data * 2 == output


def test_a_secret_that_does_not_fit_a_pipe_holds_nobody_up(workers: Workers) -> None:
    """It cannot come from the decision; were it to, nothing would wait for a reader that is not there."""
    with pytest.raises(Refused) as caught:
        spawn(invocation("/bin/cat", passed=(PassedText(None, b"x" * 2_000_000),)), workers)

    assert "/bin/cat: a secret does not fit a pipe" == caught.value.reason


def test_the_program_has_the_descriptors_that_are_named_and_no_others(workers: Workers, file: Path) -> None:
    """Each has its own number, in the argument it belongs to."""
    arguments = ("-I", str(COMMANDS / "describe.py"), "a=/dev/fd/", "plain", "b=/dev/fd/", "c=/dev/fd/")
    passed = (
        PassedText(3, b"1"),
        PassedFile(5, str(file), "file"),
        PassedText(6, b"2"),
        PassedText(None, b"3"),
    )
    told = json.loads(run(workers, sys.executable, *arguments, passed=passed).output)
    numbers = [int(told["arguments"][at].rpartition("/")[2]) for at in (0, 2, 3)]

    assert [3, 4, 5] == numbers
    assert [0, 1, 2, *numbers] == told["descriptors"]
    assert "plain" == told["arguments"][1]


def test_a_file_is_read_by_its_name_and_by_its_number(workers: Workers, file: Path) -> None:
    """Programs do either; and nothing about it is non-blocking."""
    program = """
import fcntl, os, sys
number = int(sys.argv[1].rpartition("/")[2])
print(open(sys.argv[1]).read(), os.read(number, 99), fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK)
"""
    told = run(
        workers, sys.executable, "-I", "-c", program, "/dev/fd/", passed=(PassedFile(4, str(file), "file"),)
    )

    assert "content\n b'content\\n' 0\n" == told.output


def _make_link(path: Path) -> Path:
    (path / "link").symlink_to(path / "file")
    return path / "link"


def _make_link_between(path: Path) -> Path:
    (path / "between").symlink_to(path)
    return path / "between" / "file"


def _make_fifo(path: Path) -> Path:
    os.mkfifo(path / "fifo")
    return path / "fifo"


ODD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a link": (_make_link, "Too many levels of symbolic links"),
    "a link on the way": (_make_link_between, "Too many levels of symbolic links"),
    "the kernel's own kind of link": (lambda _: Path("/proc/self/exe"), "Too many levels of symbolic links"),
    "a file that is gone": (lambda path: path / "gone", "No such file or directory"),
    "a directory": (lambda path: path, "not a regular file"),
    "a FIFO nobody writes to": (_make_fifo, "not a regular file"),
    "a device": (lambda _: Path("/dev/zero"), "not a regular file"),
    "a name with a NUL": (lambda path: path / "a\0b", "Invalid argument"),
    "a name too long": (lambda path: path / ("x" * 300), "File name too long"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_file_by_now_is_not_passed(workers: Workers, odd: str, file: Path) -> None:
    """The caller, who named it, hears one text for everything; the trail says what was found."""
    make, why = ODD[odd]
    path = make(file.parent)
    with pytest.raises(Refused) as caught:
        spawn(
            invocation(
                "/bin/cat", "/dev/fd/", passed=(PassedText(1, SECRET), PassedFile(1, str(path), "file"))
            ),
            workers,
        )

    assert Code.BAD_ARGUMENT is caught.value.code
    assert "parameter 'file': no file for this command" == caught.value.text
    assert f"parameter 'file': {path}: {why}" == caught.value.reason


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_no_descriptor_left_for_a_file_says_busy(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is the machine, not the file."""

    def full(path: str, _identity: object) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(spawning, "open_readable", full)
    with pytest.raises(Refused) as caught:
        spawn(invocation("/bin/cat", "/dev/fd/", passed=(PassedFile(1, "/etc/passwd", "file"),)), workers)

    assert Code.BUSY is caught.value.code


def test_what_was_to_be_passed_is_closed_when_the_start_fails(workers: Workers, file: Path) -> None:
    """The fixture counts the descriptors."""
    passed = (PassedText(1, SECRET), PassedFile(2, str(file), "file"), PassedText(None, SECRET))
    with pytest.raises(Refused, match="/nowhere"):
        spawn(
            invocation("/bin/cat", "/dev/fd/", "/dev/fd/", passed=passed, working_directory="/nowhere"),
            workers,
        )


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[Path]:
    """Return a name that is a file at one moment and a link to a secret at the next."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "plain").write_text("content\n")
    name, ready, over = tmp_path / "name", tmp_path / "ready", threading.Event()
    name.hardlink_to(tmp_path / "plain")

    def swap() -> None:
        while not over.is_set():
            ready.symlink_to("secret")
            ready.replace(name)
            ready.hardlink_to(tmp_path / "plain")
            ready.replace(name)

    thread = threading.Thread(target=swap)
    thread.start()
    yield name
    over.set()
    thread.join()


def test_a_link_that_comes_between_never_reaches_the_program(workers: Workers, swapped: Path) -> None:
    """ATTACKS POL-12: the file or nothing, while both ends of the race are met."""
    seen: dict[str, int] = {}
    while len(seen) < 2 or min(seen.values()) < 100:
        try:
            told = run(workers, "/bin/cat", "/dev/fd/", passed=(PassedFile(1, str(swapped), "file"),)).output
        except Refused as refused:
            told = refused.reason
        seen[told] = seen.get(told, 0) + 1

    assert {"content\n", f"parameter 'file': {swapped}: Too many levels of symbolic links"} == set(seen)
