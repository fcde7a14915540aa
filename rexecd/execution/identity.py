"""Who a command runs as: whether this process can become it, and what the kernel lets it do.

Rule: root becomes anyone, everyone else stays who they are. Capabilities are not asked: with
CAP_SETUID alone a process could lend its other capabilities to what it starts.
"""

import os
import stat
from typing import Final, NamedTuple

from rexecd.errors import Code, Refused
from rexecd.policy.model import Identity

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


def may_read(identity: Identity, path: str, status: os.stat_result) -> bool:
    """Return whether `identity` could open the file at `path`, an absolute one without links, itself.

    By owner, group and mode alone: what an ACL gives besides is not seen, and what it takes away
    the kernel sees when the program opens `/dev/fd/N`. Raise OSError.
    """
    if identity.uid == 0:
        return True
    if not _allows(identity, status, bit=stat.S_IROTH):
        return False
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        if not _allows(identity, os.lstat(path), bit=stat.S_IXOTH):
            return False
    return True


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
