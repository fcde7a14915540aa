"""The monitor's two sockets, and who may come in: the seam for the gateway, the other for the operator.

Rule 1: a socket that systemd made is systemd's: it is neither replaced nor removed.
Rule 2: the mode of a socket keeps others from knocking; who knocks is asked of the kernel all the same.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from rexecd.accounts import SystemAccounts
from rexecd.errors import ConfigError
from rexecd.files import check_directory
from rexecd.policy.identity import Account, Accounts
from rexecd.seam.channel import PeerProcess, listen
from rexecd.settings import Settings
from rexecd.systemd import Manager

#: What a socket unit calls the seam (FileDescriptorName=).
SEAM_NAME: Final = "seam"
#: How long a channel may wait until `serve` has said which process the gateway is.
_INTRODUCTION: Final = 10.0


class Doors(NamedTuple):
    """Both listening sockets."""

    seam: socket.socket
    admin: socket.socket


class Gatekeeper:
    """Who may open a channel: the gateway's user and, under `serve`, only the gateway's process.

    Under `serve` commands may run as the same user, so the user alone would say nothing.
    """

    def __init__(self, uid: int, *, by_pid: bool) -> None:
        self._uid = uid
        self._pid: int | None = None
        self._known = threading.Event()
        if not by_pid:
            self._known.set()

    def introduce(self, pid: int) -> None:
        """Take the gateway's process id from `serve`; there is only one, once."""
        if not self._known.is_set():
            self._pid = pid
            self._known.set()

    def admits(self, peer: PeerProcess) -> bool:
        """Return whether a channel's other end is the gateway."""
        if peer.uid != self._uid or not self._known.wait(_INTRODUCTION):
            return False
        return self._pid is None or peer.pid == self._pid


def gateway_account(settings: Settings, accounts: Accounts | None = None) -> Account | None:
    """Return the gateway's user, None for our own; raise ConfigError where there is no such user."""
    name = settings.gateway_user
    if not name:
        return None
    account = (SystemAccounts() if accounts is None else accounts).user(name)
    if account is None:
        what = f"there is no user {name!r} on this machine: make it, as 'rexecd install' does"
        raise ConfigError(f"{settings.source}: gateway_user: {what}")
    if account.uid == 0:
        raise ConfigError(f"{settings.source}: gateway_user: {name!r} is root: give the gateway its own user")
    return None if account.uid == os.geteuid() else account


def prepare_directory(settings: Settings, gateway: Account | None) -> None:
    """Make the sockets' directory if it is not there; raise ConfigError for one others could change."""
    mode = 0o700 if gateway is None else 0o755
    try:
        settings.run.mkdir(mode=mode)
        settings.run.chmod(mode)  # whatever the umask took away
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(
            f"{settings.run}: cannot be made: {error.strerror}: make it, or change 'run'"
        ) from None
    check_directory(settings.run)


@contextlib.contextmanager
def opened_doors(settings: Settings, manager: Manager, gateway: Account | None) -> Iterator[Doors]:
    """Open both sockets, and remove them again; raise ConfigError.

    Only a process that holds the lock of the state directory may: what it replaces is then dead.
    """
    with contextlib.ExitStack() as stack:
        seam = manager.listener(SEAM_NAME, lambda sock: _is_at(sock, str(settings.seam_socket)))
        if seam is None:
            seam = _own_seam(settings, gateway)
            stack.callback(settings.seam_socket.unlink, missing_ok=True)
        admin = listen(settings.admin_socket, mode=0o600)
        stack.callback(settings.admin_socket.unlink, missing_ok=True)
        yield Doors(seam, admin)


def _own_seam(settings: Settings, gateway: Account | None) -> socket.socket:
    if gateway is None:
        return listen(settings.seam_socket, mode=0o600)
    try:
        return listen(settings.seam_socket, mode=0o660, group=gateway.gid)
    except PermissionError:
        raise ConfigError(
            f"{settings.seam_socket}: cannot be given to the group of {gateway.name!r}: let systemd make it "
            "(rexecd-monitor.socket), or put the monitor's user into that group"
        ) from None


def _is_at(sock: socket.socket, path: str) -> bool:
    """Return whether a socket is of the seam's kind, and where the gateway looks for it."""
    return (sock.family, sock.type, sock.getsockname()) == (socket.AF_UNIX, socket.SOCK_SEQPACKET, path)
