"""`rexecd demo`: the whole thing on loopback, in a temporary directory that is gone afterwards."""

import argparse
import contextlib
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rexecd.audit.keys import decode_auditor_key, load_chain
from rexecd.audit.lines import whole
from rexecd.audit.search import read, render
from rexecd.audit.verify import Knowledge, verify
from rexecd.cli import say
from rexecd.cli.init import Layout, lay_out, program
from rexecd.cli.monitor import opened_service
from rexecd.errors import Unavailable
from rexecd.files import read_file
from rexecd.monitor import tokens
from rexecd.seam import messages as seam
from rexecd.settings import load_settings

_SETTINGS: Final = """\
version: 1
listen: "127.0.0.1:0"
log_level: warning
"""
_POLICY: Final = """\
version: 1
principals:
  demo: {roles: [caller]}
roles:
  caller: {allow: [hello, greet, look]}
commands:
  hello:
    summary: Say hello
    run: /bin/echo hello from a program without a shell
  greet:
    summary: Greet somebody by name
    run: /bin/echo good day, {name}
    parameters:
      name: {type: word}
  look:
    summary: Look at a place that is not there, and fail as the program does
    run: /bin/ls /nowhere
  secret:
    summary: A command that the demo's caller may not run
    run: /bin/echo never printed
"""


class _Step(NamedTuple):
    """One call, the exit status it must have, and what it shows."""

    command: tuple[str, ...]
    status: int
    shows: str


_STEPS: Final = (
    _Step(("hello",), 0, "a command that prints"),
    _Step(("greet", "--name=世界"), 126, "a value that is no 'word' is refused"),
    _Step(("greet", "world; rm -rf /"), 126, "so is everything a shell would understand"),
    _Step(("greet", "world"), 0, "a command with an argument"),
    _Step(("look",), 2, "a command that fails keeps its own exit status"),
    _Step(("secret",), 126, "a command this caller may not run is refused"),
)
_CALL_TIME: Final = 30.0


def demo(_: argparse.Namespace) -> int:
    """Show everything once; return 0 only if every step went as it must."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # by way of every clean-up
    with tempfile.TemporaryDirectory(prefix="rexecd-demo-") as name:
        directory = Path(name)
        made = lay_out(directory, ["127.0.0.1"], settings=_SETTINGS, policy=_POLICY)
        settings = load_settings(made.config)
        say.out("# certificates, a policy and a token, in a temporary directory")
        with opened_service(settings) as service:
            token = str(tokens.create(service, seam.CreateToken("demo"))["token"])
        token_file = directory / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token + "\n")
        say.out("# two processes: the gateway speaks TLS and cannot exec, the monitor decides")
        good = True
        with _served(made) as address:
            for step in _STEPS:
                good &= _call(step, made, token_file, address)
        say.out("\n# what the audit trail says of exactly these")
        for record in read([settings.audit]):
            if str(record.get("event", {}).get("action", "")).startswith("command-"):
                say.out(render(record))
        key = decode_auditor_key(read_file(made.verification_key, secret=True).decode())
        known = Knowledge(key=key.seals, head=load_chain(settings.trail_key), is_whole=True)
        report = verify(whole(settings.audit), known, where=settings.audit)
        say.out(f"\n# and nobody has touched it\n{report}")
        good &= report.good
    if not good:
        say.error("rexecd", "the demo did not go as it must: see above")
        return 1
    rexecd = program("rexecd")
    say.out(f"""
# everything is cleaned up. How to go on: your own directory, with settings, policy and certificates
  {rexecd} init my-rexecd --host localhost
  {rexecd} check --config my-rexecd/rexecd.yaml
  {rexecd} serve --config my-rexecd/rexecd.yaml""")
    return 0


def _leave(number: int, _: object) -> None:
    """End for a signal as the shell reports it."""
    sys.exit(128 + number)


def _call(step: _Step, made: Layout, token_file: Path, address: str) -> bool:
    """Run the real `rexec` once, show it, and return whether it ended as it must."""
    say.out(f"\n# {step.shows}\n$ rexec {address} {shlex.join(step.command)}")
    trust = ["--ca", str(made.authority), "--token-file", str(token_file)]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "rexecd.cli.rexec", *trust, address, *step.command],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_CALL_TIME,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"no answer in {_CALL_TIME:g}s") from None
    say.out(f"[exit status {done.returncode}]")
    return done.returncode == step.status


@contextlib.contextmanager
def _served(made: Layout) -> Iterator[str]:
    """Run `rexecd serve` and yield its address; stop it in any case."""
    command = [sys.executable, "-I", "-m", "rexecd", "serve", "--config", str(made.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise Unavailable("the service did not start: see above")
            yield line.rpartition(" ")[2].strip()
        finally:
            process.terminate()
            process.wait()
