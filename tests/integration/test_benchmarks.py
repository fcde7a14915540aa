"""`make bench` from start to end, with as little of everything as there can be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Whatever the benchmark leaves behind becomes a child of this one, which says so.
_WATCH = """
import subprocess, sys, time
from pathlib import Path
from rexecd.confine import adopt_orphans
adopt_orphans()
done = subprocess.run([sys.executable, "-m", "benchmarks.bench", *sys.argv[1:]], stdout=subprocess.DEVNULL)
def left():
    listed = Path("/proc/self/task").glob("*/children")
    numbers = [number for task in listed for number in task.read_text().split()]
    return [Path(f"/proc/{number}/cmdline").read_bytes() for number in numbers]
deadline = time.monotonic() + 20
while any(left()) and time.monotonic() < deadline:
    time.sleep(0.1)
print(done.returncode, [line for line in left() if line])
"""
_SMALL = [
    *("--rounds", "1", "--seconds", "0.2", "--callers", "2", "--gigabytes", "0.002", "--slow", "0.5"),
    *("--idle", "5", "--rules", "10", "--tokens", "10", "--records", "0", "100"),
    *("--mixed", "2", "--window", "1", "--minutes", "4"),
]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_round_is_done_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """Whichever peers are here: every round of ours has figures, and every process has ended."""
    out = tmp_path / "run.json"
    line = [sys.executable, "-c", _WATCH, *_SMALL, "--out", str(out)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=230, check=False)
    run = json.loads(out.read_text())
    failed = {name: found["failed"] for name, found in run["rounds"].items() if "failed" in found}

    assert "0 []\n" == done.stdout, done.stderr
    assert {} == {name: why for name, why in failed.items() if "only root" not in why}
    assert run["rounds"]["mixed"]["rows"]["commands: p50"]["failed"] == 0
    assert str(tmp_path.parent) not in out.read_text()
