"""The program `rexec` from its arguments to its exit status."""

import base64
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from rexecd.cli.rexec import main
from rexecd.errors import Code
from rexecd.limits import MAX_LINE
from rexecd.wire.messages import (
    Authenticate,
    Closed,
    Ending,
    ErrorOutput,
    Exit,
    List,
    Listed,
    Message,
    Output,
    Refused,
    Run,
    Started,
)
from tests.unit.client.fake_server import (
    DISK,
    GOOD_END,
    RESTART,
    TOKEN,
    FakeServer,
    Peer,
    answer,
    list_commands,
    welcoming,
)

Serve = Callable[..., FakeServer]
Capture = pytest.CaptureFixture[bytes]
#: Run `main` with the server's address behind the options and before the words.
Rexec = Callable[..., int]
#: Start the program as a process of its own.
Start = Callable[..., subprocess.Popen[bytes]]

pytestmark = pytest.mark.usefixtures("caller_environment")


def test_both_outputs_are_passed_on_byte_by_byte(rexec: Rexec, capfdbinary: Capture) -> None:
    """Nothing is added, escaped or decoded, and the status is the command's."""
    end = Exit(Ending.EXITED, 7, truncated=False, duration=0)
    status = rexec(answer(Started("r"), Output(b"\x1b[1m\xff"), ErrorOutput(b"\x00\xfe"), end), "x")

    assert (7, b"\x1b[1m\xff", b"\x00\xfe") == (status, *capfdbinary.readouterr())


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        (Exit(Ending.SIGNALLED, 9, truncated=False, duration=0), 137, b""),
        (
            Exit(Ending.SIGNALLED, 9, truncated=True, duration=0),
            137,
            b"rexec: [output or input was cut at its limit]\nrexec: [signal KILL]\n",
        ),
        (Exit(Ending.TIMED_OUT, 143, truncated=False, duration=0), 124, b"rexec: [timed out after 0 s]\n"),
        (
            Exit(Ending.EXITED, 0, truncated=True, duration=0),
            0,
            b"rexec: [output or input was cut at its limit]\n",
        ),
    ],
)
def test_the_status_says_how_a_command_ended(
    rexec: Rexec, capfdbinary: Capture, ending: Exit, status: int, said: bytes
) -> None:
    """What a script could not see from the status alone is said as well."""
    assert status == rexec(answer(Started("r"), ending), "x")
    assert said == capfdbinary.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("disk /srv",), "disk /srv"),
        (("disk", "/srv/my data"), "disk '/srv/my data'"),
        (("disk", "--token", "x", "--json", "--", "-V"), "disk --token x --json -- -V"),
        (("--", "disk", "--", ""), "disk -- ''"),
        (("",), ""),
    ],
)
def test_the_line_is_what_stands_behind_the_host(rexec: Rexec, words: tuple[str, ...], line: str) -> None:
    """One word is the line, several are quoted, and every option there belongs to the other side."""
    lines = []

    def script(peer: Peer) -> None:
        lines.append(peer.expect(Run).line)
        peer.send(Started("r"), GOOD_END)
        peer.wait_until_gone()

    assert rexec(script, *words) == 0
    assert [line] == lines


@pytest.mark.parametrize(
    ("code", "status"),
    [(Code.NOT_PERMITTED, 126), (Code.NOT_STARTED, 127), (Code.BUSY, 125), (Code.UNAVAILABLE, 125)],
)
def test_a_refusal_is_said_in_one_escaped_line(
    rexec: Rexec, capfdbinary: Capture, code: Code, status: int
) -> None:
    """The server cannot steer the caller's terminal."""
    assert status == rexec(answer(Refused("r", code, "no\x1b[2J\nrexec: fine\u202e")), "x")

    out, err = capfdbinary.readouterr()
    first, second = err.splitlines()
    assert out == b""
    assert first.decode() == f"rexec: error: {code.word}: no\\x1b[2J\\x0arexec: fine\\u202e"
    assert second.startswith(b"rexec: hint: ")


def test_a_closed_session_and_a_lost_one_have_their_status(rexec: Rexec, capfdbinary: Capture) -> None:
    """Trying later is worth it only where the server says so."""

    def vanish(peer: Peer) -> None:
        peer.expect(Run)

    assert rexec(answer(Closed(Code.UNAVAILABLE, "the service stops")), "x") == 125
    assert rexec(answer(Started("r"), Closed(Code.REVOKED, "")), "x") == 255
    assert rexec(vanish, "x") == 255
    assert capfdbinary.readouterr().err.count(b"rexec: error: ") == 3


def test_a_wrong_token_ends_with_255(serve: Serve, capfdbinary: Capture) -> None:
    """And is not shown."""

    def script(peer: Peer) -> None:
        peer.expect(Authenticate)
        peer.send(Closed(Code.AUTHENTICATION_FAILED, "the token is not accepted"))

    assert main([serve(script).address, "x"]) == 255
    assert TOKEN[:13].encode() not in capfdbinary.readouterr().err


def test_what_was_typed_is_not_mixed_with_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capfdbinary: Capture
) -> None:
    """`--ca` alone means this authority alone, though a pin is set up for another host."""
    monkeypatch.setenv("REXEC_PIN", "sha256:" + "0" * 64)
    server = serve(welcoming(answer(Started("r"), GOOD_END)))

    assert main([server.address, "x"]) == 255
    assert main(["--ca", os.environ["REXEC_CA"], server.address, "x"]) == 0
    assert b"not the pinned one" in capfdbinary.readouterr().err


@pytest.mark.parametrize("words", [("x" * (MAX_LINE + 1),), ("a", "\udcff")])
def test_a_line_that_cannot_be_sent_is_found_before_any_network(
    capfdbinary: Capture, words: tuple[str, ...]
) -> None:
    """Nobody listens at port 1, and that is not what is complained about."""
    assert main(["127.0.0.1:1", *words]) == 255
    assert b"rexec: error: the command " in capfdbinary.readouterr().err


def test_an_unexpected_error_is_one_line_without_its_values(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: Capture
) -> None:
    """A traceback could show the token."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(TOKEN)

    monkeypatch.setattr("rexecd.cli.firstuse.connect", fail)

    assert main(["web1", "x"]) == 255
    assert capfdbinary.readouterr().err == b"rexec: error: internal error: RuntimeError\n"


def test_the_listing_is_aligned_and_escaped(rexec: Rexec, capfdbinary: Capture) -> None:
    """Usage and summary, one line each."""
    assert rexec(list_commands, options=["--list"]) == 0
    assert capfdbinary.readouterr().out.decode() == (
        "disk [PATH]           Free space\\x1b[2J\nservice.restart UNIT  Restart a service\n"
    )


def test_the_listing_as_json_has_every_field(rexec: Rexec, capfdbinary: Capture) -> None:
    """An array, also safe to look at in a terminal."""
    assert rexec(list_commands, options=["--list", "--json"]) == 0

    out = capfdbinary.readouterr().out
    assert json.loads(out) == [
        {
            **DISK._asdict(),
            "parameters": list(DISK.parameters),
            "schema": {"type": "object", "properties": {"PATH": {"title": "\x1b[2J"}}},
        },
        {**RESTART._asdict(), "parameters": [], "schema": None},
    ]
    assert b"\x1b" not in out


def test_help_as_json_has_the_schema_too(rexec: Rexec, capfdbinary: Capture) -> None:
    """One object, for the one command."""
    assert rexec(list_commands, "service.restart", "--help", options=["--json"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == {**RESTART._asdict(), "parameters": [], "schema": None}


def test_a_servers_schema_that_is_none_does_not_spoil_the_listing(rexec: Rexec, capfdbinary: Capture) -> None:
    """Whatever stands in its text, the other fields arrive."""

    def script(peer: Peer) -> None:
        peer.expect(List)
        peer.send(DISK._replace(schema='{"a":' * 3_000), RESTART._replace(schema="\x1b[2J"), Listed())

    assert rexec(script, options=["--list", "--json"]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert [("disk", None), ("service.restart", None)] == [(each["name"], each["schema"]) for each in told]


def test_help_for_one_command_comes_from_the_listing(rexec: Rexec, capfdbinary: Capture) -> None:
    """`NAME --help` is not sent as a command."""
    assert rexec(list_commands, "disk", "--help") == 0
    assert capfdbinary.readouterr().out.decode() == (
        "usage: disk [PATH]\n\nFree space\\x1b[2J\n\nCounted\nin blocks.\n\n"
        "parameters:\n  PATH: path, /srv or /var\n"
    )


def test_help_for_what_is_not_permitted_is_a_refusal(rexec: Rexec, capfdbinary: Capture) -> None:
    """Unknown and forbidden look alike here too."""
    assert rexec(list_commands, "nope", "--help") == 126
    assert b"'nope' is unknown or not permitted" in capfdbinary.readouterr().err


def run_to_json(rexec: Rexec, capture: Capture, *messages: Message) -> tuple[int, dict[str, Any]]:
    """Return the status and the one object on standard output."""
    status = rexec(answer(*messages), "x", options=["--json"])
    out, err = capture.readouterr()
    assert (1, b"") == (out.count(b"\n"), err)
    return status, json.loads(out)


def test_json_tells_a_result_whole(rexec: Rexec, capfdbinary: Capture) -> None:
    """Text as text, other bytes in base64."""
    end = Exit(Ending.EXITED, 3, truncated=True, duration=20_000)
    messages = (Started("r-1"), Output("grüße".encode()), ErrorOutput(b"\xff"), end)

    assert run_to_json(rexec, capfdbinary, *messages) == (
        3,
        {
            "outcome": "exited",
            "exit_code": 3,
            "signal": None,
            "reason": None,
            "retry_after": None,
            "stdout": "grüße",
            "stderr": {"base64": base64.b64encode(b"\xff").decode()},
            "truncated": True,
            "duration": 0.02,
            "request_id": "r-1",
        },
    )


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            (Started("r"), Exit(Ending.SIGNALLED, 15, truncated=False, duration=0)),
            ("signalled", 143, "TERM", None),
        ),
        (
            (Started("r"), Exit(Ending.TIMED_OUT, 137, truncated=False, duration=0)),
            ("timed_out", 124, None, "timed out after 0 s"),
        ),
        (
            (Started("r"), Exit(Ending.EXITED, 143, truncated=False, duration=0)),
            ("exited", 143, None, None),
        ),
        ((Refused("r", Code.NOT_PERMITTED, "no"),), ("refused", 126, None, "not-permitted: no")),
        ((Refused("r", Code.BUSY, ""),), ("busy", 125, None, "busy")),
        ((Refused("r", Code.NOT_STARTED, ""),), ("failed", 127, None, "not-started")),
    ],
)
def test_json_names_every_ending(
    rexec: Rexec, capfdbinary: Capture, messages: tuple[Message, ...], expected: tuple[object, ...]
) -> None:
    """And the exit status is the one it has without --json."""
    status, told = run_to_json(rexec, capfdbinary, *messages)

    assert expected == (told["outcome"], told["exit_code"], told["signal"], told["reason"])
    assert status == told["exit_code"]
    assert (told["request_id"], told["truncated"]) == ("r", False)


@pytest.mark.parametrize("messages", [(), (Closed(Code.UNAVAILABLE, ""),), (Output(b"x"),)])
def test_json_numbers_a_request_whose_end_nobody_heard(
    rexec: Rexec, capfdbinary: Capture, messages: tuple[Message, ...]
) -> None:
    """The operator finds in the trail what the caller has not been told."""
    _, told = run_to_json(rexec, capfdbinary, Started("r"), *messages)

    assert ("failed", "r") == (told["outcome"], told["request_id"])


def test_json_keeps_what_came_before_a_failure(rexec: Rexec, capfdbinary: Capture) -> None:
    """The session is closed in the middle of the output."""
    status, told = run_to_json(
        rexec, capfdbinary, Started("r"), Output(b"half"), Closed(Code.REVOKED, "so it is")
    )

    assert (255, "failed", "half", True) == (status, told["outcome"], told["stdout"], told["truncated"])
    assert "so it is" in told["reason"]


def test_json_tells_a_connection_that_did_not_come_about(capfdbinary: Capture) -> None:
    """A program reads one object, whatever happens."""
    assert main(["--json", "127.0.0.1:1", "x"]) == 255

    told = json.loads(capfdbinary.readouterr().out)
    assert ("failed", 255, "", "") == (told["outcome"], told["exit_code"], told["stdout"], told["stderr"])
    assert "connection refused" in told["reason"]


@pytest.mark.parametrize("option", ["--json", "--json=lines"])
@pytest.mark.parametrize("place", ["--token-file", "--pin", "--ca"])
def test_json_shows_no_token_that_was_put_in_the_wrong_place(
    capfdbinary: Capture, option: str, place: str
) -> None:
    """What reads it keeps it, mostly."""
    assert 255 == main([option, place, TOKEN, "127.0.0.1:1", "x"])

    out = capfdbinary.readouterr().out
    assert b"rxt_..." in out
    assert TOKEN.encode() not in out
