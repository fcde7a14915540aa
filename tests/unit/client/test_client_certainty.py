"""Whether a command can have run, said of every way in which asking for it can fail."""

import inspect
import pickle
import socket
import threading
from collections.abc import Callable

import pytest

from rexecd import client
from rexecd.client import Offer, Session, Stream
from rexecd.client import errors as errors_module
from rexecd.client.errors import CallerError
from rexecd.errors import Code
from rexecd.limits import MAX_LINE
from rexecd.wire.messages import (
    Authenticate,
    Closed,
    Ending,
    Exit,
    InputWanted,
    List,
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


def failure(session: Session) -> CallerError:
    """Return what asking for a command raises."""
    with pytest.raises(CallerError) as caught:
        session.run("x")
    return caught.value


@pytest.mark.parametrize("code", Code)
def test_an_answer_of_no_says_that_nothing_ran(call: Call, code: Code) -> None:
    """Whatever the reason, and the word of it is there for programs."""
    error = failure(call(answer(Refused("r-1", code, ""))))

    assert (False, code.word) == (error.may_have_run, error.code)


@pytest.mark.parametrize("code", Code)
def test_a_last_word_in_place_of_an_answer_leaves_it_open(call: Call, code: Code) -> None:
    """The server may have begun before it closed; only of an idle session it took nothing (PROTOCOL 8)."""
    error = failure(call(answer(Closed(code, ""))))

    assert (code is not Code.IDLE, code.word) == (error.may_have_run, error.code)


@pytest.mark.parametrize("code", Code)
def test_behind_the_start_a_last_word_means_that_it_ran(call: Call, code: Code) -> None:
    """Also a word that makes no sense there."""
    assert failure(call(answer(Started("r-1"), Closed(code, "")))).may_have_run


@pytest.mark.parametrize("code", [Code.IDLE, Code.UNAVAILABLE, Code.REVOKED])
def test_a_last_word_before_the_request_says_that_nothing_ran(call: Call, code: Code) -> None:
    """It had arrived before anything was asked."""
    has_closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.send(Closed(code, ""))
        peer.sock.close()
        has_closed.set()

    session = call(script)
    assert has_closed.wait(10)

    assert not failure(session).may_have_run
    assert not failure(session).may_have_run  # nor now that it is closed


@pytest.mark.parametrize("messages", [(), (Started("r-1"),), (Started("r-1"), Output(b"half"))])
def test_a_lost_connection_behind_the_request_leaves_it_open(
    call: Call, messages: tuple[Message, ...]
) -> None:
    """Nobody knows what the server had done by then."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(*messages)

    error = failure(call(script))

    assert isinstance(error, client.ConnectionLost)
    assert error.may_have_run


def test_a_connection_lost_before_the_request_says_that_nothing_ran(call: Call) -> None:
    """The end is noticed before the command is sent."""
    has_closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.sock.close()
        has_closed.set()

    session = call(script)
    assert has_closed.wait(10)
    error = failure(session)

    assert isinstance(error, client.ConnectionLost)
    assert not error.may_have_run


def test_a_request_that_could_not_leave_says_that_nothing_ran(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke between the last look and the first byte."""
    session = call(Peer.wait_until_gone)

    def break_off(self: object, *_: object) -> set[int]:
        del self
        session._conversation._link._sock.shutdown(socket.SHUT_RDWR)
        return set()

    monkeypatch.setattr("rexecd.client.conversation.Conversation.settle", break_off)
    error = failure(session)

    assert isinstance(error, client.ConnectionLost)
    assert not error.may_have_run


def test_no_answer_in_time_leaves_it_open(call: Call) -> None:
    """The server has the request, and may be about to begin."""
    assert failure(call(answer(), answer_timeout=0.2)).may_have_run


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        frame(Output(b"x")),
        frame(Started("a")) * 2,
        frame(Started("a")) + frame(Exit(Ending.SIGNALLED, 0, truncated=False, duration=0)),
        frame(Started("a")) + frame(Refused("a", Code.BUSY, "")),
    ],
)
def test_nonsense_behind_the_request_leaves_it_open(call: Call, data: bytes) -> None:
    """A server that breaks the protocol is not believed to have done nothing."""
    error = failure(call(answer_raw(data)))

    assert isinstance(error, client.ProtocolBroken)
    assert error.may_have_run


def test_nonsense_before_the_request_says_that_nothing_ran(call: Call) -> None:
    """It is found before the command is sent."""
    has_spoken = threading.Event()

    def script(peer: Peer) -> None:
        peer.raw(frame(Output(b"of nobody")))
        has_spoken.set()
        peer.wait_until_gone()

    session = call(script)
    assert has_spoken.wait(10)
    error = failure(session)

    assert isinstance(error, client.ProtocolBroken)
    assert not error.may_have_run


def test_too_much_output_says_that_it_ran(call: Call) -> None:
    """It ran, and was ended for it."""
    with pytest.raises(client.TooMuchOutput) as caught:
        call(answer(Started("r-1"), Output(b"xx"))).run("x", max_output=1)

    assert caught.value.may_have_run


def test_input_that_cannot_be_read_says_that_it_ran(
    call: Call, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is the caller's fault, and behind the start."""
    with (
        tmp_path_factory.mktemp("input").joinpath("file").open("wb") as file,
        pytest.raises(client.UsageError, match="cannot be read") as caught,
    ):
        call(answer(Started("r-1"), InputWanted())).execute(
            "x", offer=Offer.ESSENTIAL, source=file.fileno(), sink=lambda *_: None
        )

    assert caught.value.may_have_run


def test_what_cannot_be_sent_did_not_run(call: Call) -> None:
    """It never leaves this side."""
    session = call(Peer.wait_until_gone)
    with pytest.raises(client.UsageError) as line:
        session.run("x" * (MAX_LINE + 1))
    with pytest.raises(client.UsageError) as timeout:
        session.run("x", timeout=0)

    assert not line.value.may_have_run
    assert not timeout.value.may_have_run


def test_a_connection_that_is_not_made_runs_nothing(serve: Serve, authority: Authority) -> None:
    """Nobody there, a wrong key, a wrong token: there is no session to run anything in."""

    def script(peer: Peer) -> None:
        peer.expect(Authenticate)
        peer.send(Closed(Code.AUTHENTICATION_FAILED, ""))

    address = serve(script).address
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"127.0.0.1:{closed.getsockname()[1]}"
    caught = []
    for host, ca, pin in (
        (nowhere, authority.path, None),
        (address, None, "sha256:" + "0" * 64),
        (address, authority.path, None),
    ):
        with pytest.raises(CallerError) as failed:
            client.run(host, "x", token=TOKEN, connect_timeout=10, ca=ca, pin=pin)
        caught.append(failed.value)

    assert [client.ConnectFailed, client.Untrusted, client.AuthenticationFailed] == [*map(type, caught)]
    assert [False] * 3 == [error.may_have_run for error in caught]


def test_a_listing_runs_nothing(call: Call) -> None:
    """However it fails."""

    def script(peer: Peer) -> None:
        peer.expect(List)

    with pytest.raises(client.ConnectionLost) as caught:
        call(script).list()

    assert not caught.value.may_have_run


def test_a_listing_that_does_not_come_is_given_up(call: Call) -> None:
    """As an answer to a command would be."""
    with pytest.raises(client.ConnectionLost, match=r"no answer within 0\.2 s"):
        call(Peer.wait_until_gone, answer_timeout=0.2).list()


def test_a_sinks_own_timeout_is_not_taken_for_the_servers(call: Call) -> None:
    """What it raises is what is raised, and the command ends."""

    def fail(_stream: Stream, _data: bytes) -> None:
        raise TimeoutError("of the sink")

    session = call(answer(Started("r-1"), Output(b"x"), GOOD_END))
    with pytest.raises(TimeoutError, match="of the sink"):
        session.execute("x", offer=Offer.NONE, sink=fail)

    assert session.is_closed


KINDS = [
    kind
    for _, kind in inspect.getmembers(errors_module, inspect.isclass)
    if issubclass(kind, CallerError) and kind.__module__ == errors_module.__name__
]
BASES = {
    client.CallerError,
    client.RequestError,
    client.NetworkError,
    client.ServerError,
    client.CommandError,
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in BASES])
def test_every_error_is_exactly_somebodys_fault(kind: type[CallerError]) -> None:
    """The caller's, the network's, the server's, the command's, or of a server that may be another."""
    faults = (BASES - {client.CallerError}) | {client.Untrusted}

    assert len([fault for fault in faults if issubclass(kind, fault)]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_public(kind: type[CallerError]) -> None:
    """Whoever gets one can catch it by name."""
    assert getattr(client, kind.__name__) is kind
    assert kind.__name__ in client.__all__


def test_an_error_survives_the_way_between_processes() -> None:
    """As results of a process pool do."""
    error = client.Busy("busy: later", hint="wait", code="busy", request_id="r-1", retry_after=2.0)
    error.may_have_run = True
    copy = pickle.loads(pickle.dumps(error))

    assert (client.Busy, "busy: later") == (type(copy), str(copy))
    assert vars(error) == vars(copy)
