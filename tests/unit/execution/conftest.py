"""Every test of starting programs is watched for what it leaves behind."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.execution.cgroup import ControlGroups, find
from rexecd.execution.workers import Workers
from tests.unit.execution.starting import going


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Let no test leave a descriptor or a child behind."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def workers(no_leaks: None) -> Iterator[Workers]:
    """Give what starts commands, without control groups."""
    with going(None) as made:
        yield made


@pytest.fixture(params=["subreaper", "control-group"])
def groups(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[ControlGroups | None]:
    """Give the control groups there are here, and none."""
    found = find("auto" if request.param == "control-group" else request.param)
    if request.param == "control-group" and found.groups is None:
        pytest.skip(f"no control groups: {found.why}")
    yield found.groups
    if found.groups is not None:
        assert found.groups.close()


@pytest.fixture
def contained(groups: ControlGroups | None) -> Iterator[Workers]:
    """Give what starts commands, with each kind of containment that there is here."""
    with going(groups) as made:
        yield made


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Give a directory that everybody may enter, by its whole name."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        made = Path(name).resolve()
        made.chmod(0o755)
        yield made
