"""Lint's RX201, RX203, RX206 and RX208: where a caller's paths may lead, and texts in their place.

The rules are those of `lint.py`, which gives the findings their places.
"""

import enum
import posixpath
import re
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Final

from rexecd.policy.calls import Call, Reading, calls, head, read
from rexecd.policy.grants_lint import Remark
from rexecd.policy.model import Rule
from rexecd.policy.openness import is_any_path, leads_out
from rexecd.policy.parameters import Parameter, Pass
from rexecd.policy.places import Path
from rexecd.policy.programs import COPIERS, LOOKERS, OPENERS, WRITERS, WRITING, Program
from rexecd.policy.template import Element, Hole, holes

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
        "/var/spool/cron/": "what runs later, and as whom",
    }
)
#: Where programs are, and what they obey: who may write a file there says what runs.
_OBEYED: Final = ("/etc/", "/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/boot/")
#: Where others can make names.
_SHARED: Final = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/lock/", "/run/user/", "/home")  # noqa: S108


def _covering(root: str, directories: Iterable[str]) -> str:
    """Return which of the directories a root is, or lies below, or an empty text."""
    is_below = f"{root}/".startswith
    return next(
        (known for known in directories if known == root or (known[-1] == "/" and is_below(known))), ""
    )


def about_paths(rule: Rule, missing: frozenset[str], shared: frozenset[str]) -> Iterator[Remark]:
    """Yield what is to be said of the directories that paths may be below.

    Some of them are missing, and in some everybody can make names.
    """
    for parameter in rule.parameters.values():
        if isinstance(parameter.kind, Path):
            use = _use(rule, parameter)
            for root in parameter.kind.roots:
                yield from _about_root(parameter, root.rstrip("/"), use)
                if is_shared(root, shared) and parameter.passed is Pass.ARGUMENT:
                    text = (
                        f"path {parameter.name!r} may be below {root!r}, where others can swap it for a link"
                    )
                    yield (
                        "RX203",
                        f"{text}; use 'pass: descriptor', or a directory in which only root can write",
                    )
                if root in missing or "*" in root:
                    text = f"path {parameter.name!r} may be below {root!r}, {absent(root)}"
                    yield "RX206", f"{text} or correct it"


def is_shared(directory: str, shared: frozenset[str]) -> bool:
    """Return whether others can make names in a directory: it is known for that, or one of those given."""
    return directory in shared or bool(_covering(directory.rstrip("/"), _SHARED))


class _Use(enum.Enum):
    """What a rule's programs do with a path."""

    #: They do not open it.
    LOOK = "look"
    OPEN = "open"
    WRITE = "write"


def _use(rule: Rule, parameter: Parameter) -> _Use:
    """Return the most that is known to be done with a path; what is not known opens it."""
    found = {
        _use_of(call, reading)
        for call in calls(rule.template, rule.parameters)
        for reading in read(call.program, call.arguments)
        if any(hole.name == parameter.name for hole in holes(reading.element))
    }
    return next((use for use in (_Use.WRITE, _Use.OPEN, _Use.LOOK) if use in found), _Use.OPEN)


def _use_of(call: Call, reading: Reading) -> _Use:
    name = posixpath.basename(call.path)
    is_target = name in WRITERS or (name in COPIERS and reading.element is call.arguments[-1])
    is_output = call.program is not None and reading.option in call.program.risky & WRITING
    if is_output or (is_target and not reading.option) or (name == "dd" and head(reading.element) == "of="):
        return _Use.WRITE
    return _Use.LOOK if name in LOOKERS else _Use.OPEN


def _about_root(parameter: Parameter, root: str, use: _Use) -> Iterator[Remark]:
    text = f"path {parameter.name!r} may be below {root or '/'!r}"
    inside = "" if use is _Use.LOOK else next((own for own in _OWN if own.startswith(f"{root}/")), "")
    if not root:
        yield "RX201", f"{text}, which is everywhere; name the directories that are meant"
    elif own := _covering(root, _OWN):
        yield "RX201", f"{text}, which holds {_OWN[own]}; name the directories that are meant"
    elif inside:
        yield (
            "RX201",
            f"{text}, and {inside!r} there holds {_OWN[inside]}; name the directories that are meant",
        )
    elif use is _Use.WRITE and _covering(root, _OBEYED):
        yield (
            "RX201",
            f"{text} and is written to, where programs are or what they obey; name another directory",
        )


#: A path, or the value of an option that is one, up to a hole. Addresses are none: `https://host/`.
_BEGUN: Final = re.compile(r"(?:\A|\A-[A-Za-z]|[=:,@])(?:~|\.{1,2})?/(?!/)\S*\Z")


def about_texts(rule: Rule) -> Iterator[Remark]:
    """Yield which texts and patterns are paths, or parts of one, without being held to a directory."""
    for call in calls(rule.template, rule.parameters):
        for element in call.arguments:
            if element not in call.scripts:
                yield from _about_part(rule, element)
        opener = OPENERS.get(posixpath.basename(call.path))
        for parameter in [] if opener is None else _opened(rule, call, opener):
            text = f"parameter {parameter.name!r} may name any file to {call.path!r}"
            yield "RX208", f"{text}; use a path below the directories that are meant"


def _about_part(rule: Rule, element: Element) -> Iterator[Remark]:
    for at, piece in enumerate(element):
        if isinstance(piece, str):
            continue
        before, behind = "".join(map(str, element[:at])), "".join(map(str, element[at + 1 :]))
        if _BEGUN.search(before) and leads_out(rule.parameters[piece.name], before, behind):
            text = f"parameter {piece.name!r} may hold '/../' and lead out of {before!r}"
            yield "RX208", f"{text}; use a path below that, or a word"


def _opened(rule: Rule, call: Call, opener: Program) -> Iterator[Parameter]:
    """Yield which parameters are files that a program opens, and may be any."""
    readings = tuple(read(opener, call.arguments))
    is_told = any(reading.option in opener.scripts for reading in readings)
    operands = [reading.element for reading in readings if not reading.option]
    for element in operands[0 if is_told else opener.skips :]:
        if (
            len(element) == 1
            and isinstance(element[0], Hole)
            and is_any_path(rule.parameters[element[0].name])
        ):
            yield rule.parameters[element[0].name]


def absent(directory: str) -> str:
    """Say how a directory is not there, up to the remedy."""
    if "*" in directory:
        return "and '*' is a plain character there; name every directory that is meant,"
    return "which is not there; make it,"
