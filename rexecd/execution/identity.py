"""Who a command runs as: whether this process can become it, and what the kernel lets it do.

Rule: root becomes anyone, everyone else stays who they are. Capabilities are not asked: with
CAP_SETUID alone a process could lend its other capabilities to what it starts.
"""

import errno
import os
import stat
from typing import Final, NamedTuple

from rexecd.errors import Code, Refused
from rexecd.policy.model import Identity

#: A directory on the way: to look at, and to open the next one through.
_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: Neither a FIFO nor a terminal put in a file's place may hold or lead us.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: The number above is -1 to the kernel, which then leaves the id as it is: root's.
_HIGHEST: Final = 2**32 - 2


class Change(NamedTuple):
    """What `subprocess.Popen` is told of the identity; None leaves it as it is."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None


def can_become(identity: Identity) -> bool:
    """Return whether this process may start programs as `identity`."""
    return _is_ours(identity) or (os.geteuid() == 0 and _is_sound(identity))


def change(identity: Identity | None) -> Change:
    """Return how a program gets its identity (None: our own); raise Refused if it cannot."""
    if identity is None or _is_ours(identity):
        return Change()
    if not can_become(identity):
        reason = f"cannot become {identity}: rexecd runs as uid {os.geteuid()}"
        raise Refused(Code.NOT_STARTED, "the program could not be started", reason=reason)
    return Change(identity.uid, identity.gid, _all_groups(identity))


def open_readable(path: str, identity: Identity | None) -> int:
    """Return a descriptor of the file at `path`, an absolute one, for reading; raise OSError.

    No link is followed, however fast it is put anywhere into the path (ATTACKS POL-12). With an
    identity every directory on the way and the file have to let it through: what we may read and it
    may not is not lent to it. Each is judged by the descriptor through which the next one is
    opened, so that nothing can be exchanged in between. ACLs are not seen.
    """
    try:
        return _walk(path, identity)
    except ValueError:  # a NUL
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _walk(path: str, identity: Identity | None) -> int:
    *directories, name = path.removeprefix("/").split("/")
    here = os.open("/", _LOOK)
    try:
        _judge(identity, os.fstat(here), bit=stat.S_IXOTH)
        for directory in directories:
            here = _step(here, directory, _LOOK)
            _judge(identity, os.fstat(here), bit=stat.S_IXOTH)
        here = _step(here, name or ".", _READ)
        _judge(identity, os.fstat(here), bit=stat.S_IROTH)
    except (OSError, ValueError):
        os.close(here)
        raise
    return here


def _step(here: int, name: str, flags: int) -> int:
    """Return a descriptor of what is called `name` in a directory, which is closed; raise OSError."""
    there = os.open(name, flags, dir_fd=here)
    os.close(here)
    return there


def _judge(identity: Identity | None, status: os.stat_result, *, bit: int) -> None:
    """Raise OSError for a link, and for what does not let an identity through."""
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if identity is not None and identity.uid != 0 and not _allows(identity, status, bit=bit):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _allows(identity: Identity, status: os.stat_result, *, bit: int) -> bool:
    """Return whether one bit of a mode is set for `identity`: the first class it is in decides."""
    mode = status.st_mode
    if status.st_uid == identity.uid:
        mode >>= 6
    elif status.st_gid in _all_groups(identity):
        mode >>= 3
    return bool(mode & bit)


def _is_ours(identity: Identity) -> bool:
    """Return whether this process is `identity` already, in every one of its ids."""
    ids = (identity.uid, identity.gid)
    ours = all(pair == ids for pair in zip(os.getresuid(), os.getresgid(), strict=True))
    return ours and {*os.getgroups(), os.getegid()} == set(_all_groups(identity))


def _is_sound(identity: Identity) -> bool:
    return all(0 <= number <= _HIGHEST for number in (identity.uid, *_all_groups(identity)))


def _all_groups(identity: Identity) -> tuple[int, ...]:
    """Return its groups with the primary one, which counts anyway: so the list is never empty.

    An empty one is lost in Python 3.12.0, and the program would keep root's groups (CVE-2023-6507).
    """
    return tuple(sorted({identity.gid, *identity.groups}))
