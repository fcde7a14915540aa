"""Open only files owned and moded as required, never through a symlink; replace them whole.

Rule 1: a file is judged by the descriptor that is then read, never by its name (ATTACKS CFG-07).
Rule 2: every fault is one line of a ConfigError: place, what is wrong, remedy.
"""

import contextlib
import errno
import fcntl
import io
import os
import stat
import time
from pathlib import Path
from typing import Final

from rexecd import limits
from rexecd.errors import ConfigError, Unavailable

#: Neither a FIFO nor a terminal nor a symlink put in a file's place may hold or lead us.
_CAREFUL: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH
_EXECUTABLE: Final = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
#: What a secret's mode may not hold: the group may read it, nothing else.
_EXPOSED: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_BLOCK: Final = 64 * 1024
#: Seconds in which the kernel gives every change of a file the same time, at most (CONFIG_HZ is 100 or more).
_TICK: Final = 0.01
#: How often a file is read that changes meanwhile.
_ATTEMPTS: Final = 20

#: Links on the way to a file, as many as the kernel follows.
_MOST_LINKS: Final = 40

#: The remedy for a missing file that `rexecd init` makes.
RESTORE: Final = "restore it, or make a new directory with 'rexecd init'"


def judge(path: Path, status: os.stat_result, *, secret: bool = False) -> None:
    """Raise ConfigError unless `status` is a regular file that only its owner can change.

    The owner must be root or ourselves. A secret may be readable by its group, not by others.
    """
    if stat.S_ISLNK(status.st_mode):
        raise _symlink(path)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: not a regular file; put one in its place")
    if status.st_uid not in (0, os.geteuid()):
        raise _foreign(path, status)
    mode = stat.S_IMODE(status.st_mode)
    if mode & _WRITABLE:
        raise _writable(path, status)
    if secret and mode & _EXPOSED:
        raise ConfigError(f"{path}: readable by others (mode {mode:04o}); chmod 640 it")


def read_file(path: Path, *, secret: bool = False, most: int = limits.MAX_CONFIG, hint: str = "") -> bytes:
    """Return what is in `path`; raise ConfigError if it is missing, unsafe or over `most` bytes.

    `hint` is the remedy for a missing file: `run 'rexecd init'`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
    except OSError as error:
        raise _unopened(path, error, hint) from None
    try:
        judge(path, os.fstat(descriptor), secret=secret)
        data = _read_whole(path, descriptor, most + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise ConfigError(f"{path}: larger than {most} bytes; is it the right file?")
    return data


def read_text(path: Path, *, hint: str = "") -> str:
    """Return a configuration file's text; raise ConfigError as `read_file` does, or if it is not UTF-8."""
    try:
        return read_file(path, hint=hint).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None


def check_directory(path: Path) -> None:
    """Raise ConfigError unless `path` is a directory in which only root and we can change names."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError as error:
        raise _unopened(path, error, "make it, or see 'rexecd init'") from None
    _judge_directory(path, status)


def check_way(path: Path) -> None:
    """Raise ConfigError if somebody else could put another file in the place of `path`.

    Every directory above it is judged as those of a program (`trust_fault`). One that is not there is
    for whoever opens the file.
    """
    try:
        fault = trust_fault(str(path.absolute().parent))
    except OSError:
        return
    if fault is not None:
        raise ConfigError(f"{path}: somebody else could replace it: {fault}")


def list_directory(path: Path) -> list[str]:
    """Return the names in a directory in which only root and we can change names; raise ConfigError.

    It is judged by the descriptor that is then read; `.` and `..` are not among the names.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CAREFUL)
    except NotADirectoryError:
        raise ConfigError(f"{path}: not a directory; put one in its place") from None
    except OSError as error:
        raise _unopened(path, error) from None
    try:
        _judge_directory(path, os.fstat(descriptor))
        return sorted(os.listdir(descriptor))  # noqa: PTH208 - pathlib has no descriptors
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _judge_directory(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{path}: not a directory; put one in its place")
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path}: owned by uid {status.st_uid}, not by root or uid {os.geteuid()}; chown it"
        )
    if status.st_mode & _WRITABLE:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(f"{path}: writable by group or others (mode {mode:04o}); chmod go-w it")


def open_private(path: Path, flags: int) -> int:
    """Return a descriptor of `path` that we write to, creating it with mode 0600; raise ConfigError.

    A second name is refused as well: a link planted in our directory could be any file of ours.
    """
    try:
        try:
            descriptor = os.open(path, flags | _CAREFUL | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
        except FileExistsError:
            descriptor = os.open(path, flags | _CAREFUL)
    except OSError as error:
        raise _unopened(path, error) from None
    try:
        status = os.fstat(descriptor)
        judge(path, status)
        if status.st_nlink != 1:
            raise ConfigError(f"{path}: has {status.st_nlink} names (hard links); remove the others")
    except ConfigError:
        os.close(descriptor)
        raise
    return descriptor


def write_file(path: Path, data: bytes, *, mode: int, durable: bool = True) -> None:
    """Replace `path` by `data` at once and for good; raise ConfigError, and then nothing changed.

    Without `durable` it is not waited for the disk. The new file's name is fixed, so that what a crash
    leaves behind (it may be a secret) is removed by the next call. One writer at a time, therefore.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFUL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(descriptor)
            new.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def trust_fault(program: str) -> str | None:
    """Return which entry on the way to `program`, an absolute path, somebody else could change.

    Every directory, link and the file itself must belong to root or to us, and neither group nor
    others may write there; of a directory they may if it is sticky, since they cannot move what
    is ours. Raise OSError if it is not there.

    Looking at one name after the other is no race: whoever could change the next one has been
    ruled out by then, and between this look and execve(2) only root and our own user can change
    anything. Not looked at: ACLs, what the program loads or imports, the interpreter of a script.
    """
    return _follow(program)[0]


def program_fault(program: str) -> str | None:
    """Return why `program`, an absolute path, should not be started: `trust_fault`, or it cannot be."""
    return _file_fault(program, executable=True)


def script_fault(script: str) -> str | None:
    """Return why a program should not be told to run `script`, an absolute path; it may lack the x bits."""
    return _file_fault(script, executable=False)


def _file_fault(path: str, *, executable: bool) -> str | None:
    try:
        fault, status = _follow(path)
    except FileNotFoundError:
        return f"{path!r} not found"
    except OSError as error:
        return f"{path!r} cannot be looked at: {error.strerror}"
    if fault is None and not stat.S_ISREG(status.st_mode):
        return f"{path!r} is not a regular file"
    if fault is None and executable and not status.st_mode & _EXECUTABLE:
        return f"{path!r} is not executable (mode {stat.S_IMODE(status.st_mode):04o}); chmod +x it"
    return fault


class Resolver:
    """Turns paths into ones without links and `..`, as realpath(3), with a bound on the work of all calls.

    What does not exist is taken as it is written. Too many links or names, or a directory that cannot be
    looked into, raise OSError: who makes links must not decide how long a decision takes.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._left = limits.MAX_PATH_NAMES

    def __call__(self, path: str) -> str:
        """Return an absolute path resolved; raise OSError, ValueError for a NUL."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._resolve(path)
        return known

    def _resolve(self, path: str) -> str:
        here, names, links = "/", _names(path), 0
        while names:
            self._left -= 1
            if self._left < 0 or links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            name = names.pop()
            if name == "..":
                here = here.rpartition("/")[0] or "/"
            elif name != ".":
                below = f"{here.rstrip('/')}/{name}"
                target = _link_at(below)
                if target is None:
                    here = below
                else:
                    links += 1
                    names += _names(target)
                    here = "/" if target.startswith("/") else here
        return here


def _link_at(path: str) -> str | None:
    """Return where the link at `path` leads; None for what is no link, or not there. Raise OSError."""
    try:
        return os.readlink(path)  # noqa: PTH115 - a Path would cost more than the look itself
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable; raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(path: Path) -> io.FileIO:
    """Return a file that holds the lock at `path` for as long as it stays open.

    Raise Unavailable if another process holds it, ConfigError for an unsafe file. The file is
    never removed: two processes could then hold two locks of one name.
    """
    file = io.FileIO(open_private(path, os.O_RDWR), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Unavailable(f"{path}: held by another process; is rexecd running?") from None
    except OSError as error:
        file.close()
        raise ConfigError(f"{path}: cannot be locked: {error.strerror}") from None
    return file


def _read_whole(path: Path, descriptor: int, most: int) -> bytes:
    """Return at most `most` bytes of a file as it stood at one moment; raise ConfigError if it never stands.

    Who writes into a file that is read makes a mixture of two, and both may be sound. What was changed
    within the last tick of the kernel's clock cannot be told from what is changed now, and is read again.
    """
    for _ in range(_ATTEMPTS):
        before = os.fstat(descriptor)
        data = _read(descriptor, most)
        is_fresh = 0 <= time.time_ns() - before.st_mtime_ns < _TICK * 1e9
        if not is_fresh and _version(before) == _version(os.fstat(descriptor)):
            return data
        time.sleep(_TICK)
        os.lseek(descriptor, 0, os.SEEK_SET)
    raise ConfigError(f"{path}: changes while it is read; write a new file and rename it")


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(descriptor: int, most: int) -> bytes:
    """Return at most `most` bytes: a file may grow while it is read."""
    pieces = bytearray()
    while len(pieces) < most:
        piece = os.read(descriptor, min(_BLOCK, most - len(pieces)))
        if not piece:
            break
        pieces += piece
    return bytes(pieces)


def _follow(path: str) -> tuple[str | None, os.stat_result]:
    """Walk to `path` through its links, as the kernel would; return the first fault and what lies there."""
    here, names, links = "/", _names(path), 0
    own = os.geteuid()
    while True:
        status = os.lstat(here)
        fault = _entry_fault(here, status, own)
        if fault is not None:
            return fault, status
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(here)  # noqa: PTH115 - a Path would cost more than the look itself
            names += _names(target)
            here = "/" if target.startswith("/") else here.rpartition("/")[0]
        elif not names:
            return None, status
        # There is no link in `here` by now, so '..' is what it says.
        here = os.path.normpath(f"{here.rstrip('/')}/{names.pop()}")


def _names(path: str) -> list[str]:
    """Return the names of a path, the last one first, and at least one."""
    return [name for name in reversed(path.split("/")) if name] or ["."]


def _entry_fault(path: str, status: os.stat_result, own: int) -> str | None:
    """Return how somebody else could change or replace one entry on the way to a program."""
    if status.st_uid not in (0, own):
        return f"{path!r} belongs to uid {status.st_uid}, not to root or uid {own}; chown it"
    mode = stat.S_IMODE(status.st_mode)
    is_shared = stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX
    if mode & _WRITABLE and not is_shared and not stat.S_ISLNK(status.st_mode):
        return f"{path!r} can be changed by group or others (mode {mode:04o}); chmod go-w it"
    return None


def _foreign(path: Path, status: os.stat_result) -> ConfigError:
    own = os.geteuid()
    return ConfigError(f"{path}: owned by uid {status.st_uid}, not by root or uid {own}; chown it")


def _writable(path: Path, status: os.stat_result) -> ConfigError:
    mode = stat.S_IMODE(status.st_mode)
    return ConfigError(f"{path}: writable by group or others (mode {mode:04o}); chmod go-w it")


def _symlink(path: Path) -> ConfigError:
    return ConfigError(f"{path}: is a symbolic link; name the file itself")


def _unopened(path: Path, error: OSError, hint: str = "") -> ConfigError:
    if error.errno == errno.ELOOP:
        return _symlink(path)
    if error.errno == errno.ENOENT:
        return ConfigError(f"{path}: not found; {hint or 'create it'}")
    if error.errno in (errno.ENXIO, errno.EISDIR):
        return ConfigError(f"{path}: not a regular file; put one in its place")
    return ConfigError(f"{path}: cannot be opened: {error.strerror}")
