"""What the tests of starting programs share: an Invocation, and the seeing of a command to its end."""

import contextlib
import ctypes
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pytest

from rexecd.errors import Refused
from rexecd.execution.cgroup import ControlGroups
from rexecd.execution.contain import Execution, Outcome
from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Workers
from rexecd.policy.model import Identity, Invocation

_TOP: Final = Path(__file__).parents[3]
_PR_SET_CHILD_SUBREAPER: Final = 36
#: Nobody's account: root needs none to become it.
STRANGER = Identity("stranger", 12345, 23456, (23456, 34567))
#: Who hostile commands run as: somebody else if that can be, as in every installation that can.
SOMEBODY: Final = None if os.geteuid() else STRANGER
#: For setpriv(1): nothing of what is needed to become somebody else. Who is not root has nothing to lose.
WITHOUT_MEANS: Final = () if os.geteuid() else ("--bounding-set", "-setuid,-setgid")
NO_POWER: Final = {f"Cap{name}": "0000000000000000" for name in ("Inh", "Prm", "Eff", "Amb")}


class Told(NamedTuple):
    """What a short command left behind."""

    status: int
    output: str
    errors: str


@contextlib.contextmanager
def going(
    groups: ControlGroups | None = None, *, controllers: frozenset[str] = frozenset()
) -> Iterator[Workers]:
    """Give workers; afterwards orphans are none of this process's business again."""
    made = Workers(groups, controllers=controllers)
    try:
        yield made
    finally:
        made.close()
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def root_only(test: Any) -> Any:
    """Mark a test that becomes somebody else."""
    skip = pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
    return pytest.mark.root(skip(test))


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


def run(workers: Workers, *argv: str, **changes: Any) -> Told:
    """Run a command that writes less than a pipe holds, and return what came of it."""
    execution, streams = spawn(invocation(*argv, **changes), workers)
    outcome = see(execution)
    output, errors = (os.read(descriptor, 65536).decode() for descriptor in (streams.stdout, streams.stderr))
    streams.close()
    return Told(outcome.status, output, errors)


def python_for(workers: Workers) -> str:
    """Return a Python that a hostile command can start; skip the test where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(Refused):
            if run(workers, python, "-I", "-c", "import ctypes", identity=SOMEBODY).status == 0:
                return python
    return str(pytest.skip("no Python that everybody may start"))


def as_user(uid: int, capabilities: str = "") -> tuple[str, ...]:
    """Return what setpriv(1) makes of root: another user with few capabilities, or none.

    One more than those, to read what is only root's, lets it find this Python.
    """
    given = ",".join(filter(None, [capabilities, "+dac_read_search"]))
    user = ("--reuid", str(uid), "--regid", str(uid), "--clear-groups")
    return (*user, "--inh-caps", given, "--ambient-caps", given)


def monitor(program: str, *privileges: str, arguments: tuple[str, ...] = ()) -> str:
    """Return what a Python program prints that is started by way of setpriv(1), or without."""
    changed = ("/usr/bin/setpriv", *privileges, "--") if privileges else ()
    argv = [*changed, sys.executable, "-c", program, *arguments]
    return subprocess.run(argv, cwd=_TOP, stdout=subprocess.PIPE, text=True, check=True).stdout


def facts(text: str) -> dict[str, str]:
    """Return /proc/PID/status as a mapping."""
    return dict(re.findall(r"^(\w+):\s*(.*?)\s*$", text, re.MULTILINE))
