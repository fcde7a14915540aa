"""What an installation is made of: steps that know whether they are done, and can be printed before they are.

Rule 1: what is there is never overwritten, but for files that are ours alone (units).
Rule 2: modes are set, never left to the umask; of what is there they are only ever narrowed.
Rule 3: a step that is done does nothing, so that a second run changes nothing.
"""

import contextlib
import grp
import os
import pwd
import shutil
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from rexecd.audit.keys import create_keys
from rexecd.cli import tools
from rexecd.cli.init import AUTHORITY_DAYS, SERVER_DAYS
from rexecd.errors import ConfigError
from rexecd.files import write_file
from rexecd.identity.certificates import issue_server, make_authority
from rexecd.identity.store import Store

#: Of directories on the way that are nobody's in particular.
_COMMON = 0o755


class Step(Protocol):
    """One thing to bring about."""

    def __str__(self) -> str:
        """Return what is done, as in `to do: directory /etc/rexecd`."""

    def is_done(self) -> bool:
        """Return whether there is nothing to do."""

    def do(self) -> None:
        """Bring it about; raise ConfigError."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of ours."""

    path: Path
    mode: int
    user: str = "root"
    group: str = "root"

    def __str__(self) -> str:
        return f"directory {self.path} ({self.mode:04o} {self.user}:{self.group})"

    def is_done(self) -> bool:
        """Return whether it is there, nobody else's, and not more open than it should be."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return False
        is_narrow = not stat.S_IMODE(status.st_mode) & ~self.mode
        return stat.S_ISDIR(status.st_mode) and is_narrow and _belongs(status, self.user, self.group)

    def do(self) -> None:
        """Make it, or take it back from whoever has it; raise ConfigError."""
        try:
            if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
                raise ConfigError(f"{self.path}: not a directory; move it away")
            mode = stat.S_IMODE(self.path.stat().st_mode) & self.mode if self.path.exists() else self.mode
            make_way(self.path.parent)
            self.path.mkdir(mode=0o700, exist_ok=True)
            _give(self.path, self.user, self.group)
            self.path.chmod(mode)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be made: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class File:
    """A file with this content; one that is there stays as it is, unless it is ours alone."""

    path: Path
    content: bytes
    mode: int = 0o644
    user: str = "root"
    group: str = "root"
    is_ours: bool = False

    def __str__(self) -> str:
        return f"{self.path} ({self.mode:04o} {self.user}:{self.group})"

    def is_done(self) -> bool:
        """Return whether it is there, and as it should be if it is ours."""
        try:
            if not self.is_ours:
                return os.path.lexists(self.path)
            return self.path.read_bytes() == self.content and not self.path.is_symlink()
        except OSError:
            return False

    def do(self) -> None:
        """Write it whole; raise ConfigError."""
        make_way(self.path.parent)
        write_file(self.path, self.content, mode=self.mode)
        if os.geteuid() == 0:  # not for a packager
            _give(self.path, self.user, self.group)


@dataclass(frozen=True, slots=True)
class Link:
    """A name on the PATH for a program of ours."""

    path: Path
    target: Path

    def __str__(self) -> str:
        return f"{self.path} -> {self.target}"

    def is_done(self) -> bool:
        """Return whether somebody calls the program, or one of that name, already."""
        return os.path.lexists(self.path) or shutil.which(self.path.name, path=_PATHS) is not None

    def do(self) -> None:
        """Make it; raise ConfigError."""
        make_way(self.path.parent)
        try:
            self.path.symlink_to(self.target)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be made: {error.strerror}") from None


_PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Users:
    """The users that a definition for systemd-sysusers names."""

    definition: Path
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"users {', '.join(self.names)}"

    def is_done(self) -> bool:
        """Return whether all are there."""
        try:
            for name in self.names:
                pwd.getpwnam(name)
                grp.getgrnam(name)
        except KeyError:
            return False
        return True

    def do(self) -> None:
        """Make those that are missing; raise ConfigError."""
        remedy = f"make them by hand: useradd --system --user-group {' '.join(self.names)}, one by one"
        tools.run("systemd-sysusers", str(self.definition), remedy=remedy)


@dataclass(frozen=True, slots=True)
class Certificates:
    """A certificate authority and the server's certificate; none is made where one of its files is."""

    directory: Path
    hosts: Sequence[str]
    group: str

    def __str__(self) -> str:
        return f"certificate for {', '.join(self.hosts)} in {self.directory / 'certs'}, and its authority"

    def is_done(self) -> bool:
        """Return whether a certificate or a key is there."""
        return any(os.path.lexists(self.directory / "certs" / name) for name in ("server.pem", "server.key"))

    def do(self) -> None:
        """Make them; raise ConfigError."""
        now = datetime.now(UTC)
        authority = make_authority("rexecd authority", now=now, days=AUTHORITY_DAYS)
        server = issue_server(authority, self.hosts, now=now, days=SERVER_DAYS)
        certs = self.directory / "certs"
        for file in (
            # Not beside the others: what is in `certs` the exposed process sees.
            File(self.directory / "ca.key", authority.key_pem, 0o600),
            File(certs / "ca.pem", authority.certificate_pem),
            File(certs / "server.key", server.key_pem, 0o640, group=self.group),
            File(certs / "server.pem", server.certificate_pem),
        ):
            file.do()


@dataclass(frozen=True, slots=True)
class State:
    """An empty store of tokens and the trail's key; the verification key goes elsewhere."""

    directory: Path
    verification_key: Path
    user: str

    def __str__(self) -> str:
        return f"tokens and trail key in {self.directory}"

    def is_done(self) -> bool:
        """Return whether there is state."""
        return any(os.path.lexists(self.directory / name) for name in ("tokens.sqlite", "trail.key"))

    def do(self) -> None:
        """Make it; raise ConfigError."""
        key = create_keys(self.directory, socket.gethostname())
        write_file(self.verification_key, key.encode().encode(), mode=0o600)
        Store(self.directory / "tokens.sqlite").close()
        for name in os.listdir(self.directory):  # noqa: PTH208 - names are what is wanted
            _give(self.directory / name, self.user, self.user)


@dataclass(frozen=True, slots=True)
class Tool:
    """A run of one of the machine's tools, unless there is no need."""

    about: str
    arguments: tuple[str, ...]
    is_needless: Callable[[], bool] = lambda: False

    def __str__(self) -> str:
        return self.about

    def is_done(self) -> bool:
        """Return whether it is as it should be already."""
        return self.is_needless()

    def do(self) -> None:
        """Run it; raise ConfigError."""
        tools.run(*self.arguments)


def make_way(directory: Path) -> None:
    """Make a directory that is nobody's in particular, and those above it, whatever the umask."""
    if directory.is_dir():
        return
    make_way(directory.parent)
    try:
        directory.mkdir(mode=_COMMON)
        directory.chmod(_COMMON)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be made: {error.strerror}") from None


def remove(path: Path) -> bool:
    """Remove a file, a link, or a directory with all that is in it; return whether it was there."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{path}: cannot be removed: {error.strerror}") from None
    return True


def _belongs(status: os.stat_result, user: str, group: str) -> bool:
    with contextlib.suppress(KeyError):
        return (status.st_uid, status.st_gid) == (pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
    return False


def _give(path: Path, user: str, group: str) -> None:
    try:
        os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid, follow_symlinks=False)
    except KeyError as error:
        raise ConfigError(f"{path}: there is no {error.args[0].split(':')[-1].strip()}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be given to {user}:{group}: {error.strerror}") from None
