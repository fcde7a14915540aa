"""What a command finds when it starts, and how everything it started ends."""

import json
import os
import signal
import subprocess
import time

from rexecd.wire import messages as wire
from tests.commands import begin, end_record, processes_of
from tests.harness import COMMANDS, Daemon, is_alive, wait_for


def _output(heard: list[wire.Message]) -> bytes:
    return b"".join(message.data for message in heard if isinstance(message, wire.Output))


def test_a_command_starts_in_a_world_built_from_nothing(own_daemon: Daemon) -> None:
    """Environment, descriptors, session, directory, umask and signals are the rule's or fixed."""
    os.environ.update({"LD_PRELOAD_X": "1", "SECRET_OF_THE_DAEMON": "1", "NOTIFY_SOCKET": "/x"})
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        own_daemon.start()
        told = json.loads(own_daemon.rexec("describe").stdout)
    finally:
        os.close(read)
        os.close(write)
        for name in ("LD_PRELOAD_X", "SECRET_OF_THE_DAEMON", "NOTIFY_SOCKET"):
            del os.environ[name]
    environment = told["environment"]

    assert [0, 1, 2] == told["descriptors"]
    assert "/dev/null" == told["stdin"]
    assert told["leads_session"]
    assert not told["terminal"]
    assert ("/usr", 0o027) == (told["directory"], told["umask"])
    assert int(told["blocked_signals"], 16) == 0
    # Python, which the program is written in, ignores SIGPIPE and SIGXFSZ itself; 32 and 33 are the
    # C library's own, and nobody can set them through it.
    own = {signal.SIGPIPE, signal.SIGXFSZ, 32, 33}
    assert int(told["ignored_signals"], 16) & ~sum(1 << number - 1 for number in own) == 0
    assert {
        "HOUSE": "test",
        "REXEC_PRINCIPAL": "ann",
        "REXEC_COMMAND": "describe",
    }.items() <= environment.items()
    assert environment["REXEC_REQUEST_ID"].startswith(environment["REXEC_CONNECTION_ID"])
    assert {name for name in environment if not name.startswith("REXEC_")} == {
        "PATH", "LANG", "HOME", "TERM", "PAGER", "SYSTEMD_PAGER", "GIT_PAGER", "LESSSECURE", "HOUSE",
    }  # fmt: skip


def test_signals_the_daemon_was_started_with_do_not_reach_commands(own_daemon: Daemon) -> None:
    """Under nohup the daemon's parent ignores HUP; the command does not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        own_daemon.start()
        told = json.loads(own_daemon.rexec("describe").stdout)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert int(told["ignored_signals"], 16) & 1 << signal.SIGHUP - 1 == 0


def test_a_deadline_ends_the_command_and_the_caller_gets_what_was_written(daemon: Daemon) -> None:
    """Exit status 124, the output so far, and a record."""
    begun = time.monotonic()
    done = daemon.rexec("brief")

    assert (124, "begun\n") == (done.returncode, done.stdout)
    assert time.monotonic() - begun < 5
    daemon.wait_for_record("command-timed-out")


def test_a_lost_connection_ends_a_command_that_ignores_term(daemon: Daemon) -> None:
    """TERM, a grace, KILL; all of it is gone when the record says why."""
    with daemon.caller() as caller:
        caller.say(wire.Run("stubborn", wire.Offer.NONE, ""))
        started = caller.hear()
        wait_for(lambda: isinstance(caller.hear(), wire.Output))
        wait_for(lambda: len(processes_of(started.request_id)) > 1, "its children")
    record = end_record(daemon, started.request_id)

    assert ("command-killed", "connection-lost") == (record["event"]["action"], record["event"]["reason"])
    assert record["event"]["duration"] > daemon.settings.kill_grace * 1e9
    assert [] == processes_of(started.request_id)


def test_killing_rexec_ends_the_remote_command(daemon: Daemon) -> None:
    """Even by SIGKILL, which lets the caller say nothing."""
    with begin(daemon, "sleep") as begun:
        begun.process.kill()
        end_record(daemon, begun.request_id)

        assert not is_alive(begun.pid)


def test_a_grandchild_that_holds_the_output_delays_nobody(daemon: Daemon) -> None:
    """Though it left the session it ends with the command; nobody waits for it."""
    begun = time.monotonic()
    with daemon.caller() as caller:
        heard = caller.run("background")
        left = processes_of(heard[0].request_id)

    assert (b"left\n", wire.Ending.EXITED, []) == (_output(heard), heard[-1].ending, left)
    assert time.monotonic() - begun < 5


def test_a_child_left_in_the_group_is_gone_when_the_caller_hears_of_the_end(daemon: Daemon) -> None:
    """Nothing of the group outlives its leader, not for a moment."""
    with daemon.caller() as caller:
        child = int(_output(caller.run("family")))

        assert not is_alive(child)


def test_output_past_the_ceiling_is_cut_and_said_and_the_command_ends_by_itself(daemon: Daemon) -> None:
    """The caller, --json and the trail all say truncated; the exit status stays the command's."""
    told = json.loads(daemon.rexec("--json", "HOST", "capped").stdout)
    record = daemon.wait_for_record("command-drained", truncated=True)

    assert (True, 5, 10 * 1024) == (
        told["truncated"],
        told["exit_code"],
        len(told["stdout"] + told["stderr"]),
    )
    assert 100000 == record["rexec"]["output_bytes"]
    assert 4 == record["rexec"]["error_output_bytes"]


def test_a_command_that_ends_without_reading_delivers_its_output(daemon: Daemon) -> None:
    """A megabyte is under way to it when it goes; nothing hangs, nothing is lost."""
    done = daemon.rexec("deaf", input=b"x" * 1_000_000, text=False)

    assert (0, b"done\n") == (done.returncode, done.stdout)


def test_both_directions_full_never_deadlock(daemon: Daemon) -> None:
    """`cat` of 40 MB through two full pipes and one TLS connection."""
    data = os.urandom(1 << 20) * 40
    done = daemon.rexec("cat", input=data, text=False)

    assert data == done.stdout


def test_a_signal_passes_while_output_is_blocked(daemon: Daemon) -> None:
    """The caller reads nothing of an endless output and interrupts it."""
    with daemon.caller() as caller:
        caller.say(wire.Run("flood", wire.Offer.NONE, ""))
        assert isinstance(caller.hear(), wire.Started)
        time.sleep(0.3)  # not for luck: the pipes and the socket only have to be full at some point
        caller.say(wire.Signal(wire.SignalName.TERM))
        last = None
        while not isinstance(last, wire.Exit):
            last = caller.hear()

    assert (wire.Ending.SIGNALLED, signal.SIGTERM) == (last.ending, last.status)


def test_a_caller_that_reads_nothing_is_cut_and_its_command_ended(daemon: Daemon) -> None:
    """Memory stays flat meanwhile: the command is held by its full pipe."""
    before = daemon.resident()
    with daemon.caller() as caller:
        caller.say(wire.Run("flood", wire.Offer.NONE, ""))
        assert caller.accepted
        record = daemon.wait_for_record("command-killed", connection_id=caller.accepted.connection_id)

    assert "write-timeout" == record["event"]["reason"]
    assert daemon.resident() - before < 4 * 1024 * 1024


def test_signals_reach_the_command_and_only_those_of_the_list(daemon: Daemon) -> None:
    """INT arrives; its status is the command's own."""
    with daemon.caller() as caller:
        caller.say(wire.Run("trap", wire.Offer.NONE, ""))
        wait_for(lambda: isinstance(caller.hear(), wire.Output))
        caller.say(wire.Signal(wire.SignalName.INT))
        heard = [caller.hear(), caller.hear()]

    assert [b"int\n", (wire.Ending.EXITED, 7)] == [heard[0].data, heard[1][:2]]


def test_stopping_the_service_ends_running_commands(own_daemon: Daemon) -> None:
    """Within the stop time, with a reason in the caller's hand and in the trail."""
    own_daemon.start()
    with subprocess.Popen(
        own_daemon.rexec_line("stubborn"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert b"up\n" == process.stdout.readline()
        pid = own_daemon.wait_for_record("command-started")["process"]["pid"]
        status = own_daemon.stop()
        complaint = process.stderr.read().decode()

    assert 0 == status
    assert 125 == process.returncode
    assert "the service stopped while the command ran" in complaint
    assert "the command may have run" in complaint
    assert not is_alive(pid)
    assert ["command-killed", "connection-closed", "service-stopped"] == [
        record["event"]["action"] for record in own_daemon.records()[-3:]
    ]


def test_the_program_of_these_tests_is_there() -> None:
    """The path in the policy is right, so that a missing file is not taken for a refusal."""
    assert (COMMANDS / "describe.py").is_file()
