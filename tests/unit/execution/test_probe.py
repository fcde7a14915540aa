"""What this host cannot give to a policy is said before the first request, with its place."""

import re

import pytest

from rexecd.errors import ConfigError
from rexecd.execution.probe import probe, written
from rexecd.execution.workers import Use, Workers
from rexecd.policy.load import load
from rexecd.policy.model import Policy
from tests.unit.execution.starting import SOMEBODY, WITHOUT_MEANS, going, monitor, run

MEGABYTE = 1024 * 1024


def policy(*rules: str) -> Policy:
    """Return a policy with these rules, each a line of it from the third on."""
    return load(
        "\n".join(["version: 1", "commands:", *(f"  {rule}" for rule in rules)]) + "\n", "policy.yaml"
    )


def faults(workers: Workers, *rules: str) -> tuple[str, ...]:
    """Return what is wrong with a policy here."""
    with pytest.raises(ConfigError) as caught:
        probe(policy(*rules), workers)
    assert [written(fault) for fault in caught.value.found] == list(caught.value.faults)
    return tuple(caught.value.faults)


def test_what_can_be_given_is_tried_once_and_kept(contained: Workers) -> None:
    """Rules of one profile share a worker, which waits for the first command."""
    rules = [f"{name}: {{summary: x, run: /bin/true, limits: {{open_files: 99}}}}" for name in "ab"]

    assert () == probe(policy(*rules, "c: {summary: x, run: /bin/true}"), contained)
    assert Use(busy=0, idle=2) == contained.use
    assert () == probe(policy(*rules), contained)
    assert Use(busy=0, idle=2) == contained.use
    assert 0 == run(contained, "/bin/true").status
    assert Use(busy=0, idle=2) == contained.use


def test_every_rule_that_cannot_be_given_is_a_fault_with_its_place(workers: Workers) -> None:
    """What only control groups can hold, without them; the others are kept."""
    told = faults(
        workers,
        "a: {summary: x, run: /bin/true, limits: {processes: 5}}",
        "b: {summary: x, run: /bin/true, limits: {memory: 63MiB}}",
        "c: {summary: x, run: /bin/true, limits: {memory: 64MiB}}",
        "d: {summary: x, run: /bin/true, limits: {processes: 5}}",
    )

    processes = (
        "limits: processes: needs a control group with the pids controller; see containment in rexecd.yaml(5)"
    )
    memory = "limits: memory: less than 64MiB needs a control group with the memory controller"
    assert (
        f"policy.yaml:3:3: a: {processes}",
        f"policy.yaml:4:3: b: {memory}",
        f"policy.yaml:6:3: d: {processes}",
    ) == told
    assert Use(busy=0, idle=1) == workers.use


def test_the_least_memory_is_enough_for_a_worker(workers: Workers) -> None:
    """It lives in it too, with its command's start."""
    told = run(
        workers, "/bin/sh", "-c", "ulimit -v", resources=policy(LEAST).rules["c"].resources, identity=SOMEBODY
    )

    assert (0, f"{64 * 1024}\n") == told[:2]


LEAST = "c: {summary: x, run: /bin/true, limits: {memory: 64MiB}}"


def test_an_identity_that_cannot_be_had_is_a_fault() -> None:
    """It says who it was to be."""
    program = """
from rexecd.errors import ConfigError
from rexecd.execution.probe import probe
from tests.unit.execution.starting import going
from tests.unit.execution.test_probe import policy
with going() as workers:
    try:
        probe(policy("a: {summary: x, run: /bin/true, run_as: {user: 5, group: 6}}"), workers)
    except ConfigError as error:
        print(error)
"""
    why = "cannot become uid 5, gid 6: Operation not permitted"

    assert f"policy.yaml:3:3: a: {why}\n" == monitor(program, *WITHOUT_MEANS)


CLOSED = "{{summary: x, run: /bin/true, sandbox: {{read: [/nonexistent]{}}}}}"


def test_a_sandbox_that_cannot_be_given_is_a_fault(workers: Workers) -> None:
    """A path that is not there is as good as no kernel for it: something else was meant."""
    (told,) = faults(workers, "a: " + CLOSED.format(""))

    assert re.match("policy.yaml:3:3: a: .*(read: |Landlock)", told)


def test_of_a_sandbox_for_what_can_be_had_the_rest_is_a_warning(workers: Workers) -> None:
    """For each rule of it, each time it is asked."""
    best = CLOSED.format(", best_effort: true")
    for _ in range(2):
        told = [written(fault) for fault in probe(policy(f"a: {best}", f"b: {best}"), workers)]

        assert re.match("policy.yaml:3:3: a: best effort, without .*read", told[0])
        assert {"a", "b"} == {each.split(": ")[1] for each in told}


def test_a_host_that_is_full_is_a_fault_too(workers: Workers) -> None:
    """Nothing is taken for granted that could not be tried."""
    workers._orders.close()
    (told,) = faults(workers, "a: {summary: x, run: /bin/true}")

    assert told.startswith("policy.yaml:3:3: a: cannot start a process: ")


@pytest.mark.parametrize("controllers", [frozenset(), frozenset({"pids", "memory"})])
def test_for_a_check_controllers_are_taken_on_trust(no_leaks: None, controllers: frozenset[str]) -> None:
    """`check` may run where the daemon's groups are not; the rest it tries."""
    with going(controllers=controllers) as workers:
        rule = "a: {summary: x, run: /bin/true, limits: {processes: 5, memory: 1MiB}}"
        if controllers:
            assert () == probe(policy(rule), workers)
        else:
            assert 1 == len(faults(workers, rule))
