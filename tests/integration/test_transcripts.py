"""Sessions at a terminal as they look, one file for each feature: tests/transcripts/*.txt.

A line that begins with `$ ` is given to a shell in which `web1` is a real server. What stands below it is
what it prints: on standard output as it is, on standard error behind `2> `, and its exit status behind `? `,
where that is not 0. `...` stands for any part of a line. Lines that begin with `# ` say why.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness import PATIENCE, SETTINGS, Daemon

TRANSCRIPTS = sorted((Path(__file__).parents[1] / "transcripts").glob("*.txt"))

POLICY = """\
version: 1
principals:
  ann: {roles: [operator]}
roles:
  operator: {allow: ["*"], deny: [shutdown]}
commands:
  disk:
    summary: Free space below one directory
    description: Sizes are in KiB.
    run: [/bin/echo, "{path}: 42"]
    parameters:
      path: {type: path, under: [/usr, /etc], default: /usr}
  service.restart:
    summary: Restart one of our services
    run: [/bin/sh, -c, 'echo "restarting $1" >&2; exit 3', sh, "{unit}"]
    parameters:
      unit: {type: choice, of: [nginx, postgresql]}
  import:
    summary: Count what is sent
    run: /usr/bin/wc -c
    stdin: require
  shout:
    summary: Give back in capitals
    run: /usr/bin/tr a-z A-Z
    stdin: accept
  say:
    summary: Say something
    run: /bin/echo {what}
    parameters:
      what: {type: text, max: 200}
  forever:
    summary: Write for ever
    run: /usr/bin/yes
    timeout: 20s
  slow:
    summary: Take long
    run: [/bin/sh, -c, "echo begun; exec /bin/sleep 60"]
  crash:
    summary: Die of a signal
    run: [/bin/sh, -c, "kill -TERM $$"]
  unicode:
    summary: Write text and bytes
    run: [/bin/sh, -c, "printf 'gr\\\\303\\\\274n'; /bin/sleep 0.2; printf '\\\\377\\\\n'"]
  gone:
    summary: A program that is not there
    run: /nonexistent/program
  once:
    summary: Once a minute
    run: /bin/echo done
    limits: {rate: 1/min}
  upgrade:
    summary: Wants to know why
    run: /bin/echo upgraded
    justification: required
  shutdown:
    summary: Nobody may
    run: /bin/echo down
"""


class Step(NamedTuple):
    """A line that was typed, and what it printed."""

    number: int
    line: str
    out: list[str]
    errors: list[str]
    status: int


def parse(text: str) -> Iterator[Step]:
    """Return the steps of a transcript."""
    step: Step | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(number, line[2:], [], [], 0)
        elif line.startswith("# ") or step is None:
            continue
        elif line.startswith("2> "):
            step.errors.append(line[3:])
        elif line.startswith("? "):
            step = step._replace(status=int(line[2:]))
        else:
            step.out.append(line)
    if step is not None:
        yield step._replace(out=step.out)


def fits(expected: list[str], found: str) -> bool:
    """Return whether these lines were printed, with `...` for anything."""
    while expected and not expected[-1]:  # empty lines part steps
        expected = expected[:-1]
    pattern = "".join(f"{re.escape(line)}\n" for line in expected).replace(re.escape("..."), "[^\n]*")
    return re.fullmatch(pattern, found) is not None


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon with commands that have names."""
    settings = SETTINGS.replace("Welcome to the test house.", "Welcome. Be careful here.")
    made = Daemon(tmp_path_factory.mktemp("daemon"), settings=settings, policy=POLICY).start()
    yield made
    made.stop()


@pytest.fixture
def shell(daemon: Daemon, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Give a shell in a home where `web1` is set up."""
    config = tmp_path / "config" / "rexec" / "config"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"Host web1\n    HostName 127.0.0.1\n    Port {daemon.port}\n"
        f"    CA {daemon.made.authority}\n    TokenFile ~/token\n"
        "Host nowhere\n    HostName 127.0.0.1\n    Port 1\n    Pin sha256:"
        + 64 * "0"
        + "\n    TokenFile ~/token\n"
    )
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text(daemon.tokens["ann"])
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "rexec").write_text(f'#!/bin/sh\nexec {sys.executable} -I -m rexecd.cli.rexec "$@"\n')
    (programs / "rexec").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REXEC_")},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PORT": str(daemon.port),
        "CA": str(daemon.made.authority),
    }

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-c", line],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
            timeout=PATIENCE,
            start_new_session=True,
        )

    return run


@pytest.mark.skipif(shutil.which("bash") is None, reason="the transcripts are of bash")
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_session_looks_as_written(
    shell: Callable[[str], subprocess.CompletedProcess[str]], transcript: Path
) -> None:
    """Each line that is typed prints what stands below it, on the stream and with the status that is said."""
    steps = list(parse(transcript.read_text()))

    assert steps
    for step in steps:
        done = shell(step.line)
        printed = f"{done.stdout}2> {done.stderr}? {done.returncode}"
        place = f"{transcript.name}:{step.number}: $ {step.line}\n{printed}"
        assert step.status == done.returncode, place
        assert fits(step.out, done.stdout), place
        assert fits(step.errors, done.stderr), place
