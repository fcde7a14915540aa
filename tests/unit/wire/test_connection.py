"""One end of a conversation, without a socket."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import Code, LocalProtocolError, RemoteProtocolError
from rexecd.limits import MAX_DATA, MAX_FRAME, MAX_FRAME_UNAUTHENTICATED, MAX_LINE
from rexecd.wire import messages as wire
from rexecd.wire.connection import Connection, Role
from rexecd.wire.frames import pack
from rexecd.wire.messages import CATALOGUE, Offer
from rexecd.wire.states import State

GARBAGE = pack(b"\x00")
CLOSED = wire.Closed(Code.PROTOCOL_ERROR, "no")


def at(role: Role, state: State) -> Connection:
    """Return one end in the given state."""
    connection = Connection(role)
    connection._state = state
    return connection


def failed(role: Role, state: State) -> Connection:
    """Return one end whose peer has broken the protocol."""
    connection = at(role, state)
    connection.receive(GARBAGE)
    with pytest.raises(RemoteProtocolError, match="unknown message kind 0"):
        connection.next_message()
    return connection


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(Role), st.sampled_from(State), st.lists(st.binary(max_size=40), max_size=6))
def test_no_bytes_raise_anything_but_a_remote_protocol_error(
    role: Role, state: State, pieces: list[bytes]
) -> None:
    """Garbage is a message or the peer's fault, never any other error."""
    connection = at(role, state)
    try:
        for piece in pieces:
            connection.receive(piece)
            while connection.next_message() is not None:
                pass
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError, match="already failed"):
            connection.next_message()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(State), st.sampled_from([row.kind for row in CATALOGUE.rows]), st.binary(max_size=40))
def test_no_body_of_a_known_message_raises_anything_else(state: State, kind: int, body: bytes) -> None:
    """The same, aimed at the fields."""
    for role in Role:
        connection = at(role, state)
        connection.receive(pack(bytes([kind]) + body))
        try:
            connection.next_message()
        except RemoteProtocolError:
            continue


@pytest.mark.parametrize("state", [State.GREETING, State.AUTHENTICATING])
def test_a_stranger_gets_the_small_ceiling(state: State) -> None:
    """Before the token was accepted the server holds four KiB and no more."""
    connection = at(Role.SERVER, state)
    connection.receive((MAX_FRAME_UNAUTHENTICATED + 1).to_bytes(4, "big"))

    with pytest.raises(RemoteProtocolError, match=f"allowed are 1 to {MAX_FRAME_UNAUTHENTICATED}"):
        connection.next_message()


@pytest.mark.parametrize(("role", "state"), [(Role.SERVER, State.READY), (Role.CLIENT, State.GREETING)])
def test_a_known_peer_gets_the_large_ceiling(role: Role, state: State) -> None:
    """A caller has verified its server before the first byte, so only strangers are kept small."""
    connection = at(role, state)
    connection.receive(MAX_FRAME.to_bytes(4, "big"))

    assert connection.next_message() is None


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
@pytest.mark.parametrize("role", Role)
def test_a_bare_end_of_file_is_a_failure(role: Role, state: State) -> None:
    """Nobody can cut a conversation short unnoticed."""
    connection = at(role, state)

    with pytest.raises(RemoteProtocolError, match="ended without a word"):
        connection.receive(b"")


@pytest.mark.parametrize("role", Role)
def test_an_end_of_file_behind_the_last_message_is_in_order(role: Role) -> None:
    """After Goodbye or Closed the connection may just end."""
    connection = at(role, State.CLOSED)
    connection.receive(b"")

    assert connection.next_message() is None


def test_a_message_that_cannot_be_encoded_does_not_move_the_state() -> None:
    """A line that is too long is the caller's mistake, and the session goes on."""
    connection = at(Role.CLIENT, State.READY)

    with pytest.raises(LocalProtocolError, match="Run: 16385 bytes where 16384 are allowed"):
        connection.send(wire.Run("x" * (MAX_LINE + 1), Offer.NONE, ""))
    assert State.READY is connection.state


@pytest.mark.parametrize("size", [-1, 0, MAX_DATA + 1])
def test_a_header_is_refused_for_a_size_no_data_message_has(size: int) -> None:
    """The short cut cannot write a frame that a peer would have to refuse."""
    connection = at(Role.SERVER, State.RUNNING)

    with pytest.raises(LocalProtocolError, match=f"{size} bytes of data where 1 to {MAX_DATA}"):
        connection.send_header(wire.Output, size)


def test_a_header_is_refused_where_its_message_would_be() -> None:
    """The short cut obeys the table."""
    with pytest.raises(LocalProtocolError, match="Output is not allowed in state READY"):
        at(Role.SERVER, State.READY).send_header(wire.Output, 1)
    with pytest.raises(LocalProtocolError, match="Output is not allowed in state RUNNING"):
        at(Role.CLIENT, State.RUNNING).send_header(wire.Output, 1)


def test_header_and_bytes_make_a_message() -> None:
    """What the relay writes in two pieces, the caller reads as one message."""
    server, client = at(Role.SERVER, State.RUNNING), at(Role.CLIENT, State.RUNNING)
    client.receive(server.send_header(wire.ErrorOutput, 4) + b"oops")

    assert wire.ErrorOutput(b"oops") == client.next_message()


@pytest.mark.parametrize("message", [wire.Output(b"out"), wire.ErrorOutput(b"err"), wire.Input(b"in")])
def test_data_goes_round_the_catalogue_and_looks_the_same(message: wire.Message) -> None:
    """It is spared copies; both ends agree with the catalogue, and neither takes an empty one."""
    end, other = (Role.CLIENT, Role.SERVER) if isinstance(message, wire.Input) else (Role.SERVER, Role.CLIENT)
    sent = at(end, State.FEEDING).send(message)
    receiver = at(other, State.FEEDING)
    receiver.receive(sent)

    assert (pack(CATALOGUE.encode(message)), message) == (sent, receiver.next_message())

    receiver.receive(b"\x00\x00\x00\x01" + sent[4:5])
    with pytest.raises(RemoteProtocolError, match="0 bytes of data"):
        receiver.next_message()
    with pytest.raises(LocalProtocolError, match="0 bytes of data"):
        at(end, State.FEEDING).send(type(message)(b""))


def test_after_a_violation_nothing_can_be_sent() -> None:
    """A conversation that failed is not carried on."""
    connection = failed(Role.CLIENT, State.READY)

    with pytest.raises(LocalProtocolError, match="List is not allowed"):
        connection.send(wire.List())


def test_after_a_violation_the_server_can_still_say_why() -> None:
    """The caller's programmer is told what was wrong."""
    client = at(Role.CLIENT, State.READY)
    client.receive(failed(Role.SERVER, State.READY).close_with(CLOSED))

    assert client.next_message() == CLOSED
    assert State.CLOSED is client.state


def test_the_last_word_is_said_once() -> None:
    """Behind Closed, and behind the caller's Goodbye, there is nothing left to say."""
    connection = at(Role.SERVER, State.READY)

    assert pack(CATALOGUE.encode(CLOSED)) == connection.close_with(CLOSED)
    assert connection.close_with(CLOSED) == b""
    assert at(Role.SERVER, State.CLOSED).close_with(CLOSED) == b""


def test_a_caller_cannot_say_closed() -> None:
    """Closed is the server's message."""
    with pytest.raises(LocalProtocolError, match="Closed is not allowed"):
        at(Role.CLIENT, State.READY).close_with(CLOSED)


def test_held_counts_what_waits() -> None:
    """The gateway can see how much a peer makes it hold."""
    connection = Connection(Role.SERVER)
    connection.receive(b"\x00\x00\x00")

    assert len(b"\x00\x00\x00") == connection.held


def test_what_comes_behind_a_violation_is_not_held() -> None:
    """A peer that goes on talking fills nothing."""
    connection = failed(Role.SERVER, State.READY)
    connection.receive(b"x" * 100)

    assert connection.held == 0
