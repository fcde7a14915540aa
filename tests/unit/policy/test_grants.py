"""Grants: what roles allow and deny together, and that less never becomes more."""

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import ConfigError
from rexecd.policy.load import load

COMMANDS = ("a", "a.b", "a.b.c", "a.c", "ab", "b.c")
PATTERNS = st.sampled_from([*COMMANDS, "a.*", "a.b.*", "b.*", "*"])
LISTS = st.lists(PATTERNS, max_size=3, unique=True)
Roles = dict[str, tuple[list[str], list[str]]]
ROLES = st.dictionaries(st.sampled_from("rstu"), st.tuples(LISTS.filter(bool), LISTS), min_size=1, max_size=3)


def _covers(pattern: str, name: str) -> bool:
    """Say what a pattern means, in other words than the code under test."""
    return pattern in ("*", name) or (pattern.endswith(".*") and name.startswith(pattern[:-1]))


def _covered(patterns: list[str]) -> set[str]:
    return {name for name in COMMANDS for pattern in patterns if _covers(pattern, name)}


def _permitted(roles: Roles, held: list[str]) -> set[str]:
    """Return what somebody with some roles may run; nothing where the policy is refused."""
    tables = {
        name: {"allow": allow} | ({"deny": deny} if deny else {}) for name, (allow, deny) in roles.items()
    }
    text = yaml.safe_dump(
        {
            "version": 1,
            "principals": {"p": {"roles": held}},
            "roles": tables,
            "commands": {name: {"summary": "x", "run": "/bin/x"} for name in COMMANDS},
        },
        sort_keys=False,
    )
    try:
        return set(load(text, "p").principals["p"].rules)
    except ConfigError:
        return set()


@settings(max_examples=100, deadline=None)
@given(ROLES, st.data())
def test_allowed_is_what_some_role_allows_and_none_denies(roles: Roles, data: st.DataObject) -> None:
    """Deny beats allow over all roles held; a role that then allows nothing is a fault."""
    held = data.draw(st.lists(st.sampled_from(sorted(roles)), min_size=1, unique=True))
    allowed = set().union(*(_covered(roles[name][0]) for name in held))
    denied = set().union(*(_covered(roles[name][1]) for name in held))
    is_faulty = any(not _covered(allow) - _covered(deny) for allow, deny in roles.values())

    assert (set() if is_faulty else allowed - denied) == _permitted(roles, held)


@settings(max_examples=60, deadline=None)
@given(ROLES, st.data())
def test_taking_a_grant_away_never_adds_a_permission(roles: Roles, data: st.DataObject) -> None:
    """Less is allowed, or the same, without an allowed name, or with one more denied."""
    held = data.draw(st.lists(st.sampled_from(sorted(roles)), min_size=1, unique=True))
    before = _permitted(roles, held)
    name = data.draw(st.sampled_from(held))
    allow, deny = roles[name]
    if not before:
        return
    less = {**roles, name: (allow[:-1], deny)}
    denied = {**roles, name: (allow, sorted({*deny, data.draw(PATTERNS)}))}

    assert _permitted(less, held) <= before
    assert _permitted(denied, held) <= before


@settings(max_examples=60, deadline=None)
@given(ROLES, st.data())
def test_taking_a_denial_away_adds_only_what_it_denied(roles: Roles, data: st.DataObject) -> None:
    """And of that, what some role allows."""
    held = data.draw(st.lists(st.sampled_from(sorted(roles)), min_size=1, unique=True))
    name = data.draw(st.sampled_from(held))
    allow, deny = roles[name]
    before = _permitted(roles, held)
    if not before or not deny:
        return
    after = _permitted({**roles, name: (allow, deny[:-1])}, held)

    assert before <= after
    assert after - before <= _covered(deny[-1:])


@settings(max_examples=60, deadline=None)
@given(ROLES, st.data())
def test_taking_a_role_away_adds_only_what_it_denied(roles: Roles, data: st.DataObject) -> None:
    """A role that denies nothing never stands in the way of another."""
    held = data.draw(st.permutations(sorted(roles)))
    before = _permitted(roles, held)
    if not before or len(held) == 1:
        return
    after = _permitted(roles, held[:-1])

    assert after - before <= _covered(roles[held[-1]][1])


@settings(max_examples=60, deadline=None)
@given(ROLES, st.data())
def test_the_order_of_roles_and_terms_means_nothing(roles: Roles, data: st.DataObject) -> None:
    """Nor of what is held, allowed and denied."""
    held = sorted(roles)
    shuffled = {
        name: (data.draw(st.permutations(roles[name][0])), data.draw(st.permutations(roles[name][1])))
        for name in data.draw(st.permutations(held))
    }

    assert _permitted(roles, held) == _permitted(shuffled, data.draw(st.permutations(held)))


def test_a_prefix_takes_what_stands_behind_the_dot() -> None:
    """`a.*` is neither `a` nor `ab`."""
    assert {"a.b", "a.b.c", "a.c"} == _permitted({"r": (["a.*"], [])}, ["r"])
    assert {"a.b.c"} == _permitted({"r": (["a.b.*"], [])}, ["r"])


def test_a_denied_prefix_takes_its_commands_out_of_everything() -> None:
    """Of another role's `*` too."""
    roles = {"r": (["*"], ["a.*"]), "s": (["a.b", "ab"], [])}

    assert {"a", "ab", "b.c"} == _permitted(roles, ["s", "r"])
    assert {"a.b", "ab"} == _permitted(roles, ["s"])
