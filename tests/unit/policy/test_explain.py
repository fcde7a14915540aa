"""Explanations: the decision itself, heard check by check."""

from rexecd.errors import Code, Refused
from rexecd.policy.explain import Check, explain
from rexecd.policy.model import Invocation
from rexecd.wire.messages import Offer
from tests.unit.policy.worlds import POLICIES, ask, asked, commands, read, resolve

POLICY = read(POLICIES / "good-every-key.yaml")
LINE = "every w one --flag"


def test_an_allowed_request_is_explained_check_by_check() -> None:
    """In the order in which they are made, each with what it found."""
    request = asked(LINE, principal="ann@example.org", address="10.1.2.3", justification="because")
    explanation = explain(POLICY, request, resolve=resolve)

    assert ask(POLICY, request) == explanation.outcome
    assert all(check.passed for check in explanation.checks)
    assert [
        ("line", "4 words"),
        ("principal", "ann@example.org (good-every-key.yaml:6:3)"),
        ("principal's address", "10.1.2.3 is in 10.0.0.0/8, 2001:db8::/32, 127.0.0.1/32"),
        (
            "command",
            (
                "every (good-every-key.yaml:11:3), allowed by role all with '*' (good-every-key.yaml:8:17), "
                "role some with 'every' (good-every-key.yaml:9:18)"
            ),
        ),
        ("command's address", "10.1.2.3 is in 10.1.0.0/16"),
        ("justification", "given"),
        ("words", "given: flag, word, choice"),
        ("parameter 'word'", "'w': a word of at most 256 letters, digits and . _ @ : + -"),
        ("parameter 'choice'", "'one': one of one, -two"),
        ("parameter 'integer'", "'-1': an integer from -5 to 5"),
        ("parameter 'pattern'", "'é': a text of the form this command asks for"),
        ("parameter 'path'", "'/srv': an absolute path below a directory this command may use"),
        ("parameter 'flag'", "given"),
        ("parameter 'text'", "'': a text of at most 10 characters, without control characters"),
        ("arguments", "12, the program among them"),
        ("input", "none"),
    ] == [(check.name, check.found) for check in explanation.checks]


STOPS = {
    "session": asked("'", principal="ann@example.org", address="192.0.2.1"),
    "line": asked("'", principal="bob"),
    "command": asked("service.stop", principal="bob"),
    "command's address": asked("every", principal="bob", address="10.2.0.1"),
    "justification": asked("every", principal="bob", address="10.1.0.1"),
    "words": asked("every a b c d e f g", principal="bob", address="10.1.0.1", justification="x"),
    "parameter 'word'": asked("every", principal="bob", address="10.1.0.1", justification="x"),
    "parameter 'choice'": asked("every w no", principal="bob", address="10.1.0.1", justification="x"),
}


def test_a_refusal_ends_the_explanation_with_its_reason() -> None:
    """The last check is the one that failed, and the only one."""
    for name, request in STOPS.items():
        outcome, checks = explain(POLICY, request, resolve=resolve)

        assert isinstance(outcome, Refused)
        assert Check(name, passed=False, found=outcome.reason) == checks[-1]
        assert all(check.passed for check in checks[:-1])


def test_the_last_checks_are_explained_too() -> None:
    """Arguments and input come behind the parameters."""
    policy = commands(
        "  x: {summary: x, run: [/bin/x, '{a}-rf'], stdin: require, parameters: {a: {type: text}}}\n"
    )
    empty = explain(policy, asked("x ''", offer=Offer.ESSENTIAL), resolve=resolve)
    without = explain(policy, asked("x y"), resolve=resolve)
    read_ = explain(policy, asked("x y", offer=Offer.OPTIONAL), resolve=resolve)

    assert ("arguments", False) == empty.checks[-1][:2]
    assert Check("input", passed=False, found="this command requires input") == without.checks[-1]
    assert Check("input", passed=True, found="read") == read_.checks[-1]


def test_what_is_left_out_or_secret_is_explained_without_a_value() -> None:
    """A secret is not shown even to the operator."""
    policy = read(POLICIES / "good-secrets.yaml")
    outcome, checks = explain(policy, asked("db.login ann --file=hunter2xyz"), resolve=resolve)
    found = {check.name: check.found for check in checks}

    assert isinstance(outcome, Invocation)
    assert "left out" == found["parameter 'quiet'"] == found["parameter 'pin'"]
    assert "[secret]: a secret of 1 to 1024 bytes, without control characters" == found["parameter 'file'"]
    assert "any" == found["principal's address"]
    assert "not required" == found["justification"]


def test_a_stranger_gets_no_session_to_ask_in() -> None:
    """The explanation holds the reason, the outcome both."""
    outcome = explain(POLICY, asked("every", principal="eve"), resolve=resolve).outcome

    assert isinstance(outcome, Refused)
    assert (Code.AUTHENTICATION_FAILED, "the policy has no principal 'eve'") == (
        outcome.code,
        outcome.reason,
    )
