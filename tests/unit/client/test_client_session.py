"""What a session asks, and what it makes of the answers."""

import threading
from collections.abc import Callable

import pytest

from rexecd import client
from rexecd.client import Offer, Session
from rexecd.errors import Code
from rexecd.limits import MAX_LINE
from rexecd.wire.messages import (
    Closed,
    Ending,
    Entry,
    ErrorOutput,
    Exit,
    Goodbye,
    List,
    Listed,
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
    welcoming,
)

Call = Callable[..., Session]
Serve = Callable[..., FakeServer]


def test_a_result_has_what_completed_process_has(call: Call) -> None:
    """Both streams apart, the status, and what only we know."""
    ending = Exit(Ending.EXITED, 3, truncated=True, duration=1_500_000)
    session = call(answer(Started("r-1"), Output(b"out\xff"), ErrorOutput(b"err"), Output(b"!"), ending))

    result = session.run("disk /srv")

    assert (
        client.Result(
            "disk /srv",
            3,
            b"out\xff!",
            b"err",
            "exited",
            None,
            truncated=True,
            duration=1.5,
            request_id="r-1",
        )
        == result
    )


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Exit(Ending.EXITED, 255, truncated=False, duration=0), ("exited", 255, None)),
        (Exit(Ending.EXITED, 143, truncated=False, duration=0), ("exited", 143, None)),
        (Exit(Ending.SIGNALLED, 15, truncated=False, duration=0), ("signalled", 143, "TERM")),
        (Exit(Ending.SIGNALLED, 127, truncated=False, duration=0), ("signalled", 255, "127")),
        (Exit(Ending.TIMED_OUT, 137, truncated=False, duration=0), ("timed_out", 124, None)),
    ],
)
def test_every_ending_has_its_status(call: Call, ending: Exit, expected: tuple[object, ...]) -> None:
    """128 + N for a signal, 124 for a deadline."""
    result = call(answer(Started("r-1"), ending)).run("x")

    assert expected == (result.outcome, result.returncode, result.signal)


def test_words_are_quoted_and_a_text_is_not(call: Call) -> None:
    """Each word arrives as one, even an empty one."""
    lines = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            lines.append(peer.expect(Run))
            peer.send(Started("r"), GOOD_END)
        peer.expect(Goodbye)

    with call(script) as session:
        session.run(["disk", "/srv/my data", "", "$(x)"])
        session.run("disk '/srv'")

    assert [
        Run("disk '/srv/my data' '' '$(x)'", Offer.NONE, ""),
        Run("disk '/srv'", Offer.NONE, ""),
    ] == lines


@pytest.mark.parametrize("line", ["x" * (MAX_LINE + 1), "ä" * (MAX_LINE // 2 + 1), "a\udcff"])
def test_a_line_that_cannot_be_sent_costs_nothing(call: Call, line: str) -> None:
    """It is refused here, and the session goes on."""
    session = call(answer(Started("r-1"), GOOD_END))
    with pytest.raises(client.UsageError):
        session.run(line)

    assert session.run("x").returncode == 0


def test_run_does_all_in_one_call(serve: Serve, authority: Authority) -> None:
    """Connect, run, leave."""
    server = serve(welcoming(answer(Started("r-1"), Output(b"hi"), GOOD_END)))

    assert client.run(server.address, ["x"], token=TOKEN, ca=authority.path).stdout == b"hi"


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [
        (Code.NOT_PERMITTED, client.Refused, 126),
        (Code.BAD_LINE, client.Refused, 126),
        (Code.BAD_ARGUMENT, client.Refused, 126),
        (Code.BAD_INPUT, client.Refused, 126),
        (Code.JUSTIFICATION_REQUIRED, client.Refused, 126),
        (Code.NOT_STARTED, client.NotStarted, 127),
        (Code.BUSY, client.Busy, 125),
        (Code.UNAVAILABLE, client.Busy, 125),
        (Code.AUTHENTICATION_FAILED, client.AuthenticationFailed, 255),
        (Code.IDLE, client.Busy, 125),
        (Code.REVOKED, client.SessionClosed, 255),
        (Code.PROTOCOL_ERROR, client.SessionClosed, 255),
    ],
)
def test_an_answer_of_no_leaves_the_session_open(
    call: Call, code: Code, error: type[client.CallerError], status: int
) -> None:
    """Each code has its error and its status, and the next command runs."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Refused("r-1", code, "because"))
        answer(Started("r-2"), GOOD_END)(peer)

    session = call(script)
    with pytest.raises(error, match=f"^{code.word}: because$") as caught:
        session.run("x")

    assert (status, "r-1") == (caught.value.exit_status, caught.value.request_id)
    assert session.run("x").request_id == "r-2"


def test_every_code_has_a_meaning() -> None:
    """A code added to the wire is noticed here."""
    for code in Code:
        assert isinstance(client.errors.refusal(Refused("r", code, "")), client.CallerError)
        assert isinstance(client.errors.closing(Closed(code, "")), client.CallerError)


def test_a_listing_is_read_to_its_end(call: Call) -> None:
    """The entries in the server's order; then the session goes on."""
    entries = [Entry("b", "b X", "B", "", ("X: word",), "{}"), Entry("a", "a", "A", "", (), "")]

    def script(peer: Peer) -> None:
        peer.expect(List)
        peer.send(*entries, Listed())
        answer(Started("r-1"), GOOD_END)(peer)

    session = call(script)

    assert entries == session.list()
    assert session.run("a").returncode == 0


def test_a_listing_without_an_end_is_cut(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile server does not fill our memory."""
    monkeypatch.setattr("rexecd.client.session._MAX_ENTRIES", 100)

    def script(peer: Peer) -> None:
        peer.expect(List)
        try:
            while True:
                peer.send(Entry("a", "a", "A", "", (), ""))
        except OSError:
            pass

    with pytest.raises(client.ProtocolBroken, match="more than 100"):
        call(script).list()


def test_leaving_says_goodbye(call: Call) -> None:
    """The server knows that it was not an accident; leaving twice is fine."""
    farewell = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(Goodbye)
        farewell.set()

    session = call(script)
    session.close()
    session.close()

    assert farewell.wait(10)
    with pytest.raises(client.ConnectionLost, match="session is closed"):
        session.run("x")
