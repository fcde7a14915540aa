"""The program `rexec` among pipes, closed descriptors and signals."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from rexecd.cli import call
from rexecd.cli.interrupts import Interrupts, Terminated
from rexecd.cli.rexec import main
from rexecd.errors import Code
from rexecd.wire.messages import (
    Authenticate,
    Ending,
    ErrorOutput,
    Exit,
    Goodbye,
    Input,
    InputEnd,
    InputWanted,
    Offer,
    Output,
    Refused,
    Run,
    Signal,
    SignalName,
    Started,
)
from tests import harness
from tests.unit.client.fake_server import (
    GOOD_END,
    TOKEN,
    Authority,
    FakeServer,
    Peer,
    answer,
    welcoming,
)

Serve = Callable[..., FakeServer]
#: Start the program as a process of its own.
Start = Callable[..., subprocess.Popen[bytes]]

pytestmark = pytest.mark.usefixtures("caller_environment")


def test_input_goes_through_to_a_command_that_takes_it(
    start: Start,
) -> None:
    """With the end of input behind it."""
    offers = []

    def script(peer: Peer) -> None:
        offers.append(peer.expect(Run).offer)
        peer.send(Started("r"), InputWanted())
        while isinstance(message := peer.expect(object), Input):
            peer.send(Output(message.data.upper()))
        peer.send(GOOD_END)
        peer.wait_until_gone()

    data = b"some words\n" * 50_000
    out, err = start(script, "upper").communicate(data)

    assert (data.upper(), b"") == (out, err)
    assert [Offer.OPTIONAL] == offers


def test_the_token_can_be_the_first_line_of_input(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the input is the command's."""
    monkeypatch.delenv("REXEC_TOKEN")
    got = []

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect(Run)
        peer.send(Started("r"), InputWanted())
        got.append(peer.expect(Input).data)
        peer.expect(InputEnd)
        peer.send(GOOD_END)
        peer.wait_until_gone()

    with FakeServer(Authority(Path(os.environ["REXEC_CA"]).parent, "second.pem").issue(), script) as server:
        command = [sys.executable, "-m", "rexecd.cli.rexec", "--token-file", "-"]
        command += ["--ca", str(Path(os.environ["REXEC_CA"]).parent / "second.pem"), server.address, "x"]
        done = subprocess.run(command, input=f"{TOKEN}\nthe rest".encode(), capture_output=True, check=False)

    assert (0, b"") == (done.returncode, done.stderr)
    assert [b"the rest"] == got


def test_without_standard_input_none_is_offered(start: Start) -> None:
    """And no descriptor of ours takes the place of a standard one."""
    offers = []

    def script(peer: Peer) -> None:
        offers.append(peer.expect(Run).offer)
        peer.send(Started("r"), Output(b"x"), GOOD_END)
        peer.wait_until_gone()

    process = start(script, "x", stdin=None, preexec_fn=lambda: os.close(0))

    assert (b"x", b"") == process.communicate()
    assert [Offer.NONE] == offers


def test_a_closed_standard_output_is_an_error(start: Start) -> None:
    """The output never goes into a socket that took its number."""
    process = start(
        answer(Started("r"), Output(b"x"), GOOD_END), "x", stdout=None, preexec_fn=lambda: os.close(1)
    )

    assert process.communicate()[1] == b"rexec: error: the output cannot be written: Bad file descriptor\n"
    assert process.returncode == 255


def test_a_full_disk_is_an_error(start: Start) -> None:
    """It is never taken for success."""
    with open("/dev/full", "wb") as full:
        process = start(answer(Started("r"), Output(b"x"), GOOD_END), "x", stdout=full)

        assert b"No space left on device" in process.communicate()[1]
    assert process.returncode == 255


def test_a_reader_that_has_enough_ends_us_quietly(start: Start) -> None:
    """`rexec ... | head -1`: the server sees the connection end, and nothing is complained about."""
    is_gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r"))
        try:
            while True:
                peer.send(Output(b"y\n" * 10_000))
        except OSError:
            is_gone.set()

    process = start(script, "yes")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()

    assert process.stderr.read() == b""
    assert process.wait(10) == 141
    assert is_gone.wait(10)


def test_help_into_a_closed_pipe_is_quiet() -> None:
    """No traceback at the end of the program either."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "rexecd.cli.rexec", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)

    assert (141, b"") == (done.returncode, done.stderr)


def test_an_argument_that_is_not_utf_8_is_refused_here(start: Start) -> None:
    """Python hands it over as a lone surrogate, which cannot be sent."""
    process = start(answer(), b"disk", b"\xff")

    assert b"not valid UTF-8" in process.communicate()[1]
    assert process.returncode == 255


def wait_for(pipe: IO[bytes] | None, data: bytes) -> None:
    """Read exactly these bytes."""
    assert pipe is not None
    assert data == pipe.read(len(data))


def test_ctrl_c_goes_to_the_command_first(start: Start) -> None:
    """Its output and its status still arrive."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r"), Output(b"on"))
        assert peer.expect(Signal).signal is SignalName.INT
        peer.send(Output(b"bye"), Exit(Ending.SIGNALLED, 2, truncated=False, duration=0))
        peer.wait_until_gone()

    process = start(script, "x")
    wait_for(process.stdout, b"on")
    process.send_signal(signal.SIGINT)

    assert process.communicate() == (b"bye", b"")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGTERM)],
)
def test_who_insists_does_not_wait_for_the_command(
    start: Start, first: signal.Signals, second: signal.Signals
) -> None:
    """One that does not heed the first signal is left to the server at the second."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r"), Output(b"on"))
        peer.expect(Signal)
        peer.send(ErrorOutput(b"no"))
        peer.wait_until_gone()

    process = start(script, "x")
    wait_for(process.stdout, b"on")
    process.send_signal(first)
    wait_for(process.stderr, b"no")
    process.send_signal(second)

    assert process.communicate() == (b"", b"")
    assert 128 + second == process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_ended_ends_the_connection(start: Start, number: signal.Signals) -> None:
    """The command is told, and has a moment; then the server ends it."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r"), Output(b"on"))
        assert peer.expect(Signal).signal.number == number
        peer.wait_until_gone()

    process = start(script, "x")
    wait_for(process.stdout, b"on")
    process.send_signal(number)

    assert process.communicate() == (b"", b"")
    assert 128 + number == process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_may_end_in_order_when_rexec_is_ended(start: Start, number: signal.Signals) -> None:
    """What it still writes arrives, and its exit status is that of rexec."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r"), Output(b"on"))
        assert peer.expect(Signal).signal.number == number
        peer.send(Output(b" and off"), Exit(Ending.EXITED, 4, truncated=False, duration=0))
        peer.expect(Goodbye)

    process = start(script, "x")
    wait_for(process.stdout, b"on")
    process.send_signal(number)

    assert process.communicate() == (b" and off", b"")
    assert 4 == process.returncode


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT])
def test_what_is_sent_to_rexec_goes_to_the_command(start: Start, number: signal.Signals) -> None:
    """USR1 and USR2 as often as they come; of QUIT the second one ends rexec, like a second Ctrl-C."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r"), Output(b"on"))
        assert peer.expect(Signal).signal.number == number
        peer.send(Output(b"more"))
        if number != signal.SIGQUIT:
            assert peer.expect(Signal).signal.number == number
            peer.send(GOOD_END)
        peer.wait_until_gone()

    process = start(script, "x")
    wait_for(process.stdout, b"on")
    process.send_signal(number)
    wait_for(process.stdout, b"more")
    process.send_signal(number)

    assert process.communicate() == (b"", b"")
    assert (128 + number if number == signal.SIGQUIT else 0) == process.returncode


def test_without_a_command_such_a_signal_ends_rexec() -> None:
    """As it would end any program; there is nobody to pass it on to."""
    interrupts = Interrupts()

    with pytest.raises(Terminated):
        interrupts.forward(signal.SIGUSR1, None)
    with pytest.raises(Terminated):
        interrupts.interrupt(signal.SIGQUIT, None)
    with pytest.raises(KeyboardInterrupt):
        interrupts.interrupt(signal.SIGINT, None)


def test_ctrl_c_while_connecting_ends_at_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has not answered the token."""
    has_token = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(Authenticate)
        has_token.set()
        peer.wait_until_gone()

    command = [sys.executable, "-m", "rexecd.cli.rexec", serve(script).address, "x"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert has_token.wait(10)
        process.send_signal(signal.SIGINT)

        assert process.communicate()[1] == b""
    assert process.returncode == 130


def test_an_ignored_signal_stays_ignored(start: Start) -> None:
    """`nohup rexec ...` survives the terminal."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r"), InputWanted(), Output(b"on"))
        peer.expect(Input)
        peer.send(GOOD_END)
        peer.wait_until_gone()

    process = start(script, "x", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for(process.stdout, b"on")
    process.send_signal(signal.SIGHUP)
    process.communicate(b"go on")

    assert process.returncode == 0


def test_a_command_that_was_interrupted_before_it_began_is_not_tried_again(
    authority: Authority, serve: Serve
) -> None:
    """The interrupt is lost with the request that was refused; who pressed the key wants no other one."""
    asked: list[Run] = []
    is_asked, is_over = threading.Event(), threading.Event()

    def busy(peer: Peer) -> None:
        asked.append(peer.expect(Run))
        is_asked.set()
        assert is_over.wait(10)
        peer.send(Refused("r", Code.BUSY, "later"))
        peer.wait_until_gone()

    server = serve(welcoming(busy))
    line = [sys.executable, "-m", "rexecd.cli.rexec", "--retry", "3", server.address, "x"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert is_asked.wait(10)
        harness.wait_for(lambda: _state(process.pid) == "S")  # for the answer
        process.send_signal(signal.SIGINT)
        harness.wait_for(lambda: not _has_pending(process.pid, signal.SIGINT))
        is_over.set()
        _, err = process.communicate(timeout=20)

    assert (125, 1) == (process.returncode, len(asked))
    assert err.startswith(b"rexec: error: busy: later\n")


def _state(pid: int) -> str:
    """Return whether a process runs (R) or waits (S)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _has_pending(pid: int, number: int) -> bool:
    """Return whether a process has not yet been given a signal."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in status if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_an_interrupt_behind_all_handlers_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a complaint cannot be written, because nobody reads standard error."""

    def complain(_argv: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(call, "main", complain)

    assert 130 == main(["--bogus"])
