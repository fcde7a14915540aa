"""Killed at any moment under load, again and again: no record that lies, no command without its record."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from rexecd.errors import RexecError
from tests.harness import POLICY, SETTINGS, Daemon

KILLS = 200
CALLERS = 4
SEED = 4711

#: A command that leaves something behind: whether it ran can be seen without the trail.
MARK = """\
  mark:
    summary: Leave a mark
    run: [/usr/bin/touch, "{directory}/{{word}}"]
    parameters:
      word: {{type: word}}
"""
ENDS = {"command-exited", "command-timed-out", "command-killed", "command-refused"}


class Callers:
    """Callers who leave marks, each with a word of its own, until they lose the service."""

    def __init__(self, daemon: Daemon, turn: int) -> None:
        self._daemon = daemon
        self._turn = turn
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for their end."""
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        count = 0
        with contextlib.suppress(OSError, EOFError, AssertionError, RexecError):
            while True:
                with self._daemon.caller() as caller:
                    for _ in range(5):
                        count += 1
                        caller.run(f"mark t{self._turn}-c{number}-{count}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills_under_load(tmp_path: Path) -> None:
    """Both processes, or the monitor alone, at random; with files set aside in between."""
    marks = tmp_path / "marks"
    marks.mkdir(mode=0o777)
    marks.chmod(0o777)
    policy = POLICY + MARK.format(directory=marks)
    audit = "audit: {file: audit/audit.jsonl, step: 200ms, max_size: 256KiB}\n"
    daemon = Daemon(tmp_path / "daemon", settings=SETTINGS + audit, policy=policy)
    chance = random.Random(SEED)
    for turn in range(KILLS):
        daemon.start()
        callers = Callers(daemon, turn)
        time.sleep(chance.uniform(0.0, 0.4))  # the moment is what is tried
        if chance.random() < 0.5:
            daemon.kill()
        else:
            os.kill(daemon.monitor_pid, signal.SIGKILL)
            daemon.wait()
        callers.join()
    daemon.start()
    daemon.stop()
    verified = daemon.rexecd("audit", "verify")
    records = daemon.records()

    assert 0 == verified.returncode, verified.stdout
    assert list(range(1, len(records) + 1)) == [record["rexec"]["sequence"] for record in records]
    _check_marks(marks, records)
    _check_ends(records)


def _check_marks(marks: Path, records: list[dict[str, dict[str, object]]]) -> None:
    """Whatever ran was recorded before."""
    allowed = {
        str(record["rexec"]["line"]).partition(" ")[2]
        for record in records
        if record["event"]["action"] == "command-allowed"
    }
    left = {path.name for path in marks.iterdir()}

    assert len(left) > KILLS
    assert set() == left - allowed


def _check_ends(records: list[dict[str, dict[str, object]]]) -> None:
    """One end for each beginning, of connections and of commands."""
    counts: Counter[tuple[str, object]] = Counter()
    for record in records:
        action, rexec = str(record["event"]["action"]), record["rexec"]
        if action in {"connection-opened", "connection-closed"}:
            counts[action, rexec["connection_id"]] += 1
        elif action == "command-allowed":
            counts[action, rexec["request_id"]] += 1
        elif action in ENDS:
            counts["end", rexec["request_id"]] += 1
    opened = {key for action, key in counts if action == "connection-opened"}
    allowed = {key for action, key in counts if action == "command-allowed"}

    assert {1} == set(counts.values())
    assert opened == {key for action, key in counts if action == "connection-closed"}
    assert allowed == {key for action, key in counts if action == "end"}
