"""Landlock: what of the file system, and which other processes, a process leaves to itself (landlock(7)).

Rule 1: what is not granted is closed, for every right this kernel knows, and for good.
Rule 2: whatever is granted, mount(2) is closed, and no process outside can be traced or read.
Rule 3: where the kernel has scopes, no process outside can be sent a signal or reached by an
abstract Unix socket.
"""

import enum
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from rexecd.confine import system_call

#: Its system calls have the same numbers on every architecture we know.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
#: `struct landlock_ruleset_attr`: rights to files, to the network, scopes. An older kernel, which knows
#: the first or the first two, takes the rest as long as it is 0.
_RULESET: Final = struct.Struct("=3Q")
#: `struct landlock_path_beneath_attr`.
_PATH_BENEATH: Final = struct.Struct("=Qi")
_SCOPE_ABSTRACT_UNIX_SOCKET: Final = 1
_SCOPE_SIGNAL: Final = 2
_SCOPES_SINCE: Final = 6
#: The first version that keeps what may not be written from being truncated.
TRUNCATE_SINCE: Final = 3


class Right(enum.IntFlag):
    """What can be done with a file, or with a directory and everything below it."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    #: Rename and link from one directory to another.
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    #: ioctl(2) on a device.
    IOCTL_DEV = 1 << 15


ALL: Final = Right(0xFFFF)
READ: Final = Right.EXECUTE | Right.READ_FILE | Right.READ_DIR
WRITE: Final = ALL & ~(Right.MAKE_CHAR | Right.MAKE_BLOCK)
#: What a rule about something that is no directory may hold.
_OF_FILES: Final = Right.EXECUTE | Right.WRITE_FILE | Right.READ_FILE | Right.TRUNCATE | Right.IOCTL_DEV
#: What came after the first version.
_SINCE: Final = {Right.REFER: 2, Right.TRUNCATE: TRUNCATE_SINCE, Right.IOCTL_DEV: 5}


class Grant(NamedTuple):
    """What may be done with a path, links in it followed, and with everything below."""

    path: str
    rights: Right
    #: What asks for it, for people; empty if it need not exist.
    asked_by: str = ""


def version() -> int:
    """Return which version (ABI) of Landlock this kernel has; raise OSError if it has none."""
    return system_call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)


def restrict(grants: Iterable[Grant], *, version: int) -> list[str]:
    """Close everything but `grants` to this thread and all it starts, for good.

    Return what was asked for and could not be granted, in words. Raise OSError, and then nothing is
    closed. New privileges have to be forbidden before.
    """
    handled = ALL & ~Right(sum(right for right, since in _SINCE.items() if since > version))
    scopes = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if version >= _SCOPES_SINCE else 0
    attributes = _RULESET.pack(handled, 0, scopes)
    ruleset = system_call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        faults = [_grant(ruleset, grant, handled) for grant in grants]
        system_call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return [fault for fault in faults if fault is not None]


def _grant(ruleset: int, grant: Grant, handled: Right) -> str | None:
    """Add a rule; return why it cannot be, if it was asked for."""
    try:
        _add(ruleset, grant, handled)
    except OSError as error:
        return f"{grant.asked_by}: {grant.path}: {error.strerror}" if grant.asked_by else None
    return None


def _add(ruleset: int, grant: Grant, handled: Right) -> None:
    descriptor = os.open(grant.path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = grant.rights & handled
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = _PATH_BENEATH.pack(rights, descriptor)
        system_call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
