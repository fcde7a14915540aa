"""Input, output and signals of a running command, all at once."""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from rexecd import client
from rexecd.cli.interrupts import Interrupts
from rexecd.client import ConnectionLost, Offer, Session, Stream
from rexecd.limits import MAX_DATA
from rexecd.wire.messages import (
    Ending,
    ErrorOutput,
    Exit,
    Input,
    InputEnd,
    InputWanted,
    Message,
    Output,
    Run,
    Signal,
    SignalName,
    Started,
)
from tests.unit.client.fake_server import (
    GOOD_END,
    Peer,
    answer,
)

Call = Callable[..., Session]


def echo(peer: Peer) -> None:
    """Take input to its end and give it back as it comes."""
    peer.expect(Run)
    peer.send(Started("r-1"), InputWanted())
    while not isinstance(message := peer.expect(object), InputEnd):
        peer.send(Output(message.data))  # type: ignore[attr-defined]
    peer.send(GOOD_END)
    peer.wait_until_gone()


@pytest.mark.parametrize("size", [0, 1, MAX_DATA, MAX_DATA + 1, 3_000_000])
def test_input_arrives_whole_while_output_comes_back(call: Call, size: int) -> None:
    """Several megabytes in both directions at once."""
    data = os.urandom(size)

    assert data == call(echo).run("cat", input=data).stdout


def test_both_directions_full_do_not_deadlock(call: Call) -> None:
    """The server writes all of its output before it reads the first byte of input."""
    size = 4_000_000
    taken = []

    def script(peer: Peer) -> None:
        assert peer.expect(Run).offer is Offer.ESSENTIAL
        peer.send(Started("r-1"), InputWanted())
        for _ in range(size // MAX_DATA):
            peer.send(Output(bytes(MAX_DATA)))
        while isinstance(message := peer.expect(object), Input):
            taken.append(len(message.data))
        peer.send(GOOD_END)
        peer.wait_until_gone()

    result = call(script).run("x", input=bytes(size))

    assert size // MAX_DATA * MAX_DATA == len(result.stdout)
    assert size == sum(taken)
    assert MAX_DATA >= max(taken)


def test_input_is_not_touched_before_it_is_wanted(call: Call) -> None:
    """What a command does not take stays for the next reader."""
    read, write = os.pipe()
    os.write(write, b"for somebody else")
    session = call(answer(Started("r-1"), GOOD_END))
    session.execute("x", offer=Offer.OPTIONAL, source=read, sink=lambda *_: None)

    assert os.read(read, 100) == b"for somebody else"
    os.close(read)
    os.close(write)


def test_a_source_that_is_silent_does_not_stop_the_output(call: Call) -> None:
    """The command ends while its input is still open; nothing waits for it."""
    read, write = os.pipe()
    pieces: list[tuple[Stream, bytes]] = []
    session = call(answer(Started("r-1"), InputWanted(), Output(b"x"), ErrorOutput(b"y"), GOOD_END))
    outcome = session.execute(
        "x", offer=Offer.OPTIONAL, source=read, sink=lambda stream, data: pieces.append((stream, data))
    )

    assert outcome.returncode == 0
    assert [(Stream.STDOUT, b"x"), (Stream.STDERR, b"y")] == pieces
    os.close(read)
    os.close(write)


def test_an_end_while_we_still_feed_stops_the_feeding(call: Call) -> None:
    """The rest of the input is not sent, and the session goes on."""
    counts = []

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), InputWanted())
        peer.expect(Input)
        peer.send(GOOD_END)
        while not isinstance(message := peer.expect(object), Run):
            counts.append(message)
        peer.send(Started("r-2"), GOOD_END)
        peer.wait_until_gone()

    session = call(script)
    first = session.run("head", input=bytes(20_000_000))

    assert first.request_id == "r-1"
    assert session.run("x").request_id == "r-2"
    assert len(counts) * MAX_DATA < 20_000_000


def test_input_that_cannot_be_read_ends_the_command(call: Call) -> None:
    """A directory as input is an error here, not an empty input there."""
    directory = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(client.UsageError, match="input cannot be read: Is a directory"):
            call(answer(Started("r-1"), InputWanted())).execute(
                "x", offer=Offer.OPTIONAL, source=directory, sink=lambda *_: None
            )
    finally:
        os.close(directory)


def test_a_signal_reaches_the_command_from_another_thread(call: Call) -> None:
    """While the session's own thread waits for output."""
    has_started = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), Output(b"ready"))
        assert peer.expect(Signal).signal is SignalName.TERM
        peer.send(Exit(Ending.SIGNALLED, 15, truncated=False, duration=0))
        peer.wait_until_gone()

    session = call(script)

    def send() -> None:
        assert has_started.wait(10)
        session.signal("SIGTERM")

    thread = threading.Thread(target=send)
    thread.start()
    outcome = session.execute("x", offer=Offer.NONE, sink=lambda *_: has_started.set())
    thread.join()

    assert outcome.signal == "TERM"


def test_a_signal_before_the_start_is_kept_until_then(call: Call) -> None:
    """Nobody's Ctrl-C is lost while the server decides."""
    session: Session

    def script(peer: Peer) -> None:
        peer.expect(Run)
        session.signal("INT")
        peer.send(Started("r-1"))
        assert peer.expect(Signal).signal is SignalName.INT
        peer.send(GOOD_END)
        peer.wait_until_gone()

    session = call(script)

    # `is_running` is set as soon as Run has left, which may be a moment after it arrived
    session._is_running = True
    assert session.run("x").returncode == 0


def test_a_signal_without_a_command_is_dropped(call: Call) -> None:
    """It does not hit the next one."""
    session = call(answer(Started("r-1"), GOOD_END))
    session.signal("INT")

    assert session.run("x").returncode == 0


def test_what_wakes_the_wait_is_no_signal_for_the_command(call: Call) -> None:
    """Python's own handler writes the bare number of whatever came: 2 is its INT and our TERM."""
    session: Session
    numbers = bytes(range(1, 65))

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"))
        os.write(session.wakeup_descriptor, numbers)
        session.signal("QUIT")
        assert peer.expect(Signal).signal is SignalName.QUIT
        peer.send(GOOD_END)
        peer.wait_until_gone()

    session = call(script)
    session._is_running = True

    assert session.run("x").returncode == 0


def test_a_signal_wakes_the_wait_before_python_handles_it(call: Call) -> None:
    """The descriptor stays good until `close`, also when the connection is lost."""
    session = call(lambda _peer: None)
    with pytest.raises(ConnectionLost):
        session.run("x")
    assert session.is_closed

    with Interrupts().attending(session):
        assert signal.set_wakeup_fd(session.wakeup_descriptor) == session.wakeup_descriptor
    assert signal.set_wakeup_fd(-1) == -1

    session.close()
    assert session.wakeup_descriptor == -1


def test_a_signal_overtakes_input_that_waits(call: Call) -> None:
    """It never stands behind what the server does not take."""
    order: list[Message] = []
    session: Session

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), InputWanted(), Output(b"go"))
        while not isinstance(order[-1] if order else None, Signal):
            order.append(peer.expect(object))
        peer.send(GOOD_END)
        peer.wait_until_gone()

    session = call(script)
    session.execute(
        "x", offer=Offer.ESSENTIAL, source=bytes(50_000_000), sink=lambda *_: session.signal("INT")
    )

    assert len(order) * MAX_DATA < 50_000_000


def test_an_unknown_signal_is_an_error(call: Call) -> None:
    """KILL is the server's business."""
    with pytest.raises(ValueError, match="'KILL' cannot be sent"):
        call(Peer.wait_until_gone).signal("KILL")
