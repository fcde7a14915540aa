"""Where else records go, and what they add up to: a real daemon with its receivers."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rexecd.identity.certificates import expires
from tests.harness import SETTINGS, Daemon, wait_for
from tests.integration.conftest import end
from tests.openmetrics import Read, read
from tests.receivers import Journal, Receiver, taken_apart

#: A /run of its own, where the journal's socket is the one in the directory that is named.
_WITH_JOURNAL: Final = """
mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "$1" /run/systemd/journal || exit 99
shift
exec "$@"
"""


def _can_mount() -> bool:
    line = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/run"]
    return not os.geteuid() and not subprocess.run(line, capture_output=True, check=False).returncode


needs_mounts = pytest.mark.skipif(not _can_mount(), reason="nothing can be mounted here")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a directory beside the daemon's."""
    made = tmp_path / "beside"
    made.mkdir()
    return made


def _settings(place: Path, **audit: object) -> str:
    metrics = f"metrics_file: {place}/rexecd.prom\n"
    keys = "".join(f"  {name}: {value}\n" for name, value in audit.items())
    return f"{SETTINGS}{metrics}audit:\n  file: audit/audit.jsonl\n{keys}"


@pytest.fixture
def measured(tmp_path: Path, place: Path) -> Iterator[Daemon]:
    """Give a daemon that writes metrics."""
    made = Daemon(tmp_path / "daemon", settings=_settings(place)).start()
    yield made
    end(made)


def _metrics(daemon: Daemon) -> Read:
    asked = daemon.rexecd("status", "--metrics")
    assert (0, "") == (asked.returncode, asked.stderr)
    return read(asked.stdout)


def test_commands_are_measured_on_demand_and_in_a_file(measured: Daemon, place: Path) -> None:
    """By rule and outcome; the file's last words are those of a service that is up no more."""
    file = place / "rexecd.prom"
    wait_for(file.exists, "the file")
    first = read(file.read_text(), old=True)
    with measured.caller() as caller:
        for line in ("echo x", "echo y", "both", "self", "brief", "missing", "nothing", "forbidden"):
            caller.run(line)
        during = _metrics(measured)
    assert 0 == measured.rexec("echo", "x").returncode
    wait_for(lambda: _metrics(measured).value("rexecd_sessions") == 0, "the end of all sessions")
    after = _metrics(measured)
    measured.stop()
    last = read(file.read_text(), old=True)

    assert (1, 0) == (first.value("rexecd_up"), last.value("rexecd_up"))
    assert (1, 0) == (during.value("rexecd_sessions"), last.value("rexecd_sessions"))
    for found in (after, last):
        assert {
            ("_none", "refused"): 1,
            ("forbidden", "refused"): 1,
            ("both", "failed"): 1,
            ("brief", "timed-out"): 1,
            ("echo", "succeeded"): 3,
            ("missing", "not-started"): 1,
            ("self", "signalled"): 1,
        } == {
            (dict(labels)["rule"], dict(labels)["outcome"]): value
            for (name, labels), value in found.samples.items()
            if name == "rexecd_commands_total"
        }
        assert 6 == found.value("rexecd_command_duration_seconds_count")
        assert 5 == found.value("rexecd_command_duration_seconds_bucket", le="0.25")
        assert 2 == found.value("rexecd_refusals_total", code="not-permitted")
        assert found.value("rexecd_command_bytes_total", stream="stderr") >= len("err\n")
        assert (2, 2) == (
            found.value("rexecd_connections_opened_total"),
            found.value("rexecd_connections_closed_total"),
        )
    assert last.value("rexecd_trail_sequence") == len(measured.records())
    assert "nothing" not in file.read_text()  # what a caller wrote, and no rule is called


def test_certificate_policy_and_strangers_are_measured(measured: Daemon) -> None:
    """The gateway says which certificate it uses, and who did not come as far as a token."""
    with measured.connect() as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        wait_for(lambda: measured.records("tls-failed"), "the record")
    with measured.caller("rxt_Abcdefgh_" + "1" * 49):
        wait_for(lambda: measured.records("auth-refused"), "the record")
    wait_for(lambda: measured.records("certificate-loaded"), "the gateway's certificate")
    found = _metrics(measured)
    ends = expires(measured.settings.certificate.read_bytes()).timestamp()

    assert {ends} == {
        found.value("rexecd_certificate_expiry_timestamp_seconds", certificate=which)
        for which in ("file", "gateway")
    }
    assert found.has("rexecd_policy_info", digest=measured.status()["policy_digest"])
    assert found.has("rexecd_build_info", version=measured.status()["version"])
    assert 1 == found.value("rexecd_tls_failures_total")
    assert 1 == found.value("rexecd_refusals_total", code="authentication-failed")


def test_a_metrics_file_that_cannot_be_written_is_no_ones_trouble(tmp_path: Path, place: Path) -> None:
    """It is logged with its remedy, and `status` warns."""
    daemon = Daemon(tmp_path / "daemon", settings=_settings(place / "missing")).start()
    try:
        wait_for(lambda: "change metrics_file" in daemon.complaints(), "the log")
        status = daemon.status()
        assert 0 == daemon.rexec("echo", "x").returncode
    finally:
        end(daemon)

    fault = f"{place}/missing/rexecd.prom: cannot be written: No such file or directory"
    assert [fault] == status["warnings"]
    assert (fault, []) == (status["metrics_file"]["error"], status["problems"])
    assert 1 == daemon.complaints().count(fault)


def test_without_a_monitor_there_are_no_metrics(own_daemon: Daemon) -> None:
    """One line says so, and nothing is printed that could be taken for them."""
    asked = own_daemon.rexecd("status", "--metrics")

    assert (1, "") == (asked.returncode, asked.stdout)
    assert asked.stderr.startswith("rexecd: error: rexecd does not run here ")
    assert 1 == len(asked.stderr.splitlines())
    assert 2 == own_daemon.rexecd("status", "--metrics", "--json").returncode


def _lines(daemon: Daemon) -> list[str]:
    """Return what stands in the trail."""
    return daemon.settings.audit.read_text().splitlines()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["datagram", "stream"])
def test_syslog_gets_what_the_file_has(tmp_path: Path, place: Path, kind: socket.SocketKind) -> None:
    """From the first record on, which was made while no monitor ran, to the last one of a stop."""
    with Receiver(place / "syslog", socket.SOCK_DGRAM) as early:
        daemon = Daemon(tmp_path / "daemon", settings=_settings(place, syslog=place / "syslog"))
        messages = [early.next() for _ in _lines(daemon)]
    with Receiver(place / "syslog", kind) as syslog, syslog.gathering() as gathered:
        daemon.start()
        try:
            for word in ("one", "two"):
                assert 0 == daemon.rexec("echo", word).returncode
        finally:
            end(daemon)
    lines = _lines(daemon)
    messages += gathered

    assert lines == [message.decode().partition(" - ")[2] for message in messages]
    assert all(message.startswith(b"<8") and b" rexecd-audit " in message for message in messages)
    assert "trail-opened" == messages[0].split()[5].decode()
    assert "service-stopped" == messages[-1].split()[5].decode()


@needs_mounts
def test_the_journal_gets_fields(tmp_path: Path, place: Path) -> None:
    """Each record is an entry; the log does not mix with it."""
    daemon = Daemon(tmp_path / "daemon", settings=_settings(place, journal="true"))
    before = len(_lines(daemon))
    with Journal(place / "socket") as journal, journal.gathering() as gathered:
        daemon.start("unshare", "--mount", "sh", "-c", _WITH_JOURNAL, "sh", str(place))
        try:
            assert 0 == daemon.rexec("echo", "some words").returncode
            status = daemon.status()
        finally:
            end(daemon)
    lines = _lines(daemon)[before:]
    entries = list(map(taken_apart, gathered))
    (allowed,) = (entry for entry in entries if entry["REXECD_ACTION"] == "command-allowed")

    assert lines == [entry["REXECD_RECORD"] for entry in entries]
    assert ("ann", "echo", "/bin/echo 'some words'") == tuple(
        allowed[f"REXECD_{name}"] for name in ("PRINCIPAL", "RULE", "ARGV")
    )
    assert {"rexecd-audit"} == {entry["SYSLOG_IDENTIFIER"] for entry in entries}
    assert (0, None) == (status["journal"]["dropped"], status["journal"]["error"])


def test_a_receiver_that_hangs_delays_nobody_and_loses_nothing(tmp_path: Path, place: Path) -> None:
    """The file has everything; the stop does not wait for it; `status` and metrics say what happens."""
    with Receiver(place / "syslog", socket.SOCK_STREAM):
        daemon = Daemon(tmp_path / "daemon", settings=_settings(place, syslog=place / "syslog")).start()
        try:
            with daemon.caller() as caller:
                for _ in range(100):
                    caller.run(f"echo {'x' * 3000}")
            wait_for(lambda: daemon.status()["syslog"]["error"], "a fault")
            status, found = daemon.status(), _metrics(daemon)
        finally:
            assert 0 == daemon.stop()
    facts: dict[str, Any] = status["syslog"]
    records = daemon.records()

    assert 100 == len([each for each in records if each["event"]["action"] == "command-drained"])
    assert list(range(1, len(records) + 1)) == [each["rexec"]["sequence"] for each in records]
    assert "it does not read what is sent" == facts["error"]
    assert 50_000 < facts["waiting"] <= 4 * 1024 * 1024
    (warning,) = status["warnings"]
    assert warning.startswith(f"syslog: {facts['error']}: ")
    assert 0 == found.value("rexecd_sink_up", sink="syslog")
    assert 1 == daemon.complaints().count("it does not read what is sent")
    assert 0 == daemon.rexecd("audit", "verify").returncode
