"""Why a request is allowed or refused: the decision itself, listened to."""

from collections.abc import Callable
from typing import NamedTuple

from rexecd.errors import Refused
from rexecd.policy.decide import Request, decide, enter
from rexecd.policy.kinds import Resolve
from rexecd.policy.model import Invocation, Policy


class Check(NamedTuple):
    """One thing that was looked at, in order: what it is, whether it passed, what was found."""

    name: str
    passed: bool
    found: str


class Explanation(NamedTuple):
    """What came of a request, and every check that led there; only the last one can have failed."""

    outcome: Invocation | Refused
    checks: tuple[Check, ...]


class _Listener:
    """Keeps what a decision says; one check may lie inside another's time."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.current = ""

    def begin(self, check: str) -> None:
        """Remember which check runs."""
        self.current = check

    def passed(self, found: Callable[[], str]) -> None:
        """Keep what it found."""
        self.checks.append(Check(self.current, passed=True, found=found()))


def explain(policy: Policy, request: Request, *, resolve: Resolve) -> Explanation:
    """Return what `enter` and `decide` make of a request, and how; nothing is raised for a refusal.

    A client certificate that is required is taken for shown.
    """
    listener = _Listener()
    try:
        listener.begin("session")
        enter(policy, request.principal, request.address, request.principal)
        outcome: Invocation | Refused = decide(policy, request, resolve=resolve, trace=listener)
    except Refused as refused:
        listener.checks.append(Check(listener.current, passed=False, found=refused.reason))
        outcome = refused
    return Explanation(outcome, tuple(listener.checks))
