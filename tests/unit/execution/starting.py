"""What the tests of starting programs share: an Invocation, and the seeing of a command to its end."""

import os
import select
from types import MappingProxyType
from typing import Any, NamedTuple

from rexecd.execution.contain import Execution, Outcome
from rexecd.execution.spawn import spawn
from rexecd.policy.model import Identity, Invocation

#: Nobody's account: root needs none to become it.
STRANGER = Identity("stranger", 12345, 23456, (23456, 34567))


class Told(NamedTuple):
    """What a short command left behind."""

    status: int
    output: str
    errors: str


def invocation(*argv: str, **changes: Any) -> Invocation:
    """Return an Invocation; only the decision makes them outside of tests."""
    facts: dict[str, Any] = {
        "rule": "test",
        "place": "test:1:1",
        "argv": argv,
        "environment": MappingProxyType({"PATH": "/usr/bin:/bin"}),
        "working_directory": "/",
        "umask": 0o027,
        "identity": None,
        "timeout": 20.0,
        "takes_input": False,
        "output_ceiling": None,
        "input_ceiling": None,
        "passed": (),
    }
    return Invocation(**(facts | changes))


def see(execution: Execution, grace: float = 0.2) -> Outcome:
    """Do what the monitor's thread does until the command is over."""
    poller = select.poll()
    poller.register(execution, select.POLLIN)
    while not poller.poll(int(execution.wait_time() * 1000) + 1):
        execution.tick(grace=grace)
    return execution.reap()


def run(*argv: str, **changes: Any) -> Told:
    """Run a command that writes less than a pipe holds, and return what came of it."""
    execution, streams = spawn(invocation(*argv, **changes))
    outcome = see(execution)
    output, errors = (os.read(descriptor, 65536).decode() for descriptor in (streams.stdout, streams.stderr))
    streams.close()
    return Told(outcome.status, output, errors)
