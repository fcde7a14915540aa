"""Loading a policy: what the files in tests/data/policies hold, and what they are told."""

import hashlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import ConfigError, Refused
from rexecd.policy import parameters
from rexecd.policy.load import load
from rexecd.policy.model import Policy, Stdin

ROOT = Path(__file__).parents[3]
POLICIES = ROOT / "tests" / "data" / "policies"
SHIPPED = ROOT / "config" / "policy.yaml"


@pytest.mark.parametrize("name", sorted(path.stem for path in POLICIES.glob("bad-*.yaml")))
def test_a_bad_policy_gets_its_exact_message(name: str) -> None:
    """Every fault of a file is told, with its place, in order."""
    text = (POLICIES / f"{name}.yaml").read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(text, f"{name}.yaml")

    assert (POLICIES / f"{name}.expected").read_text(encoding="utf-8") == f"{caught.value}\n"


def test_every_expected_message_has_its_policy() -> None:
    """No expectation is left over without being tested."""
    assert {path.stem for path in POLICIES.glob("bad-*.yaml")} == {
        path.stem for path in POLICIES.glob("*.expected")
    }


@pytest.mark.parametrize("path", sorted(POLICIES.glob("good-*.yaml")), ids=lambda path: path.stem)
def test_a_good_policy_loads(path: Path) -> None:
    """Nothing in it is a fault."""
    assert load(path.read_text(encoding="utf-8"), path.name).rules


def test_the_shipped_policy_loads_and_shows_every_type_of_parameter() -> None:
    """The example an operator starts from is right and complete."""
    policy = load(SHIPPED.read_text(encoding="utf-8"), "policy.yaml")
    kinds = {type(each.kind) for rule in policy.rules.values() for each in rule.parameters.values()}

    assert {"ops", "monitoring"} == set(policy.principals)
    assert kinds == {
        parameters.Choice,
        parameters.Integer,
        parameters.Word,
        parameters.Matching,
        parameters.Path,
        parameters.Flag,
        parameters.Text,
    }


def test_the_shipped_viewer_changes_nothing() -> None:
    """The example's least role holds no command that changes the machine."""
    policy = load(SHIPPED.read_text(encoding="utf-8"), "policy.yaml")

    assert {"hello", "disk", "uptime", "service.status"} == set(policy.principals["monitoring"].rules)


def test_every_key_of_a_command_is_read() -> None:
    """What is written is what the rule says."""
    text = (POLICIES / "good-every-key.yaml").read_text(encoding="utf-8")
    policy = load(text, "p")
    rule = policy.rules["every"]

    assert "Every key" == rule.summary
    assert "Two lines,\nboth kept." == rule.description
    assert (Stdin.ACCEPT, 0.25, "/srv/", 65536) == (
        rule.stdin,
        rule.timeout,
        rule.working_directory,
        rule.output_ceiling,
    )
    assert {"PATH": "/bin", "LINES": "50"} == rule.environment
    assert ("/bin/echo",) == rule.template.elements[0]
    assert ("{literal}",) == rule.template.elements[2]
    assert ["word", "choice", "integer", "pattern", "path", "flag", "text"] == list(rule.parameters)
    assert {"every"} == set(policy.principals["ann@example.org"].rules)


def test_the_digest_is_that_of_the_text() -> None:
    """A record's policy digest can be compared with `sha256sum policy.yaml`."""
    data = SHIPPED.read_bytes()

    assert hashlib.sha256(data).hexdigest() == load(data.decode(), "p").digest


def test_a_policy_cannot_be_changed() -> None:
    """Neither the objects nor their mappings can be written to."""
    policy = load(SHIPPED.read_text(encoding="utf-8"), "p")

    with pytest.raises(AttributeError):
        policy.rules = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.principals["eve"] = policy.principals["ops"]  # type: ignore[index]
    with pytest.raises(TypeError):
        policy.rules["hello"].environment["x"] = "y"  # type: ignore[index]


COMMANDS = ("a", "a.b", "a.c", "ab", "b.c")
PATTERNS = st.sampled_from([*COMMANDS, "a.*", "b.*", "*"])
LISTS = st.lists(PATTERNS, max_size=3, unique=True)
ROLES = st.dictionaries(st.sampled_from("rstu"), st.tuples(LISTS, LISTS), min_size=1, max_size=3)


def _permitted(roles: dict[str, tuple[list[str], list[str]]], held: list[str]) -> set[str]:
    """Return what a principal with some roles may run; nothing where the policy is refused."""
    tables = {
        name: {"allow": allow} | ({"deny": deny} if deny else {}) for name, (allow, deny) in roles.items()
    }
    text = yaml.safe_dump(
        {
            "version": 1,
            "principals": {"p": {"roles": held}},
            "roles": tables,
            "commands": {name: {"summary": "x", "run": "/bin/x"} for name in COMMANDS},
        }
    )
    try:
        return set(load(text, "p").principals["p"].rules)
    except ConfigError:
        return set()


@settings(max_examples=60, deadline=None)
@given(ROLES, st.data())
def test_taking_a_grant_away_never_adds_a_permission(
    roles: dict[str, tuple[list[str], list[str]]], data: st.DataObject
) -> None:
    """Less is allowed, or the same, without an allowed name, or with one more denied."""
    held = data.draw(st.lists(st.sampled_from(sorted(roles)), min_size=1, unique=True))
    before = _permitted(roles, held)
    name = data.draw(st.sampled_from(held))
    allow, deny = roles[name]
    if not before or not allow:
        return
    less = {**roles, name: (allow[:-1], deny)}
    denied = {**roles, name: (allow, sorted({*deny, data.draw(PATTERNS)}))}

    assert _permitted(less, held) <= before
    assert _permitted(denied, held) <= before


@settings(max_examples=60, deadline=None)
@given(ROLES, st.data())
def test_taking_a_role_away_adds_only_what_it_denied(
    roles: dict[str, tuple[list[str], list[str]]], data: st.DataObject
) -> None:
    """A role that denies nothing never stands in the way of another."""
    held = data.draw(st.permutations(sorted(roles)))
    before = _permitted(roles, held)
    gone = roles[held[-1]]
    after = _permitted(roles, held[:-1])

    assert not before or not after - before or gone[1]


def test_the_order_of_roles_and_commands_means_nothing() -> None:
    """Rules have no order."""
    roles = {"r": (["*"], ["a.b"]), "s": (["a.b", "ab"], [])}

    assert _permitted(roles, ["r", "s"]) == _permitted(dict(reversed(roles.items())), ["s", "r"])
    assert {"a", "a.c", "ab", "b.c"} == _permitted(roles, ["r", "s"])


def test_a_prefix_takes_what_stands_behind_the_dot() -> None:
    """`a.*` is neither `a` nor `ab`."""
    assert {"a.b", "a.c"} == _permitted({"r": (["a.*"], [])}, ["r"])


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


WORDS = st.sampled_from(["/bin/x", "{a}", "x", "r", "30s"])
NAMES = st.sampled_from(["a", "x", "type", "of", "run", "summary", "roles", "allow", "limits"])
NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
KEYS = ["summary", "description", "run", "parameters", "stdin", "timeout", "environment", "limits"]


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


KINDS = ["choice", "integer", "word", "pattern", "path", "flag", "text"]
DETAILS = ["of", "min", "max", "matches", "unicode", "under", "adds", "default", "leading_dash", "summary"]


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
    if not parameter.leading_dash:
        with pytest.raises(Refused):
            parameter.check("-1", lambda path: path)
