"""The interactive session of `rexec`, from a pipe and in a terminal."""

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rexecd.errors import Code
from rexecd.limits import MAX_LINE
from rexecd.wire.messages import (
    Authenticate,
    Closed,
    Ending,
    Exit,
    Goodbye,
    List,
    Listed,
    Offer,
    Output,
    Refused,
    Run,
    Signal,
    Started,
)
from tests.terminal import Terminal
from tests.unit.client.fake_server import (
    DISK,
    EVIL,
    GOOD_END,
    RESTART,
    FakeServer,
    Peer,
    attack,
    welcoming,
)

Capture = pytest.CaptureFixture[bytes]
#: Run `main` with the server's address behind the options and before the words.
Rexec = Callable[..., int]
#: Start the program as a process of its own.
Start = Callable[..., subprocess.Popen[bytes]]

pytestmark = pytest.mark.usefixtures("caller_environment")


def converse(peer: Peer) -> None:
    """Answer commands by their first word until the caller leaves."""
    while not isinstance(message := peer.expect(object), Goodbye):
        if isinstance(message, List):
            peer.send(DISK, RESTART, Listed())
            continue
        assert isinstance(message, Run)
        assert message.offer is Offer.NONE
        match message.line.split()[0]:
            case "say":
                peer.send(Started("r"), Output(f"{message.line}\n".encode()), GOOD_END)
            case "fail":
                peer.send(Started("r"), Exit(Ending.EXITED, 3, truncated=False, duration=0))
            case "die":
                peer.send(Started("r"), Exit(Ending.SIGNALLED, 15, truncated=False, duration=0))
            case "sleep":
                peer.send(Started("r"), Exit(Ending.TIMED_OUT, 143, truncated=True, duration=0))
            case "stop":
                peer.send(Closed(Code.UNAVAILABLE, "the service stops"))
                return
            case "wait":
                peer.send(Started("r"), Output(b"waiting\n"))
                peer.expect(Signal)
                peer.send(Output(b"interrupted\n"), Exit(Ending.SIGNALLED, 2, truncated=False, duration=0))
            case _:
                peer.send(Refused("r", Code.NOT_PERMITTED, "no such command, or not for you"))


def talk(start: Start, text: bytes) -> tuple[str, str, int]:
    """Return what a session with this input prints, complains and ends with."""
    process = start(converse)
    out, err = process.communicate(text)
    return out.decode(), err.decode(), process.returncode


def test_a_session_goes_on_after_everything_that_can_be_answered(
    start: Start,
) -> None:
    """Unknown commands, empty lines, bad bytes, long lines and bad endings."""
    lines = [
        b"say one",
        b"",
        b"  ",
        b"nope",
        b"\xff",
        b"x" * 40_000,
        b"fail",
        b"die",
        b"sleep",
        b" say two ",
        b"exit",
    ]
    out, err, status = talk(start, b"\n".join(lines) + b"\nsay three\n")

    assert (out, status) == ("say one\nsay two\n", 0)
    assert err.splitlines() == [
        "rexec: error: not-permitted: no such command, or not for you",
        "rexec: hint: 'rexec --list HOST' or 'help' shows what you may run",
        "rexec: error: the line is not valid UTF-8",
        f"rexec: error: the line is longer than {MAX_LINE} bytes",
        "[exit status 3]",
        "[signal TERM]",
        "[output or input was cut at its limit]",
        "[timed out after 0 s]",
    ]


def test_a_session_ends_with_its_input(start: Start) -> None:
    """Also where the last line has no end."""
    assert talk(start, b"say one") == ("say one\n", "", 0)


def test_a_line_for_a_shell_is_answered_and_not_sent(start: Start) -> None:
    """One rule for lines from a pipe and from a person; `help` goes on working."""
    out, err, status = talk(start, b"say one | nope\nsay 'two | three'\nhelp > x\nsay four\nexit\n")

    assert ("say 'two | three'\nsay four\n", 0) == (out, status)
    assert err.splitlines() == [
        "rexec: error: no shell here, nothing was sent; quote | to pass it on as it is",
        "rexec: error: no shell here, nothing was sent; quote > to pass it on as it is",
    ]


def test_lines_from_a_pipe_have_no_menu_and_no_history(start: Start, tmp_path: Path) -> None:
    """Nor does anything load what is for people only."""
    talk(start, b"say one\nexit\n")

    assert not (tmp_path / "state").exists()


def test_help_in_a_session(start: Start) -> None:
    """All commands, one of them in two spellings, and one that is not there."""
    out, err, _ = talk(start, b"help\nhelp service.restart\nservice.restart --help\nhelp nope\n")

    assert out == (
        "disk [PATH]           Free space\\x1b[2J\n"
        "service.restart UNIT  Restart a service\n"
        "'help NAME' shows one command, 'exit' leaves.\n"
        + 2
        * "usage: service.restart UNIT\n\nRestart a service\n"
    )
    assert "'nope' is unknown or not permitted" in err


def test_the_banner_is_escaped_but_keeps_its_lines(
    rexec: Rexec, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes from the operator, by way of the server."""
    monkeypatch.setattr(sys, "stdin", None)

    assert rexec(converse) == 0
    assert capfdbinary.readouterr().out == b"Be careful\nhere\\x1b]0;\n"


def test_a_session_that_is_closed_ends_with_its_status(start: Start) -> None:
    """And says why."""
    out, err, status = talk(start, b"say one\nstop\nsay two\n")

    assert ("say one\n", 125) == (out, status)
    assert err.startswith("rexec: error: the server ended the session: unavailable: the service stops\n")


def test_a_connection_lost_between_two_lines_ends_the_session(
    start: Start,
) -> None:
    """One complaint, not one for each line that follows."""
    process = start(lambda _peer: None)
    _, err = process.communicate(b"say one\nsay two\n")

    assert process.returncode == 255
    assert err.count(b"rexec: error: ") == 1


@pytest.fixture
def terminal(start: Start, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Open a session in a terminal."""
    monkeypatch.setenv("TERM", "dumb")
    made = Terminal(functools.partial(start, converse))
    yield made
    made.close()


@contextlib.contextmanager
def session_with(server: FakeServer) -> Iterator[Terminal]:
    """Open a session in a terminal that is gone afterwards."""

    def start(**how: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "rexecd.cli.rexec", server.address], **how)

    terminal = Terminal(start)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        terminal.close()


def test_a_terminal_has_a_prompt_and_ctrl_d_ends(terminal: Terminal) -> None:
    """One prompt for each line."""
    terminal.expect(b"->> ")
    terminal.type(b"say one\n")
    terminal.expect(b"\nsay one\r\n")
    terminal.expect(b"->> ")
    terminal.type(b"\x04")

    assert terminal.process.wait(10) == 0


def test_ctrl_c_in_a_terminal_is_for_the_line_or_the_command(terminal: Terminal) -> None:
    """The session survives both, also twice."""
    terminal.expect(b"->> ")
    terminal.type(b"half a li")
    terminal.expect(b"half a li")  # read, so that Ctrl-C does not flush it away under the line editor
    terminal.interrupt_until(b"->> ")
    for _ in range(2):
        terminal.type(b"wait\n")
        terminal.expect(b"waiting\r\n")
        terminal.type(b"\x03")
        terminal.expect(b"interrupted\r\n")
        terminal.expect(b"[signal INT]")
        terminal.expect(b"->> ")
    terminal.type(b"exit\n")

    assert terminal.process.wait(10) == 0


def test_a_session_reads_like_this(terminal: Terminal) -> None:
    """Menu, help, a mistake, an ending, a signal from the server's side, and the way out."""
    said = terminal.expect(b"->> ")
    for typed in (b"help disk", b"say 'a > b'", b"say a > b", b"fail", b"nope"):
        terminal.type(typed + b"\n")
        said += b"->> " + terminal.expect(b"->> ")
    terminal.type(b"\x04")
    assert terminal.process.wait(10) == 0

    assert said.decode().replace("\r\n", "\n") == (
        """\
You may run:
  disk [PATH]           Free space\\x1b[2J
  service.restart UNIT  Restart a service
'help NAME' shows one command, 'exit' leaves.
->> help disk
usage: disk [PATH]

Free space\\x1b[2J

Counted
in blocks.

parameters:
  PATH: path, /srv or /var
->> say 'a > b'
say 'a > b'
->> say a > b
rexec: error: no shell here, nothing was sent; quote > to pass it on as it is
->> fail
[exit status 3]
->> nope
rexec: error: not-permitted: no such command, or not for you
rexec: hint: 'rexec --list HOST' or 'help' shows what you may run
"""
    )


def test_a_session_the_server_ends_is_begun_again_when_somebody_says_so(
    serve: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that came too late is not sent, then or later; the listing is asked for anew, without a menu."""
    runs: list[str] = []

    def end_at_the_prompt(peer: Peer) -> None:
        peer.expect(List)
        peer.send(DISK, Listed(), Closed(Code.IDLE, "nothing was asked for too long"))

    def refuse(peer: Peer) -> None:
        peer.expect(Authenticate)
        peer.send(Closed(Code.AUTHENTICATION_FAILED, ""))

    def go_on(peer: Peer) -> None:
        peer.expect(List)
        peer.send(RESTART, Listed())
        runs.append(peer.expect(Run).line)
        peer.send(Started("r"), Output(b"done\n"), GOOD_END)
        peer.expect(Goodbye)

    monkeypatch.setenv("TERM", "dumb")
    server = serve(welcoming(end_at_the_prompt, "Hello"), refuse, welcoming(go_on, "Hello again"))
    with session_with(server) as terminal:
        terminal.expect(b"leaves.\r\n->> ")
        terminal.type(b"say once\n")
        terminal.expect(b"the server ended the session: idle: nothing was asked for too long\r\n")
        terminal.expect(b"[the line was not sent; arrow-up brings it back]\r\nConnect again? (yes/no) ")
        terminal.type(b"yes\n")
        terminal.expect(b"rexec: error: authentication-failed")
        terminal.expect(b"Connect again? (yes/no) ")
        terminal.type(b"yes\n")
        assert b"You may run" not in terminal.expect(b"Hello again\r\n->> ")
        terminal.type(b"service.restart nginx\n")
        terminal.expect(b"done\r\n->> ")
        terminal.type(b"exit\n")
        assert terminal.process.wait(10) == 0

    assert ["service.restart nginx"] == runs


def test_a_hostile_server_reaches_a_terminal_with_escaped_text_only(
    serve: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Banner, names, usage, summaries, choices and last words; on the tabulator key too."""
    monkeypatch.setenv("TERM", "dumb")
    server = serve(welcoming(attack, f"{EVIL}\nbanner"))
    with session_with(server) as terminal:
        seen = terminal.expect(b"->> ")
        terminal.type(b"\t\tatta\t\t")
        seen += terminal.expect(b"attack ")
        terminal.type(b"--\t\t\x15")
        for line, answered in (
            (b"help", b"leaves."),
            (b"help attack", b"parameters:"),
            (b"run", b"not-permitted"),
        ):
            terminal.type(line + b"\n")
            seen += terminal.expect(answered)
            seen += terminal.expect(b"->> ")
        terminal.type(b"\x04")
        assert terminal.process.wait(10) == 0

    text = seen.decode()
    assert [] == [character for character in "\x1b\x9b\u202e" if character in text]
    assert 1 == text.replace("\r", "").count("\nforged")  # in what `help attack` says, whose lines are kept


def test_the_tabulator_completes_command_names(terminal: Terminal) -> None:
    """From the listing."""
    terminal.expect(b"->> ")
    terminal.type(b"help serv\t")
    terminal.expect(b"service.restart ")
    terminal.type(b"\n")
    terminal.expect(b"usage: service.restart UNIT")
    terminal.expect(b"->> ")
    terminal.type(b"exit\n")

    assert terminal.process.wait(10) == 0
