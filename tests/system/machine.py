"""What the stages of the system test are made of: the booted machine's tools, callers, and a real `rexec`.

Run by the machine's own Python, in the source: of what is tested only the client is used, which needs
nothing but the standard library.
"""

import contextlib
import json
import os
import pwd
import re
import shlex
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import rexecd.client

SOURCE: Final = Path("/root/rexecd")
#: Programs for commands and probes: where the exposed process can see them too.
PROGRAMS: Final = Path("/opt/rexecd/test")
PYTHON: Final = "/opt/rexecd/bin/python"
AUTHORITY: Final = "/etc/rexecd/certs/ca.pem"
TOKEN: Final = Path("/root/token")
GATEWAY: Final = "rexecd-gateway.service"
MONITOR: Final = "rexecd-monitor.service"
PATIENCE: Final = 60.0 if os.environ.get("CI_METHOD") == "qemu" else 20.0


class Failed(Exception):
    """Something is not as it should be."""


def check(condition: object, what: str, *facts: object) -> None:
    """Go on if something is so; raise Failed if not."""
    if not condition:
        raise Failed(" ".join([what, *map(repr, facts)]))


def wait_for(question: Callable[[], Any], what: str) -> Any:
    """Return the first true answer; raise Failed when none comes in time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.02)
    raise Failed(f"waited in vain for {what}")


def sh(line: str, *, good: bool = True, umask: int = -1) -> str:
    """Run a line of ours in a shell and return what it wrote, errors too; raise Failed if it fails."""
    done = subprocess.run(
        ["/bin/bash", "-c", line],
        cwd=SOURCE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        umask=umask,
    )
    check(not good or done.returncode == 0, f"{line}: exit status {done.returncode}", done.stdout)
    return done.stdout


def status_of(line: str) -> int:
    """Return a line's exit status."""
    return subprocess.run(["/bin/bash", "-c", line], cwd=SOURCE, capture_output=True, check=False).returncode


def main_pid(unit: str) -> int:
    """Return the main process of a unit, 0 for none."""
    return int(sh(f"systemctl show -P MainPID {unit}"))


def is_active(*units: str) -> bool:
    """Return whether every unit is active."""
    return all(status_of(f"systemctl is-active --quiet {unit}") == 0 for unit in units)


def journal(unit: str) -> str:
    """Return what a unit has said since boot."""
    return sh(f"journalctl -b -o cat --no-pager -u {unit}")


def rexec(*words: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the installed `rexec` as a caller does."""
    line = ["/usr/local/bin/rexec", "--token-file", str(TOKEN), "--ca", AUTHORITY, "localhost", *words]
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    return subprocess.run(line, capture_output=True, check=False, timeout=PATIENCE, **given)


def tries(rule: str, *what: str) -> dict[str, Any]:
    """Return what came of each attempt of a command (tests/data/commands/tries.py)."""
    done = rexec(rule, " ".join(what))
    check(done.returncode == 0, f"{rule}: exit status {done.returncode}", done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def who_is(rule: str) -> dict[str, Any]:
    """Return who a command is to the kernel (tests/data/commands/whoami.py)."""
    done = rexec(rule)
    check(done.returncode == 0, f"{rule}: exit status {done.returncode}", done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def as_user(name: str, program: str, *arguments: str) -> str:
    """Run Python text as a user with nothing but that user's rights, and return what it prints."""
    entry = pwd.getpwnam(name)
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", program, *arguments],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=os.getgrouplist(name, entry.pw_gid),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]


def probe(unit: str, program: str, *arguments: str) -> dict[str, Any]:
    """Run a Python program with the very settings of a unit but what it starts; return the JSON it prints."""
    text = Path("/usr/local/lib/systemd/system", unit).read_text()
    line = shlex.join([PYTHON, "-I", program, *arguments])
    text = re.sub("^ExecStart=.*$", lambda _: f"ExecStart={line}", text, flags=re.MULTILINE)
    text = re.sub("^Type=.*$", "Type=oneshot", text, flags=re.MULTILINE)
    text = re.sub("^(Restart|WatchdogSec|ExecReload|Requires|PartOf).*\n", "", text, flags=re.MULTILINE)
    Path("/run/systemd/system/rexecd-probe.service").write_text(text)
    sh("systemctl daemon-reload && systemctl start rexecd-probe", good=False)
    said = sh("journalctl -b -o cat --no-pager -t python3 -t python -u rexecd-probe --output=cat")
    found = re.findall("^{.*}$", said, re.MULTILINE)
    check(found, "the probe said nothing", journal("rexecd-probe"))
    answer: dict[str, Any] = json.loads(found[-1])
    return answer


def start_sleeper() -> subprocess.Popen[str]:
    """Return a caller whose command sleeps, with a child in a session of its own."""
    line = ["/usr/local/bin/rexec", "--token-file", str(TOKEN), "--ca", AUTHORITY, "localhost", "sleep"]
    call = subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: sleepers() == 2, "a command")
    return call


def sleepers() -> int:
    """Return how many processes of sleeping commands there are: two of each."""
    return int(sh("pgrep -cf '^/bin/sleep 7777'", good=False))


def records(action: str) -> list[dict[str, Any]]:
    """Return the trail's records of one kind."""
    lines = Path("/var/log/rexecd/audit.jsonl").read_text().splitlines()
    return [found for found in map(json.loads, lines) if found["event"]["action"] == action]


class Load:
    """Callers who all ask the same, one connection after the other, and what came of it."""

    def __init__(self, callers: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._token = TOKEN.read_text().strip()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(each,)) for each in range(callers)]

    @contextlib.contextmanager
    def running(self) -> Iterator["Load"]:
        """Let them ask while something else happens."""
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.outcomes["answered"] > len(self._threads), "the first answers")
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def wait_for_answers(self, number: int) -> float:
        """Wait for so many more answers; return how long that took."""
        began, before = time.monotonic(), self.outcomes["answered"]
        wait_for(lambda: self.outcomes["answered"] >= before + number, f"{number} answers")
        return time.monotonic() - began

    def check_nobody_lost(self) -> None:
        """Raise Failed if a connection was refused, or an answer lost by a service that drains."""
        check(set(self.outcomes) == {"answered"}, "lost", self.outcomes)

    def _ask(self, caller: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            word = f"caller-{caller}-{number}"
            try:
                answer = rexecd.client.run("localhost", ["echo", word], token=self._token, ca=AUTHORITY)
                good = (answer.returncode, answer.stdout) == (0, f"{word}\n".encode())
                self.outcomes["answered" if good else f"wrong: {answer}"] += 1
            except rexecd.client.CallerError as error:
                later = error.exit_status == 125
                self.outcomes["told to try later" if later else f"{type(error).__name__}: {error}"] += 1


def run_stages(stages: Sequence[Callable[[], None]]) -> None:
    """Run one stage after the other, and say how long each took; exit with 1 at the first that fails."""
    for stage in stages:
        began = time.monotonic()
        try:
            stage()
        except Exception as error:  # noqa: BLE001 - whatever it is, the machine's logs are wanted
            print(f"FAILED  {stage.__name__}: {type(error).__name__}: {error}", flush=True)
            print(sh(f"systemctl status --no-pager -l rexecd.target {GATEWAY} {MONITOR}", good=False))
            print(sh(f"journalctl -b --no-pager -u {GATEWAY} -u {MONITOR} | tail -50", good=False))
            sys.exit(1)
        print(f"ok  {time.monotonic() - began:6.2f} s  {(stage.__doc__ or '').splitlines()[0]}", flush=True)
