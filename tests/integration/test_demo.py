"""The first thing a newcomer runs."""

import os
import subprocess
import sys
from pathlib import Path

from rexecd.cli import demo


def test_the_demo_shows_every_promise_and_cleans_up(tmp_path: Path) -> None:
    """Exit status 0, the records of exactly its calls, a verified trail, and nothing left behind."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "rexecd", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"TMPDIR": str(tmp_path)},
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
    assert [] == list(tmp_path.iterdir())
