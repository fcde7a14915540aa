"""The store of tokens: it survives a kill at any moment, and several processes at once."""

import json
import os
import random
import secrets
import select
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rexecd.identity.store import Store
from rexecd.identity.tokens import TokenRecord, mint
from tests.harness import PATIENCE, Daemon

KILLS = 30
#: Changes tokens for ever, and says what has been done when the store says that it has.
CHANGES = """
import os, secrets, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from rexecd.identity.store import Store
from rexecd.identity.tokens import TokenRecord, Use, mint

def record():
    minted = mint(secrets.token_bytes)
    return TokenRecord(minted.token_id, minted.digest, "ci", datetime.now(UTC))

def done(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

with Store(Path(sys.argv[1])) as store:
    while True:
        one, other, third = record(), record(), record()
        store.add(one)
        done("added", one.token_id)
        store.replace(one.token_id, other, until=datetime.now(UTC))
        done("replaced", one.token_id, other.token_id)
        store.note_uses({other.token_id: Use(datetime.now(UTC), "192.0.2.1")})
        store.revoke([one.token_id, other.token_id], datetime.now(UTC))
        done("revoked", one.token_id, other.token_id)
        store.forget([one.token_id])
        done("forgotten", one.token_id)
"""


def _change_until_killed(path: Path, seconds: float) -> list[list[str]]:
    """Return what a process said it had done when it was killed, so long after its first word."""
    line = [sys.executable, "-I", "-c", CHANGES, str(path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert select.select([process.stdout], [], [], PATIENCE)[0]
        threading.Event().wait(seconds)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().decode()
    return [words.split() for words in said.splitlines()]


@pytest.mark.slow
def test_whatever_was_done_is_there_after_a_kill_at_any_moment(tmp_path: Path) -> None:
    """Whole changes only, and all that were acknowledged; at most the one that was under way besides."""
    path = tmp_path / "tokens.sqlite"
    chance = random.Random(7)
    states: dict[str, str] = {}
    for number in range(KILLS):
        for what, *token_ids in _change_until_killed(path, chance.uniform(0, 0.05)):
            match what:
                case "added":
                    states[token_ids[0]] = "good"
                case "replaced":
                    states |= {token_ids[0]: "expired", token_ids[1]: "good"}
                case "revoked":
                    states |= dict.fromkeys(token_ids, "revoked")
                case _:
                    del states[token_ids[0]]
        with Store(path) as store:
            found = {
                token_id: each.flaw(datetime.now(UTC)) or "good" for token_id, each in store.records().items()
            }
        connection = sqlite3.connect(path)
        integrity = connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
        changed = {
            token_id: (states.get(token_id), found.get(token_id))
            for token_id in states.keys() | found.keys()
            if states.get(token_id) != found.get(token_id)
        }

        assert [("ok",)] == integrity, number
        # The one change that was done and not yet said, or none: each touches two tokens at most.
        assert sorted(changed.values(), key=str) in UNSAID, number
        states = found
    assert len(states) > KILLS


#: Before and after of the tokens that a change touches.
UNSAID: list[list[tuple[str | None, str | None]]] = [
    [],
    [(None, "good")],
    [("good", "expired"), (None, "good")],
    [("expired", "revoked"), ("good", "revoked")],
    [("revoked", None)],
]


def _together(line: list[str], number: int) -> list[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    return [
        subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        for _ in range(number)
    ]


def _ended(processes: list[subprocess.Popen[str]]) -> Iterator[tuple[int, str, str]]:
    for process in processes:
        out, err = process.communicate(timeout=3 * PATIENCE)
        yield process.returncode, out, err


def _line(daemon: Daemon, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-m", "rexecd", *arguments, "--config", str(daemon.made.config)]


@pytest.mark.parametrize(("is_running", "number"), [(False, 6), (True, 20)])
@pytest.mark.slow
def test_many_operators_at_once_are_all_served(own_daemon: Daemon, is_running: bool, number: int) -> None:
    """Through the monitor, or one after the other in its place; and who only looks waits for nobody."""
    if is_running:
        own_daemon.start()
    makers = _together(_line(own_daemon, "token", "create", "bob"), number)
    readers = _together(_line(own_daemon, "token", "list", "--json"), 4)
    made, listed = list(_ended(makers)), list(_ended(readers))
    rows = json.loads(own_daemon.rexecd("token", "list", "--json").stdout)
    verified = own_daemon.rexecd("audit", "verify")

    assert [0] * number == [status for status, _, _ in made], made
    assert [0] * 4 == [status for status, _, _ in listed], listed
    assert [True] * 4 == [len(json.loads(out)) >= 2 for _, out, _ in listed]
    ids = {out[4:12] for _, out, _ in made}
    assert number == len(ids)
    assert ids <= {row["id"] for row in rows}
    assert ids <= {record["rexec"]["token_id"] for record in own_daemon.records("token-created")}
    assert (0, "") == (verified.returncode, verified.stderr)


def test_readers_see_whole_changes_while_another_process_writes(tmp_path: Path) -> None:
    """A token and the one that replaces it: never a state between."""
    path = tmp_path / "tokens.sqlite"
    line = [sys.executable, "-I", "-c", CHANGES, str(path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert select.select([process.stdout], [], [], PATIENCE)[0]
            looks = 0
            with Store(path) as store:
                while looks < 200:
                    os.set_blocking(process.stdout.fileno(), False)
                    process.stdout.read()
                    records = store.records()
                    good = [each for each in records.values() if each.flaw(datetime.now(UTC)) is None]
                    looks += 1

                    assert len(good) <= 1
        finally:
            process.kill()


def test_a_store_can_be_written_by_two_processes(tmp_path: Path) -> None:
    """Nobody loses a change to the other; the lock is the store's own."""
    path = tmp_path / "tokens.sqlite"
    line = [sys.executable, "-I", "-c", CHANGES, str(path)]
    minted = [mint(secrets.token_bytes) for _ in range(50)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process, Store(path) as store:
        try:
            assert process.stdout
            assert select.select([process.stdout], [], [], PATIENCE)[0]
            for each in minted:
                store.add(TokenRecord(each.token_id, each.digest, "ops", datetime.now(UTC)))
        finally:
            process.kill()
    with Store(path) as store:
        assert {each.token_id for each in minted} <= store.records().keys()
