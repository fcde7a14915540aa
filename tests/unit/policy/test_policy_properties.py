"""What holds for every policy and every line: over rules, values and lines that are made up."""

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rexecd.errors import Refused
from rexecd.policy.decide import Request, decide, enter
from rexecd.policy.explain import explain
from rexecd.policy.listing import entries, usage
from rexecd.policy.masking import recordable
from rexecd.policy.model import Invocation, Policy
from rexecd.wire.messages import Offer
from tests.unit.policy.generated import Command, commands, lines, policy_of
from tests.unit.policy.worlds import POLICIES, SHIPPED, asked, read, resolve

MANY = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(MANY, max_examples=80)

#: Words of no line in particular.
WORDS = st.sampled_from(
    ["--p0", "--p1=x", "--p2", "--p0=-x", "--", "-x", "--help", "one", "7", "/srv", "", "a b", "/etc", "w"]
) | st.text("-=p0x '\"\\{}é\n\0", max_size=6)


def outcome(policy: Policy, request: Request) -> object:
    """Return what comes of a request in a new session, but for places, which differ."""
    try:
        enter(policy, request.principal, request.address, request.principal)
        made = decide(policy, request, resolve=resolve)
    except Refused as refused:
        return refused.code, refused.text, refused.reason
    return dataclasses.replace(made, place="")


@MANY
@given(st.data())
def test_a_line_becomes_exactly_the_arguments_it_says(data: st.DataObject) -> None:
    """Each value is one argument or its part, in its place; what was left out and added is counted."""
    command = data.draw(commands())
    policy = policy_of([command])
    wanted = data.draw(lines(command))
    request = asked(wanted.line, address="10.0.0.1")
    if wanted.argv is None:
        with pytest.raises(Refused, match="must not be empty"):
            decide(policy, request, resolve=resolve)
        return

    assert wanted.argv == decide(policy, request, resolve=resolve).argv


@FEW
@given(st.data(), st.none() | st.floats(0.001, 1e6))
def test_a_command_is_bound_as_its_rule_says_whatever_is_asked(
    data: st.DataObject, timeout: float | None
) -> None:
    """No line changes a limit, and no caller gets more time than the rule gives."""
    command = data.draw(commands())
    wanted = data.draw(lines(command))
    request = asked(wanted.line, address="10.0.0.1")._replace(timeout=timeout)
    try:
        made = decide(policy_of([command]), request, resolve=resolve)
    except Refused:
        assert wanted.argv is None
        return

    assert command.bound == {key: getattr(made, key) for key in command.bound}
    assert made.timeout == (60.0 if timeout is None or timeout > 60.0 else timeout)


@MANY
@given(st.data())
def test_an_example_line_is_explained_as_it_is_decided(data: st.DataObject) -> None:
    """Nothing is checked in one of the two only."""
    command = data.draw(commands())
    policy = policy_of([command])
    request = asked(data.draw(lines(command)).line, address=data.draw(st.sampled_from(["10.0.0.1", "::1"])))
    explained = explain(policy, request, resolve=resolve)

    assert outcome(policy, request) == _comparable(explained.outcome)
    assert isinstance(explained.outcome, Invocation) is explained.checks[-1].passed


def _comparable(made: Invocation | Refused) -> object:
    if isinstance(made, Refused):
        return made.code, made.text, made.reason
    return dataclasses.replace(made, place="")


@MANY
@given(st.data(), st.lists(WORDS, max_size=6).map(" ".join), st.sampled_from(Offer))
def test_any_line_is_an_invocation_or_refused(data: st.DataObject, rest: str, offer: Offer) -> None:
    """Whatever the policy; explained alike; and no argument becomes an option by itself."""
    command = data.draw(commands())
    policy = policy_of([command])
    request = asked(f"x {rest}", address="10.0.0.1", offer=offer)
    explained = explain(policy, request, resolve=resolve).outcome
    try:
        made = decide(policy, request, resolve=resolve)
    except Refused:
        assert isinstance(explained, Refused)
        return

    assert made == explained
    assert _least(command) <= len(made.argv) <= _most(command)
    if not any(slot.dashed for slot in command.slots):
        own = tuple(text for text in command.literal_dashes if text.startswith("-"))
        assert all(argument.startswith(own) for argument in made.argv[1:] if argument.startswith("-"))


def _least(command: Command) -> int:
    return 1 + sum(_size(pieces)[0] for pieces in command.elements)


def _most(command: Command) -> int:
    return 1 + sum(_size(pieces)[1] for pieces in command.elements)


def _size(pieces: Sequence[object]) -> tuple[int, int]:
    """Return the fewest and the most arguments of one element."""
    slot = next((piece for piece in pieces if not isinstance(piece, str)), None)
    adds, repeat = getattr(slot, "adds", None), getattr(slot, "repeat", None)
    if adds is not None:
        return 0, len(adds)
    if repeat is not None:
        return repeat[0], repeat[1]
    return (0 if getattr(slot, "optional", False) else 1), 1


NAMES = ["x", "x.a", "x.b", "y"]
TERMS = st.sampled_from([*NAMES, "x.*", "*"])
ROLE = st.fixed_dictionaries({"allow": st.just(["*"])}, optional={"deny": st.just(["x.a"])}) | (
    st.fixed_dictionaries({"allow": st.lists(TERMS, min_size=1, max_size=3, unique=True)})
)


@FEW
@given(st.data())
def test_the_order_of_everything_but_parameters_means_nothing(data: st.DataObject) -> None:
    """Of sections, commands, roles, what a principal holds, and terms."""
    rules = [data.draw(commands(name)) for name in NAMES]
    roles = {name: data.draw(ROLE) for name in ("r", "s")}
    held = {"ann": ["r", "s"], "bob": ["s"]}
    sections = data.draw(st.permutations(["version", "principals", "roles", "commands"]))
    one = policy_of(rules, roles=dict(roles), principals={n: {"roles": h} for n, h in held.items()})
    other = policy_of(
        data.draw(st.permutations(rules)),
        roles={
            name: {key: data.draw(st.permutations(terms)) for key, terms in reversed(roles[name].items())}
            for name in reversed(roles)
        },
        principals={name: {"roles": list(reversed(held[name]))} for name in reversed(held)},
        sections=sections,
    )
    for name in held:
        for rule in rules:
            request = asked(data.draw(lines(rule)).line, principal=name, address="10.0.0.1")

            assert outcome(one, request) == outcome(other, request)
        assert entries(one, name, "10.0.0.1") == entries(other, name, "10.0.0.1")
    assert (one.rules, one.principals.keys()) == (other.rules, other.principals.keys())


@FEW
@given(st.data())
def test_taking_a_command_away_changes_no_other(data: st.DataObject) -> None:
    """The others are allowed and refused as before; it is unknown."""
    rules = [data.draw(commands(name)) for name in NAMES]
    gone = data.draw(st.sampled_from(rules))
    before, after = policy_of(rules), policy_of([rule for rule in rules if rule is not gone])
    for rule in rules:
        request = asked(data.draw(lines(rule)).line, address="10.0.0.1")
        if rule is gone:
            with pytest.raises(Refused, match="no such command"):
                decide(after, request, resolve=resolve)
        else:
            assert outcome(before, request) == outcome(after, request)


@FEW
@given(st.data())
def test_narrowing_where_callers_come_from_only_takes_away(data: st.DataObject) -> None:
    """With a `from` more, what is allowed was allowed before, and is the same."""
    command = data.draw(commands())
    wide = policy_of([command])
    narrow = policy_of([command], principals={"ann": {"roles": ["all"], "from": ["10.0.0.0/24"]}})
    address = data.draw(st.sampled_from(["10.0.0.1", "10.0.1.1", "192.0.2.1", "::ffff:10.0.0.1", "", "%"]))
    request = asked(data.draw(lines(command)).line, address=address)
    after = outcome(narrow, request)

    assert not isinstance(after, Invocation) or outcome(wide, request) == after
    assert "10.0.0.1" in address or not isinstance(after, Invocation)


KNOWN = [read(path) for path in sorted(POLICIES.glob("good-*.yaml"))] + [read(SHIPPED)]
COMMANDS = sorted({name for policy in KNOWN for name in policy.rules})
PRINCIPALS = sorted({name for policy in KNOWN for name in policy.principals} | {"", "nobody"})


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(KNOWN),
    st.sampled_from(PRINCIPALS),
    st.sampled_from(["10.1.0.1", "2001:db8:1::1%eth0", "", "x"]),
    st.text(max_size=30)
    | st.tuples(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=5).map(" ".join)).map(" ".join)
    | st.text("db.login -'\"\\=/\0\n", max_size=40),
    st.text(max_size=5),
)
def test_every_policy_decides_lists_and_records_every_line(
    policy: Policy, principal: str, address: str, line: str, justification: str
) -> None:
    """An Invocation or Refused, explained alike; a listing; and a line for the record."""
    request = asked(line, principal=principal, address=address, justification=justification)
    explained = explain(policy, request, resolve=resolve)

    assert outcome(policy, request) == _comparable(explained.outcome)
    assert isinstance(recordable(policy, line, allowed=False), str)
    for entry in entries(policy, principal, address):
        assert entry.usage == usage(policy.principals[principal].rules[entry.name])
