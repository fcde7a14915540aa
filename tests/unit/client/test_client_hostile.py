"""What a session does with a server that breaks the rules, or ends."""

import threading
from collections.abc import Callable

import pytest

from rexecd import client
from rexecd.client import Offer, Session, Stream
from rexecd.errors import Code
from rexecd.wire.frames import pack
from rexecd.wire.messages import (
    CATALOGUE,
    Accepted,
    Authenticate,
    Closed,
    Ending,
    Exit,
    InputEnd,
    InputWanted,
    Listed,
    Message,
    Output,
    Refused,
    Run,
    Started,
)
from tests.unit.client.fake_server import (
    GOOD_END,
    TOKEN,
    Authority,
    FakeServer,
    Peer,
    answer,
    answer_raw,
    frame,
)

Call = Callable[..., Session]
Serve = Callable[..., FakeServer]


BROKEN = {
    "a huge frame": b"\xff\xff\xff\xff",
    "an empty frame": bytes(4),
    "an unknown kind": pack(b"\xc8"),
    "bytes left over": pack(CATALOGUE.encode(InputWanted()) + b"!"),
    "output before the start": frame(Output(b"x")),
    "an exit before the start": frame(GOOD_END),
    "a second welcome": frame(Accepted("c", "p", "")),
    "a listing nobody asked for": frame(Listed()),
    "our own message back": frame(InputEnd()),
    "started twice": frame(Started("a")) * 2,
    "wanting input twice": frame(Started("a")) + frame(InputWanted()) * 2,
    "a signal zero": frame(Started("a")) + frame(Exit(Ending.SIGNALLED, 0, truncated=False, duration=0)),
    "a refusal after the start": frame(Started("a")) + frame(Refused("a", Code.BUSY, "")),
    "a request id that is not UTF-8": pack(b"\x82\x00\x01\xff"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_protocol_ends_the_session(call: Call, what: str) -> None:
    """One error, no traceback of another kind, and nothing more is asked of this server."""
    session = call(answer_raw(BROKEN[what]))
    with pytest.raises(client.ProtocolBroken):
        session.run("x", input=b"something")

    assert session.is_closed


def test_output_nobody_asked_for_is_found_at_the_next_request(call: Call) -> None:
    """Bytes between two commands belong to neither."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), GOOD_END)
        peer.raw(frame(Output(b"of nobody")))
        peer.wait_until_gone()

    session = call(script)
    session.run("x")
    with pytest.raises(client.ProtocolBroken):
        session.run("x")


@pytest.mark.parametrize("messages", [(), (Started("r-1"),), (Started("r-1"), Output(b"half"))])
def test_an_end_without_a_word_is_a_lost_connection(call: Call, messages: tuple[Message, ...]) -> None:
    """Before the answer, before the output and in the middle of it."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(*messages)

    with pytest.raises(client.ConnectionLost, match="connection was lost"):
        call(script).run("x")


def test_half_a_message_at_the_end_is_a_lost_connection(call: Call) -> None:
    """A cut message is never taken for a whole one."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.raw(frame(Started("r-1")) + frame(GOOD_END)[:-1])

    with pytest.raises(client.ConnectionLost):
        call(script).run("x")


@pytest.mark.parametrize("messages", [(), (Started("r-1"),), (Started("r-1"), InputWanted(), Output(b"x"))])
@pytest.mark.parametrize(
    ("code", "status"),
    [(Code.REVOKED, 255), (Code.PROTOCOL_ERROR, 255), (Code.BUSY, 125), (Code.UNAVAILABLE, 125)],
)
def test_the_servers_last_word_is_what_is_raised(
    call: Call, messages: tuple[Message, ...], code: Code, status: int
) -> None:
    """At any time; trying later is worth it for some reasons only."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(*messages, Closed(code, "so it is"))

    session = call(script)
    with pytest.raises(client.SessionClosed, match="so it is") as caught:
        session.run("x")

    assert (status, True) == (caught.value.exit_status, session.is_closed)


@pytest.mark.parametrize("code", [Code.BUSY, Code.UNAVAILABLE])
@pytest.mark.parametrize(("messages", "request_id"), [((), ""), ((Started("r-1"),), "r-1")])
def test_trying_again_is_not_advised_where_a_command_may_have_run(
    call: Call, messages: tuple[Message, ...], request_id: str, code: Code
) -> None:
    """It could run twice; the operator's trail knows, by the number of the request."""
    with pytest.raises(client.SessionClosed) as caught:
        call(answer(*messages, Closed(code, ""))).run("x")

    assert "the command may have run: find out how far it came before you run it again" == caught.value.hint
    assert (True, request_id) == (caught.value.may_have_run, caught.value.request_id)


def test_a_last_word_between_commands_is_heard(call: Call) -> None:
    """Also where the server closed long before we ask again."""
    has_closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.send(Closed(Code.UNAVAILABLE, "the service stops"))
        peer.sock.close()
        has_closed.set()

    session = call(script)
    assert has_closed.wait(10)
    with pytest.raises(client.SessionClosed, match="the service stops"):
        session.run("x")


def test_an_end_between_commands_closes_the_session(call: Call) -> None:
    """Asking again would only fail again."""
    has_closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.sock.close()
        has_closed.set()

    session = call(script)
    assert has_closed.wait(10)
    with pytest.raises(client.ConnectionLost, match="connection was lost"):
        session.run("x")

    assert session.is_closed


def test_a_wrong_token_is_an_error_of_its_own(serve: Serve, authority: Authority) -> None:
    """It is no closed session to try again."""

    def script(peer: Peer) -> None:
        peer.expect(Authenticate)
        peer.send(Closed(Code.AUTHENTICATION_FAILED, "the token is not accepted"))

    with pytest.raises(client.AuthenticationFailed, match="not accepted"):
        client.connect(serve(script).address, token=TOKEN, ca=authority.path)


def test_no_answer_to_a_command_costs_no_more_than_the_deadline(call: Call) -> None:
    """A server that keeps silent is given up."""
    with pytest.raises(client.ConnectionLost, match=r"no answer within 0\.2 s"):
        call(answer(), answer_timeout=0.2).run("x")


def test_a_command_may_be_silent_longer_than_the_deadline(call: Call) -> None:
    """Once started, its own time limit counts."""
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), Output(b"x"))
        assert not go_on.wait(0.4)
        peer.send(GOOD_END)
        peer.wait_until_gone()

    assert call(script, answer_timeout=0.2).run("x").returncode == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_an_answer_cut_anywhere_is_the_same_answer(call: Call, size: int) -> None:
    """Each piece is a TLS record of its own."""
    whole = frame(Started("r-1")) + frame(Output("grüße €".encode())) + frame(GOOD_END)

    def script(peer: Peer) -> None:
        peer.expect(Run)
        for at in range(0, len(whole), size):
            peer.raw(whole[at : at + size])
        peer.wait_until_gone()

    assert call(script).run("x").stdout.decode() == "grüße €"


def test_a_sink_that_fails_ends_the_session(call: Call) -> None:
    """The command would otherwise go on for nobody."""

    def fail(_stream: Stream, _data: bytes) -> None:
        raise BrokenPipeError

    session = call(answer(Started("r-1"), Output(b"x")))
    with pytest.raises(BrokenPipeError):
        session.execute("x", offer=Offer.NONE, sink=fail)

    assert session.is_closed
