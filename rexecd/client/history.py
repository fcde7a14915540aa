"""Lines that were typed in sessions, kept in a file of the caller's own.

Rule 1: the file and its directory are ours alone, no link, and under no other name; else the file is left as
it is and not used.
Rule 2: lines are added one at a time under a lock, so that sessions that run at once keep each other's; the
oldest go when there are too many.
Rule 3: no line has a token in it, nor anything that cannot be printed.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Final

from rexecd.client.errors import UsageError
from rexecd.client.known_hosts import state_directory
from rexecd.client.soundfile import What, fault, make_directory, read_all
from rexecd.portable import HAS_OWNERS, flags, lock, set_mode
from rexecd.printable import printable, without_tokens

#: Most lines, and most bytes, that are kept.
MOST_LINES: Final = 1000
MOST_BYTES: Final = 256 * 1024
#: A longer line is a paste, which nobody looks for again.
_MOST_LINE: Final = 4096
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_WHAT: Final = What("history", "write", "move it away, or say 'History no' in the configuration")


def default_path(environ: Mapping[str, str]) -> str | None:
    """Return where the file is; None where there is no home."""
    directory = state_directory(environ)
    return None if directory is None else f"{directory}/history"


def is_memorable(line: str) -> bool:
    """Return whether a line is for a history at all: a blank in front keeps it out, as in shells."""
    return bool(line) and not line[0].isspace() and printable(line) == line == without_tokens(line)


def load(path: str) -> list[str]:
    """Return the lines, the oldest first; none where there is no file. Raise UsageError."""
    try:
        with _opened(path, os.O_RDONLY) as descriptor:
            _lock(descriptor, is_shared=True)
            return _lines(read_all(_WHAT, descriptor, path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _fault(path, error) from None


def add(path: str, line: str) -> None:
    """Write a memorable line behind the others, unless it is the last already; raise UsageError."""
    if not is_memorable(line) or len(line) > _MOST_LINE:
        return
    try:
        make_directory(os.path.dirname(path))  # noqa: PTH120 - pathlib starts slowly
        with _opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
            _lock(descriptor)
            _add(descriptor, path, line)
    except OSError as error:
        raise _fault(path, error) from None


def _add(descriptor: int, path: str, line: str) -> None:
    data = read_all(_WHAT, descriptor, path)
    lines = _lines(data)
    if lines and lines[-1] == line:
        return
    addition = f"{line}\n".encode()
    if len(lines) >= MOST_LINES or len(data) + len(addition) > MOST_BYTES:
        addition = b"".join(f"{each}\n".encode() for each in _newest([*lines, line]))
        os.ftruncate(descriptor, 0)
    elif data and not data.endswith(b"\n"):
        addition = b"\n" + addition
    while addition:
        addition = addition[os.write(descriptor, addition) :]


def _newest(lines: list[str]) -> list[str]:
    """Return the last lines, as many as there is room for."""
    kept: list[str] = []
    size = 0
    for line in reversed(lines[-MOST_LINES:]):
        size += len(line.encode()) + 1
        if size > MOST_BYTES:
            break
        kept.append(line)
    return kept[::-1]


def _lines(data: bytes) -> list[str]:
    """Return what may stand in a history of what a file holds, whoever wrote that."""
    texts = (line.decode("utf-8", "replace") for line in data.split(b"\n"))
    return [text for text in texts if is_memorable(text) and len(text) <= _MOST_LINE][-MOST_LINES:]


@contextlib.contextmanager
def _opened(path: str, mode: int) -> Iterator[int]:
    """Give a descriptor of a file that is ours alone; raise OSError or UsageError."""
    mode |= flags("O_NOFOLLOW", "O_NONBLOCK")
    where, name = os.path.split(path)
    if os.open in os.supports_dir_fd:
        directory = os.open(where, flags("O_DIRECTORY"))
        try:
            _judge(os.fstat(directory), f"directory {where!r}")
            descriptor = os.open(name, mode, 0o600, dir_fd=directory)
        finally:
            os.close(directory)
    else:
        descriptor = os.open(path, mode, 0o600)
    try:
        _judge_file(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _fault(path: str, error: OSError) -> UsageError:
    if error.errno == errno.ELOOP:
        return UsageError(f"history {path!r}: it is a link, which is not followed")
    return fault(_WHAT, path, error)


def _judge_file(descriptor: int, path: str) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"history {path!r}: not a file")
    if status.st_nlink > 1:
        raise UsageError(f"history {path!r}: it has another name too")
    _judge(status, f"history {path!r}")
    if stat.S_IMODE(status.st_mode) & _OTHERS:
        set_mode(descriptor, 0o600)


def _judge(status: os.stat_result, name: str) -> None:
    if not HAS_OWNERS:
        return
    if status.st_uid != os.geteuid():
        raise UsageError(f"{name}: it belongs to another user")
    if status.st_mode & _OTHERS_WRITE:
        raise UsageError(f"{name}: others can write to it (mode {stat.S_IMODE(status.st_mode):04o})")


def _lock(descriptor: int, *, is_shared: bool = False) -> None:
    with contextlib.suppress(OSError):  # without locks a line can be lost, and no more
        lock(descriptor, is_shared=is_shared)
