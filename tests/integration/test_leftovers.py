"""After a sudden death nothing runs on, and at the next start the trail says what was cut short."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.apart import Apart
from tests.commands import Begun, begin, end_record, processes_of
from tests.harness import SETTINGS, Daemon, children, is_alive, wait_for

KILLED: Final = "the monitor was killed"
#: Of what another monitor, one that just starts, can come before.
_ATTEMPTS: Final = 5


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    """Give both processes by themselves."""
    with Apart(Daemon(tmp_path)) as made:
        yield made


def _ends(daemon: Daemon) -> list[tuple[str, str | None]]:
    """Return what was recorded at the last start, before it was one."""
    records = daemon.records()
    actions = [record["event"]["action"] for record in records]
    start = len(actions) - 1 - actions[::-1].index("service-started")
    found: list[tuple[str, str | None]] = []
    while (record := records[start - len(found) - 1])["event"].get("reason") == KILLED:
        found.append((record["event"]["action"], record["rexec"].get("request_id")))
    return found[::-1]


def _last_start(daemon: Daemon) -> dict[str, Any]:
    return daemon.records("service-started")[-1]


def test_after_the_monitors_sudden_death_the_next_start_records_what_was_cut(apart: Apart) -> None:
    """What ran is gone before, also what ignores TERM; the trail is whole, with one end of everything."""
    daemon = apart.daemon
    with begin(daemon, "stubborn") as one, begin(daemon, "family") as other, daemon.caller() as idle:
        assert b"up\n" == one.line()
        other.end()
        apart.kill("monitor")
        assert idle.hear() is not None
        wait_for(lambda: not processes_of(one.request_id), "the end of what ran")
        apart.start("monitor")
        ended = end_record(daemon, one.request_id)
        started = next(record for record in daemon.records("command-started", request_id=one.request_id))

    assert ("command-killed", KILLED) == (ended["event"]["action"], ended["event"]["reason"])
    for path in (("user", "name"), ("rule", "name"), ("process", "pid"), ("source", "port")):
        assert started[path[0]][path[1]] == ended[path[0]][path[1]]
    for name in ("connection_id", "token_id", "policy_digest", "rule_place"):
        assert started["rexec"][name] == ended["rexec"][name]
    assert [("command-killed", one.request_id), *[("connection-closed", None)] * 2] == _ends(daemon)
    assert 1 == _last_start(daemon)["rexec"]["unfinished"]
    assert "command-exited" == end_record(daemon, other.request_id)["event"]["action"]
    assert "on\n" == daemon.rexec("echo", "on").stdout
    assert _is_whole(daemon)


def _is_whole(daemon: Daemon) -> bool:
    """Return whether every connection and every command has one end, and the seals fit."""
    # The last caller hears its answer before the monitor has written that its connection is closed.
    wait_for(lambda: _has_one_end_each(daemon), "one end of everything that began")
    return daemon.rexecd("audit", "verify", "--key", str(daemon.made.verification_key)).returncode == 0


def _has_one_end_each(daemon: Daemon) -> bool:
    ends = {"command-exited", "command-killed", "command-timed-out"}
    for begins, ends_with, name in (
        ("connection-opened", {"connection-closed"}, "connection_id"),
        ("command-allowed", ends, "request_id"),
    ):
        begun = [record["rexec"][name] for record in daemon.records(begins)]
        ended = [
            record["rexec"][name] for record in daemon.records() if record["event"]["action"] in ends_with
        ]
        if sorted(begun) != sorted(ended):
            return False
    return True


def test_serve_that_was_killed_with_all_of_its_own_is_recorded_at_the_next_start(own_daemon: Daemon) -> None:
    """A power cut, but for the machine."""
    own_daemon.start()
    with begin(own_daemon, "stubborn") as begun:
        assert b"up\n" == begun.line()
        own_daemon.kill()
        wait_for(lambda: not processes_of(begun.request_id), "the end of what ran")
        own_daemon.start()
        ended = end_record(own_daemon, begun.request_id)

    assert KILLED == ended["event"]["reason"]
    assert "on\n" == own_daemon.rexec("echo", "on").stdout


def test_a_start_after_a_stop_in_order_has_nothing_to_record(own_daemon: Daemon) -> None:
    """And says nothing of it; what the operator did in between changes nothing."""
    own_daemon.start()
    own_daemon.rexec("echo", "x")
    assert 0 == own_daemon.stop()
    assert 0 == own_daemon.rexecd("token", "create", "ann").returncode
    own_daemon.start()

    assert [] == _ends(own_daemon)
    assert "unfinished" not in _last_start(own_daemon)["rexec"]


def test_after_the_gateways_sudden_death_the_monitor_ends_and_records_everything(apart: Apart) -> None:
    """By itself, at once; and the next gateway finds it at work."""
    daemon = apart.daemon
    with begin(daemon, "stubborn") as begun:
        assert b"up\n" == begun.line()
        apart.kill("gateway")
        ended = end_record(daemon, begun.request_id)
        apart.start("gateway")

    assert ("command-killed", "connection-lost") == (ended["event"]["action"], ended["event"]["reason"])
    assert [] == processes_of(begun.request_id)
    assert "on\n" == daemon.rexec("echo", "on").stdout


def test_what_outlived_its_workers_ends_at_the_next_start(tmp_path: Path) -> None:
    """Monitor, launcher and workers are killed together: only its control group tells whose it was."""
    daemon = Daemon(tmp_path, settings=f"{SETTINGS}containment: control-group\n")
    try:
        made = Apart(daemon).__enter__()
    except AssertionError:
        assert "no control groups" in daemon.complaints()
        pytest.skip(daemon.complaints().strip())
    survivors: list[int] = []
    try:
        for _ in range(_ATTEMPTS):
            with begin(daemon, "stubborn") as begun:
                assert b"up\n" == begun.line()
                survivors = _kill_all_above(made, begun)
                made.start("monitor")
                left = processes_of(begun.request_id)
                ended = end_record(daemon, begun.request_id)
            if survivors:  # else another monitor has just started somewhere, and was quicker
                break
    finally:
        made.__exit__()

    assert survivors
    assert [] == left
    assert KILLED == ended["event"]["reason"]


def _kill_all_above(apart: Apart, begun: Begun) -> list[int]:
    """Stop and then kill the monitor, its launcher and all workers: none of them gets to do anything.

    Return what is left of the command. Who looks later may come too late: any monitor of this machine that
    starts ends what dead ones left.
    """
    monitor = apart.processes["monitor"].pid
    tree = [monitor]
    for pid in tree:
        tree += [child for child in children(pid) if child != begun.pid]
    ours = [pid for pid in tree if b"rexecd" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    for pid in ours:
        os.kill(pid, signal.SIGSTOP)
    # The lowest first: the kernel wakes (SIGCONT) a process group that is stopped and loses its last parent.
    for pid in reversed(ours):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, ours)), "their end")
    survivors = processes_of(begun.request_id)
    apart.wait("monitor")
    return survivors
