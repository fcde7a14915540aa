"""The caller's line as a record may hold it: what may be a secret is withheld.

Where no command of the policy takes a secret, every line is recorded as it came. Otherwise:
Rule 1: of a line for a command that takes one, arguments are recorded only when it was allowed,
and then only values given by the names of other parameters.
Rule 2: of a line for no command of the policy only the first word is recorded, if it can be the
name of something: misspelt, half remembered or in the wrong place, nobody can say what the rest is.
Rule 3: a line for any other command is recorded whole, unless it was refused and a word in it
looks like the name of a secret, or of a command that takes one.
"""

import re
import shlex
from collections.abc import Iterable
from typing import Final

from rexecd.errors import Refused
from rexecd.limits import MAX_NAME
from rexecd.policy.decide import split
from rexecd.policy.model import Guarded, Policy, Rule

_WITHHELD: Final = "[withheld]"
#: What could be the name of a command or of a parameter.
_NAME: Final = re.compile(r"[\w.]+")
#: What callers take for a command.
_PROGRAM: Final = re.compile(rf"[\w./@+-]{{1,{MAX_NAME}}}")
#: Letters of a parameter's name by which it is known: `--pass`, `--passwd` for `password`.
_KNOWN_BY: Final = 4


def guard(rules: Iterable[Rule]) -> Guarded | None:
    """Return what to look for in lines; None where no rule takes a secret."""
    keepers = [rule for rule in rules if rule.has_secret]
    if not keepers:
        return None
    secrets = (each.name for rule in keepers for each in rule.parameters.values() if each.is_secret)
    return Guarded(
        commands=frozenset(rule.name for rule in keepers),
        parameters=frozenset(name.casefold()[:_KNOWN_BY] for name in secrets),
    )


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
    # Looked for in every line, or the time of an answer would tell a forbidden command from an unknown one.
    names_secret = not allowed and _names_secret(guarded, words[1:], rule)
    if rule is None:
        return _without_arguments(words) if _is_harmless_name(guarded, words[0]) else _WITHHELD
    if rule.has_secret:
        kept = _masked(rule, words[1:]) if allowed else None
        return _without_arguments(words) if kept is None else shlex.join([words[0], *kept])
    return _without_arguments(words) if names_secret else line


def _is_harmless_name(guarded: Guarded, word: str) -> bool:
    """Return whether a first word can be the name of something, with no secret glued to a name of ours."""
    folded = word.casefold()
    return _PROGRAM.fullmatch(word) is not None and not any(name in folded for name in guarded.commands)


def _without_arguments(words: list[str]) -> str:
    return shlex.join([words[0], _WITHHELD] if len(words) > 1 else words)


def _names_secret(guarded: Guarded, words: Iterable[str], rule: Rule | None) -> bool:
    """Return whether a word looks like the name of a secret the rule does not know, or of its command."""
    own = () if rule is None else rule.parameters
    for word in words:
        found = _NAME.findall(word.casefold())
        if not guarded.commands.isdisjoint(found):
            return True
        # `--password=x`, `-pass x`, `password:x`, also as one word with the value behind it.
        first = found[0] if found and found[0] not in own else ""
        if first[:_KNOWN_BY] in guarded.parameters:
            return True
    return False


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
