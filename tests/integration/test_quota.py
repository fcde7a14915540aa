"""How much may run: of a rule, of a principal, of the daemon; and what is counted when."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecd.wire import messages as wire
from tests.commands import begin, end_record
from tests.harness import SETTINGS, Daemon, wait_for

POLICY: Final = """\
version: 1
principals:
  ann: {roles: [all]}
  bob: {roles: [all]}
  few: {roles: [all], limits: {concurrency: 1, rate: 4/h}}
  greedy: {roles: [all]}
roles: {all: {allow: ["*"]}}
commands:
  echo:
    summary: Say a word
    run: /bin/echo word
  sleep:
    summary: Sleep for long
    run: /bin/sleep 300
  alone:
    summary: Run alone
    run: /bin/sleep 300
    limits: {concurrency: 1}
  seldom:
    summary: Run twice an hour
    run: /bin/echo word
    limits: {rate: 2/h}
  crashes:
    summary: Die at once
    run: [/bin/sh, -c, "kill -KILL $$"]
    limits: {concurrency: 1}
  missing:
    summary: A program that is not there
    run: /nonexistent/program
    limits: {concurrency: 1}
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Give a running daemon that has counted nothing: at most five commands, three of anybody."""
    settings = f"{SETTINGS}max_commands: 5\nmax_commands_each: 3\n"
    made = Daemon(tmp_path, settings=settings, policy=POLICY).start()
    yield made
    made.stop()


def _is_idle(daemon: Daemon) -> bool:
    return not daemon.status()["running"]


def _refusal(daemon: Daemon, rule: str, token: str) -> str:
    """Return the line that refuses a command as busy, as `rexec` and as --json have it."""
    done = daemon.rexec(rule, token=token)
    told = json.loads(daemon.rexec("--json", "HOST", rule, token=token).stdout)

    assert (125, "") == (done.returncode, done.stdout)
    assert ("busy", 125) == (told["outcome"], told["exit_code"])
    return str(told["reason"])


def test_a_rule_runs_as_often_at_once_as_it_says(daemon: Daemon) -> None:
    """One more is refused at once, whoever asks; others are not affected."""
    with begin(daemon, "alone") as begun:
        refusal = _refusal(daemon, "alone", "bob")
        other = daemon.rexec("echo", token="bob")
        begun.process.kill()
        end_record(daemon, begun.request_id)

    assert "busy: 1 of 1 running for this command; try later" in refusal
    assert "word\n" == other.stdout
    record = daemon.records("command-refused")[-1]
    assert ("busy", "concurrency of rule 'alone': 1 of 1 running") == (
        record["rexec"]["code"],
        record["event"]["reason"],
    )


def test_a_principal_runs_as_much_at_once_as_it_may(daemon: Daemon) -> None:
    """Over all its connections; another one is not kept from running."""
    with begin(daemon, "sleep", token="few"):
        refusal = _refusal(daemon, "echo", "few")
        other = daemon.rexec("echo", token="bob")

    assert "busy: 1 of 1 running for you; try later" in refusal
    assert "word\n" == other.stdout


def test_who_takes_all_it_can_get_leaves_something_for_others(daemon: Daemon) -> None:
    """Three of five places, and no more; then all five, for which nobody is to blame."""
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(begin(daemon, "sleep", token="greedy"))
        refused = _refusal(daemon, "sleep", "greedy")
        other = daemon.rexec("echo", token="bob")
        for _ in range(2):
            stack.enter_context(begin(daemon, "sleep", token="ann"))
        full = _refusal(daemon, "echo", "bob")
        running = daemon.status()["running"]

    assert "busy: 3 of 3 running for you; try later" in refused
    assert "word\n" == other.stdout
    assert "the server is busy; try later" in full
    assert 5 == running


def test_a_rate_says_when_to_come_again(daemon: Daemon) -> None:
    """To people in the line, to programs as a number; 125 for both."""
    outputs = [daemon.rexec("seldom", token=token).stdout for token in ("ann", "bob")]
    done = daemon.rexec("seldom", token="bob")
    told = json.loads(daemon.rexec("--json", "HOST", "seldom", token="ann").stdout)
    found = re.search("try again in ([0-9]+) s", done.stderr)

    assert ["word\n"] * 2 == outputs
    assert (125, "") == (done.returncode, done.stdout)
    assert "rate limit: 2/h for this command" in done.stderr
    assert found
    assert 3500 < int(found[1]) <= 3600
    assert ("busy", 125) == (told["outcome"], told["exit_code"])
    assert 3500 < told["retry_after"] <= 3600


def test_a_principals_rate_counts_all_its_commands(daemon: Daemon) -> None:
    """What was refused does not count; an interactive session is told as well, and goes on."""
    for rule in ("echo", "echo", "seldom", "echo"):
        assert 0 == daemon.rexec(rule, token="few").returncode
    done = daemon.rexec("HOST", input="echo\nexit\n", token="few")

    assert 0 == done.returncode
    assert "rate limit: 4/h for you" in done.stderr
    assert "try again in " in done.stderr


def test_places_are_free_again_whatever_a_command_ended_of(daemon: Daemon) -> None:
    """A crash, a program that is missing, a deadline, a killed caller: all of a rule for one at a time."""
    for _ in range(3):
        assert 137 == daemon.rexec("crashes").returncode
        assert 127 == daemon.rexec("missing").returncode
        assert 124 == daemon.rexec("--timeout", "50ms", "HOST", "alone").returncode
    for _ in range(3):
        with begin(daemon, "alone") as begun:
            begun.process.kill()
            end_record(daemon, begun.request_id)
        wait_for(lambda: _is_idle(daemon), "nothing to run")


def test_who_has_heard_of_an_end_may_start_the_next_one(daemon: Daemon) -> None:
    """On one connection, for a rule of one at a time, without a pause."""
    with daemon.caller() as caller:
        endings = [caller.run("crashes")[-1] for _ in range(30)]

    assert [wire.Exit] * 30 == list(map(type, endings))
