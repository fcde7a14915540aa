"""Starting and ending one program, without a daemon around it."""

import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from rexecd.errors import Code, Refused
from rexecd.execution.contain import Execution, Outcome
from rexecd.execution.spawn import Streams, spawn
from rexecd.policy.model import Invocation
from rexecd.wire.messages import Ending


def _invocation(*argv: str, **changes: Any) -> Invocation:
    """Return an Invocation; only the decision makes them outside of tests."""
    facts: dict[str, Any] = {
        "rule": "test",
        "place": "test:1:1",
        "argv": argv,
        "environment": MappingProxyType({"PATH": "/usr/bin:/bin"}),
        "working_directory": "/",
        "timeout": 20.0,
        "takes_input": False,
        "output_ceiling": None,
    }
    return Invocation(**(facts | changes))


def _see(execution: Execution, grace: float = 0.2) -> Outcome:
    """Do what the monitor's thread does until the command is over."""
    poller = select.poll()
    poller.register(execution, select.POLLIN)
    while not poller.poll(int(execution.wait_time() * 1000) + 1):
        execution.tick(grace=grace)
    return execution.reap()


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Let no test leave a descriptor or a child behind."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_status_output_and_duration_are_those_of_the_program() -> None:
    """Two pipes, and an exit status."""
    execution, streams = spawn(_invocation("/bin/sh", "-c", "echo out; echo err >&2; exit 9"))
    outcome = _see(execution)
    output, error_output = os.read(streams.stdout, 99), os.read(streams.stderr, 99)
    streams.close()

    assert (outcome.ending, outcome.status) == (Ending.EXITED, 9)
    assert 0 < outcome.duration < 10
    assert (output, error_output) == (b"out\n", b"err\n")


def test_all_far_ends_are_close_on_exec() -> None:
    """No other command can inherit them."""
    execution, streams = spawn(_invocation("/bin/cat", takes_input=True))
    inheritable = [os.get_inheritable(descriptor) for descriptor in streams.descriptors()]
    streams.close()
    outcome = _see(execution)

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
    argv: tuple[str, ...], changes: dict[str, Any], why: str
) -> None:
    """The caller hears one sentence; nothing leaks."""
    with pytest.raises(Refused) as caught:
        spawn(_invocation(*argv, **changes))

    assert (caught.value.code, caught.value.text) == (Code.NOT_STARTED, "the program could not be started")
    assert caught.value.reason == why


def test_a_file_without_an_interpreter_is_not_given_to_a_shell(tmp_path: Path) -> None:
    """ENOEXEC is an error; execvp(3) would start /bin/sh."""
    script = tmp_path / "script"
    script.write_text("echo a shell ran me\n")
    script.chmod(0o755)

    with pytest.raises(Refused, match="Exec format error"):
        spawn(_invocation(str(script)))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_machine_that_is_full_says_busy(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Try later, instead of not-started."""

    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", full)

    with pytest.raises(Refused) as caught:
        spawn(_invocation("/bin/true"))
    assert caught.value.code is Code.BUSY


def _signals_seen(streams: Streams) -> bytes:
    """Return everything a command wrote, once it is over."""
    data = b""
    while piece := os.read(streams.stdout, 4096):
        data += piece
    streams.close()
    return data


def test_a_deadline_sends_term_then_kill_to_the_whole_group() -> None:
    """Who handles TERM gets its grace; who ignores it is killed."""
    script = "trap 'echo term' TERM; /bin/sleep 60 & echo up; while :; do wait; done"
    execution, streams = spawn(_invocation("/bin/sh", "-c", script, timeout=0.2))
    begun = time.monotonic()
    outcome = _see(execution, grace=0.2)

    assert execution.timed_out
    assert (outcome.ending, outcome.status) == (Ending.TIMED_OUT, 128 + signal.SIGKILL)
    assert time.monotonic() - begun < 5
    assert _signals_seen(streams).startswith(b"up\nterm\n")


def test_a_stopped_command_cannot_sleep_through_its_end() -> None:
    """CONT follows TERM."""
    execution, streams = spawn(_invocation("/bin/sh", "-c", "echo up; kill -STOP $$; /bin/sleep 60"))
    assert os.read(streams.stdout, 9) == b"up\n"
    execution.end(grace=20)
    outcome = _see(execution)
    streams.close()

    assert (outcome.ending, outcome.status) == (Ending.SIGNALLED, signal.SIGTERM)


def test_what_a_command_leaves_in_its_group_is_gone_when_it_is_reaped() -> None:
    """Killed while the leader's zombie still holds the group's number."""
    execution, streams = spawn(_invocation("/bin/sh", "-c", "/bin/sleep 60 & echo $!"))
    outcome = _see(execution)
    child = int(os.read(streams.stdout, 20))
    end = os.read(streams.stdout, 1)  # end-of-file comes when the child is gone
    streams.close()

    assert outcome.status == 0
    assert end == b""
    assert not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes()


def test_a_signal_to_a_group_that_is_gone_is_no_error() -> None:
    """The caller's Ctrl-C may cross the end."""
    execution, streams = spawn(_invocation("/bin/true"))
    select.select([execution], [], [], 10)
    execution.signal(signal.SIGINT)
    outcome = execution.reap()
    execution.signal(signal.SIGINT)
    streams.close()

    assert outcome.status == 0
