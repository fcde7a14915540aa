"""The monitor's sockets, and who may come in."""

import dataclasses
import os
import socket
import stat
from pathlib import Path

import pytest

from rexecd.errors import ConfigError
from rexecd.monitor.doors import Gatekeeper, gateway_account, opened_doors, prepare_directory
from rexecd.policy.identity import Account
from rexecd.seam.channel import PeerProcess
from rexecd.settings import Settings, parse_settings
from rexecd.systemd import Inherited, Manager

SOMEBODY = Account("gate", 12345, 12346, (12346,))


class _Accounts:
    """A machine with one user besides root."""

    def user(self, name: str) -> Account | None:
        return {"gate": SOMEBODY, "root": Account("root", 0, 0, (0,))}.get(name)

    def group(self, _name: str) -> int | None:
        return None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings whose sockets are in a directory of the test's own."""
    return parse_settings("version: 1\n", tmp_path / "rexecd.yaml")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_gateways_user_is_let_in() -> None:
    """Not even the monitor's own, where they differ."""
    keeper = Gatekeeper(SOMEBODY.uid, by_pid=False)

    assert keeper.admits(PeerProcess(1, SOMEBODY.uid))
    assert not keeper.admits(PeerProcess(1, os.geteuid()))


def test_by_pid_one_process_is_let_in_once_it_is_known() -> None:
    """The first introduction counts."""
    keeper = Gatekeeper(os.geteuid(), by_pid=True)
    keeper.introduce(7)
    keeper.introduce(8)

    assert keeper.admits(PeerProcess(7, os.geteuid()))
    assert not keeper.admits(PeerProcess(8, os.geteuid()))


def test_the_gateways_user_is_looked_up_at_start(settings: Settings) -> None:
    """Nobody is our own; a name that is nobody's and root are errors with a remedy."""
    named = {name: dataclasses.replace(settings, gateway_user=name) for name in ("gate", "ghost", "root")}

    assert gateway_account(settings, _Accounts()) is None
    assert gateway_account(named["gate"], _Accounts()) == SOMEBODY
    with pytest.raises(ConfigError, match="gateway_user: there is no user 'ghost' on this machine: make it"):
        gateway_account(named["ghost"], _Accounts())
    with pytest.raises(ConfigError, match="'root' is root: give the gateway its own user"):
        gateway_account(named["root"], _Accounts())


def test_both_sockets_are_ours_alone_and_go_with_us(settings: Settings) -> None:
    """Without a service manager and with one user."""
    prepare_directory(settings, None)
    with opened_doors(settings, Manager({}), None) as doors:
        modes = [_mode(path) for path in (settings.run, settings.seam_socket, settings.admin_socket)]
        for sock in doors:
            sock.close()

    assert modes == [0o700, 0o600, 0o600]
    assert list(settings.run.iterdir()) == []


def test_the_directory_lets_another_user_through(settings: Settings) -> None:
    """Under any umask."""
    previous = os.umask(0o077)
    prepare_directory(settings, SOMEBODY)
    os.umask(previous)

    assert _mode(settings.run) == 0o755


def test_a_seam_that_systemd_made_is_neither_replaced_nor_removed(settings: Settings) -> None:
    """It outlives the monitor; the operator's door does not."""
    prepare_directory(settings, None)
    manager = Manager({})
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as made:
        made.bind(str(settings.seam_socket))
        made.listen()
        manager.inherited = (Inherited("seam", made),)
        with opened_doors(settings, manager, SOMEBODY) as doors:
            assert doors.seam is made
            doors.admin.close()

    assert list(settings.run.iterdir()) == [settings.seam_socket]


def test_a_seam_elsewhere_is_a_mistake_in_a_unit(settings: Settings, tmp_path: Path) -> None:
    """The gateway would look for it in vain."""
    prepare_directory(settings, None)
    manager = Manager({})
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as made:
        made.bind(str(tmp_path / "elsewhere"))
        made.listen()
        manager.inherited = (Inherited("seam", made),)

        with pytest.raises(ConfigError, match="'seam'"), opened_doors(settings, manager, None):
            pass


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another group")
def test_our_own_seam_is_opened_to_the_gateways_group(settings: Settings) -> None:
    """Where the users differ and no service manager made it."""
    prepare_directory(settings, SOMEBODY)
    with opened_doors(settings, Manager({}), SOMEBODY) as doors:
        status = settings.seam_socket.stat()
        for sock in doors:
            sock.close()

    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, SOMEBODY.gid)
