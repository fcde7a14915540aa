"""Values that are too secret for a command line: read from files, and put into the line.

The local list of processes shows every argument of `rexec`, and a shell keeps them in its history.
Rule: no message of this file holds a piece of what a file holds.
"""

import os
import shlex
import stat
from collections.abc import Sequence
from typing import Final, NamedTuple

from rexecd.client.errors import UsageError
from rexecd.client.request import line_of, line_of_words
from rexecd.limits import MAX_LINE
from rexecd.portable import flags

_MAX_READ: Final = MAX_LINE + 2  # one for a newline, one more to notice that there is too much


class ValueFile(NamedTuple):
    """A parameter and the file with its value."""

    name: str
    path: str


def parse_value_file(text: str) -> ValueFile:
    """Return what `NAME=FILE` says; raise ValueError."""
    name, _, path = text.partition("=")
    if not (name.isascii() and name.isidentifier() and path):
        raise ValueError(f"{text!r} is not NAME=FILE")
    return ValueFile(name, path)


def make_line(command: Sequence[str], files: Sequence[ValueFile]) -> str:
    """Return the line for the words of a command; raise UsageError.

    Each value of `files` stands as `--NAME=VALUE` right behind the command's name: further back, a `--` or a
    `--name` without its value would make something else of it.
    """
    name, *rest = _split(line_of_words(command))
    return line_of([name, *(f"--{file.name}={_read(file)}" for file in files), *rest])


def _split(line: str) -> Sequence[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"the command cannot be split: {str(error).lower()}") from None
    if not words:
        raise UsageError("the command is empty")
    return words


def _read(file: ValueFile) -> str:
    """Return what a file holds, without one newline at its end; raise UsageError."""
    place = f"value file {file.path!r}"
    try:
        data = _read_bytes(file.path, place)
    except (OSError, ValueError) as error:
        raise UsageError(f"{place}: {getattr(error, 'strerror', None) or error}") from None
    data = data.removesuffix(b"\n")
    if len(data) > MAX_LINE:
        raise UsageError(f"{place}: more than {MAX_LINE} bytes", hint="send what is long as input")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{place}: not valid UTF-8 at byte {error.start + 1}") from None


def _read_bytes(path: str, place: str) -> bytes:
    """Return the beginning of a file or pipe, as much as could be of use; raise OSError, UsageError."""
    descriptor = os.open(path, flags())
    data = b""
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise UsageError(f"{place}: neither a file nor a pipe")
        while len(data) < _MAX_READ and (piece := os.read(descriptor, _MAX_READ - len(data))):
            data += piece
    finally:
        os.close(descriptor)
    return data
