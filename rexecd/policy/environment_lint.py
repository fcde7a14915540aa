"""Lint's RX305: variables that are code by another name, and directories in them that others can write to.

The rules are those of `lint.py`, which gives the findings their places.
"""

from collections.abc import Iterator
from typing import Final

from rexecd.policy.grants_lint import Remark
from rexecd.policy.model import Rule
from rexecd.policy.paths_lint import is_shared
from rexecd.policy.programs import PLAIN_VARIABLES, PREFIXES, VARIABLES

_HARMLESS: Final = frozenset({"", "cat", "/bin/cat", "/usr/bin/cat", "true", "/bin/true", "/usr/bin/true"})
#: Directories with programs, or with what programs read when they start.
_SEARCHED: Final = (
    *("PATH", "HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_HOME", "XDG_DATA_DIRS"),
    *("GNUPGHOME", "DOCKER_CONFIG", "CARGO_HOME", "GEM_HOME", "MYSQL_HOME"),
)


def about_environment(rule: Rule, shared: frozenset[str]) -> Iterator[Remark]:
    """Yield which variables make programs load or start something; in some directories everybody can."""
    for name, value in rule.environment.items():
        if (what := _meaning(name)) and value not in _HARMLESS:
            text = f"variable {name!r} {what}"
            yield "RX305", f"{text}; remove it, or make sure that only root can change what it names"
    for name, directory in _searched(rule):
        if is_shared(directory, shared):
            text = (
                f"variable {name!r} has {directory!r} in it, where others can put what programs load or start"
            )
            yield "RX305", f"{text}; name directories in which only root can write"


def searched(rule: Rule) -> frozenset[str]:
    """Return the directories in which variables of a rule make programs look for others, or for settings."""
    return frozenset(directory for _, directory in _searched(rule))


def _searched(rule: Rule) -> Iterator[tuple[str, str]]:
    # A PATH with a part that is empty or relative is no policy.
    for name in _SEARCHED:
        yield from (
            (name, part) for part in rule.environment.get(name, "").split(":") if part.startswith("/")
        )


def _meaning(name: str) -> str:
    """Return what programs do with a variable; an empty text for nothing that is known."""
    if name.startswith(PREFIXES) and name not in PLAIN_VARIABLES:
        return VARIABLES.get(name, "may say what programs of its family load or start")
    return VARIABLES.get(name, "")
