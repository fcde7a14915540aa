"""Loading anything: whatever a file holds, a Policy or a ConfigError comes of it."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import ConfigError, Refused
from rexecd.policy.listing import entries, schema
from rexecd.policy.load import load
from rexecd.policy.model import Policy
from rexecd.policy.parameter_tables import PARAMETER
from tests.unit.policy.worlds import POLICIES, SHIPPED, Machine, included

SEEDS = [
    path.read_text(encoding="utf-8").split("\n") for path in [*sorted(POLICIES.glob("good-*.yaml")), SHIPPED]
]
TOKENS = st.sampled_from(
    [
        "",
        " ",
        "  ",
        ":",
        ": ",
        "-",
        "- ",
        ",",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "#",
        "~",
        "|",
        "0",
        "-1",
        "1e9",
        "true",
        "x",
        "*",
        "&a",
        "*a",
        "!!x",
        "...",
        "---",
        "\t",
        "\0",
        "\u2028",
        "{a}",
        "{a...}",
        "root",
        "10.0.0.0/8",
        "30s",
        "min: 5",
        "optional: true",
        "most: 2",
        "type: secret, pass: stdin",
        "type: flag, adds: [x]",
        "pass: descriptor",
        "default: 5",
        "run_as: web",
        "from: [::1]",
        "5/min",
        "1MiB",
        "limits: {rate: 5/s, cpu: 1s}",
        "sandbox: {read: []}",
        "sandbox: {}",
        "write: [/]",
        "signals: []",
        "on_disconnect: finish",
    ]
)


def _mutated(draw: st.DataObject) -> str:
    """Return a good policy with some of its lines deleted, repeated, swapped, moved, or tokens replaced."""
    lines = list(draw.draw(st.sampled_from(SEEDS)))
    for _ in range(draw.draw(st.integers(1, 4))):
        if not lines:
            break
        at, other = (draw.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        line = lines[at]
        match draw.draw(st.sampled_from(["delete", "repeat", "swap", "indent", "token", "token", "cut"])):
            case "delete":
                del lines[at]
            case "repeat":
                lines.insert(other, line)
            case "swap":
                lines[at], lines[other] = lines[other], line
            case "indent":
                lines[at] = f"  {line}" if other % 2 else line.removeprefix("  ")
            case "token":
                words = line.split(" ")
                words[other % len(words)] = draw.draw(TOKENS)
                lines[at] = " ".join(words)
            case _:
                lines[at] = line[: other % (len(line) + 1)]
    return "\n".join(lines)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_changed_policy_loads_or_is_a_configuration_error(data: st.DataObject) -> None:
    """Every fault has a place; what loads can be listed and described."""
    try:
        policy = load(_mutated(data), "p", include=included, accounts=Machine())
    except ConfigError as error:
        faults = error.faults
    else:
        faults = ("p:1:1: none",)
        for name in policy.principals:
            entries(policy, name, "10.1.0.1")
        assert all(schema(rule) for rule in policy.rules.values())

    assert {True} == {fault.split(":")[1].isdecimal() for fault in faults}


SNIPPETS = st.sampled_from(
    [
        "version: 1\n",
        "commands:\n",
        "  x: {summary: x, run: /bin/x}\n",
        "  y:\n    run: [/bin/y, '{a}']\n    parameters: ",
        "{a: {type: ",
        "integer, default: ",
        "pattern, matches: ",
        "path, under: [",
        "roles: ",
        "principals: ",
        "{r: {allow: [x]}}\n",
        "{p: {roles: [r]}}\n",
        "}}\n",
        "[",
        "]",
        "'",
        "- ",
        "? ",
        "-1",
        "~",
        "!!x ",
        "&a ",
        "*a ",
        "<<: ",
        "\t",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(SNIPPETS | st.text(max_size=4), max_size=14).map("".join))
def test_any_text_is_a_policy_or_a_configuration_error(text: str) -> None:
    """No text raises anything but ConfigError."""
    try:
        policy = load(text, "p")
    except ConfigError:
        return

    assert isinstance(policy, Policy)


WORDS = st.sampled_from(["/bin/x", "{a}", "x", "r", "30s", "5/min", "TERM", "none"])
NAMES = st.sampled_from(
    ["a", "x", "type", "of", "run", "summary", "roles", "allow", "limits", "rate", "cpu", "read", "network"]
)
NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
KEYS = ["summary", "description", "run", "parameters", "stdin", "timeout", "environment", "limits"]
KEYS += ["sandbox", "signals", "on_disconnect", "run_as"]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), NODES, max_size=4), NODES, NODES)
def test_any_shape_is_read_or_a_configuration_error(
    command: object, roles: object, principals: object
) -> None:
    """Whatever stands behind a known key, nothing but ConfigError is raised."""
    whole = {"version": 1, "commands": {"x": command}, "roles": roles, "principals": principals}
    try:
        policy = load(yaml.safe_dump(whole), "p")
    except ConfigError:
        return

    assert {"x"} == set(policy.rules)


KINDS = sorted(PARAMETER.tables)
DETAILS = sorted(set().union(*(table.keys for table in PARAMETER.tables.values())))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(DETAILS), NODES, max_size=4))
def test_any_parameter_is_read_or_a_configuration_error(kind: str, details: dict[str, object]) -> None:
    """A parameter that loads takes its own default and never a bare dash."""
    command = {"summary": "x", "run": "/bin/x {a}", "parameters": {"a": {"type": kind, **details}}}
    try:
        policy = load(yaml.safe_dump({"version": 1, "commands": {"x": command}}), "p")
    except ConfigError:
        return
    parameter = policy.rules["x"].parameters["a"]

    if parameter.default is not None:
        parameter.check(parameter.default, lambda path: path)
    if not parameter.leading_dash and not parameter.is_flag:
        with pytest.raises(Refused):
            parameter.check("-1", lambda path: path)
