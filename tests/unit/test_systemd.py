"""Sockets handed over by a service manager, and what it is told."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rexecd.errors import ConfigError
from rexecd.systemd import Inherited, Manager


class _Listening:
    """A service manager that writes down what it hears."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.name = address.replace("\0", "@")

    def heard(self) -> list[str]:
        said = []
        while True:
            try:
                said.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return said


@pytest.fixture
def manager_at() -> Iterator[Callable[..., Manager]]:
    """Return a way to be the child of a service manager at an address."""
    made: list[Manager] = []

    def make(address: str, **environment: str) -> Manager:
        made.append(Manager({"NOTIFY_SOCKET": address, **environment}))
        return made[-1]

    yield make
    for each in made:
        if each._socket is not None:
            each._socket.close()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[_Listening]:
    """Return a manager at a path."""
    manager = _Listening(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def test_without_a_service_manager_there_is_nothing() -> None:
    """And nothing is touched."""
    environment = {"A": "b"}
    manager = Manager(environment)
    manager.ready("fine")
    manager.alive()

    assert manager.inherited == ()
    assert manager.listener("callers", lambda _: False) is None
    assert [] == manager.listeners("callers", lambda _: False)
    assert environment == {"A": "b"}


def test_what_is_meant_for_another_process_is_not_taken() -> None:
    """The process ids have to be ours; the variables go either way, so that no child believes them."""
    other = str(os.getpid() + 1)
    environment = {
        "LISTEN_PID": other,
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "x",
        "WATCHDOG_PID": other,
        "WATCHDOG_USEC": "1000",
        "INVOCATION_ID": "1",
        "A": "b",
    }
    manager = Manager(environment)

    assert manager.inherited == ()
    assert manager.interval == 0
    assert environment == {"A": "b"}


def test_our_sockets_are_taken_by_name_and_close_on_exec() -> None:
    """In a process whose descriptor 3 is a listener."""
    program = """
import os, socket, sys
from rexecd.systemd import Manager
os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="callers")
sock = Manager(os.environ).listener("callers", lambda sock: sock.type == socket.SOCK_STREAM)
print(sock.getsockname()[1], os.get_inheritable(3), "LISTEN_FDS" in os.environ)
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = subprocess.run(
            [sys.executable, "-c", program, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            check=True,
        )
        port = listener.getsockname()[1]

    assert done.stdout == f"{port} False False\n"


@pytest.mark.parametrize(
    ("names", "wanted"),
    [(["callers", "callers"], "not one socket 'callers'"), (["seam", "other"], "not a socket 'callers'")],
)
def test_sockets_without_ours_among_them_are_a_mistake_in_a_unit(names: list[str], wanted: str) -> None:
    """Better no start than a daemon that listens where nobody expects it."""
    manager = Manager({})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        manager.inherited = tuple(Inherited(name, listener) for name in names)

        with pytest.raises(ConfigError, match=wanted):
            manager.listener("callers", lambda _: True)


def test_a_unit_with_several_addresses_passes_several_of_one_name() -> None:
    """Each of them has to fit; what has another name is not ours."""
    manager = Manager({})
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        other = Inherited("seam", two)
        manager.inherited = (Inherited("callers", one), Inherited("callers", two), other)

        assert [one, two] == manager.listeners("callers", lambda _: True)
        with pytest.raises(ConfigError, match="of another kind"):
            manager.listeners("callers", lambda sock: sock is one)


def test_a_socket_of_another_kind_is_not_taken() -> None:
    """Neither one that does not listen, nor one that does not fit."""
    manager = Manager({})
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as deaf:
        for sock, fits in ((deaf, True), (listener, False)):
            manager.inherited = (Inherited("callers", sock),)

            with pytest.raises(ConfigError, match="of another kind"):
                manager.listener("callers", lambda _, fits=fits: fits)  # type: ignore[misc]


def test_a_socket_alone_needs_no_name() -> None:
    """systemd-socket-activate(1) gives it none, and there is nothing to mistake it for."""
    manager = Manager({})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        manager.inherited = (Inherited("unknown", listener),)

        assert listener is manager.listener("callers", lambda _: True)


def test_the_manager_hears_what_there_is_to_say(
    listening: _Listening, manager_at: Callable[..., Manager]
) -> None:
    """A datagram each, with its state in it; a status that is no news is not sent."""
    manager = manager_at(listening.name)
    before = time.monotonic_ns() // 1000
    manager.ready("2 sessions")
    manager.status("2 sessions")
    manager.status("3\nsessions")
    manager.reloading()
    manager.ready()
    manager.stopping("draining", seconds=1.5)
    *said, reloading, again, stopping = listening.heard()

    assert said == ["READY=1\nSTATUS=2 sessions", "STATUS=3 sessions"]
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert before <= int(reloading.rpartition("=")[2]) <= time.monotonic_ns() // 1000
    assert (again, stopping) == ("READY=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\nSTATUS=draining")


def test_a_sign_of_life_is_sent_now_and_then(
    listening: _Listening, manager_at: Callable[..., Manager]
) -> None:
    """However often the loop turns; and the news with it."""
    manager = manager_at(listening.name, WATCHDOG_USEC="400000", WATCHDOG_PID=str(os.getpid()))
    turn = manager.at_each_turn(lambda: "all is well")
    for _ in range(100):
        turn()
    first = listening.heard()
    time.sleep(0.11)
    turn()

    assert first == ["WATCHDOG=1", "STATUS=all is well"]
    assert listening.heard() == ["WATCHDOG=1"]


def test_an_abstract_address_is_understood(manager_at: Callable[..., Manager]) -> None:
    """A leading @ stands for a NUL."""
    listening = _Listening(f"\0rexecd-test-{os.getpid()}")
    manager_at(listening.name).ready()
    said = listening.heard()
    listening.socket.close()

    assert said == ["READY=1"]


@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1234", "relative", "@" + "x" * 200])
def test_a_manager_that_is_not_there_fails_nobody(address: str, manager_at: Callable[..., Manager]) -> None:
    """Telling it something is a courtesy."""
    manager = manager_at(address)
    manager.ready("fine")
    manager.reloading()
    manager.stopping("draining", seconds=1)

    assert manager.inherited == ()


def test_a_manager_that_does_not_listen_delays_nobody(
    listening: _Listening, manager_at: Callable[..., Manager]
) -> None:
    """Its queue is full, and the daemon goes on."""
    manager = manager_at(listening.name)
    before = time.monotonic()
    for number in range(5000):
        manager.status(str(number))

    assert time.monotonic() - before < 5
