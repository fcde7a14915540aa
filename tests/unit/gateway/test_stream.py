"""One TLS connection: every wait has a deadline that nobody can talk it out of."""

import errno
import select
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from rexecd.gateway.stream import DeadlinePassed, Stopping, Stream, has_begun, socket_options
from rexecd.serving import Stop


class _Tls:
    """A TLS socket that wants what the test wants."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.wants: type[ssl.SSLError] = ssl.SSLWantReadError
        self.refuses: type[ssl.SSLError] = ssl.SSLWantWriteError
        self.room = 0
        self.sent = b""

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._sock.fileno()

    def recv(self, _: int) -> bytes:
        """Never give anything."""
        raise self.wants

    def send(self, data: memoryview) -> int:
        """Take as much as there is room for."""
        if not self.room:
            raise self.refuses
        taken = bytes(data[: self.room])
        self.sent += taken
        self.room -= len(taken)
        return len(taken)


@pytest.fixture
def stop() -> Stop:
    """Give a stop."""
    return Stop()


@pytest.fixture
def tls() -> Iterator[_Tls]:
    """Give a socket whose peer has sent more than anybody reads."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"more")
        yield _Tls(ours)


@pytest.fixture
def stream(tls: _Tls, stop: Stop) -> Stream:
    """Give a stream over it."""
    made = Stream.__new__(Stream)
    made._tls = tls  # type: ignore[assignment] # a double
    made._stop = stop
    made._unsent = memoryview(b"")
    made._held = b""
    made._read_needs_write = False
    made._error = 0
    return made


def test_a_peer_that_is_always_ready_gets_no_more_time(stream: Stream) -> None:
    """The clock is asked before the socket."""
    deadline = time.monotonic() + 0.05

    def read_all() -> None:
        while stream.read() is None:
            stream.wait(stream.interest, deadline)

    with pytest.raises(DeadlinePassed):
        read_all()
    assert time.monotonic() - deadline < 2


def test_a_read_that_waits_to_write_polls_for_room_and_not_for_bytes(stream: Stream, tls: _Tls) -> None:
    """Bytes are there, and would make the loop spin: OpenSSL first has to answer a key update."""
    assert stream.read() is None
    assert stream.interest == select.POLLIN
    tls.wants = ssl.SSLWantWriteError

    assert stream.read() is None
    assert stream.interest == select.POLLOUT
    tls.wants = ssl.SSLWantReadError
    assert stream.read() is None
    assert stream.interest == select.POLLIN


def test_a_stop_ends_a_wait(stream: Stream, stop: Stop) -> None:
    """Unless the last words are under way."""
    stop.set()

    with pytest.raises(Stopping):
        stream.wait(select.POLLPRI, time.monotonic() + 10)
    with pytest.raises(DeadlinePassed):
        stream.wait(select.POLLPRI, time.monotonic() + 0.01, hear_stop=False)


def test_what_does_not_fit_is_kept_in_order(stream: Stream, tls: _Tls) -> None:
    """Offered again from where it stopped."""
    tls.room = 4
    stream.put(b"abcdefgh")

    assert [True, 0] == [stream.unsent, stream.flush()]
    tls.room = 3
    assert [True, 3] == [stream.unsent, stream.flush()]
    tls.room = 9
    stream.put_all(b"ij", time.monotonic() + 10)
    assert [False, b"abcdefghij"] == [stream.unsent, tls.sent]


def test_a_write_that_waits_for_half_a_message_is_the_end(stream: Stream, tls: _Tls) -> None:
    """It would be polled for room, which is always there."""
    tls.refuses = ssl.SSLWantReadError

    with pytest.raises(ssl.SSLWantReadError):
        stream.put(b"x")


def test_a_stop_ends_a_write_but_not_the_last_word(stream: Stream, stop: Stop) -> None:
    """A caller that reads nothing holds up no stop; its reason may still take a moment."""
    stop.set()

    with pytest.raises(Stopping):
        stream.put_all(b"x", time.monotonic() + 10)
    with pytest.raises(DeadlinePassed):
        stream.put_all(b"y", time.monotonic() + 0.02, hear_stop=False)


def test_a_peer_that_vanishes_is_asked_for_by_the_kernel(stop: Stop) -> None:
    """Keepalive is on, and a frame leaves at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caller = socket.create_connection(listener.getsockname())
        raw, _ = listener.accept()
        made = Stream(raw, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), stop, keepalive=60.0)
        options = [made._tls.getsockopt(level, option) for level, option, _ in socket_options(60.0)]
        made.abort()
        caller.close()

    assert [1, 1, 60, 15, 4, 120_000] == options


def test_a_short_keepalive_is_rounded_up_to_what_the_kernel_takes() -> None:
    """It counts in seconds, and refuses nought."""
    assert [1, 1, 2, 1, 4, 3000] == [value for _, _, value in socket_options(1.5)]


def test_a_peer_that_reads_nothing_cannot_hold_the_last_word_for_ever(stream: Stream) -> None:
    """put_all has a deadline."""
    with pytest.raises(DeadlinePassed):
        stream.put_all(b"x", time.monotonic() + 0.02)


@pytest.mark.parametrize(("said", "has"), [(b"x", True), (b"", False)])
def test_a_first_byte_is_waited_for_and_left_there(stop: Stop, said: bytes, has: bool) -> None:
    """An end without one is told from it."""
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(said)
        theirs.close()

        assert has == has_begun(ours, time.monotonic() + 10, stop)
        assert said == ours.recv(9)


def test_a_first_byte_is_not_waited_for_longer_than_a_stop_or_a_deadline(stop: Stop) -> None:
    """The one deadline of everything before the token."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(DeadlinePassed):
            has_begun(ours, time.monotonic() + 0.01, stop)
        stop.set()
        with pytest.raises(Stopping):
            has_begun(ours, time.monotonic() + 10, stop)


@pytest.mark.parametrize(
    ("number", "has_vanished"),
    [(errno.ETIMEDOUT, True), (errno.EHOSTUNREACH, True), (errno.ECONNRESET, False)],
)
def test_a_peer_that_vanished_is_told_from_one_that_left(
    stream: Stream, number: int, has_vanished: bool
) -> None:
    """The kernel says which, once, and before the end-of-file is read."""
    told = [number]

    class Failing:
        """A socket with an error."""

        def getsockopt(self, level: int, option: int) -> int:
            """Return the error, once."""
            assert (socket.SOL_SOCKET, socket.SO_ERROR) == (level, option)
            return told.pop() if told else 0

    stream._tls = Failing()  # type: ignore[assignment] # a double
    stream.heed(select.POLLIN)
    assert told
    stream.heed(select.POLLIN | select.POLLERR)

    assert has_vanished == stream.has_vanished()


def test_what_was_held_leaves_in_front_of_what_comes_next(stream: Stream, tls: _Tls) -> None:
    """And with it: what TLS is given is one piece."""
    tls.room = 100
    stream.hold(b"first ")
    stream.hold(b"second ")

    assert (b"", True) == (tls.sent, stream.holds)

    stream.put(b"third")

    assert (b"first second third", False) == (tls.sent, stream.holds)


def test_much_is_not_held(stream: Stream, tls: _Tls) -> None:
    """Memory stays flat, whatever is given to be held."""
    tls.room = 1 << 20
    stream.hold(bytes(16 * 1024))
    stream.hold(b"more")

    assert (16 * 1024 + 4, False) == (len(tls.sent), stream.holds)
