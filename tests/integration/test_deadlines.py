"""Deadlines: whose counts, what the command is told, and what its caller and the trail are."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Final

import pytest

from rexecd.wire import messages as wire
from tests.commands import begin, end_record, processes_of
from tests.harness import COMMANDS, SETTINGS, Caller, Daemon

_PYTHON: Final = f"{sys.executable} -I {COMMANDS}"
POLICY: Final = f"""\
version: 1
principals: {{ann: {{roles: [all]}}}}
roles: {{all: {{allow: ["*"]}}}}
commands:
  brief:
    summary: Take longer than allowed
    run: [/bin/sh, -c, "echo begun; echo bad >&2; exec /bin/sleep 300"]
    timeout: 300ms
  long:
    summary: Be allowed more than anybody is
    run: [/bin/sh, -c, "echo begun; exec /bin/sleep 300"]
    timeout: 1h
  answers:
    summary: End when TERM comes
    run: {_PYTHON}/answers_term.py
    timeout: 1500ms
  stays:
    summary: Stay when TERM comes
    run: {_PYTHON}/answers_term.py stay
    timeout: 1500ms
  stopped:
    summary: Stop oneself
    run: [/bin/sh, -c, "echo begun; kill -STOP $$; echo never"]
    timeout: 300ms
  exactly:
    summary: Take just as long as allowed
    run: /bin/sleep 0.1
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon under which nothing runs longer than two seconds."""
    settings = f"{SETTINGS}max_timeout: 2s\n"
    made = Daemon(tmp_path_factory.mktemp("daemon"), settings=settings, policy=POLICY).start()
    yield made
    made.stop()


def test_what_was_written_before_the_deadline_is_delivered(daemon: Daemon) -> None:
    """Both streams, 124, and a line that says why."""
    done = daemon.rexec("brief")

    assert (124, "begun\n") == (done.returncode, done.stdout)
    assert done.stderr.startswith("bad\n")
    assert "timed out after 0.3" in done.stderr


def test_json_says_that_it_timed_out_and_when(daemon: Daemon) -> None:
    """The outcome is a word of its own, with the reason."""
    told = json.loads(daemon.rexec("--json", "HOST", "brief").stdout)

    assert ("timed_out", 124, None) == (told["outcome"], told["exit_code"], told["signal"])
    assert ("begun\n", "bad\n") == (told["stdout"], told["stderr"])
    assert told["reason"].startswith("timed out after 0.3")
    assert 0.3 <= told["duration"] < 2


@pytest.mark.parametrize(
    ("options", "rule", "allowed"),
    {
        "the rule's": ((), "brief", 0.3),
        "the settings'": ((), "long", 2.0),
        "the caller's, which is less": (("--timeout", "400ms"), "long", 0.4),
        "the rule's, though the caller wants more": (("--timeout", "1h"), "brief", 0.3),
        "the settings', though the caller wants more": (("--timeout", "1h"), "long", 2.0),
    }.values(),
)
def test_the_shortest_deadline_counts(
    daemon: Daemon, options: tuple[str, ...], rule: str, allowed: float
) -> None:
    """Of the rule's, the settings' and the caller's; the trail has it before the command runs."""
    told = json.loads(daemon.rexec("--json", *options, "HOST", rule).stdout)
    record = daemon.records("command-allowed", request_id=told["request_id"])[0]

    assert "timed_out" == told["outcome"]
    assert allowed == record["rexec"]["timeout"]
    assert allowed <= told["duration"] < allowed + 1


def test_term_comes_first_and_its_answer_is_heard(daemon: Daemon) -> None:
    """A command that ends in good order at TERM has timed out nevertheless."""
    told = json.loads(daemon.rexec("--json", "HOST", "answers").stdout)

    assert ("timed_out", "ready\nterm\n") == (told["outcome"], told["stdout"])
    assert 1.5 <= told["duration"] < 1.5 + daemon.settings.kill_grace


def test_kill_comes_after_the_grace(daemon: Daemon) -> None:
    """To what was told and did not end."""
    told = json.loads(daemon.rexec("--json", "HOST", "stays").stdout)

    assert ("timed_out", "ready\nterm\n") == (told["outcome"], told["stdout"])
    assert 1.5 + daemon.settings.kill_grace <= told["duration"] < 1.5 + daemon.settings.kill_grace + 1
    assert [] == processes_of(told["request_id"])


def test_a_stopped_command_is_woken_for_its_end(daemon: Daemon) -> None:
    """TERM alone would wait as long as it is stopped; it needs no grace."""
    told = json.loads(daemon.rexec("--json", "HOST", "stopped").stdout)

    assert ("timed_out", "begun\n") == (told["outcome"], told["stdout"])
    assert told["duration"] < 0.3 + daemon.settings.kill_grace
    assert [] == processes_of(told["request_id"])


def test_who_ends_just_at_the_deadline_has_one_end(daemon: Daemon) -> None:
    """By itself or by its deadline, in the caller's hand and in the trail alike, forty times."""
    with daemon.caller() as caller:
        ends = [_run_for(caller, 100 + number % 8) for number in range(40)]
    words = {wire.Ending.EXITED: "command-exited", wire.Ending.TIMED_OUT: "command-timed-out"}

    for started, *_, end in ends:
        assert words[end.ending] == end_record(daemon, started.request_id)["event"]["action"]


def _run_for(caller: Caller, milliseconds: int) -> list[wire.Message]:
    """Run what takes a tenth of a second, with a deadline near to that."""
    caller.say(wire.Run("exactly", wire.Offer.NONE, "", milliseconds))
    heard = [caller.hear()]
    while not isinstance(heard[-1], wire.Exit):
        heard.append(caller.hear())
    return heard


def test_an_interactive_session_goes_on_after_a_deadline(daemon: Daemon) -> None:
    """The next line is served."""
    done = daemon.rexec("--timeout", "200ms", "HOST", input="long\nlong\n")

    assert (0, 2) == (done.returncode, done.stdout.count("begun"))
    assert 2 == done.stderr.count("timed out after 0.2")


def test_the_deadline_holds_while_the_caller_reads_nothing(daemon: Daemon) -> None:
    """It counts from the start, whatever becomes of the output."""
    before = time.monotonic()
    with begin(daemon, "long", "--timeout", "500ms") as begun:
        record = end_record(daemon, begun.request_id)

    assert "command-timed-out" == record["event"]["action"]
    assert time.monotonic() - before < 3
