"""Where control groups of version 2 are mounted, and what of them is seen there (proc_pid_mountinfo(5))."""

import re
from pathlib import Path

from rexecd.errors import ConfigError


def below(point: str, group: str, root: str) -> Path | None:
    """Return the directory of a group, where `root` is what is seen at `point`; None if it is not below."""
    try:
        own = point / Path(group).relative_to(root)
    except ValueError:
        return None
    return None if ".." in own.parts or not own.is_dir() else own


def find_mount(mounts: Path) -> tuple[str, str, bool]:
    """Return where version 2 is mounted, which of its groups is seen there, and whether read-only.

    Of two mounts on one point the later one covers the other; else the first one is taken, and one
    that can be written before any other.
    """
    found: dict[str, tuple[str, str, bool]] = {}
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            root, point, options = fields.split(" ")[3:6]
            found[_plain(point)] = (_plain(point), _plain(root), "ro" in options.split(","))
    if not found:
        raise ConfigError("/sys/fs/cgroup: no file system of kind cgroup2 is mounted; mount one")
    return min(found.values(), key=lambda mount: mount[2])


def _plain(text: str) -> str:
    r"""Return a field of mountinfo without its escapes: `\040` is a space."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
