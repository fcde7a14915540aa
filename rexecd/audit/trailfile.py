"""One file of a trail, open for writing: whole lines or nothing, and whether it is still ours.

Rule: whoever writes says how long the file is. What is behind that is what a failed write left, and is cut
off before the next one.
"""

import contextlib
import enum
import os
import stat
from pathlib import Path
from typing import Final, Self

from rexecd import files
from rexecd.errors import ConfigError

_BLOCK: Final = 1024 * 1024
#: Of a file that is being written.
UNFINISHED: Final = ".new"


class Place(enum.Enum):
    """What is found under the file's name."""

    #: The file, as long as it was left.
    OURS = enum.auto()
    #: Nothing, or an empty file: it was moved away or removed, as logrotate does.
    MOVED = enum.auto()
    #: The file, and nothing in it: it was copied and cut, as logrotate does too.
    EMPTIED = enum.auto()
    #: Anything else: somebody else writes here.
    CHANGED = enum.auto()


class TrailFile:
    """An open file; it belongs to whoever holds the trail's lock."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.name = os.fspath(path)  # the same, to be looked at for each record
        self.descriptor = descriptor
        status = os.fstat(descriptor)
        self._identity = status.st_dev, status.st_ino
        self._is_unclean = False  # whether bytes of a failed write may stand behind the end

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, and make it if it is not there; raise ConfigError for an unsafe one."""
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: its directory is not found; put it back")
        return cls(path, files.open_private(path, os.O_RDWR | os.O_APPEND))

    @property
    def size(self) -> int:
        """Return how long it is; raise OSError."""
        return os.fstat(self.descriptor).st_size

    @property
    def is_removed(self) -> bool:
        """Return whether it has no name any more; raise OSError."""
        return os.fstat(self.descriptor).st_nlink == 0

    def look(self, size: int) -> Place:
        """Return what is under its name now, where it was left with this size; raise OSError."""
        if self._is_unclean:
            os.ftruncate(self.descriptor, size)
        try:
            found = os.lstat(self.name)
        except FileNotFoundError:
            return Place.MOVED
        if (found.st_dev, found.st_ino) == self._identity:
            if found.st_size == size:
                return Place.OURS
            return Place.CHANGED if found.st_size else Place.EMPTIED
        return Place.CHANGED if found.st_size or not stat.S_ISREG(found.st_mode) else Place.MOVED

    def append(self, line: bytes, size: int) -> None:
        """Append a line to a file of this size, whole or not at all; raise OSError."""
        self._is_unclean = True
        try:
            written = os.write(self.descriptor, line)
            if written < len(line):
                written += os.write(self.descriptor, line[written:])  # which says why, most of the time
            if written < len(line):
                raise OSError(f"{written} of {len(line)} bytes were written")
        except OSError:
            with contextlib.suppress(OSError):  # then the next look tries again
                os.ftruncate(self.descriptor, size)
            raise
        self._is_unclean = False

    def cut(self, size: int) -> None:
        """Cut off what is behind; raise OSError."""
        os.ftruncate(self.descriptor, size)

    def sync(self) -> None:
        """Wait until everything is on the disk; raise OSError."""
        os.fdatasync(self.descriptor)

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes between two places, as far as they are there; raise OSError."""
        pieces = []
        while start < end and (piece := os.pread(self.descriptor, min(_BLOCK, end - start), start)):
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def renewed(self, size: int) -> Self:
        """Copy so many bytes to a new file, on the disk, that takes the place of this one; raise OSError.

        Its name is on the disk when the directory has been synced.

        After a failed sync the kernel may take pages for written that are not (fsync(2) says it once), and
        writing them again is not enough: ext4 has what failed as unwritten in its tables, and reads zeros.
        """
        path = Path(f"/proc/self/fd/{self.descriptor}").readlink()  # it may have been set aside meanwhile
        if not os.path.samestat(os.fstat(self.descriptor), path.lstat()):
            raise OSError("it is not found under its name")
        new = path.with_name(path.name + UNFINISHED)
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        file = self.open(new)
        try:
            at = 0
            while at < size and (data := self.read(at, min(at + _BLOCK, size))):
                at += os.write(file.descriptor, data)
            if at != size:
                raise OSError(f"{at} of {size} bytes are left")
            file.sync()
            new.rename(path)
        except BaseException:
            file.close()
            raise
        file.path, file.name = self.path, self.name
        return file

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


def taken(path: Path) -> ConfigError:
    """Return what is wrong with a file that somebody else has changed."""
    what = "is not as it was left: somebody else has written it; run 'rexecd audit verify'"
    return ConfigError(f"{path}: {what}, and move it away to begin a new one")
