"""The monitor's workers: prepared once, used again, kept apart, ended when nobody needs them."""

import contextlib
import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecd.errors import Code, Refused
from rexecd.execution import link
from rexecd.execution import workers as module
from rexecd.execution.cgroup import ControlGroups, Group
from rexecd.execution.contain import Execution
from rexecd.execution.jobs import Job, Order, Profile, may_begin
from rexecd.execution.spawn import Streams, spawn
from rexecd.execution.workers import Use, Workers
from rexecd.policy.bounds import Resources, Sandbox
from rexecd.wire.messages import Ending
from tests.harness import children, is_alive, wait_for
from tests.unit.execution.starting import (
    SOMEBODY,
    STRANGER,
    as_user,
    going,
    invocation,
    monitor,
    root_only,
    run,
    see,
)


def worker_of(workers: Workers, resources: Resources = Resources()) -> int:  # noqa: B008 - never changes
    """Return the process id of the worker that the next command has."""
    return int(run(workers, "/bin/sh", "-c", "echo $PPID", resources=resources).output)


@contextlib.contextmanager
def at_once(workers: Workers, number: int) -> Iterator[list[tuple[Execution, Streams]]]:
    """Give some commands that wait for their input's end, and see to theirs."""
    run = invocation("/bin/cat", takes_input=True)
    running = [spawn(run, workers) for _ in range(number)]
    try:
        yield running
    finally:
        for execution, streams in running:
            streams.close()
            see(execution)


def test_without_a_descriptor_strangers_are_looked_for_another_time(
    contained: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no reason for the monitor to end."""

    def fail() -> set[int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(module, "children", fail)
        assert not contained.sweep()
    assert contained.sweep()


def test_a_worker_has_one_command_after_the_other(contained: Workers) -> None:
    """It is prepared once."""
    assert 1 == len({worker_of(contained) for _ in range(5)})
    assert Use(busy=0, idle=1) == contained.use


def test_commands_at_once_have_workers_of_their_own(contained: Workers) -> None:
    """Each is back when its command has ended."""
    with at_once(contained, 4) as running:
        assert Use(busy=4, idle=0) == contained.use
        assert 4 == len({execution._worker.pid for execution, _ in running})
    assert Use(busy=0, idle=4) == contained.use


def test_every_profile_has_workers_of_its_own(contained: Workers) -> None:
    """What one is prepared for never reaches a command of another."""
    few, slow = Resources(open_files=33), Resources(nice=15)
    seen = [worker_of(contained, resources) for resources in (Resources(), few, slow) * 2]
    limits = [
        run(contained, "/bin/sh", "-c", "ulimit -n", resources=resources).output for resources in (few, slow)
    ]

    assert seen[:3] == seen[3:]
    assert 3 == len(set(seen))
    assert "33\n" == limits[0] != limits[1]


@root_only
def test_every_identity_has_workers_of_its_own(contained: Workers) -> None:
    """Also where only a group is another."""
    who = [STRANGER, STRANGER._replace(groups=()), STRANGER._replace(uid=12346), None]
    told = [run(contained, "/bin/sh", "-c", "id -u; id -G", identity=each).output for each in who]

    assert ["12345\n23456 34567\n", "12345\n23456\n", "12346\n23456 34567\n"] == told[:3]
    assert told[3].startswith("0\n0")
    assert 4 == contained.use.idle


def test_a_worker_that_nobody_needs_is_ended(contained: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, not before."""
    kept = worker_of(contained)
    contained.retire()
    assert kept == worker_of(contained)
    monkeypatch.setattr(module, "_IDLE_TIME", 0.0)
    contained.retire()

    assert not is_alive(kept)
    assert Use(busy=0, idle=0) == contained.use


def test_no_more_than_a_few_are_kept(contained: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The eldest go, after a moment in which as many could have been needed again."""
    monkeypatch.setattr(module, "MOST_IDLE", 2)
    with at_once(contained, 4) as running:
        pids = [execution._worker.pid for execution, _ in running]
    contained.retire()
    assert Use(busy=0, idle=4) == contained.use
    monkeypatch.setattr(module, "_SURPLUS_TIME", 0.0)
    contained.retire()

    assert Use(busy=0, idle=2) == contained.use
    assert [False, False, True, True] == [is_alive(pid) for pid in pids]


def test_there_are_never_more_than_were_reckoned_with(
    contained: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits makes room for who is needed."""
    monkeypatch.setattr(contained, "_most", 3)
    with at_once(contained, 3) as running:
        pids = [execution._worker.pid for execution, _ in running]
    worker_of(contained, Resources(nice=15))

    assert Use(busy=0, idle=3) == contained.use
    assert [False, True, True] == [is_alive(pid) for pid in pids]


def test_a_worker_with_a_command_is_never_too_old(
    contained: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only idle ones are."""
    monkeypatch.setattr(module, "_IDLE_TIME", 0.0)
    monkeypatch.setattr(module, "MOST_IDLE", 0)
    with at_once(contained, 1) as running:
        contained.retire()
        assert is_alive(running[0][0].pid)


def test_closing_leaves_nothing(groups: ControlGroups | None) -> None:
    """No process, no control group; descriptors are counted by the fixture."""
    with going(groups) as workers:
        with at_once(workers, 2) as running:
            pids = [execution._worker.pid for execution, _ in running]
        pids.append(workers._launcher.pid)
        paths = [] if groups is None else [groups.path, *groups.path.glob("worker-*")]
        assert all(path.is_dir() for path in paths)
        assert groups is None or 3 == len(paths)

    assert not any(path.exists() for path in paths)
    assert not any(map(is_alive, pids))


def test_closing_ends_commands_that_run(groups: ControlGroups | None) -> None:
    """Whoever was to see to their end hears of it."""
    script = "trap '' TERM HUP; (setsid sleep 60 &); echo up; sleep 60 & wait"
    with going(groups) as workers:
        execution, streams = spawn(invocation("/bin/sh", "-c", script), workers)
        assert b"up\n" == os.read(streams.stdout, 9)
    left = os.read(streams.stdout, 9)  # its end comes when nobody has it any more
    streams.close()
    outcome = see(execution)

    assert b"" == left
    assert (Ending.SIGNALLED, True) == (outcome.ending, outcome.is_clean)
    assert not is_alive(execution.pid)


def test_closing_does_not_wait_for_ever_for_a_launcher_that_was_stopped(
    no_leaks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command of the daemon's own user could stop it."""
    monkeypatch.setattr(module, "_END_TIME", 0.1)
    with going() as workers:
        os.kill(workers._launcher.pid, signal.SIGSTOP)

    assert -signal.SIGKILL == workers._launcher.returncode


def test_a_launcher_that_has_ended_is_told_and_nothing_more_can_be_prepared(contained: Workers) -> None:
    """The service stops then; until it has, callers may try later."""
    poller = select.poll()
    poller.register(contained, select.POLLIN)
    assert not poller.poll(0)
    os.kill(contained._launcher.pid, signal.SIGKILL)

    assert poller.poll(20_000)
    with pytest.raises(Refused) as caught:
        run(contained, "/bin/true")
    assert Code.BUSY is caught.value.code
    assert caught.value.reason.startswith("cannot start a process: ")


def test_what_is_under_way_survives_the_launcher(contained: Workers) -> None:
    """A command, and its end."""
    with at_once(contained, 1) as running:
        os.kill(contained._launcher.pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(contained._launcher.pid), "the end of the launcher")
        streams = running[0][1]
        assert streams.stdin is not None
        os.write(streams.stdin, b"still here")
        assert b"still here" == os.read(streams.stdout, 99)


def test_a_launcher_that_is_silent_says_busy(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for ever."""
    monkeypatch.setattr(link, "_READY_TIME", 0.1)
    os.kill(workers._launcher.pid, signal.SIGSTOP)
    with pytest.raises(Refused) as caught:
        run(workers, "/bin/true")
    os.kill(workers._launcher.pid, signal.SIGCONT)

    assert (Code.BUSY, "a worker was not ready in time") == (caught.value.code, caught.value.reason)
    assert Use(busy=0, idle=0) == workers.use


FULL: Final = """
import os, resource, sys
from rexecd.errors import Refused
from tests.unit.execution.starting import going, run
most = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
with going() as workers:
    try:
        run(workers, "/bin/true")
    except Refused as refused:
        print(refused.code.name, refused.reason, sep="|")
    print(workers.use)
"""


@root_only
@pytest.mark.parametrize(
    ("most", "idle"),
    [
        pytest.param(2, 0, id="the monitor, the launcher, and no worker"),
        pytest.param(3, 1, id="the same with a worker, and no command"),
    ],
)
def test_a_machine_without_processes_says_busy(most: int, idle: int) -> None:
    """Whoever it is that cannot fork."""
    told = monitor(FULL, *as_user(600_000 + os.getpid()), arguments=(str(most),))

    reason = "cannot start a process: Resource temporarily unavailable"
    assert f"BUSY|{reason}\nUse(busy=0, idle={idle})\n" == told.replace("[Errno 11] ", "")


def test_an_order_that_comes_too_late_does_not_reach_the_next_command(workers: Workers) -> None:
    """It was under way when the command ended."""
    first, streams = spawn(invocation("/bin/true"), workers)
    select.select([first], [], [])
    for number in (signal.SIGTERM, signal.SIGKILL):
        first.signal(number)
    first._worker.order(Order.END)
    pid = first._worker.pid
    assert 0 == see(first).status
    streams.close()

    assert pid == worker_of(workers)


def test_a_command_that_is_over_can_do_nothing_to_the_next_one(workers: Workers) -> None:
    """Its worker is somebody else's by then."""
    first, streams = spawn(invocation("/bin/true"), workers)
    see(first)
    streams.close()
    with at_once(workers, 1) as running:
        second, streams = running[0]
        assert first._worker is second._worker
        first.signal(signal.SIGKILL)
        first.end(grace=0)
        assert streams.stdin is not None
        os.write(streams.stdin, b"alive")
        assert b"alive" == os.read(streams.stdout, 99)


def test_a_worker_that_cannot_be_told_its_job_is_not_lost(workers: Workers) -> None:
    """A job that no packet holds is refused here, as the kernel would refuse it; what fits arrives whole."""
    before = worker_of(workers)
    with pytest.raises(Refused) as caught:
        run(workers, "/bin/echo", *["x" * 1000] * 250)
    told = run(workers, "/bin/sh", "-c", 'echo "$# ${#1}"', "sh", *["\u20ac" * 150] * 200)

    assert (Code.NOT_STARTED, "/bin/echo: Argument list too long") == (caught.value.code, caught.value.reason)
    assert told.output.startswith("200 ")
    assert before == worker_of(workers)


@pytest.mark.parametrize("program", ["/nonexistent", "/etc/passwd"])
def test_a_program_that_does_not_start_costs_no_worker(workers: Workers, program: str) -> None:
    """The next command has the same one."""
    before = worker_of(workers)
    with pytest.raises(OSError):
        workers.start(Profile(), Job([program], {}, "/", 0), [0, 1, 2])

    assert before == worker_of(workers)
    assert Use(busy=0, idle=1) == workers.use


def test_a_worker_that_ended_while_it_waited_is_replaced(contained: Workers) -> None:
    """Unnoticed by the caller."""
    before = worker_of(contained)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: not is_alive(before), "the end of the worker")

    assert before != worker_of(contained)
    assert Use(busy=0, idle=1) == contained.use


def test_a_worker_that_was_stopped_while_it_waited_is_replaced_soon(contained: Workers) -> None:
    """It is looked at, instead of being waited for."""
    before = worker_of(contained)
    os.kill(before, signal.SIGSTOP)
    begun = time.monotonic()

    assert before != worker_of(contained)
    assert time.monotonic() - begun < 5
    assert not is_alive(before)


def test_a_worker_whose_limits_were_lifted_is_not_used_again(
    contained: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of its control group, and would not bind the next command."""
    monkeypatch.setattr(Group, "is_as_made", lambda _: False)
    before = worker_of(contained)

    assert (contained.containment == "subreaper") == (before == worker_of(contained))


def test_what_was_left_is_gone_on_with(no_leaks: None) -> None:
    """Also what ends by itself is collected, or its numbers would be lacking."""
    leave = "(sleep 60 >/dev/null & echo $!); (true &)"
    with going() as workers:
        left = int(subprocess.run(["/bin/sh", "-c", leave], stdout=subprocess.PIPE, check=True).stdout)
        wait_for(lambda: left in children(os.getpid()), "the orphan")

        assert workers.sweep(seconds=0.5)
        assert {workers._launcher.pid} == set(children(os.getpid()))


def test_a_worker_near_its_ceiling_of_processor_time_is_not_used_again(contained: Workers) -> None:
    """The ceiling is for commands, and would end the worker with one of them."""
    hurry = Resources(cpu=1)
    before = worker_of(contained, hurry)
    script = "i=0; while [ $i -lt 50000 ]; do kill -CHLD $PPID; i=$((i+1)); done"
    commands = 0
    while is_alive(before):
        assert 0 == run(contained, "/bin/sh", "-c", script, resources=hurry, timeout=20).status
        commands += 1

    assert commands
    assert before != worker_of(contained, hurry)


@root_only
def test_a_worker_with_a_directory_of_its_own_serves_once(contained: Workers) -> None:
    """Nothing of one command is there for the next one, for which another worker is prepared already."""
    box = Sandbox(private_tmp=True, best_effort=True)
    script = "ls -A /tmp; touch /tmp/mine; echo $PPID"
    told = [run(contained, "/bin/sh", "-c", script, sandbox=box, identity=SOMEBODY).output for _ in range(3)]

    assert 3 == len(set(told))
    assert all("mine" not in each for each in told)
    assert Use(busy=0, idle=1) == contained.use


def test_children_of_others_are_not_ended(no_leaks: None) -> None:
    """What was there before belongs to somebody else."""
    with subprocess.Popen(["/bin/sleep", "60"]) as mine:
        with going() as workers:
            assert workers.sweep()
            assert {mine.pid, workers._launcher.pid} == set(children(os.getpid()))
        assert mine.poll() is None
        mine.kill()


def test_the_permission_to_start_is_there_once() -> None:
    """Whoever takes it first has it: the worker that starts, or the monitor that asks another one."""
    claim = os.eventfd(1, os.EFD_NONBLOCK)
    try:
        assert [True, False] == [may_begin(claim), may_begin(claim)]
    finally:
        os.close(claim)


def test_a_worker_without_the_permission_starts_nothing(
    contained: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As one that was stopped with its job, which another has had since, and goes on."""
    worker_of(contained)
    monkeypatch.setattr(os, "eventfd_write", lambda *_: None)
    execution, streams = spawn(invocation("/usr/bin/touch", str(tmp_path / "made")), contained)
    streams.close()
    outcome = see(execution)

    assert (0, True) == (execution.pid, outcome.is_lost)
    assert not (tmp_path / "made").exists()
