"""Connections on which nothing happens: ended when idle, noticed when their peer has vanished."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecd import client
from rexecd.wire import messages as wire
from tests.away import Away, cable
from tests.harness import PATIENCE, POLICY, SETTINGS, Daemon, wait_for

_SHORT: Final = f"{SETTINGS}idle_timeout: 700ms\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon whose idle callers do not stay."""
    made = Daemon(tmp_path_factory.mktemp("idle"), settings=_SHORT).start()
    yield made
    made.stop()


def test_a_caller_that_asks_for_nothing_is_ended_and_told_why(daemon: Daemon) -> None:
    """Whether it has had an answer or not; the trail says something else than of a goodbye."""
    for lines in ([], ["echo x"]):
        with daemon.caller() as caller:
            assert caller.accepted
            for line in lines:
                caller.run(line)
            begun = time.monotonic()
            closed = caller.hear()
            took = time.monotonic() - begun
        record = daemon.wait_for_record("connection-closed", connection_id=caller.accepted.connection_id)

        assert (12, "nothing was asked for too long") == (closed.code, closed.text)
        assert 0.6 < took
        assert "idle" == record["event"]["reason"]


def test_half_a_request_does_not_keep_a_connection(daemon: Daemon) -> None:
    """A byte now and then is not a question."""
    is_ended = False
    with daemon.caller() as caller:
        caller.tls.settimeout(0.1)
        for byte in (50).to_bytes(4, "big") + b"\x02" + bytes(40):
            try:
                caller.tls.sendall(bytes([byte]))
                is_ended = bool(caller.tls.recv(99))
                break
            except TimeoutError:
                continue

    assert is_ended


def test_a_command_that_runs_longer_is_not_idle(daemon: Daemon) -> None:
    """Silent as it may be; the time begins when it is over."""
    with daemon.caller() as caller:
        caller.say(wire.Run("sleep", wire.Offer.NONE, ""))
        assert isinstance(caller.hear(), wire.Started)
        caller.tls.settimeout(1.5)
        with pytest.raises(TimeoutError):
            caller.tls.recv(1)
        caller.tls.settimeout(PATIENCE)
        caller.say(wire.Signal(wire.SignalName.TERM))
        assert isinstance(caller.hear(), wire.Exit)
        assert 12 == caller.hear().code


def test_each_question_begins_the_time_anew(daemon: Daemon) -> None:
    """For longer than it lasts."""
    with daemon.caller() as caller:
        for _ in range(5):
            deadline = time.monotonic() + 0.3
            wait_for(lambda deadline=deadline: time.monotonic() > deadline)  # type: ignore[misc]
            assert b"x\n" == caller.run("echo x")[1].data


def test_an_idle_caller_of_the_library_hears_that_it_may_come_again(daemon: Daemon) -> None:
    """Exit status 125 for the command line."""
    with client.connect(daemon.address, token=daemon.tokens["ann"], ca=str(daemon.made.authority)) as session:
        session.run("echo x")
        wait_for(lambda: daemon.records("connection-closed", reason="idle"))
        deadline = time.monotonic() + 1.0
        wait_for(lambda: time.monotonic() > deadline)
        with pytest.raises(client.SessionClosed, match="idle") as caught:
            session.run("echo y")
    assert 125 == caught.value.exit_status


_CALLER: Final = """
import sys
from rexecd import client
host, token, pin, line = sys.argv[1:]
with client.connect(host, token=token, pin=pin) as session:
    print("in", flush=True)
    if line:
        session.run(line)
    sys.stdin.read()
"""
_SAYING: Final = f"""\
{POLICY}  saying:
    summary: Say something when told to, and be silent again
    run: [/bin/sh, -c, 'until [ -e "$1" ]; do /bin/sleep 0.05; done; echo said; exec /bin/sleep 300', x,
          "{{file}}"]
    parameters: {{file: {{type: text}}}}
"""


def _daemon(tmp_path: Path, away: Away) -> Daemon:
    settings = SETTINGS.replace(
        'listen: "127.0.0.1:0"', f'listen: ["127.0.0.1:0", "{away.here}:0", "[{away.here6}]:0"]'
    )
    settings = settings.replace("write_timeout: 3s", "write_timeout: 1m")
    return Daemon(tmp_path, settings=f"{settings}keepalive: 1s\n", policy=_SAYING).start()


@pytest.fixture
def away() -> Iterator[Away]:
    """Give another host, as far as the network goes."""
    with cable() as made:
        yield made


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0")
@pytest.mark.parametrize("doing", ["nothing", "a silent command", "a command that then speaks"])
def test_a_peer_that_vanished_is_noticed_in_bounded_time(tmp_path: Path, away: Away, doing: str) -> None:
    """Idle, while a command is silent, and with output under way that nobody acknowledges."""
    daemon = _daemon(tmp_path, away)
    flag = tmp_path / "flag"
    line = {"nothing": "", "a silent command": "sleep"}.get(doing, f"saying {flag}")
    words = [daemon.addresses[1], daemon.tokens["ann"], f"sha256:{daemon.made.pin}", line]
    with subprocess.Popen(
        away.line(sys.executable, "-c", _CALLER, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdout
        assert b"in\n" == caller.stdout.readline()
        if line:
            daemon.wait_for_record("command-started")
        away.lose_answers()
        flag.touch()
        record = daemon.wait_for_record("connection-closed")
        caller.kill()
    killed = daemon.records("command-killed")
    daemon.stop()

    assert "connection-lost: the peer has vanished" == record["event"]["reason"]
    assert bool(line) == bool(killed)
