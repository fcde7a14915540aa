"""Every kind of record that can be provoked from outside, from a real daemon, held against the tables."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from typing import Any, Final

import pytest

from rexecd.audit.vocabulary import Action
from rexecd.errors import Unavailable
from rexecd.identity.tokens import mint, spell_digest
from rexecd.seam import messages as seam
from rexecd.seam.channel import connect
from tests.commands import begin, end_record
from tests.harness import POLICY, SETTINGS, Daemon, as_login, wait_for
from tests.records import faults, schema_faults

_STRICT: Final = """\
max_connections_each: 2
penalty_silence: 10ms
penalty_protocol: 1s
penalty_least: 2500ms
audit: {file: audit/audit.jsonl, step: 50ms, keep: 1d}
"""
_MORE: Final = """\
  assassin:
    summary: Kill the worker that started it
    run: [/bin/sh, -c, "kill -KILL $PPID; sleep 60"]
"""
_GARBAGE: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_LOGIN: Final = 4711


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """Give a daemon in whose trail is everything."""
    daemon = Daemon(tmp_path_factory.mktemp("house"), settings=SETTINGS + _STRICT, policy=POLICY + _MORE)
    daemon.start()
    try:
        _trail(daemon)
        _commands(daemon)
        _strangers(daemon)
        _operators(daemon)
        _certificates(daemon)
        with begin(daemon, "sleep"):
            daemon.kill()
        with daemon.settings.audit.open("a") as trail:
            trail.write('{"@timestamp":"2026')
        daemon.start()
    finally:
        daemon.stop()
    return daemon


def _trail(daemon: Daemon) -> None:
    """Keep a file for long enough, and have a trail that cannot be written for a while."""
    audit = daemon.settings.audit
    for _ in range(2):
        daemon.rexec("echo", "x")
        before = audit.stat().st_ino
        os.kill(daemon.monitor_pid, signal.SIGUSR1)
        wait_for(lambda: audit.stat().st_ino != before, "a new file")  # noqa: B023 - asked at once
        if oldest := list(audit.parent.glob("audit.jsonl.0*1")):
            os.utime(oldest[0], (0, 0))
    daemon.wait_for_record("trail-pruned")
    away = audit.parent.rename(audit.parent.with_name("away"))
    assert 125 == daemon.rexec("echo", "x").returncode
    away.rename(audit.parent)
    daemon.wait_for_record("trail-resumed")


def _commands(daemon: Daemon) -> None:
    """Everything that can become of a command."""
    lines = ["echo x", "both", "capped", "self", "brief", "assassin"]
    lines += ["missing", "forbidden", "nosuch", "echo", 'echo "', "count"]
    with daemon.caller() as caller:
        for line in lines:
            caller.run(line)
    with begin(daemon, "sleep") as left:
        left.process.kill()
        end_record(daemon, left.request_id)


def _strangers(daemon: Daemon) -> None:
    """Those who are not let in, at each step, and those who are too many."""
    with daemon.caller("rxt_" + "x" * 58), daemon.caller() as one, daemon.caller() as two, daemon.caller():
        assert one.accepted
        assert two.accepted
    with daemon.caller(None, source="127.0.0.6"):
        wait_for(lambda: _of(daemon, "auth-refused", "127.0.0.6"), "the end of silence")
    for _ in range(4):
        with contextlib.suppress(ConnectionError), daemon.connect("127.0.0.5") as stranger:
            stranger.sendall(_GARBAGE)
            stranger.recv(100)
    daemon.wait_for_record("tls-failed")
    daemon.wait_for_record("source-penalized")
    channel = connect(daemon.settings.seam_socket, seam.SEAM, timeout=5)
    with contextlib.suppress(Unavailable):
        channel.send(seam.Authenticate("127.0.0.1", 1, "none", b""))
    daemon.wait_for_record("seam-violated")
    channel.close()


def _of(daemon: Daemon, action: str, address: str) -> list[dict[str, Any]]:
    return [record for record in daemon.records(action) if record.get("source", {}).get("ip") == address]


def _operators(daemon: Daemon) -> None:
    """Tokens of every fate, and policies good and bad, asked for and by a signal."""
    made = [_token(daemon, "create", "bob", "--note", "for CI", "--from", "10.0.0.0/8") for _ in range(2)]
    minted = mint(secrets.token_bytes)
    digest = spell_digest(minted.token_id, minted.digest)
    assert 0 == daemon.rexecd("token", "import", "bob", digest).returncode
    _token(daemon, "rotate", made[0])
    daemon.rexecd("token", "revoke", made[1])
    daemon.rexecd("token", "purge", "--older", "0s")
    assert 0 == daemon.rexecd("reload").returncode
    before = len(daemon.records("policy-loaded"))
    os.kill(daemon.monitor_pid, signal.SIGHUP)
    wait_for(lambda: len(daemon.records("policy-loaded")) > before, "the reload for the signal")
    good = daemon.settings.policy.read_text()
    daemon.settings.policy.write_text(good + "surplus: 1\nmore: 2\n")
    assert 1 == daemon.rexecd("reload").returncode
    daemon.settings.policy.write_text(good)


def _token(daemon: Daemon, *arguments: str) -> str:
    """Do something that makes a token, and return its id."""
    done = daemon.rexecd("token", *arguments)
    assert 0 == done.returncode, done.stderr
    return done.stdout[4:12]


def _certificates(daemon: Daemon) -> None:
    """One that is faulty, one that ends soon, one that is revoked."""
    good = daemon.settings.certificate.read_bytes()
    daemon.settings.certificate.write_bytes(b"x")
    os.kill(daemon.gateway_pid, signal.SIGHUP)
    daemon.wait_for_record("certificate-rejected")
    daemon.settings.certificate.write_bytes(good)
    assert 0 == daemon.rexecd("cert", "renew", "--days", "20").returncode
    os.kill(daemon.gateway_pid, signal.SIGHUP)
    daemon.wait_for_record("certificate-expiring")
    assert 0 == daemon.rexecd("cert", "revoke", f"sha256:{'ab' * 32}").returncode


@pytest.mark.parametrize("action", Action, ids=lambda action: action.value)
def test_every_kind_of_record_is_as_its_table_says(house: Daemon, action: Action) -> None:
    """What it always has is there, of its type, and nothing that is no field; and as the schema has it."""
    records = house.records(action.value)

    assert records
    assert [] == [fault for record in records for fault in faults(record) + schema_faults(record)]


def test_the_trail_of_it_is_whole(house: Daemon) -> None:
    """Numbers without a gap behind what was removed, times that are UTC."""
    records = house.records()
    first = house.records("trail-pruned")[0]["rexec"]["removed_until"] + 1

    assert list(range(first, first + len(records))) == [record["rexec"]["sequence"] for record in records]
    assert all(record["@timestamp"].endswith("Z") for record in records)
    assert 0 == house.rexecd("audit", "verify").returncode


def test_how_a_command_ended_is_said(house: Daemon) -> None:
    """Status or signal, how long it took, what it used, what went which way, and what was cut off."""
    ends = {
        record["rule"]["name"]: record
        for record in house.records()
        if record["event"]["action"] in {"command-exited", "command-timed-out", "command-killed"}
    }
    drained = {record["rule"]["name"]: record["rexec"] for record in house.records("command-drained")}

    assert (3, 5, 143) == tuple(ends[name]["process"]["exit_code"] for name in ("both", "capped", "brief"))
    assert signal.SIGSEGV == ends["self"]["rexec"]["signal"]
    for name in ("echo", "both", "capped", "self", "brief"):
        assert 0 < ends[name]["rexec"]["cpu_time"] < 60 * 10**9
        assert 1024**2 < ends[name]["rexec"]["peak_memory"] < 1024**3
        assert 0 < ends[name]["event"]["duration"] < 60 * 10**9
    assert (None, None) == (
        ends["assassin"]["rexec"]["cpu_time"],
        ends["assassin"]["rexec"]["peak_memory"],
    )
    assert (2, 0, False) == tuple(
        drained["echo"][name] for name in ("output_bytes", "error_output_bytes", "truncated")
    )
    assert (100_000, True) == (drained["capped"]["output_bytes"], drained["capped"]["truncated"])


def test_a_refusal_names_the_rule_that_was_asked_for(house: Daemon) -> None:
    """With its place, whoever may run it; null for what is no command."""
    refused = {record["rexec"]["line"]: record for record in house.records("command-refused")}
    names = {line: record["rule"]["name"] for line, record in refused.items()}

    assert {
        "missing": "missing",
        "forbidden": "forbidden",
        "echo": "echo",
        "count": "count",
        "nosuch": None,
        'echo "': None,
    } == names
    for line in ("missing", "forbidden", "echo"):
        path, row, _ = refused[line]["rexec"]["rule_place"].rsplit(":", 2)
        assert str(house.settings.policy) == path
        assert f"  {line}:" == house.settings.policy.read_text().splitlines()[int(row) - 1]
    assert refused["nosuch"]["rexec"]["rule_place"] is None


def test_what_operators_changed_says_who_asked(house: Daemon) -> None:
    """What nobody asked for does not: a start, a signal."""
    actions = ("token-created", "token-imported", "token-rotated", "token-revoked", "token-purged")
    asked = [record for action in actions for record in house.records(action)[-1:]]
    asked += house.records("policy-rejected") + house.records("certificate-revoked")
    loaded = [record["rexec"].get("operator_id") for record in house.records("policy-loaded")]

    assert {str(os.getuid())} == {record["rexec"]["operator_id"] for record in asked}
    assert [str(os.getuid()), None, None] == loaded  # that of the first start was removed
    assert not any("operator_id" in record["rexec"] for record in house.records("service-started"))


@pytest.mark.parametrize("is_running", [True, False])
def test_a_login_behind_sudo_is_named(own_daemon: Daemon, is_running: bool) -> None:
    """Through the running monitor, and where the command works in its place."""
    if is_running:
        own_daemon.start()
    line = [sys.executable, "-I", "-m", "rexecd", "token", "create", "bob"]
    line += ["--config", str(own_daemon.made.config)]
    subprocess.run(as_login(_LOGIN, line), stdout=subprocess.DEVNULL, check=True)
    recorded = own_daemon.records("token-created")[-1]["rexec"]

    assert (str(os.getuid()), str(_LOGIN)) == (recorded["operator_id"], recorded["login_id"])
