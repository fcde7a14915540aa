"""What a worker becomes before its first command: who it is, what it may use, what its commands inherit.

Rule 1: each of these is one-way, or raises: a worker that is half of what it should be starts nothing.
"""

import contextlib
import errno
import os
import platform
import resource
import signal
from collections.abc import Iterator
from typing import Final

from rexecd.confine import drop_capabilities, system_call
from rexecd.execution.jobs import Ids
from rexecd.policy.bounds import Resources

#: The kernel's number of keyctl(2).
_KEYCTL: Final = {"x86_64": 250, "aarch64": 219, "riscv64": 219}.get(platform.machine())
_KEYCTL_GET_KEYRING_ID: Final = 0
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_KEYCTL_CLEAR: Final = 7
_SESSION_KEYRING: Final = -3


class Unfit(Exception):
    """The worker cannot be prepared as it was asked to be."""


def catch_signals() -> None:
    """Catch what is ignored here: an ignored signal would stay so in the command, a caught one does not.

    Telling posix_spawn(3) to do it for every signal takes 0.13 ms each time.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def join(group: str) -> int:
    """Enter a control group and return a descriptor of its list of processes; raise OSError."""
    descriptor = os.open(group, os.O_RDWR | os.O_CLOEXEC)
    os.write(descriptor, b"0")
    return descriptor


def become(ids: Ids | None) -> None:
    """Take every id of an identity, and give up all capabilities for good; raise Unfit or OSError."""
    if ids is not None and not _are_ours(ids):
        with saying(f"cannot become uid {ids.uid}, gid {ids.gid}"):
            os.setgroups(ids.groups)
            os.setresgid(ids.gid, ids.gid, ids.gid)
            os.setresuid(ids.uid, ids.uid, ids.uid)
    drop_capabilities()
    if ids is not None and not _are_ours(ids):
        raise Unfit("the kernel did not give the identity that was asked for")


def join_new_keyring() -> None:
    """Leave the keyring of whoever started the monitor for an empty one; raise Unfit."""
    with saying("session keyring"):
        _keyctl(_KEYCTL_JOIN_SESSION_KEYRING, None)


def has_cleared_keyring() -> bool:
    """Empty the keyring that the next command will have too; return whether that was possible."""
    try:
        _keyctl(_KEYCTL_CLEAR, _SESSION_KEYRING)
    except OSError:
        return False
    return True


def limit(resources: Resources) -> None:
    """Set the ceilings, soft and hard; none is ever raised above what this process may have.

    Of processor time the hard one is a second above: where both are the same the kernel does not say
    by its signal why it kills.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: resources.cpu,
        resource.RLIMIT_NOFILE: resources.open_files,
        resource.RLIMIT_FSIZE: resources.file_size,
        resource.RLIMIT_AS: resources.memory,
    }
    for which, most in wanted.items():
        if most is not None:
            _, hard = resource.getrlimit(which)
            above = most + 1 if which == resource.RLIMIT_CPU else most
            kept = above if hard == resource.RLIM_INFINITY else min(above, hard)
            resource.setrlimit(which, (min(most, kept), kept))


@contextlib.contextmanager
def saying(what: str) -> Iterator[None]:
    """Say what it was that the kernel refuses."""
    try:
        yield
    except OSError as error:
        raise Unfit(f"{what}: {error.strerror}") from None


def _keyctl(operation: int, argument: int | None) -> None:
    """Do something with a keyring, where this kernel has such for us and our commands; raise OSError."""
    try:
        if _KEYCTL is not None:
            system_call(_KEYCTL, operation, argument)
    except OSError as error:
        if error.errno != errno.ENOSYS and not (error.errno == errno.EPERM and _are_keyrings_denied()):
            raise


def _are_keyrings_denied() -> bool:
    """Return whether a filter denies keyctl(2) altogether, as containers do: then to commands as well."""
    try:
        system_call(_KEYCTL or 0, _KEYCTL_GET_KEYRING_ID, _SESSION_KEYRING)
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _are_ours(ids: Ids) -> bool:
    """Return whether this process is that already, in every one of its ids."""
    uids, gids = {*os.getresuid()}, {*os.getresgid()}
    return uids == {ids.uid} and gids == {ids.gid} and {*os.getgroups(), ids.gid} == {*ids.groups, ids.gid}
