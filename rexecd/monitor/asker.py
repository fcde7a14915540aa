"""Who asks for something at the operator's door, as the fields of a record: what the kernel says of it.

Rule 1: rather nothing than somebody else. The number of a process is given to another one when it has
ended, so what is found by it counts only if the asker still holds its end of the channel afterwards.
"""

import contextlib
import os
import pwd
import select
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from rexecd.seam.channel import Channel

#: The fields of a record that say who asked.
Asker = Mapping[str, str]
#: A signal, a start: there is nobody to name.
NOBODY: Final[Asker] = MappingProxyType({})

#: What the kernel has for whoever has not logged in.
_UNSET: Final = 2**32 - 1
_GONE: Final = select.POLLHUP | select.POLLRDHUP | select.POLLERR | select.POLLNVAL


def peer(channel: Channel) -> Asker:
    """Return who is at the other end, and waits for its answer."""
    process = channel.peer()
    login = _login(str(process.pid))
    return _fields(process.uid, login if _is_there(channel) else None)


def this_process() -> Asker:
    """Return who runs this process; to be asked before it becomes somebody else."""
    return _fields(os.getuid(), _login("self"))


def _fields(uid: int, login: int | None) -> Asker:
    found = {"operator_id": str(uid), "operator": _name(uid)}
    if login is not None:
        found |= {"login_id": str(login), "login": _name(login)}
    return {name: value for name, value in found.items() if value}


def _login(process: str) -> int | None:
    """Return the login uid that the kernel keeps of a process; None if there is none, or it is hidden."""
    with contextlib.suppress(OSError, ValueError):
        uid = int(Path("/proc", process, "loginuid").read_bytes())
        return uid if 0 <= uid < _UNSET else None
    return None


def _is_there(channel: Channel) -> bool:
    poller = select.poll()
    poller.register(channel, select.POLLRDHUP)
    return not any(events & _GONE for _, events in poller.poll(0))


def _name(uid: int) -> str:
    """Return the account's name, empty if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return ""
