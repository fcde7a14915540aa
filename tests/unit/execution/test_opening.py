"""A file is opened for a program where no link and no exchange leads astray."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rexecd.execution.identity import open_readable
from tests.unit.execution.starting import STRANGER


def test_a_file_is_opened_for_reading_and_not_inherited(tmp_path: Path) -> None:
    """The descriptor is an ordinary one."""
    (tmp_path / "file").write_text("content")
    descriptor = open_readable(str(tmp_path / "file"), None)
    inherited, content = os.get_inheritable(descriptor), os.read(descriptor, 99)
    os.close(descriptor)

    assert (False, b"content") == (inherited, content)


@pytest.mark.parametrize(
    ("below", "number"),
    [
        ("link", errno.ELOOP),
        ("between/file", errno.ELOOP),
        ("gone", errno.ENOENT),
        ("file/below", errno.ENOTDIR),
        ("a\0b", errno.EINVAL),
    ],
)
def test_what_is_not_opened_says_which_and_why(below: str, number: int, tmp_path: Path) -> None:
    """A link at any place of the path is not followed."""
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "between").symlink_to(tmp_path)
    with pytest.raises(OSError) as caught:
        open_readable(f"{tmp_path}/{below}", None)

    assert (number, f"{tmp_path}/{below}") == (caught.value.errno, caught.value.filename)


@contextlib.contextmanager
def going_on(work: Callable[[], None]) -> Iterator[None]:
    """Repeat something beside the test."""
    over = threading.Event()

    def repeat() -> None:
        while not over.is_set():
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_link_that_comes_between_is_never_followed(tmp_path: Path) -> None:
    """10,000 times while a file and a link to a secret change places, and both were met (ATTACKS POL-12)."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "plain").write_text("plain")
    name, ready = tmp_path / "name", tmp_path / "ready"
    name.hardlink_to(tmp_path / "plain")

    def swap() -> None:
        ready.symlink_to("secret")
        ready.replace(name)
        ready.hardlink_to(tmp_path / "plain")
        ready.replace(name)

    def attempt() -> bytes | int | None:
        try:
            descriptor = open_readable(str(name), None)
        except OSError as error:
            return error.errno
        content = os.read(descriptor, 99)
        os.close(descriptor)
        return content

    with going_on(swap):
        seen = {attempt() for _ in range(10_000)}
        while len(seen) < 2:
            seen.add(attempt())

    assert {b"plain", errno.ELOOP} == seen


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="judges for somebody else")
def test_directories_that_change_places_lend_nothing(open_directory: Path) -> None:
    """A private directory and one of the identity's own trade names while a file is opened in it."""
    private, own, aside = open_directory / "private", open_directory / "own", open_directory / "aside"
    for directory, content, mode in ((private, "secret", 0o700), (own, "plain", 0o755)):
        directory.mkdir()
        (directory / "file").write_text(content)
        (directory / "file").chmod(0o644)
        directory.chmod(mode)

    def swap() -> None:
        private.rename(aside)
        own.rename(private)
        aside.rename(own)

    def attempt() -> bytes | int | None:
        try:
            descriptor = open_readable(str(own / "file"), STRANGER)
        except OSError as error:
            return error.errno
        content = os.read(descriptor, 99)
        os.close(descriptor)
        return content

    with going_on(swap):
        seen = {attempt() for _ in range(5_000)}

    assert {b"plain", errno.EACCES} <= seen
    assert seen <= {b"plain", errno.EACCES, errno.ENOENT}
