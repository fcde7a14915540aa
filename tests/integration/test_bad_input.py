"""What the operator and the caller get wrong: one clear line each, with place and remedy."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rexecd.identity.certificates import issue_server, make_authority
from tests.harness import POLICY, SETTINGS, Daemon

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the complaint, which is free of tracebacks; a hint may follow it."""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr
    return done.stderr


def test_check_reports_every_fault_of_all_files_at_once(own_daemon: Daemon) -> None:
    """Each with file, line and column; exit status 1."""
    own_daemon.settings.policy.write_text(
        "version: 1\nprincipals:\n  ann: {roles: [tester, missing]}\nroles:\n  tester: {allow: [echo]}\n"
        "commands:\n  echo:\n    sumary: x\n    run: echo hi\n    timeout: 30\n    sandbox: best_effort\n"
    )
    own_daemon.settings.key.chmod(0o644)
    done = own_daemon.rexecd("check")
    lines = done.stderr.splitlines()

    assert 1 == done.returncode
    for place, what in (
        ("policy.yaml:3:", "missing"),
        ("policy.yaml:8:5", "did you mean 'summary'?"),
        ("policy.yaml:9:", "absolute"),
        ("policy.yaml:10:", "unit"),
        ("policy.yaml:11:14", "expected a mapping"),
        ("server.key", "chmod 640"),
    ):
        assert [line for line in lines if place in line and what in line], (place, what, done.stderr)


def test_check_knows_a_state_that_cannot_start(own_daemon: Daemon) -> None:
    """A damaged key, a directory that others can write to."""
    own_daemon.settings.trail_key.write_text("junk")
    damaged = own_daemon.rexecd("check")
    own_daemon.settings.state.chmod(0o777)
    exposed = own_daemon.rexecd("check")

    assert (1, 1) == (damaged.returncode, exposed.returncode)
    assert "trail.key: damaged" in damaged.stderr
    assert "state: writable by group or others" in exposed.stderr


def test_check_of_what_init_makes_is_good(tmp_path: Path) -> None:
    """The shipped files need no change to start; warnings are of what is not on this machine."""
    program = [sys.executable, "-I", "-m", "rexecd"]
    made = subprocess.run([*program, "init", str(tmp_path / "x")], capture_output=True, text=True, check=True)
    config = str(tmp_path / "x" / "rexecd.yaml")
    checked = subprocess.run(
        [*program, "check", "--config", config], capture_output=True, text=True, check=False
    )
    again = subprocess.run(
        [*program, "init", str(tmp_path / "x")], capture_output=True, text=True, check=False
    )

    assert 0 == checked.returncode
    assert [] == [
        line
        for line in checked.stderr.splitlines()
        if not any(code in line for code in ("RX107", "RX206", "RX402"))
    ]
    assert "rexecd serve --config" in made.stdout
    assert 1 == again.returncode
    assert "already there" in _one_line(again)


@pytest.mark.parametrize(
    ("text", "complaint"),
    {
        "a tab": ("version: 1\n\tlisten: x\n", ":2:1: a tab"),
        "a duplicate": (SETTINGS + "grace_time: 1s\n", "repeated key 'grace_time', first on line"),
        "a wrong type": ("version: 1\nmax_connections: many\n", ":2:18: expected an integer"),
        "nothing is unlimited": ("version: 1\nmax_connections: 0\n", ":2:18: '0' is not between 1 and"),
        "an unknown key": ("version: 1\nlisen: x\n", ":2:1: unknown key 'lisen' (did you mean 'listen'?)"),
        "no address": ("version: 1\nlisten: nowhere\n", "no ADDR:PORT"),
        "a bare IPv6 address": ("version: 1\nlisten: '::1:7512'\n", "brackets"),
        "a guess": ("version: 1\nbanner: no\n", "'no' is read as a boolean by YAML; quote it"),
        "impatience": ("version: 1\nstop_time: 1s\n", "stop_time must be longer than kill_grace"),
        "an empty file": ("", "the file is empty"),
        "no UTF-8": ("version: 1 # \udcff\n", "not UTF-8 at byte"),
    }.values(),
)
def test_faulty_settings_stop_the_start_with_one_line(own_daemon: Daemon, text: str, complaint: str) -> None:
    """Place and remedy."""
    own_daemon.made.config.write_bytes(text.encode(errors="surrogateescape"))
    done = own_daemon.rexecd("serve")

    assert 1 == done.returncode
    assert complaint in _one_line(done)


def test_a_faulty_policy_stops_the_start(own_daemon: Daemon) -> None:
    """The monitor says where; serve says which process ended."""
    own_daemon.settings.policy.write_text(POLICY.replace("commands:", "comands:"))
    done = own_daemon.rexecd("serve")

    assert 1 == done.returncode
    assert "policy.yaml:" in done.stderr
    assert "did you mean 'commands'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name", ["certs/server.key", "certs/server.pem", "policy.yaml", "state/trail.key", "rexecd.yaml"]
)
def test_a_missing_file_is_named_with_its_remedy(own_daemon: Daemon, name: str) -> None:
    """Whichever it is."""
    path = own_daemon.made.config.parent / name
    path.unlink()
    done = own_daemon.rexecd("serve")

    assert 1 == done.returncode
    assert str(path) in done.stderr
    assert re.search(r"rexecd (audit )?init", done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["certs/server.key", "state/trail.key", "state/tokens.sqlite"])
def test_a_secret_that_others_can_read_stops_the_start(own_daemon: Daemon, name: str) -> None:
    """The remedy is the chmod to run."""
    (own_daemon.made.config.parent / name).chmod(0o644)
    done = own_daemon.rexecd("serve")

    assert 1 == done.returncode
    assert name in done.stderr
    assert "chmod" in done.stderr


@pytest.mark.parametrize("name", ["state", "audit", "run"])
def test_a_directory_that_others_can_write_to_stops_the_start(own_daemon: Daemon, name: str) -> None:
    """Whoever can change its names can put another socket, key or trail there."""
    (own_daemon.made.config.parent / name).chmod(0o777)
    done = own_daemon.rexecd("serve")

    assert 1 == done.returncode
    assert f"{name}: writable by group or others (mode 0777); chmod go-w it" in done.stderr


def test_certificate_and_key_that_are_no_pair(own_daemon: Daemon) -> None:
    """Named both."""
    other = issue_server(make_authority("x", now=LONG_AGO, days=9000), ["x"], now=LONG_AGO, days=9000)
    own_daemon.settings.certificate.write_bytes(other.certificate_pem)
    done = own_daemon.rexecd("serve")

    assert 1 == done.returncode
    assert "not a usable pair" in done.stderr


def test_a_trail_that_cannot_be_opened_stops_the_start(own_daemon: Daemon) -> None:
    """A directory in its place stands for every reason: read-only, full, not ours."""
    own_daemon.settings.audit.unlink()
    own_daemon.settings.audit.mkdir()
    done = own_daemon.rexecd("serve")

    assert 1 == done.returncode
    assert str(own_daemon.settings.audit) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.root
def test_a_read_only_audit_directory_stops_the_start(own_daemon: Daemon) -> None:
    """A real read-only file system."""
    directory = str(own_daemon.settings.audit.parent)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,mode=0700", "none", directory], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        done = own_daemon.rexecd("serve")
    finally:
        subprocess.run(["umount", directory], check=True)

    assert 1 == done.returncode
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def _with_server_certificate(daemon: Daemon, hosts: list[str], now: datetime, days: int) -> None:
    """Give the daemon a certificate of a new authority, which callers then trust."""
    authority = make_authority("another", now=LONG_AGO, days=9000)
    server = issue_server(authority, hosts, now=now, days=days)
    daemon.made.authority.write_bytes(authority.certificate_pem)
    daemon.settings.certificate.write_bytes(server.certificate_pem)
    daemon.settings.key.write_bytes(server.key_pem)


def test_a_caller_refuses_a_server_of_another_authority(daemon: Daemon, tmp_path: Path) -> None:
    """255, before the token is sent; the server records the failed handshake."""
    wrong = tmp_path / "ca.pem"
    wrong.write_bytes(make_authority("wrong", now=datetime.now(UTC), days=1).certificate_pem)
    line = [
        word if word != str(daemon.made.authority) else str(wrong) for word in daemon.rexec_line("echo", "x")
    ]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=20)

    assert 255 == done.returncode
    assert "authority" in _one_line(done)
    daemon.wait_for_record("tls-failed")


def test_a_caller_refuses_a_server_of_another_name(own_daemon: Daemon) -> None:
    """The name in the certificate is not the one that was called."""
    _with_server_certificate(own_daemon, ["elsewhere.example"], datetime.now(UTC), 10)
    own_daemon.start()
    done = own_daemon.rexec("echo", "x")

    assert 255 == done.returncode
    assert "127.0.0.1" in _one_line(done)


def test_a_caller_refuses_an_expired_certificate(own_daemon: Daemon) -> None:
    """It says since when."""
    _with_server_certificate(own_daemon, ["127.0.0.1"], datetime.now(UTC) - timedelta(days=20), 10)
    own_daemon.start()
    done = own_daemon.rexec("echo", "x")

    assert 255 == done.returncode
    assert "expired" in _one_line(done)


def test_a_caller_refuses_a_wrong_pin(daemon: Daemon) -> None:
    """Loudly."""
    line = daemon.rexec_line("echo", "x")
    at = line.index("--ca")
    line[at : at + 2] = ["--pin", "sha256:" + "0" * 64]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=20)

    assert 255 == done.returncode
    assert "pin" in _one_line(done)


def test_ten_thousand_arguments_are_one_clear_line(daemon: Daemon) -> None:
    """Refused by the caller's program or by the server; the daemon serves on."""
    done = daemon.rexec("echo", *(["a"] * 10_000))

    assert done.returncode in (126, 255)
    assert _one_line(done)
    assert 0 == daemon.rexec("echo", "on").returncode


def test_usage_errors_of_both_programs_are_not_tracebacks(daemon: Daemon) -> None:
    """rexec: 255; rexecd: 2."""
    wrong_caller = daemon.rexec("--no-such-option", "HOST")
    wrong_operator = daemon.rexecd("no-such-verb")
    wrong_address = daemon.rexecd("serve", "--listen", "nowhere")

    assert (255, 2, 2) == (wrong_caller.returncode, wrong_operator.returncode, wrong_address.returncode)
    assert "no ADDR:PORT" in wrong_address.stderr
    assert "Traceback" not in wrong_caller.stderr + wrong_operator.stderr
