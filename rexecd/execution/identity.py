"""Who a command runs as: whether this process can become it, and what the kernel lets it do.

Rule 1: who has CAP_SETUID and CAP_SETGID becomes anyone, everyone else stays who they are.
Rule 2: where no rule says who, and there is a choice, it is somebody who owns nothing: never the
daemon's own user.
"""

import errno
import os
import stat
from typing import Final

from rexecd.accounts import SystemAccounts
from rexecd.confine import effective_capabilities
from rexecd.errors import ConfigError
from rexecd.forms import Entries
from rexecd.policy.identity import Accounts, resolve
from rexecd.policy.model import Defaults, Identity
from rexecd.settings import Settings
from rexecd.yamltext import Faults, Place

#: A directory on the way: to look at, and to open the next one through.
_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: Neither a FIFO nor a terminal put in a file's place may hold or lead us.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: The number above is -1 to the kernel, which then leaves the id as it is: root's.
_HIGHEST: Final = 2**32 - 2
#: CAP_SETGID and CAP_SETUID (linux/capability.h).
_NEEDED: Final = 1 << 6 | 1 << 7
#: The same, for people.
MEANS: Final = "a monitor that is root, or has CAP_SETUID and CAP_SETGID"
_CAP_KILL: Final = 1 << 5
#: Who commands run as where nothing is written: the account that the installation makes, or the one
#: that every system has.
_FOR_COMMANDS: Final = ("rexec", "nobody")


def has_means() -> bool:
    """Return whether this process may start programs as somebody else."""
    return effective_capabilities() & _NEEDED == _NEEDED


def check_can_end(*, containment: str) -> None:
    """Raise ConfigError if this process could start commands as somebody else and never end them.

    A control group is emptied by whoever owns it; a signal to another user takes CAP_KILL.
    """
    if containment == "subreaper" and has_means() and not effective_capabilities() & _CAP_KILL:
        raise ConfigError(
            "commands of other users could not be ended: without a control group the monitor needs CAP_KILL "
            "besides CAP_SETUID and CAP_SETGID; see containment in rexecd.yaml(5)"
        )


def can_become(identity: Identity) -> bool:
    """Return whether this process may start programs as `identity`."""
    return _is_ours(identity) or (has_means() and _is_sound(identity))


def defaults(settings: Settings, accounts: Accounts | None = None) -> Defaults:
    """Return what holds for rules that do not say otherwise; raise ConfigError.

    Without the means, the identity is None: commands run as the monitor's own user, and nothing
    may be written that says otherwise.
    """
    accounts = SystemAccounts() if accounts is None else accounts
    asked, place = settings.run_as, settings.run_as_place
    identity = _chosen(accounts) if asked is None else _written(asked, place, accounts)
    return Defaults(identity, settings.max_timeout)


def describe(identity: Identity | None) -> str:
    """Return who commands run as where no rule says so, for people."""
    return f"uid {os.geteuid()}, the monitor's own" if identity is None else identity.user


def _written(asked: str | int | Entries, place: Place, accounts: Accounts) -> Identity | None:
    """Return the identity of the settings' `run_as`; raise ConfigError."""
    faults = Faults()
    identity = resolve(asked, place, accounts, faults)
    if identity is not None and not can_become(identity):
        faults.add(place, f"run_as: rexecd runs as uid {os.geteuid()} and cannot become {identity}")
    faults.check()
    return identity


def _chosen(accounts: Accounts) -> Identity | None:
    """Return the first of the accounts for commands that there is; None without the means."""
    if not has_means():
        return None
    for name in _FOR_COMMANDS:
        account = accounts.user(name)
        if account is not None and account.gid and account.uid not in {0, os.geteuid()}:
            groups = tuple(group for group in account.groups if group)
            return Identity(account.name, account.uid, account.gid, groups)
    names = " or ".join(_FOR_COMMANDS)
    raise ConfigError(f"there is no user {names} for commands: make one, or write 'run_as'")


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
    elif status.st_gid in all_groups(identity):
        mode >>= 3
    return bool(mode & bit)


def _is_ours(identity: Identity) -> bool:
    """Return whether this process is `identity` already, in every one of its ids."""
    ids = (identity.uid, identity.gid)
    ours = all(pair == ids for pair in zip(os.getresuid(), os.getresgid(), strict=True))
    return ours and {*os.getgroups(), os.getegid()} == set(all_groups(identity))


def _is_sound(identity: Identity) -> bool:
    return all(0 <= number <= _HIGHEST for number in (identity.uid, *all_groups(identity)))


def all_groups(identity: Identity) -> tuple[int, ...]:
    """Return its groups with the primary one, which counts anyway."""
    return tuple(sorted({identity.gid, *identity.groups}))
