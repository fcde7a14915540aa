"""The trail of real sessions: complete, sealed, and a condition for everything else."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Daemon


def test_a_connections_story_can_be_read_from_its_id(daemon: Daemon) -> None:
    """Opened, accepted, allowed, started, exited, drained, closed: in this order, with one thread."""
    with daemon.caller() as caller:
        caller.run("echo story")
        assert caller.accepted
        connection = caller.accepted.connection_id
    daemon.wait_for_record("connection-closed", connection_id=connection)
    story = daemon.records(connection_id=connection)

    assert [
        "connection-opened", "auth-accepted", "command-allowed", "command-started", "command-exited",
        "command-drained", "connection-closed",
    ] == [record["event"]["action"] for record in story]  # fmt: skip
    assert 1 == len({record["process"]["thread"]["name"] for record in story})
    assert ["/bin/echo", "story"] == story[2]["process"]["args"]
    assert ("echo", 0, 6) == (
        story[2]["rule"]["name"],
        story[4]["process"]["exit_code"],
        story[5]["rexec"]["output_bytes"],
    )
    assert {"ann"} == {record["user"]["name"] for record in story[1:]}


@pytest.mark.parametrize("change", ["edit", "delete", "swap", "insert", "cut"])
def test_verify_finds_what_was_done_to_the_trail(own_daemon: Daemon, change: str) -> None:
    """It says which line; untouched, it says good."""
    own_daemon.start()
    for number in range(5):
        own_daemon.rexec("echo", str(number))
    own_daemon.stop()
    trail = own_daemon.settings.audit
    before = own_daemon.rexecd("audit", "verify")
    lines = trail.read_text().splitlines(keepends=True)
    match change:
        case "edit":
            lines[9] = lines[9].replace("echo", "ecco", 1)
        case "delete":
            del lines[9]
        case "swap":
            lines[9], lines[10] = lines[10], lines[9]
        case "insert":
            lines.insert(9, lines[8])
        case "cut":
            del lines[-3:]
    trail.write_text("".join(lines))
    after = own_daemon.rexecd("audit", "verify")

    assert 0 == before.returncode
    assert 1 == after.returncode
    assert (str(len(lines)) if change == "cut" else "10") in after.stdout


def test_an_auditor_verifies_a_copy_elsewhere(own_daemon: Daemon, tmp_path: Path) -> None:
    """With the key and the file alone: no settings, no state."""
    own_daemon.start()
    own_daemon.rexec("echo", "x")
    own_daemon.stop()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(own_daemon.settings.audit, elsewhere / "trail")
    shutil.copy(own_daemon.made.verification_key, elsewhere / "key")
    program = [sys.executable, "-I", "-m", "rexecd", "audit", "verify", "--key", "key", "trail"]
    done = subprocess.run(program, cwd=elsewhere, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    assert "the end was not checked" in done.stdout


def test_a_reader_that_goes_away_is_no_error(daemon: Daemon) -> None:
    """`rexecd audit show | head -1`."""
    assert (141, b"") == daemon.rexecd_read_once("audit", "show", *[str(daemon.settings.audit)] * 400)


def test_nothing_runs_when_the_trail_cannot_be_written(own_daemon: Daemon) -> None:
    """125 and `try later`; the service resumes by itself, and the trail still verifies."""
    own_daemon.start()
    before = own_daemon.rexec("echo", "before")
    with own_daemon.caller() as caller:
        _, hard = resource.prlimit(own_daemon.monitor_pid, resource.RLIMIT_FSIZE)
        size = own_daemon.settings.audit.stat().st_size
        resource.prlimit(own_daemon.monitor_pid, resource.RLIMIT_FSIZE, (size, hard))
        open_session = caller.run("echo never")[-1]
        new_session = own_daemon.rexec("echo", "never")
        red = own_daemon.rexecd("status")
        resource.prlimit(own_daemon.monitor_pid, resource.RLIMIT_FSIZE, (hard, hard))
        again = caller.run("echo again")[1]
    after = own_daemon.rexec("echo", "after")
    own_daemon.stop()

    assert ("before\n", "after\n", b"again\n") == (before.stdout, after.stdout, again.data)
    assert 8 == open_session.code
    assert (125, "") == (new_session.returncode, new_session.stdout)
    assert "try later" in new_session.stderr
    assert 1 == red.returncode
    assert "never" not in own_daemon.settings.audit.read_text()
    assert 0 == own_daemon.rexecd("audit", "verify").returncode


def test_show_prints_one_safe_line_a_record(daemon: Daemon) -> None:
    """What a caller wrote cannot reach the operator's terminal unescaped."""
    daemon.rexec("echo", "\x1b[31mred\u202e\x07")
    shown = daemon.rexecd("audit", "show").stdout

    assert "command-refused" in shown
    assert all(" " <= character <= "~" or character == "\n" for character in shown)
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in daemon.settings.audit.read_bytes())


def test_a_killed_monitor_leaves_a_trail_that_is_continued(own_daemon: Daemon) -> None:
    """The chain goes on behind whatever was written; nothing is lost, nothing is torn."""
    own_daemon.start()
    own_daemon.rexec("echo", "first")
    own_daemon.kill()
    with own_daemon.settings.audit.open("ab") as file:
        file.write(b'{"torn": ')
    own_daemon.start()
    done = own_daemon.rexec("echo", "second")
    own_daemon.stop()

    assert "second\n" == done.stdout
    assert 1 == len(own_daemon.records("trail-repaired"))
    assert 0 == own_daemon.rexecd("audit", "verify").returncode


def test_a_trail_of_another_chain_is_not_continued(own_daemon: Daemon) -> None:
    """The monitor refuses to start, says where, and touches nothing."""
    own_daemon.start()
    own_daemon.rexec("echo", "x")
    own_daemon.stop()
    trail = own_daemon.settings.audit
    shutil.copy(trail, trail.with_suffix(".old"))
    trail.write_bytes(trail.read_bytes()[:-200].rpartition(b"\n")[0] + b"\n")
    before = trail.read_bytes()
    done = own_daemon.rexecd("serve")

    assert 1 == done.returncode
    assert f"{trail}" in done.stderr
    assert "rexecd audit verify" in done.stderr
    assert before == trail.read_bytes()


def test_the_records_of_strangers_stay_small(daemon: Daemon) -> None:
    """Who has no token cannot fill the disk with words."""
    with daemon.caller("x" * 256):
        pass
    record = daemon.wait_for_record("auth-refused")

    assert len(json.dumps(record)) < 1200
