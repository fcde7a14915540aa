"""How many threads and processes there may be."""

import os
from pathlib import Path

import pytest

from rexecd import tasks
from rexecd.errors import ConfigError


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """Return /proc/self/cgroup and the control groups of a machine: 500 for a slice, 200 for the service."""
    group = tmp_path / "groups/system.slice/rexecd.service"
    group.mkdir(parents=True)
    (group.parent / "pids.max").write_text("500\n")
    (group / "pids.max").write_text("200\n")
    own = tmp_path / "cgroup"
    own.write_text("1:name=systemd:/elsewhere\n0::/system.slice/rexecd.service\n")
    return own, tmp_path / "groups"


def test_the_least_limit_on_the_way_up_counts(machine: tuple[Path, Path]) -> None:
    """It may be our own, or that of a slice."""
    own, groups = machine
    first = tasks.tasks_allowed(own=own, groups=groups)
    (groups / "system.slice/rexecd.service/pids.max").write_text("max\n")

    assert first == 200
    assert tasks.tasks_allowed(own=own, groups=groups) == 500


def test_where_nothing_can_be_read_nothing_is_known(tmp_path: Path) -> None:
    """As in a unit that sees no control groups."""
    (tmp_path / "cgroup").write_text("0::/gone\n")

    assert tasks.tasks_allowed(own=tmp_path / "cgroup", groups=tmp_path) is None
    assert tasks.tasks_allowed(own=tmp_path / "missing", groups=tmp_path) is None


def test_settings_that_cannot_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""
    monkeypatch.setattr(tasks, "tasks_allowed", lambda: 100)
    tasks.check_tasks(100, what="max_connections: 96")

    with pytest.raises(ConfigError, match=r"^max_connections: 97 needs 101 .* limit is 100: raise TasksMax"):
        tasks.check_tasks(101, what="max_connections: 97")


def test_this_process_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's groups are."""
    monkeypatch.chdir("/")
    tasks.check_tasks(1, what=f"process {os.getpid()}")
