"""Root acting for an installed service."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")]

SOMEBODY = 12345
_PROGRAM = """
import json, os, subprocess, sys
from pathlib import Path
from rexecd.cli.owner import MONITORS, act_as_owner
act_as_owner(Path(sys.argv[1]), keep=MONITORS if sys.argv[2] == "keep" else ())
def said(path):
    lines = (line.split(":") for line in Path(path).read_text().splitlines())
    return {name: value.strip() for name, value in lines if name[:3] in ("Uid", "Gid", "Gro", "Cap")}
child = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, text=True).stdout
print(json.dumps([said("/proc/self/status"), child]))
"""


def _act(path: Path, keep: str) -> tuple[dict[str, str], str]:
    """Return what the kernel says of a process that acted as the owner, and of a program it starts."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path), keep],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    own, child = json.loads(done.stdout)
    return own, child


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a directory of somebody's."""
    directory = tmp_path / "state"
    directory.mkdir()
    os.chown(directory, SOMEBODY, SOMEBODY)
    return directory


def test_every_id_is_the_owners_and_no_capability_is_left(state: Path) -> None:
    """Nothing leads back."""
    own, child = _act(state, "none")

    assert own["Uid"].split() == own["Gid"].split() == [str(SOMEBODY)] * 4
    assert own["Groups"] == str(SOMEBODY)
    assert {own[name] for name in own if name.startswith("Cap")} == {"0" * 16}
    assert f"CapEff:\t{'0' * 16}" in child


def test_what_the_monitor_has_is_kept_and_inherited(state: Path) -> None:
    """The probe of `check` starts what the monitor starts, with the same means."""
    own, child = _act(state, "keep")

    assert {own[name] for name in own if name.startswith("Cap")} == {f"{0xC0:016x}"}
    assert f"CapEff:\t{0xC0:016x}" in child
    assert f"Uid:\t{SOMEBODY}" in child


def test_what_is_roots_is_looked_at_as_root(tmp_path: Path) -> None:
    """And what is not there too."""
    assert _act(tmp_path, "none")[0]["Uid"].split() == ["0"] * 4
    assert _act(tmp_path / "missing", "none")[0]["Uid"].split() == ["0"] * 4


def test_an_owner_in_roots_group_is_refused(state: Path) -> None:
    """That would keep more of root than it seems."""
    os.chown(state, SOMEBODY, 0)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(state), "none"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )

    assert "is in group 0, root's" in done.stderr
