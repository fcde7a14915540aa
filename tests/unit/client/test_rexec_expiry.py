"""A token that ends soon is said in time."""

from collections.abc import Callable

import pytest

from rexecd import client
from rexecd.cli.rexec import main
from rexecd.client.times import spell_span
from rexecd.wire.messages import Output, Run, Started
from tests.unit.client.fake_server import (
    GOOD_END,
    TOKEN,
    Authority,
    FakeServer,
    Peer,
    Script,
    list_commands,
    welcoming,
)

Serve = Callable[..., FakeServer]
Capture = pytest.CaptureFixture[str]
_DAY = 86400

pytestmark = pytest.mark.usefixtures("caller_environment")


def run_twice(peer: Peer) -> None:
    """Answer commands until the caller leaves."""
    while isinstance(peer.expect(object), Run):
        peer.send(Started("r"), Output(b"out\n"), GOOD_END)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (7 * _DAY, "7 days"),
        (7 * _DAY - 1, "6 days"),
        (2 * _DAY, "2 days"),
        (2 * _DAY - 1, "47 hours"),
        (7200, "2 hours"),
        (7199, "119 minutes"),
        (119, "119 seconds"),
        (1, "1 second"),
    ],
)
def test_a_span_is_said_in_its_largest_unit(seconds: float, said: str) -> None:
    """And never longer than it is: who comes on the last day comes in time."""
    assert said == spell_span(seconds)


@pytest.mark.parametrize(
    ("line", "script"),
    [
        ("HOST x", run_twice),
        ("--json HOST x", run_twice),
        ("--list HOST", list_commands),
        ("--list --json HOST", list_commands),
        ("HOST", run_twice),
    ],
)
def test_a_token_that_ends_within_a_week_is_said_once(
    serve: Serve, capfd: Capture, monkeypatch: pytest.MonkeyPatch, line: str, script: Script
) -> None:
    """On standard error, whatever was asked for; what goes to standard output is as ever."""
    monkeypatch.setattr("sys.stdin", None)
    heard = []
    for expires_in in (0, 6 * _DAY + 5):
        server = serve(welcoming(script, "", expires_in))
        status = main(line.replace("HOST", server.address).split())
        heard.append((status, *capfd.readouterr()))

    warning = "rexec: warning: the token expires in 6 days: ask the operator for a new one\n"
    assert [(0, ""), (0, warning)] == [(status, err) for status, _, err in heard]
    assert heard[0][1] == heard[1][1]


@pytest.mark.parametrize(("expires_in", "is_said"), [(0, False), (7 * _DAY + 1, False), (7 * _DAY, True)])
def test_a_token_is_not_talked_about_before_its_last_week(
    serve: Serve, capfd: Capture, expires_in: int, *, is_said: bool
) -> None:
    """Nor one that never ends."""
    main([serve(welcoming(run_twice, "", expires_in)).address, "x"])

    assert is_said == ("the token expires" in capfd.readouterr().err)


def test_a_program_can_ask_when_its_token_ends(serve: Serve, authority: Authority) -> None:
    """None stands for never."""
    for expires_in, told in ((0, None), (90, 90.0)):
        server = serve(welcoming(run_twice, "", expires_in))
        with client.connect(server.address, token=TOKEN, ca=authority.path) as session:
            assert told == session.token_expires_in
