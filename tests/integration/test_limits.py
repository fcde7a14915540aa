"""Ceilings: what a command may use up, in force from its first instruction, and told when they end it."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.commands import begin, end_record
from tests.harness import COMMANDS, PATIENCE, SETTINGS, Daemon

_PYTHON: Final = f"{sys.executable} -I {COMMANDS}"
_HEAD: Final = """\
version: 1
principals: {ann: {roles: [all]}, bob: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
"""
POLICY: Final = f"""\
{_HEAD}  echo:
    summary: Say a word
    run: /bin/echo word
  whoami:
    summary: Say what the ceilings are
    run: {_PYTHON}/whoami.py
  limited:
    summary: Say what the ceilings are
    run: {_PYTHON}/whoami.py
    limits: {{open_files: 40, nice: 7, cpu: 9s, file_size: 1MiB}}
  burns:
    summary: Use up processor time
    run: {_PYTHON}/bombs.py time
    limits: {{cpu: 1s}}
    timeout: 20s
  writes:
    summary: Write too large a file
    run: [/bin/sh, -c, 'exec /usr/bin/head -c 2000000 /dev/zero > "$1"', x, "{{file}}"]
    parameters: {{file: {{type: text}}}}
    limits: {{file_size: 1MiB}}
  memory:
    summary: Use up memory
    run: {_PYTHON}/bombs.py memory
    limits: {{memory: 256MiB}}
  files:
    summary: Use up descriptors
    run: {_PYTHON}/bombs.py files
    limits: {{open_files: 64}}
  bomb.processes:
    summary: Use up processes
    run: {_PYTHON}/bombs.py processes stay
  bomb.memory:
    summary: Use up memory
    run: {_PYTHON}/bombs.py memory stay
    limits: {{memory: 256MiB}}
  bomb.files:
    summary: Use up descriptors
    run: {_PYTHON}/bombs.py files stay
    limits: {{open_files: 1024}}
  bomb.time:
    summary: Use up processor time
    run: {_PYTHON}/bombs.py time
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon with commands that use up things."""
    made = Daemon(tmp_path_factory.mktemp("daemon"), policy=POLICY).start()
    yield made
    made.stop()


def _told(daemon: Daemon, rule: str) -> dict[str, Any]:
    done = daemon.rexec(rule)
    assert 0 == done.returncode, done.stderr
    return dict(json.loads(done.stdout))


def _ended(daemon: Daemon, *line: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what --json says of a command, and the record of its end."""
    told = json.loads(daemon.rexec("--json", "HOST", *line).stdout)
    return told, end_record(daemon, told["request_id"])


def test_a_command_never_leaves_a_core_file(daemon: Daemon) -> None:
    """Its memory may hold what nobody else should read; and it cannot change that."""
    assert [0, 0] == _told(daemon, "whoami")["core"]


def test_ceilings_are_in_force_and_hard(daemon: Daemon) -> None:
    """Descriptors and priority, as the command itself sees them; without a rule they are the daemon's."""
    limited, free = _told(daemon, "limited"), _told(daemon, "whoami")

    assert ([40, 40], 7) == (limited["open_files"], limited["nice"])
    assert os.nice(0) == free["nice"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == free["open_files"][1]


def test_too_much_processor_time_ends_a_command_and_the_trail_says_so(daemon: Daemon) -> None:
    """After a second of work; the caller sees a signal."""
    begun = time.monotonic()
    told, record = _ended(daemon, "burns")

    assert ("signalled", "begun\n") == (told["outcome"], told["stdout"])
    assert "cpu" == record["rexec"]["limit"]
    assert time.monotonic() - begun < 15


def test_too_large_a_file_ends_a_command_and_the_trail_says_so(daemon: Daemon, tmp_path: Path) -> None:
    """The file has all that it may."""
    told, record = _ended(daemon, "writes", str(tmp_path / "file"))

    assert ("signalled", "XFSZ") == (told["outcome"], told["signal"])
    assert "file_size" == record["rexec"]["limit"]
    assert 1024 * 1024 == (tmp_path / "file").stat().st_size


def test_more_memory_than_allowed_is_not_to_be_had(daemon: Daemon) -> None:
    """With the controller the command is killed, and the trail says why; else it is refused more."""
    told, record = _ended(daemon, "memory")

    if "memory" in daemon.status()["controllers"]:
        assert ("signalled", "KILL") == (told["outcome"], told["signal"])
        assert "memory" == record["rexec"]["limit"]
    else:
        taken, error = told["stdout"].splitlines()[1].split()
        assert "MemoryError" == error
        assert 64 < int(taken) < 256


def test_more_descriptors_than_allowed_are_not_to_be_had(daemon: Daemon) -> None:
    """The three standard ones and those of the ceiling's rest."""
    told, _ = _ended(daemon, "files")

    assert f"begun\n{64 - 3} OSError\n" == told["stdout"]


def test_a_ceiling_of_one_command_is_not_the_next_ones(daemon: Daemon) -> None:
    """Nor does what was used up count for another run of the same."""
    for _ in range(3):
        assert "begun\n61 OSError\n" == daemon.rexec("files").stdout
    assert "word\n" == daemon.rexec("echo").stdout


@pytest.mark.parametrize("verb", ["check", "serve"])
def test_processes_cannot_be_bounded_without_a_control_group(tmp_path: Path, verb: str) -> None:
    """The kernel's other limit would count all of the user's: it is a fault, with its place."""
    policy = f"{_HEAD}  few:\n    summary: Few\n    run: /bin/true\n    limits: {{processes: 3}}\n"
    made = Daemon(tmp_path, settings=f"{SETTINGS}containment: subreaper\n", policy=policy)
    line = [sys.executable, "-I", "-m", "rexecd", verb, "--config", str(made.made.config)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)
    said = done.stdout + done.stderr

    assert 1 == done.returncode
    assert f"{made.settings.policy}:5:3: few: limits: processes: needs a control group" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_bombs_of_one_caller_delay_no_other_for_long(daemon: Daemon) -> None:
    """Processes, memory, descriptors and time at once; everybody else is answered while they last."""
    rules = ["bomb.processes", "bomb.memory", "bomb.files", "bomb.time", "bomb.time", "bomb.time"]
    with ThreadPoolExecutor(len(rules)) as pool:
        bombs = [pool.submit(daemon.rexec, rule) for rule in rules]
        waits = []
        for _ in range(8):
            before = time.monotonic()
            assert "word\n" == daemon.rexec("echo", token="bob").stdout
            waits.append(time.monotonic() - before)
        status = daemon.status()
        ends = [bomb.result() for bomb in bombs]

    assert max(waits) < PATIENCE / 2  # without limits it would be never
    assert status["trail"]["healthy"]
    assert all(done.stdout.startswith("begun\n") for done in ends)


def test_after_a_bomb_the_same_command_starts_again(daemon: Daemon) -> None:
    """Its worker has been cleaned, or replaced."""
    with begin(daemon, "bomb.processes") as begun:
        assert b"begun\n" == begun.line()
        assert b"300\n" == begun.line()
        begun.process.kill()
        end_record(daemon, begun.request_id)
    with begin(daemon, "bomb.processes") as again:
        assert b"begun\n" == again.line()
        assert b"300\n" == again.line()
