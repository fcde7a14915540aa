"""One command in the gateway: what leaves together, and a corner that no well-built caller reaches."""

import os
import select
import socket
from collections.abc import Callable, Iterator

import pytest

from rexecd.gateway.relay import ConnectionLost, Relay
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.serving import Stop
from rexecd.wire.connection import Connection, Role
from rexecd.wire.messages import Ending
from rexecd.wire.states import State

STARTED = seam.Started("r-1", False, seam.UNLIMITED, seam.UNLIMITED)
EXITED = seam.Exited(Ending.EXITED, 0, 1)
#: Output, its header and its bytes.
HELLO = b"\x00\x00\x00\x06\x84hello"


class _Caller:
    """A TLS connection on which nothing comes, and which has room for whatever is sent."""

    interest = select.POLLIN
    unsent = False

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.held = b"started "
        self.sent: list[bytes] = []
        #: Called when something has left.
        self.when_sent: Callable[[], None] = lambda: None

    @property
    def holds(self) -> bool:
        """Return whether something waits for what comes next."""
        return bool(self.held)

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._sock.fileno()

    def read(self) -> bytes | None:
        """Give nothing yet."""
        return None

    def hold(self, data: bytes) -> None:
        """Keep bytes until more is put."""
        self.held += data

    def put(self, data: memoryview | bytes) -> None:
        """Send what was held and this."""
        self.sent.append(self.held + bytes(data))
        self.held = b""
        self.when_sent()


class _House:
    """A command's relay, and whoever is around it."""

    def __init__(self) -> None:
        self._sockets = socket.socketpair()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.monitor, self._channel = (Channel(sock, seam.SEAM, timeout=1) for sock in (theirs, ours))
        self._stop = Stop()
        self.caller = _Caller(self._sockets[0])
        (out, self.stdout), (err, self.stderr) = os.pipe(), os.pipe()
        connection = Connection(Role.SERVER)
        connection._state = State.RUNNING
        self.relay = Relay(
            self.caller,  # type: ignore[arg-type] # a double
            connection,
            self._channel,
            self._stop,
            started=STARTED,
            descriptors=(out, err),
            write_timeout=1,
        )

    def end(self) -> None:
        """Let the command end."""
        for descriptor in (self.stdout, self.stderr):
            os.close(descriptor)
        self.stdout = self.stderr = -1
        self.monitor.send(EXITED)

    def close(self) -> None:
        """Give everything back."""
        self.relay.close()
        for each in (*self._sockets, self.monitor, self._channel, self._stop, self._stop.draining):
            each.close()
        for descriptor in (self.stdout, self.stderr):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def house() -> Iterator[_House]:
    """Give a command that has begun, of which its caller has not been told yet."""
    made = _House()
    yield made
    made.close()


def test_of_a_command_that_has_ended_already_nothing_leaves_before_its_end(house: _House) -> None:
    """What it wrote waits for Exit, as the word that it began does: all of it is one piece."""
    os.write(house.stdout, b"hello")
    house.end()

    exited, drained = house.relay.run()

    assert ([], b"started " + HELLO) == (house.caller.sent, house.caller.held)
    assert (EXITED, seam.Drained(5, 0, 0, truncated=False)) == (exited, drained)


def test_that_a_command_began_is_not_kept_from_its_caller_until_it_says_something(house: _House) -> None:
    """It ends only when the caller has heard of its beginning."""
    house.caller.when_sent = house.end

    house.relay.run()

    assert [b"started "] == house.caller.sent


def test_output_does_not_wait_for_the_end_of_its_command(house: _House) -> None:
    """It takes the word that the command began with it."""
    house.caller.when_sent = house.end
    os.write(house.stdout, b"hello")

    house.relay.run()

    assert [b"started " + HELLO] == house.caller.sent


def test_much_output_leaves_before_the_end(house: _House) -> None:
    """Only small pieces wait, so that there is never much to hold."""
    os.write(house.stdout, b"x" * 5000)
    house.end()

    house.relay.run()

    assert [b"started \x00\x00\x13\x89\x84" + b"x" * 5000] == house.caller.sent


class _Stream:
    """A TLS connection whose read waits to write: its peer asked for new keys and does not read."""

    interest = select.POLLOUT

    def read(self) -> bytes | None:
        """Give nothing yet."""
        return None


def test_a_half_gone_caller_that_does_not_read_is_lost_and_not_polled_for() -> None:
    """Its hang-up stays ready for ever: going on would spin until the command's own deadline."""
    relay = Relay.__new__(Relay)
    relay._in = memoryview(b"")
    relay._stream = _Stream()  # type: ignore[assignment] # a double

    with pytest.raises(ConnectionLost):
        relay._hear_caller(select.POLLRDHUP)
