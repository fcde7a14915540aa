"""Lint's RX201, RX203 and RX206: where a caller's paths may lead.

The rules are those of `lint.py`, which gives the findings their places.
"""

from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Final

from rexecd.policy.grants_lint import Remark
from rexecd.policy.model import Rule
from rexecd.policy.parameters import Parameter, Pass
from rexecd.policy.places import Path

#: Directories of the system. With '/' behind them, also what lies below.
_OWN: Final = MappingProxyType(
    {
        "/etc": "the settings of the system",
        "/dev": "devices",
        "/run": "sockets and secrets of services",
        "/root/": "what is root's",
        "/proc/": "the memory and environment of processes",
        "/sys/": "the kernel's switches",
        "/etc/ssh/": "keys",
        "/etc/ssl/private/": "keys",
        "/etc/rexecd/": "the policy itself",
        "/var/lib/rexecd/": "rexecd's own tokens and keys",
    }
)
#: Where others can make names.
_SHARED: Final = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/lock/", "/run/user/", "/home")  # noqa: S108


def _covering(root: str, directories: Iterable[str]) -> str:
    """Return which of the directories a root is, or lies below, or an empty text."""
    is_below = f"{root}/".startswith
    return next(
        (known for known in directories if known == root or (known[-1] == "/" and is_below(known))), ""
    )


def about_paths(rule: Rule, missing: frozenset[str]) -> Iterator[Remark]:
    """Yield what is to be said of the directories that paths may be below, of which some are missing."""
    for parameter in rule.parameters.values():
        if isinstance(parameter.kind, Path):
            for root in parameter.kind.roots:
                yield from _about_root(parameter, root.rstrip("/"))
                if root in missing or "*" in root:
                    text = f"path {parameter.name!r} may be below {root!r}, {absent(root)}"
                    yield "RX206", f"{text} or correct it"


def _about_root(parameter: Parameter, root: str) -> Iterator[Remark]:
    text = f"path {parameter.name!r} may be below {root or '/'!r}"
    if not root:
        yield "RX201", f"{text}, which is everywhere; name the directories that are meant"
    elif own := _covering(root, _OWN):
        yield "RX201", f"{text}, which holds {_OWN[own]}; name the directories that are meant"
    if _covering(root, _SHARED) and parameter.passed is Pass.ARGUMENT:
        remedy = "use 'pass: descriptor', or a directory in which only root can write"
        yield "RX203", f"{text}, where others can swap it for a link; {remedy}"


def absent(directory: str) -> str:
    """Say how a directory is not there, up to the remedy."""
    if "*" in directory:
        return "and '*' is a plain character there; name every directory that is meant,"
    return "which is not there; make it,"
