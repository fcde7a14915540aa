"""What a command has used: all of its processes, and nothing of another command's."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from rexecd.execution.jobs import Kind, Report, Usage, decode_report
from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Use, Workers
from tests.unit.execution.starting import invocation, see

MUCH = 128 * 1024 * 1024
#: More than a worker has itself, and less than `MUCH`.
LITTLE = 64 * 1024 * 1024
#: As long as this lasts on any machine, it is processor time.
_BUSY = f"{sys.executable} -I -c 'import time\nwhile time.process_time() < 0.3: pass'"
_LARGE = f"{sys.executable} -I -c 'bytearray({MUCH})'"


def used(workers: Workers, script: str) -> Usage:
    """Return what a shell's script has used."""
    execution, streams = spawn(invocation("/bin/sh", "-c", script), workers)
    streams.close()
    outcome = see(execution)
    assert outcome.usage is not None
    return outcome.usage


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(f"exec {_BUSY}", id="itself"),
        pytest.param(f"{_BUSY}; true", id="its child"),
        pytest.param(f"({_BUSY}; true) | cat", id="its grandchild"),
    ],
)
def test_the_processor_time_of_a_command_is_that_of_all_it_started(workers: Workers, script: str) -> None:
    """User and system, whoever of them waited for whom."""
    assert 300_000 <= used(workers, script).cpu < 20_000_000


def test_what_a_command_leaves_behind_counts_too(contained: Workers, tmp_path: Path) -> None:
    """A process of another session that is killed when the command ends, after some work."""
    mark = tmp_path / "mark"
    work = f"import time, pathlib\nwhile time.process_time() < 0.3: pass\npathlib.Path('{mark}').touch()"
    left = f'(setsid {sys.executable} -I -c "{work}\ntime.sleep(60)" &)'

    assert used(contained, f"{left}; while ! test -e {mark}; do sleep 0.01; done").cpu >= 300_000


def test_the_memory_of_a_command_is_that_of_its_largest_process(workers: Workers) -> None:
    """Not of the one that ended last, nor the sum."""
    assert MUCH <= used(workers, f"{_LARGE}; {_LARGE}; true").memory < 2 * MUCH


def test_one_command_does_not_have_what_another_used(workers: Workers) -> None:
    """Though the same worker serves both, one after the other."""
    large, busy = used(workers, _LARGE), used(workers, _BUSY)
    small = used(workers, "true")

    assert Use(busy=0, idle=1) == workers.use
    assert (large.memory >= MUCH, small.memory < LITTLE) == (True, True)
    assert small.cpu < busy.cpu


def test_of_a_worker_that_was_killed_nobody_knows(workers: Workers) -> None:
    """None, and no zero that would pass for an answer."""
    execution, streams = spawn(invocation("/bin/sleep", "60"), workers)
    os.kill(execution._worker.pid, signal.SIGKILL)
    outcome = see(execution)
    streams.close()

    assert (True, None) == (outcome.is_lost, outcome.usage)


def test_a_command_that_is_ended_has_used_something(workers: Workers) -> None:
    """Its deadline comes, and what it did until then is counted."""
    begun = time.monotonic()
    execution, streams = spawn(invocation("/bin/sh", "-c", "while :; do :; done", timeout=0.5), workers)
    outcome = see(execution, grace=0.1)
    streams.close()

    assert execution.timed_out
    assert outcome.usage is not None
    assert 0 < outcome.usage.cpu <= (time.monotonic() - begun) * 1e6 * (os.cpu_count() or 1)


def test_a_report_comes_back_as_it_was_sent() -> None:
    """With all that it holds."""
    report = Report(Kind.ENDED, -9, 1, "why", Usage(2**40, 2**41))

    assert report == decode_report(report.encode())
    assert Report(Kind.SPOILED) == decode_report(Report(Kind.SPOILED).encode())


@pytest.mark.parametrize("usage", [Usage(2**60, 0), Usage(0, 2**64 - 1)])
def test_a_worker_that_says_what_cannot_be_is_not_believed(usage: Usage) -> None:
    """It runs as the user of its commands, and what it says goes into the trail."""
    with pytest.raises(ValueError, match="more than a command can use"):
        decode_report(Report(Kind.ENDED, usage=usage).encode())
