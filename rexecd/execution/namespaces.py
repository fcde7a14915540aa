"""Namespaces of a process's own: an empty `/tmp`, a network with nothing in it but its loopback.

Rule 1: with the privileges for it they are made directly, else inside a user namespace (user_namespaces(7)),
whose capabilities are given up before anything else happens.
Rule 2: the process has one thread, and goes on living in them, with the ids it had.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from rexecd import confine
from rexecd.policy.bounds import NetworkAccess, Sandbox

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_CAP_NET_ADMIN: Final = 1 << 12
_CAP_SYS_ADMIN: Final = 1 << 21
_MS_NOSUID: Final = 0x2
_MS_NODEV: Final = 0x4
_MS_REC: Final = 0x4000
_MS_SLAVE: Final = 0x80000
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
#: `struct ifreq`: a name, flags, and what other requests have there.
_INTERFACE: Final = struct.Struct("=16sH22x")

TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108 - they are what is made private
#: It is memory: a command must not take all of it, nor of what the kernel keeps for each file.
_ROOM: Final = "mode=1777,size=256m,nr_inodes=65536"

#: Where it says 1, who is not confined gets a user namespace in which it may do nothing.
_APPARMOR_RESTRICTS: Final = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_APPARMOR_LABEL: Final = Path("/proc/self/attr/current")


class Entered(NamedTuple):
    """What came of it."""

    #: Whether /tmp and /var/tmp are the process's own.
    private_tmp: bool = False
    #: What of the wish is missing, in words.
    missing: tuple[str, ...] = ()


class _Kind(NamedTuple):
    """A kind of namespace that a sandbox may want."""

    #: As the policy writes the wish.
    name: str
    flag: int
    #: Needed to make it and to furnish it.
    capabilities: int
    furnish: Callable[[], None]


def is_privileged(wanted: Sandbox) -> bool:
    """Return whether this process may make what is wanted, if anything is, without a user namespace."""
    needed = 0
    for kind in _kinds(wanted):
        needed |= kind.capabilities
    return bool(needed) and not needed & ~confine.effective_capabilities()


def enter(wanted: Sandbox) -> Entered:
    """Enter the namespaces that are wanted, with the privileges for it."""
    kinds = _kinds(wanted)
    try:
        confine.unshare(_flags(kinds))
    except OSError as error:
        return _nothing(kinds, f"namespaces are not permitted ({error.strerror})")
    return _furnish(kinds)


def enter_as_user(wanted: Sandbox) -> Entered:
    """Enter the namespaces that are wanted, if any are, and a user namespace around them.

    No capability is left afterwards. Raise OSError if the process is then neither in the one nor in
    the other: nothing may be started from it.
    """
    kinds = _kinds(wanted)
    if not kinds:
        return Entered()
    obstacle = _obstacle()
    if obstacle is not None:
        return _nothing(kinds, obstacle)
    uid, gid = os.geteuid(), os.getegid()
    try:
        confine.unshare(_CLONE_NEWUSER | _flags(kinds))
    except OSError as error:
        return _nothing(kinds, f"user namespaces are not permitted ({error.strerror})")
    try:
        _map(uid, gid)
        entered = _furnish(kinds)
        confine.drop_bounding()
        return entered
    finally:
        confine.drop_capabilities()


def _kinds(wanted: Sandbox) -> list[_Kind]:
    kinds = []
    if wanted.private_tmp:
        kinds.append(_TMP)
    if wanted.network is NetworkAccess.LOOPBACK:
        kinds.append(_LOOPBACK)
    return kinds


def _flags(kinds: list[_Kind]) -> int:
    return sum(kind.flag for kind in kinds)


def _nothing(kinds: list[_Kind], why: str) -> Entered:
    return Entered(missing=tuple(f"{kind.name}: {why}" for kind in kinds))


def _furnish(kinds: list[_Kind]) -> Entered:
    """Put into the new namespaces what belongs there."""
    missing = []
    for kind in kinds:
        try:
            kind.furnish()
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            missing.append(f"{kind.name}: {what}{error.strerror}")
    private_tmp = _TMP in kinds and not any(fault.startswith(_TMP.name) for fault in missing)
    return Entered(private_tmp, tuple(missing))


def _obstacle() -> str | None:
    """Return why a user namespace would be of no use, where that is known before we are caught in it."""
    if os.geteuid() == 0:
        return "root without CAP_SYS_ADMIN cannot be itself in a user namespace"
    try:
        restricts = _APPARMOR_RESTRICTS.read_bytes().strip() == b"1"
        label = _APPARMOR_LABEL.read_bytes().strip(b"\0\n")
    except OSError:
        return None
    if restricts and label == b"unconfined":
        return "AppArmor gives user namespaces no rights (kernel.apparmor_restrict_unprivileged_userns)"
    return None


def _map(uid: int, gid: int) -> None:
    """Be in the new user namespace who we were outside; raise OSError.

    For this moment our files in /proc have to be ours.
    """
    confine.set_dumpable(dumpable=True)
    try:
        # As bytes: a codec could be loaded only now, from files that this user may not read.
        Path("/proc/self/setgroups").write_bytes(b"deny")
        Path("/proc/self/uid_map").write_bytes(b"%d %d 1" % (uid, uid))
        Path("/proc/self/gid_map").write_bytes(b"%d %d 1" % (gid, gid))
    except OSError as error:
        why = f"caught in a user namespace without rights: {error.strerror}"
        raise OSError(error.errno, why, error.filename) from None
    finally:
        confine.set_dumpable(dumpable=False)


def _empty_tmp() -> None:
    """Mount something empty over both; raise OSError. What is mounted elsewhere stays as it is."""
    confine.mount("none", "/", "none", flags=_MS_REC | _MS_SLAVE)
    for directory in TEMPORARY:
        confine.mount("tmpfs", directory, "tmpfs", flags=_MS_NOSUID | _MS_NODEV, options=_ROOM)
    os.chdir("/")  # whoever stands in the old /tmp still reaches it by relative names


def _raise_loopback() -> None:
    """Turn the only interface of a new network on; raise OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        found = fcntl.ioctl(asking, _SIOCGIFFLAGS, _INTERFACE.pack(b"lo", 0))
        _, flags = _INTERFACE.unpack(found)
        fcntl.ioctl(asking, _SIOCSIFFLAGS, _INTERFACE.pack(b"lo", flags | _IFF_UP))


_TMP: Final = _Kind("private_tmp", _CLONE_NEWNS, _CAP_SYS_ADMIN, _empty_tmp)
_LOOPBACK: Final = _Kind("network: loopback", _CLONE_NEWNET, _CAP_SYS_ADMIN | _CAP_NET_ADMIN, _raise_loopback)
