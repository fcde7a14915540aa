"""The machine's own tools that `install` and `status` need: systemctl and its kin, found on the PATH.

The only file besides `serve` and `demo` from which an operator's verb starts a program.
"""

import shutil
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from rexecd.errors import ConfigError

#: There if systemd runs this machine (sd_booted(3)).
_BOOTED: Final = Path("/run/systemd/system")
#: For a start that waits until the service is ready, and a stop until it has drained.
_PATIENCE: Final = 300.0


def has_systemd() -> bool:
    """Return whether systemd runs this machine."""
    return _BOOTED.exists()


def find(name: str) -> str | None:
    """Return where a tool is; it may stand in a directory that only root's PATH has."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


def run(name: str, *arguments: str, remedy: str = "install it") -> None:
    """Run a tool; raise ConfigError with what it said if it fails, or is not there."""
    done = _run(name, arguments, remedy)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise ConfigError(*(f"{name} {' '.join(arguments)}: {line}" for line in said.splitlines()))


def answers(name: str, *arguments: str) -> bool:
    """Return whether a tool says yes, by its exit status; one that is not there says no."""
    return find(name) is not None and _run(name, arguments, "").returncode == 0


def are_active(names: Collection[str]) -> bool:
    """Return whether every one of these units is active; systemctl's own exit status speaks of any."""
    found = show(names, ["ActiveState"])
    return len(found) == len(names) and all(each.get("ActiveState") == "active" for each in found)


def show(units: Iterable[str], properties: Iterable[str]) -> list[dict[str, str]]:
    """Return what systemctl knows of units, in their order; empty where there is no systemd to ask."""
    if not has_systemd() or find("systemctl") is None:
        return []
    wanted = [f"--property={name}" for name in properties]
    done = _run("systemctl", ("show", *wanted, "--", *units), "")
    blocks = done.stdout.strip().split("\n\n") if done.returncode == 0 else []
    return [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]


def systemd_version() -> int:
    """Return the number of the machine's systemd; 0 if there is none."""
    if find("systemctl") is None:
        return 0
    words = _run("systemctl", ("--version",), "").stdout.split()
    return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


def _run(name: str, arguments: Iterable[str], remedy: str) -> subprocess.CompletedProcess[str]:
    path = find(name)
    if path is None:
        raise ConfigError(f"{name} is not on this machine: {remedy}")
    try:
        return subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{name} {' '.join(arguments)}: no answer in {_PATIENCE:g}s") from None
