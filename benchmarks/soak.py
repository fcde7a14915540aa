"""What 20,000 commands of 32 callers leave over when one in ten of them misbehaves.

`make bench-soak`. Printed are threads, descriptors and memory of both processes, and all processes and
control groups of the daemon, after a warm-up of the same kind and at the end. Exit status 1
if anything is left over.
"""

import argparse
import contextlib
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.processes import children, verb_of
from benchmarks.served import Served, served
from rexecd import client

_CALLERS = 32
_SETTINGS = """\
version: 1
listen: "127.0.0.1:0"
kill_grace: 100ms
max_commands_each: 100
"""
_POLICY = """\
version: 1
principals: {soak: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
  good: {summary: Print a line, run: /bin/echo good}
  copy: {summary: Copy input, run: /bin/cat, stdin: accept}
  leave:
    summary: Leave processes behind
    run: [/bin/sh, -c, "setsid sleep 600 & (setsid sleep 600 &) & exit 0"]
  stubborn:
    summary: Ignore what it is told
    run: [/bin/sh, -c, "trap '' TERM INT HUP; while :; do sleep 600; done"]
    timeout: 100ms
  flood:
    summary: Write without end
    run: /usr/bin/yes
    timeout: 100ms
    limits: {output: 64KiB}
  die: {summary: Die of a signal, run: [/bin/sh, -c, "kill -SEGV $$"]}
  wait: {summary: Say something and wait, run: [/bin/sh, -c, "echo here; sleep 600 & wait"]}
"""
_MISDEEDS = ("leave", "stubborn", "flood", "die", "wait", "refused")


class Vanished(Exception):
    """The caller is gone in the middle of a command."""


class Caller:
    """One caller, and the connection that it loses now and then."""

    def __init__(self, daemon: Served, seed: int) -> None:
        self._daemon = daemon
        self._random = random.Random(seed)
        self._session: client.Session | None = None
        self.ended: Counter[str] = Counter()

    def work(self, number: int) -> None:
        """Run so many commands, then say goodbye."""
        for _ in range(number):
            if self._random.random() < 0.1:
                self._misbehave(self._random.choice(_MISDEEDS))
            else:
                self._run(self._random.choice(("good", "good", "good", "copy")))
        if self._session is not None:
            self._session.close()
            self._session = None

    def _misbehave(self, misdeed: str) -> None:
        if misdeed == "wait":
            self._vanish()
        elif misdeed == "refused":
            with contextlib.suppress(client.Refused):
                self._run("nothing-of-the-kind")
            self.ended["refused"] += 1
        else:
            self._run(misdeed)

    def _run(self, line: str) -> None:
        result = self._connect().run(line, input=b"x" * 5000 if line == "copy" else None)
        self.ended[f"{line}: {result.outcome}"] += 1

    def _vanish(self) -> None:
        """End the connection at the first byte of output, without a word."""

        def vanish(*_: object) -> None:
            raise Vanished

        with contextlib.suppress(Vanished):
            self._connect().execute("wait", offer=client.Offer.NONE, sink=vanish)
        self.ended["vanished"] += 1
        if self._session is not None:
            self._session.close()
            self._session = None

    def _connect(self) -> client.Session:
        if self._session is None:
            daemon = self._daemon
            self._session = client.connect(daemon.address, token=daemon.token, ca=daemon.ca)
        return self._session


def work(daemon: Served, commands: int, seed: int) -> Counter[str]:
    """Let all callers run so many commands together; return how they ended."""
    callers = [Caller(daemon, seed + number) for number in range(_CALLERS)]
    threads = [threading.Thread(target=caller.work, args=(commands // _CALLERS,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum((caller.ended for caller in callers), Counter())


def facts(daemon: Served) -> dict[str, float]:
    """Return what the daemon uses now."""
    found: dict[str, float] = {}
    for pid in children(daemon.pid):
        process = Path(f"/proc/{pid}")
        name = verb_of(pid)
        found[f"{name}: threads"] = len(list(process.joinpath("task").iterdir()))
        found[f"{name}: descriptors"] = len(list(process.joinpath("fd").iterdir()))
        pages = int(process.joinpath("statm").read_text().split()[1])
        found[f"{name}: MiB resident"] = round(pages * 4096 / 2**20, 1)
    waiting, below = [daemon.pid], 0
    while waiting:
        more = children(waiting.pop())
        below += len(more)
        waiting += more
    found["processes below the daemon"] = below
    found["control groups"] = len(list(Path("/sys/fs/cgroup").glob("**/rexecd-*/worker-*")))
    return found


def settle(daemon: Served, seconds: float) -> dict[str, float]:
    """Return the facts once idle workers have ended."""
    deadline = time.monotonic() + seconds
    while facts(daemon)["processes below the daemon"] > _AT_REST and time.monotonic() < deadline:
        time.sleep(1)
    return facts(daemon)


#: Monitor, gateway and launcher.
_AT_REST = 3
_REST = 100.0
#: A heap breathes; everything else has to be what it was.
_GROWTH = {"monitor: MiB resident": 3.0, "gateway: MiB resident": 3.0}


def main() -> None:
    """Work and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=20_000)
    parser.add_argument("--warm-up", type=int, default=3_200)
    parser.add_argument("--containment", default="auto", choices=["auto", "control-group", "subreaper"])
    arguments = parser.parse_args()
    settings = f"{_SETTINGS}containment: {arguments.containment}\n"
    with served(settings, _POLICY, "soak") as daemon:
        work(daemon, arguments.warm_up, seed=1)
        before = settle(daemon, _REST)
        begun = time.monotonic()
        ended = work(daemon, arguments.commands, seed=1_000)
        seconds = time.monotonic() - begun
        after = settle(daemon, _REST)
    for how, number in sorted(ended.items()):
        print(f"{how:<34} {number:>8}")
    print(f"{'commands in seconds':<34} {sum(ended.values()):>8} {seconds:>8.1f}")
    for name, value in before.items():
        print(f"{name:<34} {value:>8} {after.get(name, 0):>8}")
    left = [name for name, value in before.items() if after.get(name, 0) > value + _GROWTH.get(name, 0)]
    left += after.keys() - before.keys()
    if left:
        sys.exit(f"left over: {', '.join(left)}")


if __name__ == "__main__":
    main()
