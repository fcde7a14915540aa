"""The shipped units: what systemd itself says of them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from rexecd.cli.gateway import LISTENER
from rexecd.gateway.server import TASKS_ELSE
from rexecd.monitor.doors import SEAM_NAME
from rexecd.monitor.server import descriptors_needed, tasks_needed
from rexecd.settings import parse_settings

SHIPPED: Final = Path(__file__).parents[1] / "systemd"
needs_analyze: Final = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here"
)


def _values(unit: str, name: str) -> list[str]:
    return re.findall(f"^{name}=(.*)$", (SHIPPED / unit).read_text(), re.MULTILINE)


@needs_analyze
@pytest.mark.parametrize(
    ("unit", "drop_in", "most"),
    [
        ("rexecd-gateway.service", None, 0.5),
        ("rexecd-monitor.service", None, 3.1),
        ("rexecd-monitor.service", "monitor-strict.conf", 2.0),
    ],
)
def test_no_unit_is_more_exposed_than_agreed(
    unit: str, drop_in: str | None, most: float, tmp_path: Path
) -> None:
    """By systemd's own scale, where 0 is nothing and 10 is everything (thresholds are in tenths)."""
    shutil.copy(SHIPPED / unit, tmp_path)
    if drop_in:
        (tmp_path / f"{unit}.d").mkdir()
        shutil.copy(SHIPPED / "drop-ins" / drop_in, tmp_path / f"{unit}.d")
    line = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={round(most * 10)}"]
    done = subprocess.run(
        [*line, str(tmp_path / unit)], capture_output=True, text=True, check=False, timeout=30
    )

    assert 0 == done.returncode, done.stdout.splitlines()[-1:] + done.stderr.splitlines()


@needs_analyze
def test_systemd_finds_no_fault_with_the_units(tmp_path: Path) -> None:
    """But for the interpreter, which `rexecd install` writes, and manual pages, which may be elsewhere."""
    for path in SHIPPED.glob("rexecd*"):
        text = path.read_text().replace("/opt/rexecd/bin/python", "/bin/sh")
        (tmp_path / path.name).write_text(text)
    units = [str(path) for path in tmp_path.iterdir()]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert "" == "\n".join(line for line in done.stderr.splitlines() if "rexecd" in line)


def test_the_units_agree_with_the_program() -> None:
    """Names of sockets, the seam's path and user."""
    assert [LISTENER] == _values("rexecd.socket", "FileDescriptorName")
    assert [SEAM_NAME] == _values("rexecd-monitor.socket", "FileDescriptorName")
    assert ["7512"] == _values("rexecd.socket", "ListenStream")
    assert ["rexecd-gateway"] == _values("rexecd-monitor.socket", "SocketGroup")


def test_the_shipped_settings_fit_into_the_units() -> None:
    """Descriptors and tasks, of both processes."""
    settings = parse_settings("version: 1\n", Path("/etc/rexecd/rexecd.yaml"))
    room = {
        unit: (int(_values(unit, "LimitNOFILE")[0].split(":")[1]), int(_values(unit, "TasksMax")[0]))
        for unit in ("rexecd-gateway.service", "rexecd-monitor.service")
    }

    assert room["rexecd-gateway.service"][0] > 6 * settings.max_connections
    assert room["rexecd-gateway.service"][1] > settings.max_connections + TASKS_ELSE
    assert room["rexecd-monitor.service"][0] > descriptors_needed(settings)
    assert room["rexecd-monitor.service"][1] > tasks_needed(settings)


def test_every_shipped_file_gives_reasons() -> None:
    """A directive that nobody explains is one that nobody dares to change."""
    files = [
        path for path in SHIPPED.rglob("*") if path.suffix in {".service", ".socket", ".target", ".conf"}
    ]

    assert 9 == len(files)
    assert [] == [path.name for path in files if not path.read_text().startswith("#")]
