"""A caller's own timeout, from the command line to what the server takes; and when to ask again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rexecd import client
from rexecd.cli.rexec import main
from rexecd.client import Session
from rexecd.client.arguments import parse_arguments
from rexecd.errors import Code
from rexecd.wire.messages import Ending, Exit, Goodbye, Offer, Output, Refused, Run, Started
from tests.unit.client.fake_server import GOOD_END, TOKEN, Authority, FakeServer, Peer, answer, welcoming

Capture = pytest.CaptureFixture[bytes]
Call = Callable[..., Session]
#: Run `main` with the server's address behind the options and before the words.
Rexec = Callable[..., int]
Serve = Callable[..., FakeServer]

pytestmark = pytest.mark.usefixtures("caller_environment")

CUT_OFF = Exit(Ending.TIMED_OUT, 143, truncated=True, duration=30_012_000)


class Record:
    """A script that runs every command, and what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Run] = []

    def __call__(self, peer: Peer) -> None:
        """Serve one caller until it leaves."""
        while not isinstance(message := peer.expect(object), Goodbye):
            assert isinstance(message, Run)
            self.asked.append(message)
            peer.send(Started("r"), GOOD_END)

    @property
    def timeouts(self) -> list[int]:
        """Return the timeouts that were asked for, in milliseconds."""
        return [run.timeout for run in self.asked]


@pytest.mark.parametrize(
    ("written", "asked"),
    {
        "1ms": 1,
        "250ms": 250,
        "30s": 30_000,
        "5m": 300_000,
        "2h": 7_200_000,
        "1d": 86_400_000,
        "4294967295ms": 2**32 - 1,
    }.items(),
)
def test_a_timeout_arrives_in_milliseconds(rexec: Rexec, written: str, asked: int) -> None:
    """With the units a policy has, from the shortest to the longest a message can say."""
    record = Record()

    assert rexec(record, "disk", "--timeout", "1s", options=["--timeout", written]) == 0
    assert [("disk --timeout 1s", asked)] == [(run.line, run.timeout) for run in record.asked]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_without_the_option_nothing_is_asked_for(rexec: Rexec, options: list[str]) -> None:
    """The rule's own time counts."""
    record = Record()

    assert rexec(record, "disk", options=options) == 0
    assert [0] == record.timeouts


def test_a_timeout_goes_along_with_json(rexec: Rexec) -> None:
    """Both ways of running one command give it."""
    record = Record()

    assert rexec(record, "disk", options=["--json", "--timeout=3s"]) == 0
    assert [3_000] == record.timeouts


def test_in_a_session_every_command_has_the_timeout(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is given once, and nobody has to repeat it."""
    record = Record()
    (tmp_path / "lines").write_text("disk\n\ndisk /srv\n")
    with (tmp_path / "lines").open() as lines:
        monkeypatch.setattr("sys.stdin", lines)

        assert main(["--timeout", "2s", serve(welcoming(record)).address]) == 0
    assert [2_000, 2_000] == record.timeouts


@pytest.mark.parametrize(
    ("written", "said"),
    {
        "30": "'30' has no unit: write 30s for seconds, 30m for minutes",
        "": "'' is not a duration with a unit, such as 250ms, 30s, 5m, 2h or 1d",
        "soon": "'soon' is not a duration",
        "1.5h": "'1.5h' is not a duration",
        "-1s": "'-1s' is not a duration",
        "1h30m": "'1h30m' is not a duration",
        "30S": "'30S' is not a duration",
        "\u0663s": "is not a duration",
        "30s\x1b[2J": "is not a duration",
        "0s": "the timeout is 0 s, allowed are 0.001 to 4294967.295",
        "50d": "the timeout is 4320000 s, allowed are 0.001 to 4294967.295",
        "999999999999d": "allowed are 0.001 to 4294967.295",
    }.items(),
)
def test_a_timeout_that_cannot_be_is_found_before_any_network(
    capfdbinary: Capture, written: str, said: str
) -> None:
    """Nobody listens at port 1, and that is not what is complained about; there is a remedy."""
    assert main([f"--timeout={written}", "127.0.0.1:1", "x"]) == 255

    complaint, remedy = capfdbinary.readouterr().err.splitlines()
    assert said.encode() in complaint
    assert remedy.startswith(b"rexec: hint: ")
    assert b"\x1b" not in complaint


@pytest.mark.parametrize("words", [["--list", "web1"], ["web1", "disk", "--help"]])
def test_a_timeout_without_a_command_is_a_mistake(words: list[str]) -> None:
    """Who means the time until the server answers is told what that is called."""
    with pytest.raises(client.UsageError, match="--connect-timeout"):
        parse_arguments(["--timeout", "5s", *words])


@pytest.mark.parametrize("timeout", [0, -1.0, 0.0009, 2.0**32, float("inf"), float("nan")])
def test_a_timeout_that_cannot_be_sent_costs_nothing(call: Call, timeout: float) -> None:
    """The library refuses it too, and the session goes on: zero would say that nothing is asked for."""
    record = Record()
    session = call(record)
    with pytest.raises(client.UsageError, match=r"^the timeout is .* s, allowed are 0\.001 to "):
        session.run("x", timeout=timeout)

    assert session.run("x", timeout=0.0015).returncode == 0
    assert session.execute("x", offer=Offer.NONE, sink=lambda *_: None, timeout=16.1).returncode == 0
    assert [2, 16_100] == record.timeouts


def test_the_library_gives_a_timeout_in_one_call(serve: Serve, authority: Authority) -> None:
    """As it gives input."""
    record = Record()
    client.run(serve(welcoming(record)).address, ["x"], token=TOKEN, ca=authority.path, timeout=90)

    assert [Run("x", client.Offer.NONE, "", 90_000)] == record.asked


def test_a_result_of_a_command_that_was_cut_off_keeps_what_it_wrote(call: Call) -> None:
    """It is no exception: there is something to read, and how long it took."""
    result = call(answer(Started("r"), Output(b"half"), CUT_OFF)).run("x", timeout=30)

    assert (124, "timed_out", b"half", 30.012) == (
        result.returncode,
        result.outcome,
        result.stdout,
        result.duration,
    )


def test_a_command_that_was_cut_off_is_told_with_its_time(rexec: Rexec, capfdbinary: Capture) -> None:
    """Whatever came before is passed on, and both notes stand on the other side."""
    assert rexec(answer(Started("r"), Output(b"half"), CUT_OFF), "x", options=["--timeout", "30s"]) == 124

    out, err = capfdbinary.readouterr()
    assert out == b"half"
    assert err.decode().splitlines() == [
        "rexec: [output or input was cut at its limit]",
        "rexec: [timed out after 30 s]",
    ]


def test_json_says_why_a_command_was_cut_off(rexec: Rexec, capfdbinary: Capture) -> None:
    """For people; a program looks at the outcome."""
    assert rexec(answer(Started("r"), Output(b"half"), CUT_OFF), "x", options=["--json"]) == 124

    told = json.loads(capfdbinary.readouterr().out)
    assert ("timed_out", 124, "timed out after 30 s", "half", True, None) == (
        told["outcome"],
        told["exit_code"],
        told["reason"],
        told["stdout"],
        told["truncated"],
        told["retry_after"],
    )


@pytest.mark.parametrize(
    ("duration", "said"),
    [(250_000, "0.25 s"), (1_000_000, "1 s"), (99_960_000, "100 s"), (3_600_400_000, "3600 s")],
)
def test_the_time_a_command_took_is_told_as_people_read_it(
    rexec: Rexec, capfdbinary: Capture, duration: int, said: str
) -> None:
    """No more digits than anybody needs, and never an exponent."""
    end = Exit(Ending.TIMED_OUT, 143, truncated=False, duration=duration)

    assert rexec(answer(Started("r"), end), "x") == 124
    assert f"rexec: [timed out after {said}]\n".encode() == capfdbinary.readouterr().err


@pytest.mark.parametrize(
    ("code", "retry_after", "hint"),
    [
        (Code.BUSY, 0, "try again later"),
        (Code.BUSY, 250, "try again in 0.25 s"),
        (Code.BUSY, 12_000, "try again in 12 s"),
        (Code.BUSY, 11_001, "try again in 12 s"),
        (Code.UNAVAILABLE, 5_000, "try again in 5 s"),
        (Code.BUSY, 2**32 - 1, "try again in 4294968 s"),
    ],
)
def test_a_refusal_says_when_to_ask_again(
    rexec: Rexec, capfdbinary: Capture, code: Code, retry_after: int, hint: str
) -> None:
    """Never too early; the client itself does not wait."""
    assert rexec(answer(Refused("r", code, "no", retry_after)), "x") == 125
    assert capfdbinary.readouterr().err.decode().splitlines() == [
        f"rexec: error: {code.word}: no",
        f"rexec: hint: {hint}",
    ]


@pytest.mark.parametrize(
    ("refused", "status", "expected"),
    [
        (Refused("r", Code.BUSY, "no", 12_000), 125, ("busy", 12.0)),
        (Refused("r", Code.BUSY, "no", 1), 125, ("busy", 0.001)),
        (Refused("r", Code.BUSY, "no"), 125, ("busy", None)),
        (Refused("r", Code.NOT_PERMITTED, "no", 12_000), 126, ("refused", None)),
    ],
)
def test_json_says_when_to_ask_again(
    rexec: Rexec, capfdbinary: Capture, refused: Refused, status: int, expected: tuple[object, ...]
) -> None:
    """In seconds, where asking again can help at all, and the server knows."""
    assert status == rexec(answer(refused), "x", options=["--json"])

    told = json.loads(capfdbinary.readouterr().out)
    assert expected == (told["outcome"], told["retry_after"])


def test_the_library_says_when_to_ask_again(call: Call) -> None:
    """The error has it, and the session goes on."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Refused("r-1", Code.BUSY, "no", 1_500))
        answer(Started("r-2"), GOOD_END)(peer)

    session = call(script)
    with pytest.raises(client.Busy) as caught:
        session.run("x")

    assert (1.5, "r-1") == (caught.value.retry_after, caught.value.request_id)
    assert session.run("x").returncode == 0
