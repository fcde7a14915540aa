"""Commands that run for the tests of execution, and what is left of them."""

import contextlib
import functools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.harness import PATIENCE, Daemon, is_alive, wait_for

#: Somebody who owns nothing.
STRANGER: Final = 65534


class Begun(NamedTuple):
    """A command that runs for a real `rexec`."""

    process: subprocess.Popen[Any]
    request_id: str
    pid: int

    def line(self) -> bytes:
        """Return the next line of its output."""
        assert self.process.stdout
        return bytes(self.process.stdout.readline())

    def end(self) -> tuple[int, bytes]:
        """Return the exit status of `rexec`, and the rest of its output."""
        rest, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, rest


@contextlib.contextmanager
def begin(
    daemon: Daemon,
    rule: str,
    *options: str,
    arguments: Sequence[str] = (),
    token: str = "ann",
    **how: Any,
) -> Iterator[Begun]:
    """Start the real `rexec` for a rule, and give it once the command runs."""
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | how
    known = len(_started(daemon, rule))
    line = daemon.rexec_line(*options, "HOST", rule, *arguments, token=token)
    with subprocess.Popen(line, **how) as process:
        try:
            record = wait_for(lambda: _started(daemon, rule)[known:], f"the start of {rule}")[0]
            yield Begun(process, record["rexec"]["request_id"], record["process"]["pid"])
        finally:
            process.kill()


def _started(daemon: Daemon, rule: str) -> list[dict[str, Any]]:
    return [record for record in daemon.records("command-started") if record["rule"]["name"] == rule]


def end_record(daemon: Daemon, request_id: str) -> dict[str, Any]:
    """Return the one record of a command's end, once it is there."""
    found: list[dict[str, Any]] = wait_for(lambda: _ends(daemon, request_id), f"the end of {request_id}")
    assert 1 == len(found)
    return found[0]


def _ends(daemon: Daemon, request_id: str) -> list[dict[str, Any]]:
    actions = {"command-exited", "command-killed", "command-timed-out"}
    return [
        record for record in daemon.records(request_id=request_id) if record["event"]["action"] in actions
    ]


def processes_of(request_id: str) -> list[int]:
    """Return the processes that a command has started, wherever they went: their environment tells."""
    mark = f"REXEC_REQUEST_ID={request_id}\0".encode()
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes() and is_alive(int(path.parent.name)):
                found.append(int(path.parent.name))
    return found


@functools.cache
def python_for_all() -> str:
    """Return a Python that anybody may start, or "" where there is none. For root only."""
    who: dict[str, Any] = {"user": STRANGER, "group": STRANGER, "extra_groups": []}
    for program in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if not subprocess.run([program, "-I", "-c", ""], check=False, cwd="/", **who).returncode:
                return program
    return ""
