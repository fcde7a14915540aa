"""Several listening sockets look like one, and none of them is neglected."""

import os
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from rexecd.gateway.listeners import Listeners, listener, spelled
from tests.harness import needs_ipv6


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Give three listeners."""
    made = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(3)]
    yield made
    for sock in made:
        sock.close()


def _call(sock: socket.socket) -> socket.socket:
    return socket.create_connection(sock.getsockname(), timeout=10)


def test_whoever_waits_at_any_of_them_is_accepted(sockets: list[socket.socket]) -> None:
    """As from a single blocking listener; with nobody there it says so."""
    door = Listeners(sockets)
    for sock in sockets:
        with _call(sock) as caller:
            accepted, address = door.accept()
            with accepted:
                assert caller.getsockname() == address
                assert accepted.gettimeout() is None
                assert os.get_blocking(accepted.fileno())
    with pytest.raises(BlockingIOError):
        door.accept()
    door.close()


def test_a_crowd_at_one_of_them_does_not_keep_the_others_waiting(sockets: list[socket.socket]) -> None:
    """They take turns, also with one where somebody comes later."""
    door = Listeners(sockets)
    ports = {sock.getsockname()[1] for sock in sockets}
    crowd = [_call(sockets[0]) for _ in range(40)]
    served: Counter[int] = Counter()

    def serve(number: int) -> None:
        for _ in range(number):
            accepted, _ = door.accept()
            served[accepted.getsockname()[1]] += 1
            accepted.close()

    with _call(sockets[1]):
        serve(2)
        with _call(sockets[2]):
            serve(18)
    for caller in crowd:
        caller.close()
    door.close()

    assert ports == served.keys()


def test_one_that_is_closed_is_no_descriptor_any_more(sockets: list[socket.socket]) -> None:
    """A server that closes twice does no harm."""
    door = Listeners(sockets)
    assert door.fileno() >= 0
    assert sockets[0].getsockname() == door.getsockname()
    door.close()
    door.close()

    assert [-1] * 4 == [door.fileno(), *(sock.fileno() for sock in sockets)]


@needs_ipv6
def test_an_address_is_spelled_as_it_is_written() -> None:
    """IPv6 in brackets."""
    with listener("127.0.0.1", 0) as four, listener("::1", 0) as six, listener("", 0) as every:
        spellings = [spelled(sock).rpartition(":")[0] for sock in (four, six, every)]

    assert ["127.0.0.1", "[::1]", "[::]"] == spellings


@needs_ipv6
def test_an_ipv6_address_alone_leaves_the_ipv4_port_to_another() -> None:
    """So that both can be in one list."""
    with listener("::", 0) as six, listener("0.0.0.0", six.getsockname()[1]) as four:
        assert six.getsockname()[1] == four.getsockname()[1]
