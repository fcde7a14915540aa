"""How long a decision takes over a small and over a large policy, and how long loading takes.

Run it by hand: `make bench-policy`. Figures are medians; the two policies take turns in one run.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable

from rexecd.policy.decide import Request, decide
from rexecd.policy.load import load
from rexecd.policy.masking import recordable
from rexecd.policy.model import Policy
from rexecd.wire.messages import Offer

ROUNDS = 41
DECISIONS = 200
LOADS = 5
SMALL = (10, 2)
LARGE = (1000, 200)


def policy_text(rules: int, principals: int) -> str:
    """Return a policy in which every rule has parameters, a timeout and limits."""
    lines = ["---", "version: 1", "roles:", "  everything: {allow: ['*']}", "  some: {allow: [service.*]}"]
    lines += ["principals:"]
    for number in range(principals):
        role = "some" if number % 2 else "everything"
        lines.append(f"  person{number}: {{roles: [{role}], from: [10.0.0.0/8, 127.0.0.0/8]}}")
    lines += ["commands:"]
    for number in range(rules):
        lines += [
            f"  service.restart{number}:",
            f"    summary: Restart service number {number}",
            '    run: [/usr/bin/systemctl, restart, "--lines={lines}", "{unit}"]',
            "    parameters:",
            "      unit: {type: choice, of: [nginx, postgresql, redis]}",
            "      lines: {type: integer, min: 1, max: 1000, default: 50}",
            "    timeout: 30s",
            "    limits: {output: 1MiB}",
        ]
    return "\n".join([*lines, "...", ""])


def request(rules: int, principals: int) -> Request:
    """Return what somebody in the middle asks for."""
    return Request(
        principal=f"person{principals // 2}",
        connection_id="c",
        request_id="c-1",
        address="10.1.2.3",
        line=f"service.restart{rules // 2} nginx --lines=10",
        offer=Offer.OPTIONAL,
    )


def _seconds(work: Callable[[], object], times: int) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times


def _decider(policy: Policy, asked: Request) -> Callable[[], object]:
    def work() -> object:
        recordable(policy, asked.line, allowed=True)
        return decide(policy, asked, resolve=os.path.realpath)

    return work


def main() -> int:
    """Measure and print."""
    sizes = {"small": SMALL, "large": LARGE}
    texts = {name: policy_text(*size) for name, size in sizes.items()}
    policies = {name: load(text, "policy.yaml") for name, text in texts.items()}
    deciders = {name: _decider(policies[name], request(*sizes[name])) for name in sizes}
    decided: dict[str, list[float]] = {name: [] for name in sizes}
    for _ in range(ROUNDS):
        for name, work in deciders.items():
            decided[name].append(_seconds(work, DECISIONS))
    loads = [_seconds(lambda: load(texts["large"], "policy.yaml"), 1) for _ in range(LOADS)]
    medians = {name: statistics.median(values) for name, values in decided.items()}
    for name, (rules, principals) in sizes.items():
        micros = medians[name] * 1e6
        print(f"decision over {rules:>5} rules, {principals:>3} principals: {micros:6.1f} us")
    print(f"large / small: {medians['large'] / medians['small']:.2f}  ({ROUNDS} rounds of {DECISIONS})")
    print(f"loading the large one: {statistics.median(loads):.3f} s  ({LOADS} times)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
