"""Signals: which arrive, which do not, and what they end with."""

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from rexecd.wire import messages as wire
from rexecd.wire.messages import SignalName
from tests.commands import end_record
from tests.harness import COMMANDS, PATIENCE, Caller, Daemon, wait_for

_SAYS: Final = f"{sys.executable} -I {COMMANDS}/says_signals.py"
POLICY: Final = f"""\
version: 1
principals: {{ann: {{roles: [all]}}}}
roles: {{all: {{allow: ["*"]}}}}
commands:
  all:
    summary: Say which signals come
    run: {_SAYS}
  some:
    summary: Say which of two signals come
    run: {_SAYS}
    signals: [TERM, USR2]
  none:
    summary: Hear no signal
    run: {_SAYS}
    signals: []
    timeout: 1500ms
  plain:
    summary: Die of what comes
    run: [/bin/sh, -c, "echo ready; exec /bin/sleep 300"]
  answers:
    summary: Answer an interrupt
    run: [/bin/sh, -c, "trap 'echo heard; exit 7' INT; echo ready; while :; do /bin/sleep 0.05; done"]
  status:
    summary: Exit as if a signal had come
    run: [/bin/sh, -c, "exit 143"]
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon with commands that say what they hear."""
    made = Daemon(tmp_path_factory.mktemp("daemon"), policy=POLICY).start()
    yield made
    made.stop()


@contextlib.contextmanager
def _running(daemon: Daemon, rule: str) -> Iterator[Caller]:
    """Give a caller whose command is ready for signals."""
    with daemon.caller() as caller:
        caller.say(wire.Run(rule, wire.Offer.NONE, ""))
        wait_for(lambda: isinstance(caller.hear(), wire.Output))
        yield caller


def _rest(caller: Caller) -> tuple[bytes, wire.Exit]:
    """Return what is still written, and how it ends."""
    output = b""
    while isinstance(message := caller.hear(), wire.Output):
        output += message.data
    assert isinstance(message, wire.Exit)
    return output, message


@pytest.mark.parametrize("name", SignalName, ids=lambda name: name.name)
def test_each_signal_of_the_list_arrives_as_itself(daemon: Daemon, name: SignalName) -> None:
    """Under its name, whatever numbers the two machines have for it; USR2 ends this one with 7."""
    with _running(daemon, "all") as caller:
        caller.say(wire.Signal(name))
        if name is not SignalName.USR2:
            assert f"{name.name}\n".encode() == caller.hear().data
            caller.say(wire.Signal(SignalName.USR2))
        output, end = _rest(caller)

    assert (b"USR2\n", wire.Ending.EXITED, 7) == (output, *end[:2])


def test_a_signal_the_rule_does_not_list_is_dropped(daemon: Daemon) -> None:
    """Those it lists pass."""
    with _running(daemon, "some") as caller:
        for name in (SignalName.INT, SignalName.HUP, SignalName.USR1, SignalName.TERM):
            caller.say(wire.Signal(name))
        heard = caller.hear()
        caller.say(wire.Signal(SignalName.USR2))
        output, end = _rest(caller)

    assert (b"TERM\n", b"USR2\n", 7) == (heard.data, output, end.status)


def test_without_signals_only_its_deadline_ends_a_command(daemon: Daemon) -> None:
    """The service sends TERM whatever the list says."""
    with _running(daemon, "none") as caller:
        for name in SignalName:
            caller.say(wire.Signal(name))
        output, end = _rest(caller)

    assert (b"TERM\n", wire.Ending.TIMED_OUT) == (output, end.ending)


def test_death_of_a_signal_and_an_exit_status_are_told_apart(daemon: Daemon) -> None:
    """The exit status of `rexec` is the same, as in a shell; --json, the note and the trail are not."""
    with _running(daemon, "plain") as caller:
        caller.say(wire.Signal(SignalName.TERM))
        _, end = _rest(caller)
        assert caller.accepted
        killed = end_record(daemon, f"{caller.accepted.connection_id}-1")
    told = json.loads(daemon.rexec("--json", "HOST", "status").stdout)
    exited = end_record(daemon, told["request_id"])

    assert (wire.Ending.SIGNALLED, signal.SIGTERM) == end[:2]
    assert (signal.SIGTERM, False) == (killed["rexec"]["signal"], "exit_code" in killed["process"])
    assert ("exited", 143, None) == (told["outcome"], told["exit_code"], told["signal"])
    assert (143, False) == (exited["process"]["exit_code"], "signal" in exited["rexec"])


def test_json_names_the_signal_a_command_died_of(daemon: Daemon) -> None:
    """After an interrupt of `rexec` itself."""
    line = daemon.rexec_line("--json", "HOST", "plain")
    known = len(daemon.records("command-started"))
    with subprocess.Popen(line, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        wait_for(lambda: len(daemon.records("command-started")) > known, "the start")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    told = json.loads(output)

    assert 128 + signal.SIGINT == process.returncode == told["exit_code"]
    assert ("signalled", "INT") == (told["outcome"], told["signal"])


@pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid(1) to lend a terminal")
def test_control_c_on_a_terminal_interrupts_the_remote_command(daemon: Daemon) -> None:
    """The terminal's own interrupt, as a person gives it; `rexec` reports how the command took it."""
    ours, theirs = pty.openpty()
    line = ["setsid", "--ctty", "--wait", *daemon.rexec_line("answers")]
    with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            _wait_until_shown(ours, b"ready")
            os.write(ours, b"\x03")
            _wait_until_shown(ours, b"heard")
            process.wait(PATIENCE)
        finally:
            os.close(ours)  # hangs up, should it still run

    assert 7 == process.returncode


def _wait_until_shown(terminal: int, text: bytes) -> None:
    """Read what a terminal shows until `text` is among it."""
    shown = b""
    while text not in shown:
        assert select.select([terminal], [], [], PATIENCE)[0], shown
        shown += os.read(terminal, 4096)
