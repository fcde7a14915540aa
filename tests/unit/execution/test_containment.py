"""Commands that will not end, and commands that turn on who started them: all of it ends, in time.

Hostile commands run as a user of the test process's own, so that what they do to everything of their
user hits no other test.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pytest

from rexecd.execution.contain import Outcome
from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Use, Workers
from rexecd.policy.model import Identity
from rexecd.wire.messages import Ending
from tests.harness import children, is_alive, wait_for
from tests.unit.execution.starting import as_user, invocation, monitor, python_for, root_only, run, see

TOP: Final = Path(__file__).parents[3]
#: Nobody else's number.
_NUMBER: Final = 500_000 + os.getpid()
HOSTILE: Final = None if os.geteuid() else Identity("hostile", _NUMBER, _NUMBER, (_NUMBER,))
PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class Seen(NamedTuple):
    """What became of a hostile command."""

    outcome: Outcome
    #: Those it started that are still there.
    survivors: set[int]
    output: str
    #: From its start to its collected end.
    seconds: float


def attack(workers: Workers, *argv: str, timeout: float = 20.0, **changes: Any) -> Seen:
    """Run a hostile command to its end, and look at once who has survived it."""
    mark = f"MARK={secrets.token_hex(8)}"
    environment = MappingProxyType({"PATH": PATH, "MARK": mark.removeprefix("MARK=")})
    begun = time.monotonic()
    execution, streams = spawn(
        invocation(*argv, environment=environment, identity=HOSTILE, timeout=timeout, **changes), workers
    )
    outcome = see(execution, grace=0.2)
    seconds = time.monotonic() - begun
    survivors = set(_marked(mark))
    os.set_blocking(streams.stdout, False)
    output = os.read(streams.stdout, 4096).decode()
    streams.close()
    return Seen(outcome, survivors, output, seconds)


def _marked(mark: str) -> Iterator[int]:
    """Yield the processes that were started with a variable; a zombie has none any more."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                yield int(path.name)
        except OSError:
            continue


def question(workers: Workers) -> list[str]:
    """Return what a command finds that its worker was prepared with, the worker's number first."""
    script = "echo $PPID; nice; ulimit -aS; ulimit -aH; taskset -p $$ | sed 's/.*://'"
    script += "; chrt -p $$ | sed 's/.*://'; ionice -p $$; echo fine"
    told = run(workers, "/bin/sh", "-c", script, identity=HOSTILE)
    assert told.output.endswith("fine\n")
    return told.output.splitlines()


#: What it does (as a shell says it), and its time.
ESCAPES: Final[dict[str, tuple[str, float]]] = {
    "ignores TERM, as its children do": ("trap '' TERM INT HUP; sleep 60 & while :; do sleep 1; done", 0.3),
    "leaves a child in its group": ("sleep 60 &", 20),
    "forks twice and leaves its session": ("(setsid sh -c 'setsid sleep 60 & sleep 60' &)", 20),
    "leaves its group": ("timeout 60 sleep 60 & sleep 0.1", 20),
    "leaves everything and ignores TERM": (
        "(setsid sh -c \"trap '' TERM; sleep 60 & wait; sleep 60\" &)",
        20,
    ),
    "leaves a storm": ("i=0; while [ $i -lt 50 ]; do (setsid sleep 60 &); i=$((i+1)); done", 20),
    "closes its descriptors": ("exec <&- >&- 2>&-; (setsid sleep 60 &); sleep 60", 0.3),
    "stops itself": ("(setsid sleep 60 &); kill -STOP $$", 0.3),
    "stops what it leaves": ("setsid sleep 60 & kill -STOP $!; sleep 0.1", 20),
    "hops": ('hop=\'(eval "$hop") & exit\'; eval "$hop"', 20),
}

#: The same for what a command does to its worker.
ASSAULTS: Final[dict[str, tuple[str, float]]] = {
    "stops its worker": ("(setsid sleep 60 &); kill -STOP $PPID; sleep 60", 0.3),
    "stops its worker and goes": ("(setsid sleep 60 &); sleep 0.1; kill -STOP $PPID", 0.5),
    "kills its worker at once": ("(setsid sleep 60 &); kill -KILL $PPID; sleep 60", 20),
    "kills its worker later": ("(setsid sleep 60 &); sleep 0.1; kill -KILL $PPID; sleep 60", 20),
    "ends its worker": ("(setsid sleep 60 &); kill -TERM $PPID; sleep 60", 20),
    "worries its worker": (
        "for i in $(seq 500); do kill -CHLD $PPID; kill -STOP $PPID; kill -CONT $PPID; done",
        20,
    ),
}
#: These would hit the tests' own processes if they ran as their user.
WIDE: Final = {
    "kills everything of its user": ("(setsid sleep 60 &); kill -KILL -1; sleep 60", 20),
    "stops everything of its user": ("(setsid sleep 60 &); kill -STOP -1; sleep 60", 0.3),
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_whatever_a_command_leaves_has_ended_when_it_has(contained: Workers, escape: str) -> None:
    """In time, and the worker goes on to the next command."""
    script, timeout = ESCAPES[escape]
    before = question(contained)
    seen = attack(contained, "/bin/sh", "-c", script, timeout=timeout)

    assert set() == seen.survivors
    assert seen.outcome.is_clean
    assert (timeout < 1) is (seen.outcome.ending is Ending.TIMED_OUT)
    assert seen.seconds < 5
    assert before == question(contained)
    assert Use(busy=0, idle=1) == contained.use


@pytest.mark.parametrize(
    "assault", [*ASSAULTS, *(pytest.param(name, marks=pytest.mark.root) for name in WIDE)]
)
def test_a_command_that_turns_on_its_worker_ends_with_it(contained: Workers, assault: str) -> None:
    """Everything it started ends in time, and the next command is as if nothing had been."""
    if assault in WIDE and HOSTILE is None:
        pytest.skip("would hit everything of this user")
    script, timeout = (ASSAULTS | WIDE)[assault]
    before = question(contained)
    seen = attack(contained, "/bin/sh", "-c", script, timeout=timeout)
    after = question(contained)

    assert set() == seen.survivors
    assert seen.outcome.is_clean
    assert seen.seconds < 5
    assert before[1:] == after[1:]
    assert Use(busy=0, idle=1) == contained.use
    assert children(os.getpid()) == [contained._launcher.pid]
    if assault != "worries its worker":
        assert not is_alive(int(before[0]))


@pytest.mark.parametrize("end", ["KILL", "STOP"])
def test_a_command_is_never_started_twice(contained: Workers, open_directory: Path, end: str) -> None:
    """Also if it ends its worker before that can say that it was started."""
    log = open_directory / "log"
    log.touch()
    log.chmod(0o666)
    script = f"kill -{end} $PPID; echo once >> {log}; sleep 60"
    outcomes = [attack(contained, "/bin/sh", "-c", script, timeout=0.2).outcome.ending for _ in range(3)]

    assert len(log.read_text().split()) <= 3
    assert set(outcomes) <= {Ending.SIGNALLED, Ending.TIMED_OUT}


SPOILS: Final = {
    "fewer open files": "prlimit --nofile=5:5 --pid $PPID",
    "smaller files": "prlimit --fsize=0 --pid $PPID",
    "less memory": "prlimit --data=200000000:200000000 --pid $PPID",
    "a lower soft limit": "prlimit --stack=1000000: --pid $PPID",
    "a lower priority": "renice -n 5 -p $PPID",
    "another scheduler": "chrt -b -p 0 $PPID",
    "less of the disk": "ionice -c 3 -p $PPID",
    "fewer processors": "taskset -p 1 $PPID",
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_worker_that_was_changed_is_not_used_again(contained: Workers, spoil: str) -> None:
    """The next command has what its rule says."""
    if shutil.which(SPOILS[spoil].split()[0]) is None:
        pytest.skip("the tool for it is missing")
    if spoil == "fewer processors" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one processor")
    before = question(contained)
    seen = attack(contained, "/bin/sh", "-c", SPOILS[spoil])
    after = question(contained)

    assert (0, True) == (seen.outcome.status, seen.outcome.is_clean)
    assert before[1:] == after[1:]
    assert before[0] != after[0]
    wait_for(lambda: not is_alive(int(before[0])), "the end of the worker that was changed")


@root_only
@pytest.mark.parametrize("name", ["KILL", "STOP"])
def test_workers_that_wait_may_be_hit_too(contained: Workers, name: str) -> None:
    """Commands that come later find new ones, without much delay."""
    running = [spawn(invocation("/bin/cat", identity=HOSTILE, takes_input=True), contained) for _ in range(5)]
    for execution, streams in running:
        streams.close()
        see(execution)
    assert Use(busy=0, idle=5) == contained.use
    attack(contained, "/bin/sh", "-c", f"kill -{name} -1; sleep 60", timeout=0.3)
    begun = time.monotonic()
    for _ in range(6):
        assert "fine" == question(contained)[-1]

    assert time.monotonic() - begun < 5


def test_orphans_do_not_pile_up_while_the_command_runs(contained: Workers) -> None:
    """A worker collects what has ended of those that came to it."""
    script = "i=0; while [ $i -lt 200 ]; do (sleep 0.01 &); i=$((i+1)); done; echo $PPID; cat"
    execution, streams = spawn(
        invocation("/bin/sh", "-c", script, identity=HOSTILE, takes_input=True), contained
    )
    worker = int(os.read(streams.stdout, 20))

    wait_for(lambda: children(worker) == [execution.pid], "the end of the orphans")
    streams.close()
    assert 0 == see(execution).status


HOLD: Final = """
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
read, write = os.pipe()
first = os.getpid()
libc.prctl(0x59616d61, ctypes.c_long(-1), 0, 0, 0)
if os.fork() == 0:
    os.setsid()
    held = libc.ptrace(0x4206, first, None, None)
    os.write(write, b"held" if held == 0 else b"free")
    time.sleep(60)
print(os.read(read, 4).decode(), flush=True)
END
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "time.sleep(60)"])
def test_a_process_that_traces_the_command_does_not_keep_its_end_back(contained: Workers, end: str) -> None:
    """A traced process is first its tracer's to collect, and that one would never."""
    python = python_for(contained)
    seen = attack(contained, python, "-I", "-c", HOLD.replace("END", end), timeout=0.5)
    if seen.output != "held\n":
        pytest.skip("tracing is not allowed here")

    assert set() == seen.survivors
    assert Ending.TIMED_OUT is seen.outcome.ending
    assert seen.seconds < 5
    assert "fine" == question(contained)[-1]


MONITOR: Final = """
import os, signal, sys
from types import MappingProxyType
from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Workers
from tests.unit.execution.starting import invocation
environment = MappingProxyType({"PATH": "/usr/bin:/bin", "MARK": sys.argv[1]})
script = "trap '' TERM HUP; (setsid sleep 60 &); echo $PPID; sleep 60 & wait"
run = invocation("/bin/sh", "-c", script, environment=environment)
execution, streams = spawn(run, Workers(None))
print(os.read(streams.stdout, 20).decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_outlives_a_monitor_that_was_killed() -> None:
    """Its workers see the end of their sockets, and its launcher that of its own."""
    mark = secrets.token_hex(8)
    argv = [sys.executable, "-c", MONITOR, mark]
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False)

    assert -signal.SIGKILL == done.returncode
    wait_for(lambda: not list(_marked(f"MARK={mark}")), "the end of the command")
    wait_for(lambda: not is_alive(int(done.stdout)), "the end of the worker")


WEAK: Final = """
from rexecd.execution import workers as module
from tests.unit.execution.starting import STRANGER, going, invocation, see, spawn
module._END_TIME = 0.3
with going() as workers:
    run = invocation("/bin/sh", "-c", "kill -STOP $PPID; sleep 60", identity=STRANGER, timeout=0.2)
    execution, streams = spawn(run, workers)
    worker = execution._worker.pid
    outcome = see(execution, grace=0.1)
    streams.close()
    print(outcome.is_clean, worker)
"""


@root_only
def test_a_monitor_that_may_not_kill_says_that_something_is_left() -> None:
    """Without CAP_KILL nor control groups nobody is left who could end a worker that was stopped."""
    is_clean, worker = monitor(WEAK, *as_user(65534, "+setuid,+setgid")).split()
    left = [int(worker), *children(int(worker))]
    for pid in left:
        os.kill(pid, signal.SIGKILL)

    assert "False" == is_clean
    assert 2 == len(left)


def test_a_worker_that_was_stopped_is_noticed_long_before_the_deadline(contained: Workers) -> None:
    """Its command may be over, and nobody would hear of it."""
    seen = attack(contained, "/bin/sh", "-c", "(setsid sleep 60 &); sleep 0.1; kill -STOP $PPID", timeout=30)

    assert (Ending.SIGNALLED, True, True) == (
        seen.outcome.ending,
        seen.outcome.is_lost,
        seen.outcome.is_clean,
    )
    assert set() == seen.survivors
    assert seen.seconds < 10


WEAK_START: Final = """
import sys
from rexecd.errors import ConfigError
from rexecd.execution.identity import check_can_end
check_can_end(containment="control-group")
try:
    check_can_end(containment="subreaper")
except ConfigError as error:
    print(error)
"""


@root_only
def test_who_could_start_others_and_not_end_them_does_not_begin() -> None:
    """CAP_SETUID without CAP_KILL is enough only with a control group."""
    assert "needs CAP_KILL" in monitor(WEAK_START, *as_user(65534, "+setuid,+setgid"))
    assert "" == monitor(WEAK_START, *as_user(65534, "+setuid,+setgid,+kill"))
    assert "" == monitor(WEAK_START, *as_user(65534))
