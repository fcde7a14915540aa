"""A policy's own tests: run through the monitor's decision, and told when they come out otherwise."""

import pytest

from rexecd.policy.examples import run_examples
from rexecd.policy.load import load
from tests.unit.policy.worlds import POLICIES, commands, read, resolve


@pytest.mark.parametrize(
    ("name", "count"), [("addresses", 7), ("every-key", 2), ("parameters", 5), ("smallest", 0)]
)
def test_the_examples_of_good_policies_pass(name: str, count: int) -> None:
    """They are counted, so that none is passed over."""
    assert (count, ()) == run_examples(read(POLICIES / f"good-{name}.yaml"), resolve=resolve)


def test_an_example_that_comes_out_otherwise_is_told_with_its_place() -> None:
    """An outcome that was not expected, in both directions, and why."""
    policy = commands(
        "  x:\n    summary: x\n    run: /bin/x {n}\n    parameters: {n: {type: integer, max: 9}}\n"
        "    examples:\n"
        "      - {as: ann, line: x 5, expect: allow}\n"
        "      - {as: ann, line: x 10, expect: allow}\n"
        "      - {as: ann, line: x 5, expect: refuse}\n"
    )
    count, failures = run_examples(policy, resolve=resolve)

    assert 3 == count
    assert [
        "policy.yaml:11:9: the example is refused and should be allowed: parameter 'n': out of bounds",
        "policy.yaml:12:9: the example is allowed and should be refused",
    ] == [f"{failure.place}: {failure.message}" for failure in failures]


def test_an_example_gives_a_reason_and_offers_input() -> None:
    """A rule that needs a reason or requires input can have examples."""
    policy = commands(
        "  x:\n    summary: x\n    run: /bin/x\n    stdin: require\n    justification: required\n"
        "    examples:\n"
        "      - {as: ann, line: x, expect: refuse}\n"
        "      - {as: ann, line: x, justification: because, expect: allow}\n"
    )

    assert (2, ()) == run_examples(policy, resolve=resolve)


APART = """version: 1
principals: {{ann: {{roles: [r], from: [{principal}]}}}}
roles: {{r: {{allow: [x]}}}}
commands:
  x:
    summary: x
    run: /bin/x
    from: [{rule}]
    examples: [{{as: ann, line: x, expect: {expect}}}]
"""


@pytest.mark.parametrize(
    ("principal", "rule", "expect"),
    [
        ("10.0.0.0/8", "10.1.0.0/16", "allow"),
        ("10.1.0.0/16", "10.0.0.0/8", "allow"),
        ("192.0.2.1, 10.1.0.0/16", "'2001:db8::/32', 10.0.0.0/8", "allow"),
        ("'2001:db8:1::/48'", "'2001:db8::/32'", "allow"),
        ("10.0.0.0/8", "11.0.0.0/8", "refuse"),
    ],
)
def test_an_example_without_an_address_comes_from_one_that_is_admitted(
    principal: str, rule: str, expect: str
) -> None:
    """Where no address is admitted at all, nothing is."""
    policy = load(APART.format(principal=principal, rule=rule, expect=expect), "p")

    assert (1, ()) == run_examples(policy, resolve=resolve)
