"""Starting and ending one program, without a daemon around it."""

import errno
import os
import select
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from rexecd.errors import Code, Refused
from rexecd.execution.spawn import Streams, spawn
from rexecd.execution.workers import Workers
from rexecd.wire.messages import Ending
from tests.unit.execution.starting import invocation, run, see


def test_status_output_and_duration_are_those_of_the_program(workers: Workers) -> None:
    """Two pipes, and an exit status."""
    execution, streams = spawn(invocation("/bin/sh", "-c", "echo out; echo err >&2; exit 9"), workers)
    outcome = see(execution)
    output, error_output = os.read(streams.stdout, 99), os.read(streams.stderr, 99)
    streams.close()

    assert (outcome.ending, outcome.status) == (Ending.EXITED, 9)
    assert 0 < outcome.duration < 10
    assert (output, error_output) == (b"out\n", b"err\n")


def test_all_far_ends_are_close_on_exec(workers: Workers) -> None:
    """No other command can inherit them."""
    execution, streams = spawn(invocation("/bin/cat", takes_input=True), workers)
    inheritable = [os.get_inheritable(descriptor) for descriptor in streams.descriptors()]
    streams.close()
    outcome = see(execution)

    assert inheritable == [False] * 3
    assert outcome.status == 0


@pytest.mark.parametrize(
    ("argv", "changes", "why"),
    [
        (("/nonexistent",), {}, "/nonexistent: No such file or directory"),
        (("/proc/self/status",), {}, "/proc/self/status: Permission denied"),
        (("/",), {}, "/: Permission denied"),
        (("/bin/true",), {"working_directory": "/nowhere"}, "/nowhere: No such file or directory"),
        (("/bin/true", "x" * 200_000), {}, "/bin/true: Argument list too long"),
        (("/bin/true", "a\0b"), {}, "/bin/true: embedded null byte"),
    ],
)
def test_a_program_that_cannot_be_started_is_refused_with_the_detail_for_the_trail_only(
    workers: Workers, argv: tuple[str, ...], changes: dict[str, Any], why: str
) -> None:
    """The caller hears one sentence; nothing leaks."""
    with pytest.raises(Refused) as caught:
        spawn(invocation(*argv, **changes), workers)

    assert (caught.value.code, caught.value.text) == (Code.NOT_STARTED, "the program could not be started")
    assert caught.value.reason == why


def test_a_file_without_an_interpreter_is_not_given_to_a_shell(workers: Workers, tmp_path: Path) -> None:
    """ENOEXEC is an error; execvp(3) would start /bin/sh."""
    script = tmp_path / "script"
    script.write_text("echo a shell ran me\n")
    script.chmod(0o755)

    with pytest.raises(Refused, match="Exec format error"):
        spawn(invocation(str(script)), workers)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_machine_that_is_full_says_busy(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Try later, instead of not-started."""

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(workers, "start", full)

    with pytest.raises(Refused) as caught:
        spawn(invocation("/bin/true"), workers)
    assert caught.value.code is Code.BUSY


def _signals_seen(streams: Streams) -> bytes:
    """Return everything a command wrote, once it is over."""
    data = b""
    while piece := os.read(streams.stdout, 4096):
        data += piece
    streams.close()
    return data


def test_a_deadline_sends_term_then_kill_to_the_whole_group(workers: Workers) -> None:
    """Who handles TERM gets its grace; who ignores it is killed."""
    script = "trap 'echo term' TERM; /bin/sleep 60 & echo up; while :; do wait; done"
    execution, streams = spawn(invocation("/bin/sh", "-c", script, timeout=0.2), workers)
    begun = time.monotonic()
    outcome = see(execution, grace=0.2)

    assert execution.timed_out
    assert (outcome.ending, outcome.status) == (Ending.TIMED_OUT, 128 + signal.SIGKILL)
    assert time.monotonic() - begun < 5
    assert {b"up", b"term"} == set(_signals_seen(streams).split())


def test_a_stopped_command_cannot_sleep_through_its_end(workers: Workers) -> None:
    """CONT follows TERM."""
    execution, streams = spawn(invocation("/bin/sh", "-c", "echo up; kill -STOP $$; /bin/sleep 60"), workers)
    assert os.read(streams.stdout, 9) == b"up\n"
    execution.end(grace=20)
    outcome = see(execution)
    streams.close()

    assert (outcome.ending, outcome.status) == (Ending.SIGNALLED, signal.SIGTERM)


def test_what_a_command_leaves_in_its_group_is_gone_when_it_is_reaped(workers: Workers) -> None:
    """Killed while the leader's zombie still holds the group's number."""
    execution, streams = spawn(invocation("/bin/sh", "-c", "/bin/sleep 60 & echo $!"), workers)
    outcome = see(execution)
    child = int(os.read(streams.stdout, 20))
    end = os.read(streams.stdout, 1)  # end-of-file comes when the child is gone
    streams.close()

    assert outcome.status == 0
    assert end == b""
    assert not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes()


def test_a_signal_to_a_group_that_is_gone_is_no_error(workers: Workers) -> None:
    """The caller's Ctrl-C may cross the end."""
    execution, streams = spawn(invocation("/bin/true"), workers)
    select.select([execution], [], [], 10)
    execution.signal(signal.SIGINT)
    outcome = execution.reap()
    execution.signal(signal.SIGINT)
    streams.close()

    assert outcome.status == 0


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077, 0o777])
def test_the_umask_is_the_rules(workers: Workers, umask: int, tmp_path: Path) -> None:
    """Whatever the daemon's own is, and it is in force when the program makes a file."""
    made = tmp_path / "made"

    assert 0 == run(workers, "/usr/bin/touch", str(made), umask=umask).status
    assert 0o666 & ~umask == stat.S_IMODE(made.stat().st_mode)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program of ours, in a directory of its own."""
    made = tmp_path / "bin" / "program"
    made.parent.mkdir(mode=0o755)
    made.write_text("#!/bin/sh\necho started\n")
    made.chmod(0o755)
    return made


def test_a_program_only_we_can_change_is_started(workers: Workers, program: Path) -> None:
    """Ours, below directories of root's and ours, some of them sticky."""
    assert "started\n" == run(workers, str(program)).output


@pytest.mark.parametrize("which", ["program", "directory"])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_program_somebody_else_can_change_is_not_started(
    workers: Workers, program: Path, which: str, mode: int
) -> None:
    """It is looked at just before the start, not when the policy was loaded (ATTACKS POL-13)."""
    place = program if which == "program" else program.parent
    place.chmod(mode)
    with pytest.raises(Refused) as caught:
        spawn(invocation(str(program)), workers)
    place.chmod(0o755)

    assert (Code.NOT_STARTED, "the program could not be started") == (caught.value.code, caught.value.text)
    assert (
        f"'{place}' can be changed by group or others (mode {mode:04o}); chmod go-w it" == caught.value.reason
    )
    assert "started\n" == run(workers, str(program)).output


def test_a_link_to_a_program_somebody_else_can_change_is_not_started(
    workers: Workers, program: Path, tmp_path: Path
) -> None:
    """What counts is everything on the way."""
    link = tmp_path / "link"
    link.symlink_to("bin/program")

    assert "started\n" == run(workers, str(link)).output
    program.parent.chmod(0o777)
    with pytest.raises(Refused, match="can be changed by group or others"):
        spawn(invocation(str(link)), workers)
