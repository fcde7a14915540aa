"""The first thing a newcomer runs."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.cli import demo
from tests.harness import children, is_alive


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give a temporary directory with a name that a Unix socket's path has room for."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def test_the_demo_shows_every_promise_and_cleans_up(short_path: Path) -> None:
    """Exit status 0, the records of exactly its calls, a verified trail, and nothing left behind."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "rexecd", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"TMPDIR": str(short_path)},
    )
    shown = done.stdout

    assert 0 == done.returncode
    assert all(line.startswith("rexecd: warning: monitor started: ") for line in done.stderr.splitlines()), (
        done.stderr
    )
    assert [f"[exit status {step.status}]" for step in demo._STEPS] == [
        line for line in shown.splitlines() if line.startswith("[exit status")
    ]
    assert "good day, world" in shown
    assert len(demo._STEPS) == shown.count(" command-allowed ") + shown.count(" command-refused ")
    assert "unbroken" in shown
    assert "rexecd init" in shown
    assert [] == list(short_path.iterdir())


def test_a_demo_that_is_ended_leaves_nothing_behind(short_path: Path) -> None:
    """No process, no directory, no token."""
    with subprocess.Popen(
        [sys.executable, "-I", "-m", "rexecd", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(short_path)},
    ) as process:
        assert process.stdout
        while "[exit status" not in process.stdout.readline():
            pass
        (serve,) = [pid for pid in children(process.pid) if b"serve" in _command_line(pid)]
        process.terminate()
        process.stdout.read()

    assert 128 + signal.SIGTERM == process.returncode
    assert not is_alive(serve)
    assert [] == list(short_path.iterdir())


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
