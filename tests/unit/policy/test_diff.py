"""Differences between policies: who gains, who loses, and what changed, in words."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.policy import diff as differences
from rexecd.policy.diff import Change, Difference, describe_parameter, diff
from rexecd.policy.load import load
from rexecd.policy.model import Policy, Rule

NAMES = ["alpha", "beta.one", "beta.two", "gamma"]

RULE = """\
    run: [/bin/logs, "{unit}", "-n{lines}"]
    parameters:
      unit: {type: choice, of: [a, b]}
      lines: {type: integer, min: 1, max: 9, default: 3}
    timeout: 30s
    environment: {MODE: slow}
    from: [10.0.0.0/8, 192.0.2.0/24]
"""


def policy(rule: str = RULE, *, principals: str = "ci: {roles: [all]}", roles: str = "") -> Policy:
    """Return a policy with one rule of these lines."""
    return load(
        f"version: 1\nprincipals:\n  {principals}\nroles:\n  all: {{allow: ['*']}}\n{roles}"
        f"commands:\n  logs:\n    summary: Logs\n{rule}",
        "p",
    )


def granting(grants: dict[str, frozenset[str]]) -> Policy:
    """Return a policy in which each principal may run exactly these commands."""
    held = {name: sorted(commands) for name, commands in grants.items() if commands}
    text = ["version: 1", "principals: {" + ", ".join(f"{name}: {{roles: [{name}]}}" for name in held) + "}"]
    text += ["roles: {" + ", ".join(f"{name}: {{allow: {allow}}}" for name, allow in held.items()) + "}"]
    text += ["commands:", *(f"  {name}: {{summary: S, run: /bin/true}}" for name in NAMES)]
    return load("\n".join(text).replace("principals: {}\nroles: {}\n", ""), "p")


def changes(old: str, new: str) -> list[str]:
    """Return what changed about the rule when one piece of its text did."""
    found = diff(policy(), policy(RULE.replace(old, new)))
    return [str(change) for difference in found for _, what in difference.altered for change in what]


def names_of(rules: tuple[Rule, ...]) -> set[str]:
    """Return the names of some rules."""
    return {rule.name for rule in rules}


GRANTS = st.dictionaries(
    st.sampled_from(["ann", "bob", "eve"]), st.frozensets(st.sampled_from(NAMES)), min_size=1
)


@given(GRANTS, GRANTS)
@settings(max_examples=100, deadline=None)
def test_what_is_gained_one_way_is_lost_the_other(
    old: dict[str, frozenset[str]], new: dict[str, frozenset[str]]
) -> None:
    """And it is exactly what the sets of commands say."""
    there = {each.name: each for each in diff(granting(old), granting(new))}
    back = {each.name: each for each in diff(granting(new), granting(old))}

    for name in old.keys() | new.keys():
        before, after = old.get(name, frozenset()), new.get(name, frozenset())
        assert (before != after) == (name in there)
        if name in there:
            assert after - before == names_of(there[name].gained) == names_of(back[name].lost)
            assert before - after == names_of(there[name].lost) == names_of(back[name].gained)
    assert there.keys() == back.keys()


@given(GRANTS)
@settings(max_examples=30, deadline=None)
def test_a_policy_does_not_differ_from_itself(grants: dict[str, frozenset[str]]) -> None:
    """Loaded twice."""
    assert () == diff(granting(grants), granting(grants))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("30s", "60s", ["timeout 30s -> 1m"]),
        (
            "-n{lines}",
            "--lines={lines}",
            ["run /bin/logs {unit} -n{lines} -> /bin/logs {unit} --lines={lines}"],
        ),
        (
            "[a, b]",
            "[a, b, c]",
            ["parameter unit choice (of 'a', 'b') -> choice (of 'a', 'b', 'c')"],
        ),
        (
            "max: 9, default: 3",
            "max: 99, optional: true",
            ["parameter lines integer (min 1; max 9; default 3) -> integer (min 1; max 99; optional yes)"],
        ),
        (
            "{type: choice, of: [a, b]}",
            "{type: pattern, matches: 'a|b', unicode: allow}",
            ["parameter unit choice (of 'a', 'b') -> pattern (matches 'a|b'; ascii only no)"],
        ),
        ("slow", "fast", ["environment MODE 'slow' -> 'fast'"]),
        ("MODE", "MOOD", ["environment MODE 'slow' -> none", "environment MOOD none -> 'slow'"]),
        ("    from: [10.0.0.0/8, 192.0.2.0/24]\n", "", ["from 10.0.0.0/8, 192.0.2.0/24 -> anywhere"]),
        (
            "    timeout: 30s\n",
            (
                "    timeout: 30s\n    stdin: accept\n    hidden: true\n    umask: '077'\n"
                "    justification: required\n    limits: {output: 1MiB}\n    working_directory: /srv\n"
                "    description: Words\n"
            ),
            [
                "description '' -> 'Words'",
                "stdin refuse -> accept",
                "working_directory / -> /srv",
                "umask 027 -> 077",
                "justification optional -> required",
                "hidden no -> yes",
                "limits.output none -> 1MiB",
            ],
        ),
        (
            "    timeout: 30s\n",
            (
                "    timeout: 30s\n    on_disconnect: finish\n    signals: [TERM, INT]\n"
                "    limits: {rate: 5/min, memory: 64MiB, cpu: 60s, nice: 0}\n"
                "    sandbox: {read: [/srv], write: [/srv/a, /srv/b], network: none, devices: minimal}\n"
            ),
            [
                "on_disconnect kill -> finish",
                "signals INT, TERM, HUP, QUIT, USR1, USR2 -> INT, TERM",
                "sandbox none -> read '/srv'; write '/srv/a', '/srv/b'; network none; devices minimal",
                "limits.rate none -> 5/min",
                "limits.memory none -> 64MiB",
                "limits.cpu none -> 1m",
                "limits.nice none -> 0",
            ],
        ),
    ],
)
def test_a_changed_rule_says_what_changed(old: str, new: str, said: list[str]) -> None:
    """In the words of the policy, the old value and the new one."""
    assert said == changes(old, new)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("{type: number, min: 0.5, default: 1.5}", "number (min 0.5; default 1.5)"),
        ("{type: duration, min: 90s, max: 3600s}", "duration (min 90s; max 1h)"),
        ("{type: address}", "address"),
        ("{type: word, default: '5'}", "word (default '5')"),
    ],
)
def test_a_parameter_is_described_in_the_words_of_the_policy(declared: str, said: str) -> None:
    """Bounds that are none are left out, a number has no quotes, and a duration has its largest unit."""
    found = policy(f"    run: [/bin/logs, '{{x}}']\n    parameters: {{x: {declared}}}\n").rules["logs"]

    assert said == describe_parameter(found.parameters["x"])


def test_the_order_of_parameters_is_a_change() -> None:
    """Values by position would go elsewhere; Python calls the two mappings equal."""
    unit, lines = RULE.splitlines(keepends=True)[2:4]

    assert ["parameters unit, lines -> lines, unit"] == changes(unit + lines, lines + unit)


def test_a_parameter_that_comes_is_told_with_its_position() -> None:
    """And one that goes."""
    there = changes(
        'n{lines}"]\n    parameters:\n',
        'n{lines}", "{flag}"]\n    parameters:\n      flag: {type: flag, adds: [-v]}\n',
    )

    assert [
        "parameters unit, lines -> flag, unit, lines",
        "parameter flag none -> flag (adds '-v')",
    ] == there[1:]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[10.0.0.0/8, 192.0.2.0/24]", "[192.0.2.0/24, 10.0.0.0/8]"),
        ("timeout", "# a comment\n    timeout"),
        (
            "    timeout: 30s\n",
            "    timeout: 30000ms\n    examples: [{as: ci, line: logs, expect: refuse}]\n",
        ),
        ("    timeout: 30s\n", "    timeout: 30s\n    stdin: refuse\n"),
    ],
)
def test_what_means_the_same_is_no_difference(old: str, new: str) -> None:
    """Places, order of networks, spelling, examples, defaults that are written out."""
    assert () == diff(policy(), policy(RULE.replace(old, new)))


def test_what_looks_the_same_is_still_told_apart() -> None:
    """Where the words for people are equal, Python's are shown."""
    assert Change("size", "0.1234567", "0.1234568") == differences._change(
        "size", 0.1234567, 0.1234568, lambda number: f"{number:g}"
    )


def test_a_principals_own_addresses_are_compared() -> None:
    """As a set."""
    old = policy(principals="ci: {roles: [all], from: [10.0.0.0/8, 192.0.2.0/24]}")
    same = policy(principals="ci: {roles: [all], from: [192.0.2.0/24, 10.0.0.0/8]}")

    assert () == diff(old, same)
    assert [Change("from", "10.0.0.0/8, 192.0.2.0/24", "anywhere")] == [
        difference.sources for difference in diff(old, policy())
    ]


BOUND = """\
    limits: {concurrency: 1, processes: 4, file_size: 1GiB}
    signals: []
    sandbox: {read: [], private_tmp: true, best_effort: true}
"""


def test_what_is_no_longer_bound_is_a_change() -> None:
    """A rule that loses limits and sandbox, and is as free as one without them."""
    (found,) = diff(policy(RULE + BOUND), policy())

    assert [
        "signals none -> INT, TERM, HUP, QUIT, USR1, USR2",
        "sandbox read nothing; private_tmp; best_effort -> none",
        "limits.concurrency 1 -> none",
        "limits.processes 4 -> none",
        "limits.file_size 1GiB -> none",
    ] == list(map(str, found.altered[0].changes))


def test_a_principals_own_limits_are_compared() -> None:
    """Key by key."""
    old = policy(principals="ci: {roles: [all], limits: {concurrency: 2, rate: 5/min}}")
    new = policy(principals="ci: {roles: [all], limits: {rate: 5/h}}")

    assert () == diff(old, old)
    assert [
        (Change("limits.concurrency", "2", "none"), Change("limits.rate", "5/min", "5/h")),
    ] == [difference.limits for difference in diff(old, new)]


def test_a_certificate_that_is_no_longer_required_is_a_difference() -> None:
    """One thing less to steal."""
    old = policy(principals="ci: {roles: [all], require: certificate}")
    new = policy(principals="ci: {roles: [all]}")

    assert [Change("require", "certificate", "none")] == [each.requirement for each in diff(old, new)]


def test_a_principal_that_comes_gains_all_it_may_run() -> None:
    """And the one that goes loses it."""
    old, new = policy(), policy(principals="eve: {roles: [all]}")
    rule = new.rules["logs"]
    gone = Difference("ci", old.principals["ci"], None, (), (rule,), (), None, None, ())
    come = Difference("eve", None, new.principals["eve"], (rule,), (), (), None, None, ())

    assert (gone, come) == diff(old, new)


def test_a_new_way_to_the_same_power_is_no_difference() -> None:
    """Another role, the same commands."""
    new = policy(principals="ci: {roles: [other]}", roles="  other: {allow: [logs]}\n")

    assert () == diff(policy(), new)


def test_a_command_that_nobody_may_run_is_no_difference() -> None:
    """It is lint's to complain."""
    idle = "  idle: {summary: Idle, run: /bin/true}\n"
    old, new = (
        load(
            "version: 1\nprincipals: {ci: {roles: [some]}}\nroles: {some: {allow: [logs]}}\n"
            f"commands:\n  logs: {{summary: Logs, run: /bin/true}}\n{more}",
            "p",
        )
        for more in ("", idle)
    )

    assert () == diff(old, new)


def test_every_field_of_a_rule_is_compared() -> None:
    """A new one is not forgotten here."""
    by_hand = {"name", "sources", "parameters", "environment", "quota", "resources"}

    assert {field.name for field in dataclasses.fields(Rule) if field.compare} == (
        by_hand | differences._FIELDS.keys()
    )
