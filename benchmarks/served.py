"""What the benchmarks share: a real daemon in a temporary directory, and rounds that take turns."""

import contextlib
import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import Daemon
from rexecd import client
from rexecd.cli.init import Layout, lay_out
from rexecd.cli.monitor import opened_service
from rexecd.monitor import tokens
from rexecd.seam import messages as seam
from rexecd.settings import load_settings

#: A daemon with one command that does nothing, for a principal called bench.
POLICY = """\
version: 1
principals:
  bench: {roles: [all]}
roles:
  all: {allow: ["*"]}
commands:
  "true":
    summary: Do nothing
    run: /bin/true
"""
_MAIN = """
import sys
from rexecd.cli.rexecd import main
sys.exit(main(sys.argv[1:]))
"""
SETTINGS = 'version: 1\nlisten: "127.0.0.1:0"\n'


def wide(connections: int) -> str:
    """Return settings under which nobody is turned away for being one too many of so many."""
    return f"""\
{SETTINGS}max_connections: {connections}
reserved_connections: 0
max_connections_source: {connections}
max_connections_each: {connections}
max_startups_source: {connections}
max_startups: "{connections}:30:{connections}"
max_commands: 300
max_commands_each: 300
"""


class Served(NamedTuple):
    """A running daemon, and what a caller needs."""

    address: str
    token: str
    ca: str
    pid: int
    config: Path

    def connect(self) -> client.Session:
        """Open a connection."""
        return client.connect(self.address, token=self.token, ca=self.ca)

    def once(self, line: str) -> None:
        """Run a command over a connection of its own."""
        client.run(self.address, line, token=self.token, ca=self.ca)


@contextlib.contextmanager
def served(
    settings: str, policy: str, principal: str, prepare: Callable[[Layout], object] | None = None
) -> Iterator[Served]:
    """Run a daemon with these files and yield it; it is stopped in order.

    What `prepare` does to its directory is done before it is started for the first time. Raise RuntimeError
    with its own words where it does not start.
    """
    with (
        _laid_out(settings, policy, principal, prepare) as (made, token),
        _started(made, "serve") as (process, address),
    ):
        yield Served(address, token, str(made.authority), process, made.config)


@contextlib.contextmanager
def apart(settings: str, policy: str, principal: str, changed: str = "") -> Iterator[tuple[Served, Daemon]]:
    """Run both processes of a daemon apart, with something changed in the code of both before they begin."""
    with (
        _laid_out(settings, policy, principal) as (made, token),
        _started(made, "monitor", changed) as (monitor, _),
        _started(made, "gateway", changed) as (gateway, address),
    ):
        yield Served(address, token, str(made.authority), gateway, made.config), Daemon(gateway, monitor)


@contextlib.contextmanager
def _laid_out(
    settings: str, policy: str, principal: str, prepare: Callable[[Layout], object] | None = None
) -> Iterator[tuple[Layout, str]]:
    """Make the directory of a daemon; yield it, and a token."""
    with tempfile.TemporaryDirectory(prefix="rexecd-bench-") as name:
        made = lay_out(Path(name), ["127.0.0.1"], settings=settings, policy=policy)
        if prepare is not None:
            prepare(made)
        with opened_service(load_settings(made.config)) as service:
            token = str(tokens.create(service, seam.CreateToken(principal))["token"])
        yield made, token


@contextlib.contextmanager
def _started(made: Layout, verb: str, changed: str = "") -> Iterator[tuple[int, str]]:
    """Start a process; yield its number, and the last word of what it says first."""
    program = ["-c", changed + _MAIN] if changed else ["-m", "rexecd"]
    line = [sys.executable, "-I", *program, verb, "--config", str(made.config)]
    log = made.config.with_name(f"{verb}.log")
    with (
        log.open("wb") as errors,
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            said = process.stdout.readline() if process.stdout else ""
            if not said:
                lines = log.read_text().split("\n")
                raise RuntimeError(next(filter(None, reversed(lines)), f"rexecd {verb} does not start"))
            yield process.pid, said.rpartition(" ")[2].strip()
        finally:
            process.terminate()


def popen() -> None:
    """Start /bin/true with two pipes and collect it: the least a command can cost in Python."""
    pipe = subprocess.PIPE
    subprocess.Popen(["/bin/true"], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe).communicate()


def runner(session: client.Session, line: str) -> Callable[[], None]:
    """Return what runs a command that has to succeed."""
    return functools.partial(_run, session, line)


def _run(session: client.Session, line: str) -> None:
    result = session.run(line)
    if result.returncode:
        raise RuntimeError(f"{line}: {result}")


def take_turns(
    operations: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    each: int,
    fewer: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """Return the milliseconds of every single operation, over rounds in which all take turns.

    Each is done `each` times in a round, or as often as `fewer` says.
    """
    taken: dict[str, list[float]] = {name: [] for name in operations}
    for _ in range(rounds):
        for name, operation in operations.items():
            for _ in range((fewer or {}).get(name, each)):
                begun = time.perf_counter()
                operation()
                taken[name].append((time.perf_counter() - begun) * 1e3)
    return taken
