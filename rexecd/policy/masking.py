"""The caller's line as a record may hold it: what may be a secret is withheld.

Rule 1: where it is not certain which words are secret, none of the arguments is recorded.
Rule 2: a line for a command the policy does not have is recorded whole, for the trail to show
what was tried, unless it looks as if one was meant that takes a secret: its name misspelt, in
capitals, glued to the words behind it (`'db.login ...'` in quotes), or behind another word.
"""

import difflib
import re
import shlex
from typing import Final

from rexecd.errors import Refused
from rexecd.limits import MAX_NAME
from rexecd.policy.decide import split
from rexecd.policy.model import Policy, Rule

_WITHHELD: Final = "[withheld]"
#: What could be the name of a command.
_NAME: Final = re.compile(r"[\w.-]+")


def recordable(policy: Policy, line: str) -> str:
    """Return a line without the values of secret parameters."""
    if not policy.has_secrets:
        return line
    try:
        words = split(line)
    except Refused:  # too long, an open quote: nobody can say what is in it
        return _WITHHELD
    rule = policy.rules.get(words[0])
    if rule is None:
        return _WITHHELD if _means_secret(policy, words) else line
    return shlex.join([words[0], *_masked(rule, words[1:])]) if rule.has_secret else line


def _means_secret(policy: Policy, words: list[str]) -> bool:
    """Return whether words for no command of the policy look like those for one with a secret."""
    keepers = {rule.name for rule in policy.rules.values() if rule.has_secret}
    names = [name for word in words for name in _NAME.findall(word.casefold())]
    if any(name in keepers for name in names) or any(name.startswith(tuple(keepers)) for name in names[:1]):
        return True
    tried = [words[0].casefold(), *names[:1]]
    return any(difflib.get_close_matches(name[:MAX_NAME], keepers, n=1) for name in tried)


def _masked(rule: Rule, words: list[str]) -> list[str]:
    """Return the words that are certainly no secret: named values of other parameters."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.removeprefix("--").partition("=")
        parameter = rule.parameters.get(name) if word.startswith("--") else None
        if parameter is None:  # by position, or undeclared: from here on anything may be anything
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
