"""Files of our own, such as stored tokens: written whole, for their owner alone.

Rule 1: a file is there whole or not at all, and on the disk before anybody is told so.
Rule 2: nothing is followed that somebody could have put there: the directory and the file are no links, and
nobody else may write in the directory.
"""

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from rexecd.client.errors import UsageError
from rexecd.client.soundfile import make_directory
from rexecd.portable import flags, set_mode

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def is_stored(path: str) -> bool:
    """Return whether there is one already; raise UsageError where none could be put."""
    try:
        with _opened(path) as directory:
            return _is_there(directory, path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _fault(path, error) from None


def store(path: str, data: bytes) -> None:
    """Write a file, in place of the one that may be there; raise UsageError."""
    try:
        make_directory(os.path.dirname(path))  # noqa: PTH120 - pathlib starts slowly
        with _opened(path) as directory:
            _is_there(directory, path)
            _replace(directory, os.path.basename(path), data)  # noqa: PTH119
    except OSError as error:
        raise _fault(path, error) from None


class _Directory(NamedTuple):
    """A directory that was judged; without a descriptor where the platform opens none."""

    path: str
    descriptor: int | None

    def name(self, name: str) -> str:
        """Return how a file in it is called."""
        return name if self.descriptor is not None else f"{self.path}/{name}"


@contextlib.contextmanager
def _opened(path: str) -> Iterator[_Directory]:
    """Give the directory a file belongs into; raise OSError or UsageError."""
    where = os.path.dirname(path)  # noqa: PTH120
    if os.open not in os.supports_dir_fd:
        yield _Directory(where, None)
        return
    directory = os.open(where, flags("O_DIRECTORY", "O_NOFOLLOW"))
    try:
        status = os.fstat(directory)
        if status.st_uid != os.geteuid():
            raise UsageError(
                f"directory {where!r}: it belongs to another user", hint="see whose files these are"
            )
        if status.st_mode & _OTHERS_WRITE:
            raise UsageError(
                f"directory {where!r}: others can write to it (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"see that every file is yours, then: chmod 700 {shlex.quote(where)}",
            )
        yield _Directory(where, directory)
    finally:
        os.close(directory)


def _is_there(directory: _Directory, path: str) -> bool:
    try:
        status = os.lstat(directory.name(os.path.basename(path)), dir_fd=directory.descriptor)  # noqa: PTH119
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path}: not a file", hint="see what it is, and take it away")
    return True


def _replace(directory: _Directory, name: str, data: bytes) -> None:
    mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags("O_NOFOLLOW")
    other, where = directory.name(f".new-{os.urandom(8).hex()}"), directory.descriptor
    descriptor = os.open(other, mode, 0o600, dir_fd=where)
    try:
        try:
            set_mode(descriptor, 0o600)
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(other, directory.name(name), src_dir_fd=where, dst_dir_fd=where)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(other, dir_fd=where)
        raise
    if where is not None:
        os.fsync(where)


def _fault(path: str, error: OSError) -> UsageError:
    return UsageError(f"{path}: {error.strerror or error}")
