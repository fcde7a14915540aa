"""The first thing a newcomer runs."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.cli import demo


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

    assert (0, "") == (done.returncode, done.stderr)
    assert [f"[exit status {step.status}]" for step in demo._STEPS] == [
        line for line in shown.splitlines() if line.startswith("[exit status")
    ]
    assert "good day, world" in shown
    assert len(demo._STEPS) == shown.count(" command-allowed ") + shown.count(" command-refused ")
    assert "unbroken" in shown
    assert "rexecd init" in shown
    assert [] == list(short_path.iterdir())
