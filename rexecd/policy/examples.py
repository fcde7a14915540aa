"""A policy's own tests, run through the decision the monitor makes."""

from typing import Final, NamedTuple

from rexecd.errors import Refused
from rexecd.networks import Network, is_inside
from rexecd.policy.decide import Request, decide
from rexecd.policy.kinds import Resolve
from rexecd.policy.model import Example, Policy, Rule
from rexecd.wire.messages import Offer
from rexecd.yamltext import Place

_LOOPBACK: Final = "127.0.0.1"


class Failure(NamedTuple):
    """An example that came out otherwise than its rule says."""

    place: Place
    message: str


def run_examples(policy: Policy, *, resolve: Resolve) -> tuple[int, tuple[Failure, ...]]:
    """Return how many examples there are, and those that failed."""
    rules = policy.rules.values()
    failures = [
        Failure(example.place, complaint)
        for rule in rules
        for example in rule.examples
        if (complaint := _run(policy, rule, example, resolve)) is not None
    ]
    return sum(len(rule.examples) for rule in rules), tuple(failures)


def _run(policy: Policy, rule: Rule, example: Example, resolve: Resolve) -> str | None:
    """Return what is wrong with the outcome of one example."""
    request = Request(
        principal=example.principal,
        connection_id="example",
        request_id="example-1",
        address=example.address or _admitted(policy, rule, example),
        line=example.line,
        offer=Offer.OPTIONAL,
        justification=example.justification,
    )
    try:
        decide(policy, request, resolve=resolve)
    except Refused as refused:
        return f"the example is refused and should be allowed: {refused.reason}" if example.allowed else None
    return None if example.allowed else "the example is allowed and should be refused"


def _admitted(policy: Policy, rule: Rule, example: Example) -> str:
    """Return an address that every `from` admits, if there is one: the narrowest network's first host."""
    networks: list[Network] = [*policy.principals[example.principal].sources, *rule.sources]
    fitting = [
        network
        for network in networks
        if all(
            not sources or any(is_inside(network, outer) for outer in sources)
            for sources in (policy.principals[example.principal].sources, rule.sources)
        )
    ]
    return str(fitting[0].network_address) if fitting else _LOOPBACK
