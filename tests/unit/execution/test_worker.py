"""What a command finds that a worker has started: nothing of the worker's, and no power over it."""

import json
import os
import re
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest

from rexecd.errors import Code, Refused
from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Workers
from rexecd.policy.bounds import Resources
from rexecd.policy.model import Identity, PassedText
from tests.unit.execution.starting import (
    NO_POWER,
    SOMEBODY,
    STRANGER,
    facts,
    going,
    invocation,
    monitor,
    python_for,
    root_only,
    run,
    see,
)

COMMANDS = Path(__file__).parents[2] / "data" / "commands"
ROOT = Identity("root", 0, 0, (0,))
#: 32 and 33 are the C library's own, and nobody can set them through it.
OF_THE_LIBRARY = 1 << 31 | 1 << 32
#: As a command's shell finds them.
OUR_PROCESSES = {"worker": "$PPID", "launcher": "$(awk '/^PPid/ {print $2}' /proc/$PPID/status)"}
MANY = Resources(cpu=7, open_files=64, file_size=4096, memory=512 * 1024 * 1024)


@pytest.mark.parametrize("identity", [None, pytest.param(STRANGER, marks=pytest.mark.root), ROOT], ids=str)
def test_no_command_has_a_capability_nor_can_get_one(workers: Workers, identity: Identity | None) -> None:
    """Whoever it runs as, root included."""
    if identity is not None and os.geteuid() != 0:
        pytest.skip("becomes somebody else")
    told = facts(run(workers, "/bin/cat", "/proc/self/status", identity=identity).output)

    assert NO_POWER | {"NoNewPrivs": "1"} == {name: told[name] for name in (*NO_POWER, "NoNewPrivs")}


@root_only
def test_a_setuid_program_gives_nothing(workers: Workers, open_directory: Path) -> None:
    """It runs as who started it."""
    program = open_directory / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o6755)

    assert "12345\n" == run(workers, str(program), "-u", identity=STRANGER).output
    assert "23456\n" == run(workers, str(program), "-g", identity=STRANGER).output


@root_only
def test_root_without_capabilities_is_held_by_permissions(workers: Workers, open_directory: Path) -> None:
    """It is one user among others: what is somebody's alone it cannot read."""
    secret = open_directory / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    os.chown(secret, 12345, 23456)

    assert 1 == run(workers, "/bin/cat", str(secret), identity=ROOT).status
    assert "secret" == run(workers, "/bin/cat", str(secret), identity=STRANGER).output


def _limits(workers: Workers, resources: Resources) -> dict[str, tuple[str, str]]:
    """Return the soft and the hard limits of a command's first program."""
    lines = run(workers, "/bin/cat", "/proc/self/limits", resources=resources).output.splitlines()[1:]
    return {line[:25].strip(): (line[26:46].strip(), line[47:67].strip()) for line in lines}


def test_ceilings_are_in_force_in_the_first_program(workers: Workers) -> None:
    """Soft and hard; of processor time the hard one is a second above, so that the signal says why."""
    assert {
        "Max cpu time": ("7", "8"),
        "Max open files": ("64", "64"),
        "Max file size": ("4096", "4096"),
        "Max address space": ("536870912", "536870912"),
        "Max core file size": ("0", "0"),
    }.items() <= _limits(workers, MANY).items()


def test_without_ceilings_a_command_has_those_of_the_daemon_and_makes_no_core(workers: Workers) -> None:
    """A core file would hold what the command had in memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = _limits(workers, Resources())

    assert (str(soft), str(hard)) == told["Max open files"]
    assert ("0", "0") == told["Max core file size"]


def test_a_ceiling_is_never_above_what_the_daemon_may_have() -> None:
    """Its own hard limit holds for a rule that names a higher one."""
    program = """
import resource
from rexecd.policy.bounds import Resources
from tests.unit.execution.starting import going, run
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 40))
with going() as workers:
    print(run(workers, "/bin/cat", "/proc/self/limits", resources=Resources(file_size=1 << 50)).output)
"""

    assert re.search(rf"^Max file size +{1 << 40} +{1 << 40} ", monitor(program), re.MULTILINE)


@pytest.mark.parametrize("nice", [0, 7, 19])
def test_a_command_stands_back_as_its_rule_says(workers: Workers, nice: int) -> None:
    """From its first instruction on."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    if own > nice:
        pytest.skip("this process stands back itself")

    assert f"{nice}\n" == run(workers, "/usr/bin/nice", resources=Resources(nice=nice)).output
    assert f"{own}\n" == run(workers, "/usr/bin/nice").output


@pytest.mark.parametrize(
    ("script", "resources", "limit"),
    [
        ("while :; do :; done", Resources(cpu=1), "cpu"),
        ("exec head -c 9999 /dev/zero >&3", Resources(file_size=4096), "file_size"),
    ],
)
def test_a_command_that_meets_a_ceiling_is_ended_and_the_ceiling_named(
    workers: Workers, open_directory: Path, script: str, resources: Resources, limit: str
) -> None:
    """By the kernel's signal for it."""
    text = f"exec 3> {open_directory}/file; {script}"
    execution, streams = spawn(invocation("/bin/sh", "-c", text, resources=resources), workers)
    streams.close()
    outcome = see(execution)

    assert (limit, True) == (outcome.limit, outcome.is_clean)
    assert outcome.status in {signal.SIGXCPU, signal.SIGXFSZ}


def test_a_command_starts_in_a_world_built_from_nothing(no_leaks: None) -> None:
    """Session, terminal, descriptors, directory, umask, environment and signals, whatever ours are."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        with going() as workers:
            program = (sys.executable, "-I", str(COMMANDS / "describe.py"))
            described = run(workers, *program, umask=0o031, working_directory="/usr")
            status = facts(run(workers, "/bin/cat", "/proc/self/status").output)
            environment = run(workers, "/usr/bin/env").output
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, hup)
        os.close(read)
        os.close(write)
    told = json.loads(described.output)

    assert told["leads_session"]
    assert not told["terminal"]
    assert [0, 1, 2] == told["descriptors"]
    assert ("/dev/null", "/usr", 0o031) == (told["stdin"], told["directory"], told["umask"])
    assert "PATH=/usr/bin:/bin\n" == environment
    assert [0, 0] == [int(status[name], 16) for name in ("SigBlk", "SigCgt")]
    assert 0 == int(status["SigIgn"], 16) & ~OF_THE_LIBRARY


def test_as_many_descriptors_as_a_rule_can_name_reach_the_command(workers: Workers) -> None:
    """Each where it belongs, though the worker's own stand where they go; and with the fewest open files."""
    most = 64
    script = 'for each; do cat "$each"; done'
    argv = ("/bin/sh", "-c", script, "sh", *["/dev/fd/"] * most)
    passed = tuple(PassedText(4 + at, b"%d\n" % at) for at in range(most))
    told = run(workers, *argv, passed=passed, resources=Resources(open_files=16 + most))

    assert [str(at) for at in range(most)] == told.output.split()


@root_only
def test_the_directory_is_entered_by_who_the_command_runs_as(workers: Workers, open_directory: Path) -> None:
    """A directory that is root's alone is not lent, and one of its own is open to it."""
    open_directory.chmod(0o700)
    with pytest.raises(Refused) as caught:
        run(workers, "/bin/pwd", identity=STRANGER, working_directory=str(open_directory))
    os.chown(open_directory, 12345, 23456)
    told = run(workers, "/bin/pwd", identity=STRANGER, working_directory=str(open_directory))

    assert Code.NOT_STARTED is caught.value.code
    assert f"{open_directory}: Permission denied" == caught.value.reason
    assert f"{open_directory}\n" == told.output


@pytest.mark.parametrize("of", OUR_PROCESSES.values(), ids=OUR_PROCESSES)
def test_a_command_reads_nothing_of_the_processes_that_start_it(workers: Workers, of: str) -> None:
    """They are not dumpable: their files are closed even to their own user. Its own files are open to it."""
    script = f"""
look() {{
    for each in environ maps auxv io; do head -c 1 "/proc/$1/$each" > /dev/null && echo $each; done
    for each in fd cwd root; do ls "/proc/$1/$each/" > /dev/null && echo $each; done
    head -c 0 "/proc/$1/mem" && echo mem
}}
look $$; echo; test -d /proc/{of} && look {of}
"""
    told = run(workers, "/bin/sh", "-c", script, identity=SOMEBODY)

    assert "environ\nmaps\nauxv\nio\nfd\ncwd\nroot\nmem\n\n" == told.output
    assert 8 == len(told.errors.splitlines())


def test_a_command_cannot_trace_its_worker(workers: Workers) -> None:
    """Nor so take over what comes after it; PTRACE_SEIZE is 0x4206."""
    script = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
    script += "print(libc.ptrace(0x4206, os.getppid(), None, None), ctypes.get_errno())"

    assert "-1 1\n" == run(workers, python_for(workers), "-I", "-c", script, identity=SOMEBODY).output
