"""Root acting for an installed service: what is the service user's is seen and changed as that user.

Rule 1: nothing of root's is left in the state, and nothing is done there with root's power.
Rule 2: what is tried for the monitor is tried with what the monitor has, no more and no less.
"""

import os
import pwd
from pathlib import Path
from typing import Final

from rexecd.confine import become
from rexecd.errors import ConfigError

#: CAP_SETGID and CAP_SETUID: what the shipped unit gives the monitor (AmbientCapabilities=).
MONITORS: Final = (6, 7)


def act_as_owner(path: Path, *, keep: tuple[int, ...] = ()) -> None:
    """Become the owner of `path`, for the rest of this process, if we are root and it is not root's.

    Of the capabilities only `keep` stay. Raise ConfigError. Who is not root, and what is not there, is
    left as it is: the files say then what is wrong.
    """
    if os.geteuid() != 0:
        return
    try:
        status = path.lstat()
    except OSError:
        return
    if status.st_uid == 0:
        return
    try:
        entry = pwd.getpwuid(status.st_uid)
        gid, groups = entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    except KeyError:
        gid, groups = status.st_gid, [status.st_gid]
    if 0 in {gid, *groups}:
        raise ConfigError(f"{path}: its owner, uid {status.st_uid}, is in group 0, root's: chown it")
    try:
        become(status.st_uid, gid, groups, keep=keep)
    except OSError as error:
        what = f"cannot become its owner, uid {status.st_uid}: {error.strerror}"
        raise ConfigError(f"{path}: {what}: run this as that user") from None
