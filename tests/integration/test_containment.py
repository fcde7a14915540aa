"""The end is the end: whatever a command left behind, however it ended, nothing of it is alive."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecd.wire import messages as wire
from tests.commands import Begun, begin, end_record, processes_of
from tests.harness import COMMANDS, PATIENCE, SETTINGS, Caller, Daemon, wait_for

#: What a command does in order to stay.
ESCAPES: Final = {
    "background": "background.py",
    "daemonizes": "daemonizes.py",
    "adopts": "adopts.py",
    "deaf": "deaf.py",
    "stopped": "stopped.py",
    "flees": "flees.py",
    "leaves-group": "leaves_group.py",
    "stops-worker": "attacks_worker.py STOP",
}
#: Those that a signal of the caller ends.
HEARING: Final = ("background", "daemonizes", "adopts", "flees", "leaves-group")
#: More than two pipes, two sockets and a TLS connection hold.
MUCH: Final = 16 * 1024 * 1024
_PYTHON: Final = f"{sys.executable} -I {COMMANDS}"
_RULES: Final = "".join(
    f"""\
  leave.{name}:
    summary: Leave something behind and end
    run: {_PYTHON}/{run}
    timeout: 4s
  stay.{name}:
    summary: Leave something behind and stay
    run: {_PYTHON}/{run} stay
"""
    for name, run in ESCAPES.items()
)
POLICY: Final = f"""\
version: 1
principals:
  ann: {{roles: [all]}}
  bob: {{roles: [all]}}
roles: {{all: {{allow: ["*"]}}}}
commands:
{_RULES}  kills-worker:
    summary: Kill the parent and stay
    run: {_PYTHON}/attacks_worker.py KILL stay
  leaves-and-kills:
    summary: Leave the control group, then kill the parent and stay
    run: {_PYTHON}/leaves_group.py kill stay
  echo:
    summary: Say a word
    run: /bin/echo word
  finishes:
    summary: Write much when it may, whoever reads it
    run: ["{sys.executable}", -I, {COMMANDS}/writes_on.py, "{{path}}", "{MUCH}"]
    parameters: {{path: {{type: text}}}}
    on_disconnect: finish
"""
CONTAINMENTS: Final = ("control-group", "subreaper")


def _make(directory: Path, containment: str) -> Daemon:
    """Return a running daemon that ends commands in this way; skip where the host has no such."""
    made = Daemon(directory, settings=f"{SETTINGS}containment: {containment}\n", policy=POLICY)
    try:
        return made.start()
    except AssertionError:
        made.stop()
        if "no control groups" in made.complaints():
            pytest.skip(made.complaints().strip())
        raise


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Daemon]]:
    """Give a place for the daemons of this file, one for each containment."""
    made: dict[str, Daemon] = {}
    yield made
    for daemon in made.values():
        daemon.stop()


@pytest.fixture(params=CONTAINMENTS)
def daemon(
    request: pytest.FixtureRequest, houses: dict[str, Daemon], tmp_path_factory: pytest.TempPathFactory
) -> Daemon:
    """Give a running daemon of either containment."""
    if request.param not in houses:
        houses[request.param] = _make(tmp_path_factory.mktemp("daemon"), request.param)
    return houses[request.param]


@pytest.fixture(params=CONTAINMENTS)
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    """Give a running daemon of either containment, for the test to end."""
    made = _make(tmp_path, request.param)
    yield made
    made.stop()


@contextlib.contextmanager
def _escapes(
    daemon: Daemon, manner: str, *options: str, names: Iterable[str] = ESCAPES
) -> Iterator[dict[str, Begun]]:
    """Start escapes, and give them once all that is to stay is there."""
    with contextlib.ExitStack() as stack:
        begun = {name: stack.enter_context(begin(daemon, f"{manner}.{name}", *options)) for name in names}
        assert {b"left\n"} == {each.line() for each in begun.values()}
        yield begun


def _staying(daemon: Daemon, *options: str) -> contextlib.AbstractContextManager[dict[str, Begun]]:
    return _escapes(daemon, "stay", *options)


def _left(begun: dict[str, Begun]) -> dict[str, list[int]]:
    """Return what is alive, by escape."""
    found = {name: processes_of(each.request_id) for name, each in begun.items()}
    return {name: pids for name, pids in found.items() if pids}


def test_when_a_command_exits_what_it_left_is_gone_before_anybody_hears_of_it(daemon: Daemon) -> None:
    """Who stopped its own worker ends with it, as soon as that is noticed."""
    with _escapes(daemon, "leave") as begun:
        ends = {name: (each.end()[0], processes_of(each.request_id)) for name, each in begun.items()}

    assert {name: (137 if name == "stops-worker" else 0, []) for name in ESCAPES} == ends


def test_a_deadline_ends_every_process(daemon: Daemon) -> None:
    """With 124 for each of them, but for the one that ended itself by stopping its worker."""
    with _staying(daemon, "--timeout", "4s") as begun:
        ends = {name: (each.end()[0], processes_of(each.request_id)) for name, each in begun.items()}

    assert {**dict.fromkeys(ESCAPES, (124, [])), "stops-worker": (137, [])} == ends


def test_an_interrupt_ends_what_never_heard_it_too(daemon: Daemon) -> None:
    """INT goes to the group; what has left it goes with the command."""
    with _staying(daemon) as begun:
        for name in HEARING:
            begun[name].process.send_signal(signal.SIGINT)
        ends = {name: (begun[name].end()[0], processes_of(begun[name].request_id)) for name in HEARING}

    assert dict.fromkeys(HEARING, (128 + signal.SIGINT, [])) == ends


def test_a_killed_caller_takes_everything_with_it(daemon: Daemon) -> None:
    """By the time the end stands in the trail."""
    with _staying(daemon) as begun:
        for each in begun.values():
            each.process.kill()
        ends = {name: end_record(daemon, each.request_id) for name, each in begun.items()}
        left = _left(begun)

    assert {} == left
    assert {("command-killed", "connection-lost")} == {
        (record["event"]["action"], record["event"]["reason"]) for record in ends.values()
    }


def test_a_reset_connection_takes_everything_with_it(daemon: Daemon) -> None:
    """A middlebox, or a machine that came back up."""
    with contextlib.ExitStack() as stack:
        callers = {name: stack.enter_context(daemon.caller()) for name in ESCAPES}
        ids = [_start(caller, f"stay.{name}") for name, caller in callers.items()]
        for caller in callers.values():
            caller.tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            caller.tls.close()
        for each in ids:
            end_record(daemon, each)

    assert [[]] * len(ESCAPES) == list(map(processes_of, ids))


def _start(caller: Caller, line: str) -> str:
    """Run a line, hear its first output and return the request's id."""
    caller.say(wire.Run(line, wire.Offer.NONE, ""))
    wait_for(lambda: isinstance(caller.hear(), wire.Output))
    assert caller.accepted
    return f"{caller.accepted.connection_id}-1"


def test_when_a_token_is_revoked_its_commands_end_with_their_sessions(mortal: Daemon) -> None:
    """What runs may end; the session's next request is its last."""
    with mortal.caller("bob") as caller:
        lines = [f"leave.{name}" for name in ESCAPES if name != "stops-worker"]
        for line in lines:
            assert isinstance(caller.run(line)[-1], wire.Exit)
        mortal.rexecd("token", "revoke", mortal.records("token-created")[1]["rexec"]["token_id"])
        closed = caller.run("leave.background")[-1]
        assert caller.accepted
        ids = [f"{caller.accepted.connection_id}-{number + 1}" for number in range(len(lines) + 1)]

    assert 9 == closed.code
    assert [[]] * len(ids) == list(map(processes_of, ids))


def test_a_stop_of_the_service_ends_every_process(mortal: Daemon) -> None:
    """Within its time, and with the records of it."""
    with _staying(mortal) as begun:
        status = mortal.stop()
        left = _left(begun)
        ends = [end_record(mortal, each.request_id)["event"]["action"] for each in begun.values()]

    assert (0, {}) == (status, left)
    assert {"command-killed"} == set(ends)


@pytest.mark.parametrize("victim", ["monitor", "gateway", "launcher"])
def test_when_a_process_of_the_daemon_is_killed_no_command_outlives_it(mortal: Daemon, victim: str) -> None:
    """`serve` ends with 1, and then nothing is left."""
    with _staying(mortal) as begun:
        os.kill(getattr(mortal, f"{victim}_pid"), signal.SIGKILL)
        assert mortal.process
        status = mortal.process.wait(PATIENCE)
        left = _left(begun)

    assert (1, {}) == (status, left)


def test_when_all_of_the_daemon_is_killed_at_once_the_workers_end_what_they_started(mortal: Daemon) -> None:
    """Their sockets end, though nobody is there to see to it; and the next start is as any other."""
    names = [name for name in ESCAPES if name != "stops-worker"]  # a stopped worker hears nothing
    with _escapes(mortal, "stay", names=names) as begun:
        assert mortal.process
        for pid in [mortal.process.pid, mortal.monitor_pid, mortal.gateway_pid, mortal.launcher_pid]:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _left(begun), "the end of all")
    killed = mortal.stop()
    again = mortal.start().rexec("echo")

    assert -signal.SIGKILL == killed
    assert "word\n" == again.stdout


@pytest.mark.parametrize("rule", ["kills-worker", "leaves-and-kills"])
def test_a_command_that_kills_its_worker_ends_with_it_and_hurts_nobody_else(
    daemon: Daemon, rule: str
) -> None:
    """It is killed itself; the next command, and one that runs beside it, are none the wiser."""
    with begin(daemon, "stay.background") as other:
        assert b"left\n" == other.line()
        with begin(daemon, rule) as begun:
            status, _ = begun.end()
            left = processes_of(begun.request_id)
            event = end_record(daemon, begun.request_id)["event"]
        after = daemon.rexec("echo")
        still = processes_of(other.request_id)

    assert (128 + signal.SIGKILL, []) == (status, left)
    assert ("command-killed", "failure") == (event["action"], event["outcome"])
    assert "its worker was killed, and the command with it" == event["reason"]
    assert "word\n" == after.stdout
    assert 2 == len(still)


def _lose_by_death(begun: Begun) -> None:
    begun.process.kill()


def _lose_by_silence(begun: Begun) -> None:
    """Read nothing until the write timeout."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lose", "why"), [(_lose_by_death, "connection-lost"), (_lose_by_silence, "write-timeout")]
)
def test_a_command_that_may_finish_does_though_nobody_reads_it(
    daemon: Daemon, tmp_path: Path, lose: Callable[[Begun], None], why: str
) -> None:
    """It neither waits for a reader nor dies of a broken pipe, and the trail says what happened."""
    path = tmp_path / "written"
    with _finishing(daemon, path) as begun:
        lose(begun)
        Path(f"{path}.go").touch()
        record = end_record(daemon, begun.request_id)

    assert str(MUCH) == path.read_text()
    assert ("command-exited", 0) == (record["event"]["action"], record["process"]["exit_code"])
    assert f"finished without its caller: {why}" == record["event"]["reason"]


@contextlib.contextmanager
def _finishing(daemon: Daemon, path: Path, *options: str) -> Iterator[Begun]:
    with begin(daemon, "finishes", *options, arguments=[str(path)], stderr=subprocess.DEVNULL) as begun:
        assert b"ready\n" == begun.line()
        yield begun


def test_a_command_that_may_finish_still_has_a_deadline(daemon: Daemon, tmp_path: Path) -> None:
    """Without a caller it counts on."""
    with _finishing(daemon, tmp_path / "written", "--timeout", "2s") as begun:
        begun.process.kill()
        record = end_record(daemon, begun.request_id)
        left = processes_of(begun.request_id)

    assert ("command-timed-out", []) == (record["event"]["action"], left)


def test_a_stop_of_the_service_ends_what_might_have_finished(mortal: Daemon, tmp_path: Path) -> None:
    """Whether its caller is still there or not."""
    one, two = tmp_path / "one", tmp_path / "two"
    with _finishing(mortal, one) as here, _finishing(mortal, two) as gone:
        gone.process.kill()
        status = mortal.stop()
        left = [*processes_of(here.request_id), *processes_of(gone.request_id)]
        ends = [end_record(mortal, each.request_id)["event"]["action"] for each in (here, gone)]

    assert (0, []) == (status, left)
    assert ["command-killed"] * 2 == ends


def test_which_containment_is_in_force_is_said_at_the_start_and_later(daemon: Daemon) -> None:
    """On standard error, and by `rexecd status`."""
    status = daemon.status()
    said = {"control-group": "ended by control groups", "subreaper": "ended as children (subreaper)"}

    assert f"containment: {status['containment']}\n" in daemon.made.config.read_text()
    assert said[status["containment"]] in daemon.complaints()
    assert f"commands run as {status['run_as']} where their rule does not say" in daemon.complaints()
    assert isinstance(status["controllers"], list)
    assert {"busy", "idle"} == set(status["workers"])
