"""Reasons and values from files, from the command line to what the server takes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rexecd import client
from rexecd.cli.rexec import main
from rexecd.client import Session
from rexecd.errors import Code
from rexecd.limits import MAX_JUSTIFICATION
from rexecd.wire.messages import Goodbye, Message, Refused, Run, Started
from tests.unit.client.fake_server import GOOD_END, TOKEN, Authority, FakeServer, Peer, answer, welcoming

Capture = pytest.CaptureFixture[bytes]
Call = Callable[..., Session]
#: Run `main` with the server's address behind the options and before the words.
Rexec = Callable[..., int]
Serve = Callable[..., FakeServer]

pytestmark = pytest.mark.usefixtures("caller_environment")

BAD_REASONS = {
    " \t": "the reason is empty",
    "a\nb": "control character",
    "a\tb": "control character",
    "\x1b[2J": "control character",
    "nul\0": "control character",
    "\u202eesrever": "control character",
    "a\u2028b": "control character",
    "a\udcff": "control character",
    "x" * (MAX_JUSTIFICATION + 1): "the reason has 513 bytes, allowed are 512",
    "\u20ac" * (MAX_JUSTIFICATION // 3 + 1): "the reason has 513 bytes, allowed are 512",
}


class Record:
    """A script that runs every command, and what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Message] = []

    def __call__(self, peer: Peer) -> None:
        """Serve one caller until it leaves."""
        while not isinstance(message := peer.expect(object), Goodbye):
            self.asked.append(message)
            peer.send(Started("r"), GOOD_END)

    @property
    def reasons(self) -> list[str]:
        """Return the reasons that were given."""
        return [run.justification for run in self.asked]


@pytest.mark.parametrize(
    "reason",
    [
        "ticket 4711",
        "x" * MAX_JUSTIFICATION,
        "\u00e4" * (MAX_JUSTIFICATION // 2),
        " -- $(x) 'quoted' ",
        "--list",
        "\u8a08\u753b\u3000\u505c\u6b62\u00a0!",
    ],
)
def test_a_reason_arrives_as_it_was_given(rexec: Rexec, reason: str) -> None:
    """In any script, as long as it may be, and never as a part of the line."""
    record = Record()

    assert rexec(record, "disk", "/srv", options=[f"--reason={reason}"]) == 0
    assert [("disk /srv", reason)] == [(run.line, run.justification) for run in record.asked]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_without_the_option_there_is_no_reason(rexec: Rexec, options: list[str]) -> None:
    """What stands behind HOST is the command's, and is not looked at."""
    record = Record()

    assert rexec(record, "disk", "--reason", "x", options=options) == 0
    assert [""] == record.reasons


def test_a_reason_goes_along_with_json(rexec: Rexec) -> None:
    """Both ways of running one command give it."""
    record = Record()

    assert rexec(record, "disk", options=["--json", "--reason", "a b"]) == 0
    assert ["a b"] == record.reasons


def test_in_a_session_every_command_has_the_reason(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is given once, and nobody has to repeat it."""
    record = Record()
    (tmp_path / "lines").write_text("disk\n\ndisk /srv\n")
    with (tmp_path / "lines").open() as lines:
        monkeypatch.setattr("sys.stdin", lines)

        assert main(["--reason", "a b", serve(welcoming(record)).address]) == 0
    assert ["a b", "a b"] == record.reasons


@pytest.mark.parametrize(("reason", "said"), {"": "the reason is empty", **BAD_REASONS}.items())
def test_a_reason_that_cannot_be_recorded_is_found_before_any_network(
    capfdbinary: Capture, reason: str, said: str
) -> None:
    """Nobody listens at port 1, and that is not what is complained about; the terminal is left alone."""
    assert main([f"--reason={reason}", "127.0.0.1:1", "x"]) == 255

    complaint = capfdbinary.readouterr().err
    assert said.encode() in complaint
    assert b"\x1b" not in complaint


@pytest.mark.parametrize(("reason", "said"), BAD_REASONS.items())
def test_a_reason_that_cannot_be_sent_costs_nothing(call: Call, reason: str, said: str) -> None:
    """The library refuses it too, and the session goes on."""
    record = Record()
    session = call(record)
    with pytest.raises(client.UsageError, match=said):
        session.run("x", reason=reason)

    assert session.run("x", reason="good").returncode == 0
    assert ["good"] == record.reasons


def test_the_library_gives_a_reason_in_one_call(serve: Serve, authority: Authority) -> None:
    """As it gives input."""
    record = Record()
    client.run(serve(welcoming(record)).address, ["x"], token=TOKEN, ca=authority.path, reason="why not")

    assert [Run("x", client.Offer.NONE, "why not")] == record.asked


def test_a_missing_reason_is_a_refusal_that_says_how_to_give_one(rexec: Rexec, capfdbinary: Capture) -> None:
    """The caller holds the rule, so it may know."""
    refused = Refused("r", Code.JUSTIFICATION_REQUIRED, "this command needs a reason")

    assert rexec(answer(refused), "x") == 126
    assert capfdbinary.readouterr().err.decode().splitlines() == [
        "rexec: error: justification-required: this command needs a reason",
        "rexec: hint: give a reason with --reason TEXT",
    ]


def test_a_missing_reason_is_told_in_json(rexec: Rexec, capfdbinary: Capture) -> None:
    """As every other refusal."""
    assert rexec(answer(Refused("r", Code.JUSTIFICATION_REQUIRED, "")), "x", options=["--json"]) == 126

    told = json.loads(capfdbinary.readouterr().out)
    assert ("refused", 126, "justification-required") == (told["outcome"], told["exit_code"], told["reason"])


@pytest.mark.parametrize("words", [("login", "my ann"), ("login 'my ann'",)])
def test_a_value_from_a_file_reaches_the_server(rexec: Rexec, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Behind the command's name, in whichever way that was written."""
    record = Record()
    (tmp_path / "pass=word").write_text("s3cr t\n")

    assert rexec(record, *words, options=["--value-file", f"password={tmp_path}/pass=word"]) == 0
    assert ["login '--password=s3cr t' 'my ann'"] == [run.line for run in record.asked]


def test_a_value_can_be_piped_into_the_program(serve: Serve) -> None:
    """As a password manager prints it: no file is left behind."""
    record = Record()
    command = [sys.executable, "-m", "rexecd.cli.rexec", "--value-file", "password=/dev/stdin"]
    command += [serve(welcoming(record)).address, "login"]
    done = subprocess.run(command, input=b"piped\n", capture_output=True, check=False)

    assert (0, b"") == (done.returncode, done.stderr)
    assert ["login --password=piped"] == [run.line for run in record.asked]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_file_that_cannot_be_read_is_found_before_any_network(
    capfdbinary: Capture, tmp_path: Path, options: list[str]
) -> None:
    """One line, and nothing of what another file held."""
    (tmp_path / "good").write_text("hunter2")
    files = [f"--value-file=a={tmp_path}/good", f"--value-file=b={tmp_path}/none"]

    assert main([*options, *files, "127.0.0.1:1", "x"]) == 255
    out, err = capfdbinary.readouterr()
    assert b"No such file or directory" in out + err
    assert b"hunter2" not in out + err
