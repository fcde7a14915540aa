"""Lint's RX303 and RX4xx: who may run what, names that are easily mistaken, and tokens.

The rules are those of `lint.py`, which gives the findings their places.
"""

import itertools
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from rexecd.policy.kinds import listed
from rexecd.policy.model import Policy, Principal, Rule
from rexecd.yamltext import Place

#: A code and what there is to say.
Remark = tuple[str, str]
#: The same, where no rule is its place.
Placed = tuple[Place, str, str]


def about_reach(rule: Rule, policy: Policy) -> Iterator[Remark]:
    """Yield that nobody can run a rule: no principal may, or from no address."""
    holders = [principal for principal in policy.principals.values() if rule.name in principal.rules]
    if not holders:
        yield "RX303", "nobody may run it; allow it in a role that somebody holds, or remove it"
    elif not any(_has_meeting(rule, principal) for principal in holders):
        who = listed(sorted(principal.name for principal in holders))
        yield "RX303", f"its 'from' has no address in common with that of {who}; correct one of them"


def _has_meeting(rule: Rule, principal: Principal) -> bool:
    pairs = itertools.product(rule.sources, principal.sources)
    return not rule.sources or not principal.sources or any(one.overlaps(other) for one, other in pairs)


def alike(policy: Policy) -> Mapping[str, tuple[Remark, ...]]:
    """Return what there is to say of names that are easily taken for one another, by name."""
    longer: dict[str, str] = {}
    for name in policy.rules:
        for at, letter in enumerate(name):
            if letter == ".":
                longer.setdefault(name[:at], name)
    slips = _slips(policy)
    return {
        name: tuple(_about_name(rule, policy, longer.get(name), slips[name]))
        for name, rule in policy.rules.items()
    }


def _about_name(rule: Rule, policy: Policy, longer: str | None, slips: Iterable[str]) -> Iterator[Remark]:
    if longer is not None:
        text = f"{rule.name!r} begins like {longer!r}, but '{rule.name}.*' does not cover it"
        yield "RX404", f"{text}; choose another name"
    for other in slips:
        if policy.rules[other].place < rule.place:
            yield "RX404", f"one slip of a key away from {other!r}; choose a name that differs more"


def _slips(policy: Policy) -> defaultdict[str, set[str]]:
    """Return the names one slip away from each name: both become the same when a letter is left out."""
    shortened = defaultdict[str, set[str]](set)
    for name in policy.rules:
        shorter = (name[:at] + name[at + 1 :] for at, letter in enumerate(name) if not letter.isdigit())
        for text in {name, *shorter}:
            shortened[text].add(name)
    slips = defaultdict[str, set[str]](set)
    for group in shortened.values():
        for one, other in itertools.permutations(group, 2):
            if _is_slip(one, other):
                slips[one].add(other)
    return slips


def _is_slip(one: str, other: str) -> bool:
    """Return whether two names differ by one letter, or two swapped ones, in a word of four or more.

    Digits are told apart on purpose: `disk1` and `disk2`.
    """
    words = [re.split(r"([._-])", name) for name in (one, other)]
    different = [pair for pair in itertools.zip_longest(*words, fillvalue="") if pair[0] != pair[1]]
    if len(different) != 1 or min(map(len, different[0])) < _SHORTEST:
        return False
    first, second = different[0]
    at = len(posixpath.commonprefix(different[0]))
    left, right = first[at:], second[at:]
    is_near = right[1:] in (left, left[1:]) or left[1:] == right or left[1::-1] + left[2:] == right
    return is_near and not any(letter.isdigit() for letter in left[:1] + right[:1])


_SHORTEST: Final = 4


def about_roles(policy: Policy) -> Iterator[Placed]:
    """Yield roles nobody holds, and what in a role changes nothing."""
    for role in policy.roles.values():
        holders = [principal for principal in policy.principals.values() if role.name in principal.roles]
        if not holders:
            text = f"nobody holds role {role.name!r}; give it to somebody, or remove it"
            yield role.place, "RX401", text
        names = {role.name}.union(*(principal.roles for principal in holders))
        allowed = {
            command for name in names for term in policy.roles[name].allow for command in term.commands
        }
        denied = {command for term in role.deny for command in term.commands}
        for term in role.allow:
            if term.commands <= denied:
                text = f"{term.pattern!r} grants nothing: the same role denies it; remove one of them"
                yield term.place, "RX406", text
        for term in role.deny:
            if not term.commands & allowed:
                text = f"{term.pattern!r} takes nothing: nobody with this role is allowed it; remove it"
                yield term.place, "RX406", text


def about_tokens(policy: Policy, holders: frozenset[str]) -> Iterator[Placed]:
    """Yield where principals and those who hold a valid token are not the same."""
    known = policy.principals
    parts = itertools.chain[Principal | Rule](known.values(), policy.rules.values())
    first = next((part.place.source for part in parts), "policy")
    for name in known.keys() - holders:
        text = f"principal {name!r} has no valid token; run 'rexecd token create {name}', or remove it"
        yield known[name].place, "RX402", text
    for name in holders - known.keys():
        text = f"principal {name!r} has a valid token and is not in the policy; add it, or revoke its tokens"
        yield Place(first, 1, 1), "RX403", text
