"""A command whose output is taken as it comes."""

import gc
import os
import threading
from collections.abc import Callable

import pytest

from rexecd import client
from rexecd.client import Session, Stream
from rexecd.client.streaming import MAX_LINE_LENGTH
from rexecd.errors import Code
from rexecd.limits import MAX_DATA
from rexecd.wire.messages import (
    Ending,
    ErrorOutput,
    Exit,
    InputEnd,
    InputWanted,
    Message,
    Output,
    Refused,
    Run,
    Signal,
    SignalName,
    Started,
)
from tests.unit.client.fake_server import GOOD_END, Peer, answer, frame

Call = Callable[..., Session]

FAILED = Exit(Ending.EXITED, 3, truncated=True, duration=1_500_000)


def then_again(*messages: Message) -> Callable[[Peer], None]:
    """Return a script that answers one command with the messages, and the next with success."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(*messages)
        answer(Started("r-2"), GOOD_END)(peer)

    return script


def test_pieces_come_in_order_and_then_the_end(call: Call) -> None:
    """The session goes on behind it."""
    session = call(then_again(Started("r-1"), Output(b"a"), ErrorOutput(b"e"), Output(b"b"), FAILED))
    with session.stream(["x", "y z"]) as running:
        before = (running.returncode, running.request_id, session.is_running)
        pieces = list(running)

    assert (None, "r-1", True) == before
    assert [(Stream.STDOUT, b"a"), (Stream.STDERR, b"e"), (Stream.STDOUT, b"b")] == pieces
    assert client.Result("x 'y z'", 3, None, None, "exited", None, True, 1.5, "r-1") == running.result
    assert (3, False) == (running.returncode, session.is_running)
    assert session.run("x").request_id == "r-2"


def test_a_piece_is_there_before_the_command_has_ended(call: Call) -> None:
    """Nothing waits for more."""
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), Output(b"first"))
        assert go_on.wait(10)
        peer.send(Output(b"second"), GOOD_END)
        peer.wait_until_gone()

    with call(script).stream("x") as running:
        first = next(running)
        go_on.set()
        rest = list(running)

    assert (Stream.STDOUT, b"first") == first
    assert [(Stream.STDOUT, b"second")] == rest


def test_an_answer_of_no_is_raised_at_once(call: Call) -> None:
    """Not only when somebody iterates; and the session goes on."""
    session = call(then_again(Refused("r-1", Code.NOT_PERMITTED, "no")))
    with pytest.raises(client.Refused):
        session.stream("x")

    assert session.run("x").request_id == "r-2"


def test_who_does_not_read_stops_the_server(call: Call) -> None:
    """Memory stays bounded: what is not asked for is not taken."""
    sent = 0
    is_blocked = threading.Event()

    def script(peer: Peer) -> None:
        nonlocal sent
        peer.expect(Run)
        peer.send(Started("r-1"))
        peer.sock.settimeout(0.5)
        try:
            while True:
                peer.send(Output(bytes(MAX_DATA)))
                sent += 1
        except OSError:
            is_blocked.set()

    with call(script).stream("x") as running:
        next(running)
        assert is_blocked.wait(20)
        held = sum(len(data) for _, data in running._pieces)

    assert held <= MAX_DATA
    assert sent * MAX_DATA < 64_000_000


def waiting(is_gone: threading.Event, *, also: bytes = b"") -> Callable[[Peer], None]:
    """Return a script that begins a command and waits until its caller has gone."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), Output(b"line\n"), Output(b"more\n"))
        peer.raw(also)
        peer.wait_until_gone()
        is_gone.set()

    return script


def leave_by_break(session: Session) -> None:
    """Leave a loop over what nobody else holds."""
    for _ in session.stream("x"):
        break


def leave_by_block(session: Session) -> None:
    """Leave the block after one piece."""
    with session.stream("x") as running:
        next(running)


def leave_by_error(session: Session) -> None:
    """Leave the block by an error of one's own."""
    with pytest.raises(ZeroDivisionError), session.stream("x") as running:
        next(running)
        raise ZeroDivisionError


def leave_lines(session: Session) -> None:
    """Leave a loop over lines."""
    for _ in session.stream("x").lines():
        break


def leave_to_the_collector(session: Session) -> None:
    """Drop it as part of a ring, and collect."""
    ring: list[object] = [session.stream("x")]
    ring.append(ring)
    next(ring[0])  # type: ignore[call-overload]
    del ring
    gc.collect()


@pytest.mark.parametrize(
    "leave", [leave_by_break, leave_by_block, leave_by_error, leave_lines, leave_to_the_collector]
)
def test_leaving_early_ends_the_command(call: Call, leave: Callable[[Session], None]) -> None:
    """The session is closed, which is how the server hears of it."""
    is_gone = threading.Event()
    session = call(waiting(is_gone))
    leave(session)

    assert is_gone.wait(10)
    assert (True, False) == (session.is_closed, session.is_running)


def test_what_was_left_is_not_taken_for_all(call: Call) -> None:
    """Neither its output nor a result."""
    session = call(waiting(threading.Event()))
    with session.stream("x") as running, pytest.raises(client.UsageError, match="has not ended yet"):
        _ = running.result
    running.close()

    assert running.returncode is None
    with pytest.raises(client.UsageError, match="left before its end") as caught:
        list(running)
    assert caught.value.may_have_run


def test_a_session_that_is_closed_takes_its_command_with_it(call: Call) -> None:
    """Whoever iterates hears of it."""
    session = call(waiting(threading.Event()))
    running = session.stream("x")
    next(running)
    session.close()
    with pytest.raises(client.ConnectionLost, match="session is closed") as caught:
        list(running)

    assert caught.value.may_have_run


def test_no_request_beside_a_command_that_is_not_over(call: Call) -> None:
    """It would take the other's output."""
    session = call(then_again(Started("r-1"), Output(b"a"), GOOD_END))
    with session.stream("x") as running:
        with pytest.raises(client.UsageError, match="under way"):
            session.run("y")
        pieces = list(running)

    assert [(Stream.STDOUT, b"a")] == pieces
    assert session.run("y").request_id == "r-2"


def test_check_is_made_at_the_end(call: Call) -> None:
    """All output is there first, and behind the error there is no more."""
    session = call(then_again(Started("r-1"), Output(b"a"), FAILED))
    pieces: list[tuple[Stream, bytes]] = []
    with session.stream("disk /srv", check=True) as running:
        with pytest.raises(client.CommandFailed, match="'disk' ended with exit status 3") as caught:
            pieces.extend(running)
        assert [] == list(running)

    assert [(Stream.STDOUT, b"a")] == pieces
    assert (3, None) == (caught.value.returncode, caught.value.stdout)
    assert session.run("x").request_id == "r-2"


@pytest.mark.parametrize(("given", "expected"), [(b"a\xff", b"a\xff"), ("grüße", "grüße".encode())])
def test_input_goes_along(call: Call, given: bytes | str, expected: bytes) -> None:
    """Text is UTF-8; output comes back while it leaves."""
    taken = b""

    def script(peer: Peer) -> None:
        nonlocal taken
        peer.expect(Run)
        peer.send(Started("r-1"), InputWanted(), Output(b"x"))
        while not isinstance(message := peer.expect(object), InputEnd):
            taken += message.data  # type: ignore[attr-defined]
        peer.send(GOOD_END)
        peer.wait_until_gone()

    with call(script).stream("x", input=given) as running:
        list(running)

    assert expected == taken


def test_stdin_can_be_a_pipe(call: Call) -> None:
    """It is read as the command takes it."""
    read, write = os.pipe()
    os.write(write, b"from a pipe")
    os.close(write)
    taken = []

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), InputWanted())
        taken.append(peer.expect(object).data)  # type: ignore[attr-defined]
        peer.expect(InputEnd)
        peer.send(GOOD_END)
        peer.wait_until_gone()

    with call(script).stream("x", stdin=read) as running:
        list(running)
    os.close(read)

    assert [b"from a pipe"] == taken


def test_a_signal_reaches_a_command_that_is_iterated_over(call: Call) -> None:
    """Also one that was asked for between two pieces."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), Output(b"ready"))
        assert peer.expect(Signal).signal is SignalName.TERM
        peer.send(Exit(Ending.SIGNALLED, 15, truncated=False, duration=0))
        peer.wait_until_gone()

    with call(script).stream("x") as running:
        for _ in running:
            running.signal("TERM")

    assert (143, "TERM") == (running.returncode, running.result.signal)


@pytest.mark.parametrize("messages", [(), (frame(Output(b"x")) + b"\xff\xff\xff\xff",)])
def test_an_end_without_a_word_is_never_the_end_of_the_output(
    call: Call, messages: tuple[bytes, ...]
) -> None:
    """Cut or broken: it is raised, and then nothing more comes."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), Output(b"half"))
        for data in messages:
            peer.raw(data)

    session = call(script)
    running = session.stream("x")
    with pytest.raises((client.ConnectionLost, client.ProtocolBroken)) as caught:
        list(running)

    assert (True, True) == (caught.value.may_have_run, session.is_closed)
    with pytest.raises(client.UsageError, match="left before its end"):
        next(running)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_lines_are_whole_however_they_come(call: Call, size: int) -> None:
    """Of both streams, cut anywhere; the last may have no line feed."""
    out, err = "grüße €\r\n\nzwei\x0b\u2028drei\nend".encode(), b"e1\ne2\n"
    pieces: list[Message] = [Output(out[at : at + size]) for at in range(0, len(out), size)]
    pieces += [ErrorOutput(err[at : at + size]) for at in range(0, len(err), size)]
    with call(answer(Started("r-1"), *pieces, GOOD_END)).stream("x") as running:
        lines = list(running.lines())

    assert ["grüße €\r\n", "\n", "zwei\x0b\u2028drei\n", "end"] == [
        line for stream, line in lines if stream is Stream.STDOUT
    ]
    assert ["e1\n", "e2\n"] == [line for stream, line in lines if stream is Stream.STDERR]


def test_a_line_that_is_no_text_says_where(call: Call) -> None:
    """Counted from the beginning of its stream, and it ends the command."""
    script = answer(Started("r-1"), Output(b"ab\xc3"), ErrorOutput(b"x"), Output(b"\xa4\xffz\n"), GOOD_END)
    session = call(script)
    with (
        pytest.raises(client.NotText, match=r"^the command's stdout is not utf-8 at byte 5$") as caught,
        session.stream("x") as running,
    ):
        list(running.lines())

    assert (None, True) == (caught.value.result, caught.value.may_have_run)
    assert session.is_closed


def test_half_a_character_at_the_end_is_no_text(call: Call) -> None:
    """It is not dropped."""
    with (
        pytest.raises(client.NotText, match=r"at byte 3$"),
        call(answer(Started("r-1"), Output(b"ab\xc3"), GOOD_END)).stream("x") as running,
    ):
        list(running.lines())


def test_a_line_without_an_end_is_cut_off(call: Call) -> None:
    """A hostile command does not fill our memory."""
    count = MAX_LINE_LENGTH // MAX_DATA + 1

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"))
        try:
            for _ in range(2 * count):
                peer.send(Output(b"x" * MAX_DATA))
        except OSError:
            pass

    with (
        pytest.raises(client.TooMuchOutput, match="a line of more than"),
        call(script).stream("x") as running,
    ):
        list(running.lines())


def test_a_codec_that_is_none_leaves_the_command_alone(call: Call) -> None:
    """It is said before anything is taken."""
    with call(answer(Started("r-1"), Output(b"x"), GOOD_END)).stream("x") as running:
        with pytest.raises(client.UsageError, match="not known"):
            running.lines("klingon")
        assert [(Stream.STDOUT, b"x")] == list(running)
