"""The sandbox a worker puts itself into, once, before its first command.

Rule 1: `before` is called with whatever privileges there are, `after` once they are gone for good, by a
process of one thread that has forbidden itself new privileges. Never by the monitor.
Rule 2: what is not given is said, and never half of it taken for the whole. Whether to go on then is
for the caller to decide.
Rule 3: namespaces first, for Landlock closes mount(2); then Landlock, which looks at what is mounted;
the filter of system calls last.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rexecd import confine
from rexecd.execution import landlock, namespaces
from rexecd.execution.landlock import ALL, READ, WRITE, Grant, Right
from rexecd.policy.bounds import NetworkAccess, Sandbox

#: Programs and their libraries, as far as a system has them.
_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_LOADER: Final = ("/etc/ld.so.cache", "/etc/ld.so.preload")
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_USE_DEVICE: Final = Right.READ_FILE | Right.WRITE_FILE | Right.IOCTL_DEV
_ALWAYS: Final = (
    *(Grant(path, READ) for path in _SYSTEM),
    *(Grant(path, Right.READ_FILE) for path in _LOADER),
    *(Grant(path, _USE_DEVICE) for path in _DEVICES),
)
#: AF_VSOCK, for one, leads to the hypervisor from within any network namespace.
_FAMILIES: Final = {
    NetworkAccess.NONE: (),
    NetworkAccess.LOOPBACK: (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK),
}
#: The namespaces this process is in since `before`: they cannot be seen from inside.
_entered: Final[dict[Sandbox, namespaces.Entered]] = {}


def identify(wanted: Sandbox | None) -> tuple[object, ...]:
    """Return which files a sandbox is about: rules hold for those that were there, not for their names.

    A file or directory that is put in another's place is not open to whoever is in the sandbox already.
    """
    if wanted is None:
        return ()
    return tuple(map(_identity, (*(wanted.read or ()), *(wanted.write or ()), *_LOADER)))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def before(wanted: Sandbox) -> list[str]:
    """Do what needs privileges, if they are there; return what of it is missing, in words."""
    if not namespaces.is_privileged(wanted):
        return []
    _entered[wanted] = namespaces.enter(wanted)
    return list(_entered[wanted].missing)


def after(wanted: Sandbox) -> list[str]:
    """Do the rest, without privileges; return what of it is missing, in words.

    From here on this process opens, connects and signals only what its commands may. Raise OSError if
    nothing may be started from it, whatever the caller would do without.
    """
    missing: list[str] = []
    entered = _entered.get(wanted)
    if entered is None:
        entered = namespaces.enter_as_user(wanted)
        missing += entered.missing
    missing += _close_files(wanted, private_tmp=entered.private_tmp)
    if wanted.network is not None:
        missing += _close_sockets(wanted.network)
    return missing


def _close_files(wanted: Sandbox, *, private_tmp: bool) -> list[str]:
    """Enter a Landlock domain; return what is missing."""
    try:
        version = landlock.version()
        missing = landlock.restrict(_grants(wanted, private_tmp=private_tmp), version=version)
    except OSError as error:
        return [
            f"{what}: Landlock cannot be had here ({error.strerror})" for what in _held_by_landlock(wanted)
        ]
    if _is_closed(wanted) and version < landlock.TRUNCATE_SINCE:
        missing.append(
            f"read, write: the kernel's Landlock (ABI {version}) cannot keep files from being truncated"
        )
    return missing


def _is_closed(wanted: Sandbox) -> bool:
    """Return whether files are closed but for those that are listed."""
    return wanted.read is not None or wanted.write is not None


def _held_by_landlock(wanted: Sandbox) -> Iterator[str]:
    """Yield what a sandbox promises that is not true without Landlock."""
    if wanted.read is not None:
        yield "read"
    if wanted.write is not None:
        yield "write"
    if wanted.minimal_devices:
        yield "devices: minimal"
    yield "sandbox: other processes of the user can be traced"


def _grants(wanted: Sandbox, *, private_tmp: bool) -> Iterator[Grant]:
    """Yield what stays open."""
    if _is_closed(wanted):
        yield from _ALWAYS
        for key, paths, rights in (("read", wanted.read, READ), ("write", wanted.write, WRITE)):
            for path in paths or ():
                yield from _open(path, rights, key, wanted)
        if private_tmp:
            yield from (Grant(path, WRITE) for path in namespaces.TEMPORARY)
    else:
        yield from (Grant(path, _USE_DEVICE) for path in _DEVICES)
        yield from _open("/", ALL, "sandbox", wanted)


def _open(path: str, rights: Right, key: str, wanted: Sandbox) -> Iterator[Grant]:
    """Yield what opens a path that is asked for: of `/`, if devices are kept back, all but `/dev`."""
    if not wanted.minimal_devices or not _is_root(path):
        yield Grant(path, rights, key)
        return
    with os.scandir("/") as entries:
        # A link is not followed: where it leads has a name of its own, and could be /dev.
        names = [entry.path for entry in entries if entry.name != "dev" and not entry.is_symlink()]
    yield from (Grant(name, rights) for name in names)


def _is_root(path: str) -> bool:
    try:
        return Path(path).samefile("/")
    except OSError:  # it is not there, which is said when it is granted
        return False


def _close_sockets(network: NetworkAccess) -> list[str]:
    """Deny socket(2) as far as it leads out; return what is missing."""
    try:
        confine.deny_sockets(but=_FAMILIES[network])
    except OSError as error:
        return [f"network: {network.value}: {error.strerror}"]
    return []
