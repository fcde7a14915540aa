"""Lint's RX308 to RX312: what a rule is kept within, and what that leaves open or takes too much of.

The rules are those of `lint.py`, which gives the findings their places.
"""

from collections.abc import Iterator
from typing import Final

from rexecd.policy.grants_lint import Remark
from rexecd.policy.model import Rule, Sandbox
from rexecd.policy.parameters import Pass
from rexecd.policy.places import Path, is_below
from rexecd.yamltext import spell_duration, spell_size

#: Less is not enough for the address space of an interpreter.
_LITTLE_MEMORY: Final = 64 * 1024**2
#: What a closed file system leaves open: programs, and what they are made of.
_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
#: Where an installed rexecd has its own.
_OURS: Final = ("/etc/rexecd", "/var/lib/rexecd", "/var/log/rexecd", "/run/rexecd")


def about_limits(rule: Rule, missing: frozenset[str]) -> Iterator[Remark]:
    """Yield what is to be said of a rule's timeout, limits and sandbox, of which some paths are missing."""
    if rule.cut_from is not None:
        limit = spell_duration(rule.timeout)
        text = f"'timeout' is {spell_duration(rule.cut_from)}, and 'max_timeout' of the settings {limit}"
        yield "RX308", f"{text}, after which it is ended; write one that is not longer"
    memory = rule.resources.memory
    if memory is not None and memory < _LITTLE_MEMORY:
        text = (
            f"{spell_size(memory)} of memory are little: without a control group they are the address space"
        )
        yield "RX309", f"{text}, and such a rule is refused there; write 64MiB or more"
    if rule.sandbox is not None:
        yield from _about_write(rule, rule.sandbox)
        yield from _about_missing(rule.sandbox, missing)
        if rule.sandbox.read is not None or rule.sandbox.write is not None:
            yield from _about_closed(rule, rule.sandbox)


def reached(sandbox: Sandbox) -> tuple[str, ...]:
    """Return every path a sandbox names."""
    return (*(sandbox.read or ()), *(sandbox.write or ()))


def _about_write(rule: Rule, sandbox: Sandbox) -> Iterator[Remark]:
    program = rule.template.program
    for path in sandbox.write or ():
        if is_below(program, path):
            what = f"it may write to {path!r}, where its own program is"
            yield "RX310", f"{what}; name what it writes to, without {program!r}"
        for ours in _OURS:
            if is_below(ours, path) or is_below(path, ours):
                what = f"it may write to {path!r}, and so to {ours!r}, which is rexecd's own"
                yield "RX310", f"{what}; name what it writes to, without that"


def _about_missing(sandbox: Sandbox, missing: frozenset[str]) -> Iterator[Remark]:
    for path in reached(sandbox):
        if path in missing:
            yield "RX312", f"its sandbox opens {path!r}, which is not there; make it, or correct it"


def _about_closed(rule: Rule, sandbox: Sandbox) -> Iterator[Remark]:
    """Yield what a closed file system keeps from the rule itself."""
    opened = (*reached(sandbox), *_SYSTEM)
    if not any(is_below(rule.template.program, path) for path in opened):
        text = f"its sandbox keeps it from its own program, {rule.template.program!r}"
        yield "RX311", f"{text}; add that, or its directory, to 'read'"
    for parameter in rule.parameters.values():
        if not isinstance(parameter.kind, Path) or parameter.passed is not Pass.ARGUMENT:
            continue
        for root in parameter.kind.roots:
            if not any(is_below(root, path) or is_below(path, root) for path in opened):
                text = f"path {parameter.name!r} may be below {root!r}, which its sandbox keeps it from"
                yield "RX311", f"{text}; add it to 'read' or 'write', or pass a descriptor"
