"""How many threads and processes the service manager lets this service have (TasksMax=).

They are counted by the pids controller of its control group, and of those above.
"""

import contextlib
from pathlib import Path
from typing import Final

from rexecd.errors import ConfigError

_OWN: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")


def check_tasks(needed: int, *, what: str) -> None:
    """Raise ConfigError if this process's control group has no room for so many threads and processes.

    Where no limit can be read, nothing is known, and nothing refused.
    """
    most = tasks_allowed()
    if most is not None and most < needed:
        raise ConfigError(
            f"{what} needs {needed} threads and processes and the limit is {most}: raise TasksMax or lower it"
        )


def tasks_allowed(*, own: Path = _OWN, groups: Path = _GROUPS) -> int | None:
    """Return the least limit of our control group and those above it; None where none can be read."""
    found: list[int] = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in own.read_text(encoding="utf-8").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if (number, controllers) == ("0", ""):  # version 2; of version 1 systemd is no manager for us
                here = groups / path.lstrip("/")
                found += [limit for each in (here, *here.parents) if (limit := _limit(each)) is not None]
    return min(found, default=None)


def _limit(group: Path) -> int | None:
    """Return the limit of one group; None for none."""
    try:
        text = (group / "pids.max").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
