"""Channels over real packet sockets: messages, descriptors, and who is there."""

import array
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings

from rexecd.errors import LocalProtocolError, RemoteProtocolError, Unavailable
from rexecd.limits import MAX_FRAME, MAX_NAME, MAX_PACKET, MAX_PARAMETERS, MAX_SCHEMA, MAX_TEXT
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel, PeerProcess, connect, listen
from rexecd.seam.messages import ADMIN, SEAM
from rexecd.wire import messages as wire
from tests.catalogues import messages

STARTED = seam.Started("r-1", takes_input=False, output_ceiling=1, input_ceiling=2)


class Pair(NamedTuple):
    """Both ends, and the sending end's socket for what a channel would not do."""

    sender: Channel
    taker: Channel
    raw: socket.socket


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two channels that are connected."""
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sender, taker = Channel(one, SEAM, timeout=5), Channel(two, SEAM, timeout=5)
    yield Pair(sender, taker, one)
    sender.close()
    taker.close()


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    """Five descriptors that can be passed."""
    with contextlib.ExitStack() as stack:
        opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
        for descriptor in opened:
            stack.callback(os.close, descriptor)
        yield opened


def open_descriptors() -> int:
    """Return how many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=messages(*SEAM.rows))
def test_a_message_arrives_as_it_was_sent(pair: Pair, message: Any) -> None:
    """One message is one packet, in both directions."""
    pair.sender.send(message)
    assert message == pair.taker.receive()
    pair.taker.send(message)
    assert (message, ()) == pair.sender.receive_with_descriptors()


def test_the_largest_message_fits_a_packet() -> None:
    """What the catalogues allow, the kernel carries whole."""
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sender, taker = Channel(one, ADMIN, timeout=5), Channel(two, ADMIN, timeout=5)
    answer = seam.Answer(good=True, body="x" * (MAX_PACKET - 1024))
    sender.send(answer)
    received = taker.receive()
    sender.close()
    taker.close()

    assert answer == received


def test_the_largest_entry_fits_a_packet_and_a_frame() -> None:
    """Every field of it as long as it may be, and there is room to spare in both."""
    texts = ("d" * MAX_TEXT,) * 3
    entry = wire.Entry("n" * MAX_NAME, *texts, ("p" * 512,) * MAX_PARAMETERS, "s" * MAX_SCHEMA)
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sender, taker = Channel(one, SEAM, timeout=5), Channel(two, SEAM, timeout=5)
    sender.send(entry)
    received = taker.receive()
    sender.close()
    taker.close()

    assert entry == received
    assert len(SEAM.encode(entry)) <= min(MAX_FRAME, MAX_PACKET)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_descriptors_arrive_open_in_order_and_close_on_exec(
    pair: Pair, pipes: list[int], number: int
) -> None:
    """What was passed is there, and no program started later inherits it."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    pair.sender.send(STARTED, (writer, *pipes[: number - 1]))
    os.close(writer)
    message, descriptors = pair.taker.receive_with_descriptors()

    assert message == STARTED
    assert number == len(descriptors)
    assert [False] * number == [os.get_inheritable(descriptor) for descriptor in descriptors]
    os.write(descriptors[0], b"through")
    assert os.read(reader, 10) == b"through"
    for descriptor in (reader, *descriptors):
        os.close(descriptor)


@pytest.mark.parametrize("number", [4, 5])
def test_a_surplus_descriptor_is_refused_and_nothing_leaks(pair: Pair, pipes: list[int], number: int) -> None:
    """One too many, and none is kept; padding of the buffer must not let a fourth one in."""
    before = open_descriptors()
    pair.sender.send(STARTED, tuple(pipes[:number]))

    with pytest.raises(RemoteProtocolError, match="was cut"):
        pair.taker.receive_with_descriptors()
    assert before == open_descriptors()


def test_a_malformed_message_with_descriptors_leaks_none(pair: Pair, pipes: list[int]) -> None:
    """The descriptors of a message that is no message are closed."""
    before = open_descriptors()
    socket.send_fds(pair.raw, [b"\x00"], pipes[:2])

    with pytest.raises(RemoteProtocolError, match="unknown message kind 0"):
        pair.taker.receive_with_descriptors()
    assert before == open_descriptors()


def test_descriptors_without_a_message_are_refused(pair: Pair, pipes: list[int]) -> None:
    """An empty packet looks like end-of-file and must not carry anything in."""
    before = open_descriptors()
    rights = array.array("i", pipes[:2])
    pair.raw.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    with pytest.raises(RemoteProtocolError, match="was cut"):
        pair.taker.receive_with_descriptors()
    assert before == open_descriptors()


def test_descriptors_nobody_asked_for_are_refused(pair: Pair, pipes: list[int]) -> None:
    """The monitor takes none: a gateway cannot fill its table."""
    before = open_descriptors()
    socket.send_fds(pair.raw, [SEAM.encode(wire.List())], pipes[:1])

    with pytest.raises(RemoteProtocolError, match="was cut"):
        pair.taker.receive()
    assert before == open_descriptors()


@pytest.mark.parametrize("receive", [Channel.receive, Channel.receive_with_descriptors])
def test_a_packet_above_the_ceiling_is_refused(pair: Pair, receive: Any) -> None:
    """A cut message is never taken for a whole one."""
    pair.raw.send(SEAM.encode(wire.List()) + bytes(MAX_PACKET))

    with pytest.raises(RemoteProtocolError, match="was cut"):
        receive(pair.taker)


def test_bytes_left_over_in_a_packet_are_refused(pair: Pair) -> None:
    """Two messages in one packet are none."""
    pair.raw.send(SEAM.encode(wire.List()) * 2)

    with pytest.raises(RemoteProtocolError, match="left over"):
        pair.taker.receive()


def test_a_closed_end_is_end_of_file_behind_what_was_sent(pair: Pair) -> None:
    """The last words are read before the end, and the end is read as often as one likes."""
    pair.sender.send(wire.List())
    pair.sender.close()

    assert pair.taker.receive() == wire.List()
    assert pair.taker.receive() is None
    assert pair.taker.receive_with_descriptors() == (None, ())


def test_an_end_that_closed_with_unread_messages_is_end_of_file_too(pair: Pair) -> None:
    """A reset tells nothing more than an end."""
    pair.sender.send(wire.List())
    pair.taker.close()

    assert pair.sender.receive() is None
    assert pair.sender.receive_with_descriptors() == (None, ())


def test_sending_to_a_closed_end_is_unavailable(pair: Pair) -> None:
    """The other process is away, and no signal kills this one."""
    pair.taker.close()

    with pytest.raises(Unavailable, match="the other process is away"):
        pair.sender.send(wire.List())


def test_a_peer_that_does_not_read_is_given_up() -> None:
    """A stuck process holds a thread of the other for a bounded time."""
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(one, SEAM, timeout=0.05)
    message = seam.Renounce(seam.Parting.GOODBYE, "x" * 4000)

    with pytest.raises(Unavailable, match="the other process is away"):
        for _ in range(10_000):
            channel.send(message)
    channel.close()
    two.close()


def test_a_message_of_another_catalogue_is_not_sent(pair: Pair) -> None:
    """Output has no business on the seam."""
    with pytest.raises(LocalProtocolError, match="Output is not in the catalogue"):
        pair.sender.send(wire.Output(b"x"))


def test_too_many_descriptors_in_flight_is_the_callers_to_see(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ETOOMANYREFS is "busy" and not "away", so it passes as it is."""

    def refuse(*_: Any) -> int:
        raise OSError(errno.ETOOMANYREFS, "too many references")

    monkeypatch.setattr(socket, "send_fds", refuse)

    with pytest.raises(OSError, match="too many references") as caught:
        pair.sender.send(STARTED, (0, 1))
    assert errno.ETOOMANYREFS == caught.value.errno


def test_the_kernel_says_who_is_there(tmp_path: Path) -> None:
    """Process and user of the peer are not its own words."""
    path = tmp_path / "seam.sock"
    listener = listen(path, mode=0o600)
    channel = connect(path, SEAM, timeout=5)
    accepted, _ = listener.accept()
    server = Channel(accepted, SEAM, timeout=5)
    found = server.peer()
    for closable in (channel, server, listener):
        closable.close()

    assert PeerProcess(os.getpid(), os.getuid()) == found


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_a_listener_has_its_mode_from_the_first_moment(tmp_path: Path, mode: int) -> None:
    """Nobody can slip in between bind and chmod, and the process keeps its umask."""
    before = os.umask(0o022)
    listener = listen(tmp_path / "seam.sock", mode=mode)
    after = os.umask(before)
    listener.close()

    assert mode == stat.S_IMODE((tmp_path / "seam.sock").stat().st_mode)
    assert after == 0o022


def test_a_listener_replaces_a_dead_socket(tmp_path: Path) -> None:
    """What a crash left behind does not stop the next start."""
    path = tmp_path / "seam.sock"
    listen(path, mode=0o600).close()
    listener = listen(path, mode=0o600)
    connect(path, SEAM, timeout=5).close()
    listener.close()


def test_a_listener_that_cannot_be_leaves_no_socket_open(tmp_path: Path) -> None:
    """A missing directory is an error at the door and no leak."""
    before = open_descriptors()

    with pytest.raises(FileNotFoundError):
        listen(tmp_path / "missing" / "seam.sock", mode=0o600)
    assert before == open_descriptors()


@pytest.mark.parametrize("name", ["nobody.sock", "x" * 200])
def test_connecting_to_nobody_is_unavailable(tmp_path: Path, name: str) -> None:
    """A monitor that is away, or a path no socket can have, is named and leaks nothing."""
    before = open_descriptors()

    with pytest.raises(Unavailable, match=r"(No such file|too long)"):
        connect(tmp_path / name, SEAM, timeout=5)
    assert before == open_descriptors()


def test_connecting_to_someone_who_never_accepts_is_given_up(tmp_path: Path) -> None:
    """A monitor that hangs holds nobody longer than the timeout."""
    path = tmp_path / "seam.sock"
    waiting: list[Channel] = []
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(path, mode=0o600))
        listener.listen(0)

        with pytest.raises(Unavailable, match=str(path)):
            for _ in range(10):
                waiting.append(connect(path, SEAM, timeout=0.05))
                stack.callback(waiting[-1].close)
