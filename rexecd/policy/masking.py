"""The caller's line as a record may hold it: what may be a secret is withheld.

Rule 1: of a line for a command that takes a secret, arguments are recorded only when it was
allowed, and then only values given by the names of other parameters.
Rule 2: a line for another command, or for none of the policy, is recorded whole, for the trail to
show what was tried, unless it looks as if a command with a secret was meant: its name misspelt, in
capitals, glued to the words behind it (`'db.login ...'` in quotes), or behind another word; or
unless a word names the parameter of a secret.
"""

import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Final

from rexecd.errors import Refused
from rexecd.limits import MAX_NAME
from rexecd.policy.decide import split
from rexecd.policy.model import Guarded, Policy, Rule

_WITHHELD: Final = "[withheld]"
#: What could be the name of a command.
_NAME: Final = re.compile(r"[\w.-]+")


def guard(rules: Iterable[Rule]) -> Guarded | None:
    """Return what to look for in lines; None where no rule takes a secret."""
    keepers = [rule for rule in rules if rule.has_secret]
    if not keepers:
        return None
    names = frozenset(rule.name for rule in keepers)
    ends = {name[at + 1 :] for name in names for at in _dots(name)}
    return Guarded(
        names=names,
        near=frozenset(slip for name in names | ends for slip in _slips(name)),
        parameters=frozenset(
            parameter.name
            for rule in keepers
            for parameter in rule.parameters.values()
            if parameter.is_secret
        ),
    )


def _dots(name: str) -> Iterator[int]:
    return (at for at, letter in enumerate(name) if letter == ".")


def _slips(name: str) -> Iterator[str]:
    """Yield a name and all that is left of it without one letter: names one slip apart share one of these."""
    yield name
    yield from (name[:at] + name[at + 1 :] for at in range(len(name)))


def recordable(policy: Policy, line: str, *, allowed: bool) -> str:
    """Return a line without what may be the value of a secret parameter."""
    guarded = policy.guarded
    if guarded is None:
        return line
    try:
        words = split(line)
    except Refused:  # too long, an open quote: nobody can say what is in it
        return _WITHHELD
    rule = policy.rules.get(words[0])
    if rule is None:
        return _WITHHELD if _means_secret(guarded, words) or _names_secret(guarded, words, ()) else line
    if not rule.has_secret and not _names_secret(guarded, words, rule.parameters):
        return line
    kept = _masked(rule, words[1:]) if allowed else [_WITHHELD] if len(words) > 1 else []
    return shlex.join([words[0], *kept])


def _means_secret(guarded: Guarded, words: list[str]) -> bool:
    """Return whether words for no command of the policy look like those for one with a secret."""
    names = [name for word in words for name in _NAME.findall(word.casefold())]
    if not guarded.names.isdisjoint(names) or any(
        name.startswith(tuple(guarded.names)) for name in names[:1]
    ):
        return True
    tried = [words[0].casefold(), *names[:1]]
    return any(not guarded.near.isdisjoint(_slips(name)) for name in tried if len(name) <= MAX_NAME + 1)


def _names_secret(guarded: Guarded, words: list[str], declared: Iterable[str]) -> bool:
    """Return whether a word is `--NAME` or `--NAME=...` of a secret that the command does not declare."""
    named = {word[2:].partition("=")[0] for word in words[1:] if word.startswith("--")}
    return not guarded.parameters.isdisjoint(named.difference(declared))


def _masked(rule: Rule, words: list[str]) -> list[str]:
    """Return the words that are no secret: named values of other parameters."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.removeprefix("--").partition("=")
        parameter = rule.parameters.get(name) if word.startswith("--") else None
        if parameter is None:  # by position: from here on anything may be anything
            return [*kept, _WITHHELD]
        if parameter.is_flag:
            kept.append(f"--{name}")
        elif parameter.is_secret:
            kept.append(f"--{name}={_WITHHELD}")
            if not equals:
                next(rest, None)
        else:
            kept.append(word)
            if not equals:
                kept.extend([following] if (following := next(rest, None)) is not None else [])
    return kept
