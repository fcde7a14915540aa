"""Checkpoints and files of a running service, as an auditor elsewhere sees them."""

import contextlib
import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.audit.checkpoint import notes
from tests.harness import SETTINGS, Daemon, wait_for


@contextlib.contextmanager
def running(directory: Path, audit: str = "") -> Iterator[Daemon]:
    """Give a running daemon with settings of its trail."""
    trail = f"audit: {{file: audit/audit.jsonl, step: 50ms{audit}}}\n"
    daemon = Daemon(directory, settings=SETTINGS + trail).start()
    try:
        yield daemon
    finally:
        if daemon.process is not None:
            daemon.stop()


class Auditor:
    """Another machine: the public key, and what was fetched."""

    def __init__(self, daemon: Daemon, desk: Path) -> None:
        self.daemon = daemon
        self.desk = desk
        desk.mkdir()
        secret, public = daemon.made.verification_key.read_text().splitlines()
        (desk / "secret.key").write_text(f"{secret}\n")
        (desk / "public.key").write_text(f"{public}\n")
        (desk / "secret.key").chmod(0o600)
        (desk / "public.key").chmod(0o644)

    def fetch(self) -> None:
        """Fetch the newest checkpoint."""
        with (self.desk / "checkpoints").open("a") as collected:
            collected.write((self.daemon.settings.audit.parent / "checkpoint").read_text())

    def copy(self) -> list[str]:
        """Copy the files of the trail, and return their names, the oldest first."""
        for path in self.daemon.settings.audit.parent.glob("audit.jsonl*"):
            shutil.copy(path, self.desk)
        return [*sorted(path.name for path in self.desk.glob("audit.jsonl.*")), "audit.jsonl"]

    def verify(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the real program there, without settings or state."""
        line = [sys.executable, "-I", "-m", "rexecd", "audit", "verify", *arguments]
        return subprocess.run(line, cwd=self.desk, capture_output=True, text=True, check=False, timeout=60)


def test_a_checkpoint_and_a_public_key_are_enough_elsewhere(tmp_path: Path) -> None:
    """No secret, no settings: every byte up to the checkpoint is checked, and a cut end is seen."""
    with running(tmp_path / "daemon") as daemon:
        auditor = Auditor(daemon, tmp_path / "desk")
        daemon.rexec("echo", "one")
        auditor.fetch()
        os.kill(daemon.monitor_pid, signal.SIGUSR1)
        wait_for(lambda: list(daemon.settings.audit.parent.glob("audit.jsonl.0*")), "another file")
        daemon.rexec("echo", "two")
        daemon.stop()
    auditor.fetch()
    files = auditor.copy()
    arguments = ("--key", "public.key", "--checkpoint", "checkpoints")
    good = auditor.verify(*arguments, *files)
    lines = (auditor.desk / "audit.jsonl").read_bytes().splitlines(keepends=True)
    (auditor.desk / "audit.jsonl").write_bytes(b"".join(lines[:-1]))
    cut = auditor.verify(*arguments, *files)
    (auditor.desk / "audit.jsonl").write_bytes(b"".join(lines).replace(b'"echo two"', b'"echo too"'))
    edited = auditor.verify(*arguments, *files)

    assert (0, "") == (good.returncode, good.stderr)
    assert "2 checkpoints fit; seals were not checked, for want of their key" in good.stdout
    assert (1, 1) == (cut.returncode, edited.returncode)
    assert "cut: " in cut.stdout
    assert "were written and are missing at the end" in cut.stdout
    assert "edited: of records " in edited.stdout
    assert "one is not what was signed" in edited.stdout


def test_a_checkpoint_outlives_a_host_that_was_taken(tmp_path: Path) -> None:
    """Root has cut the trail and put back the key file of before: on the host all looks well."""
    with running(tmp_path / "daemon") as daemon:
        auditor = Auditor(daemon, tmp_path / "desk")
        daemon.rexec("echo", "one")
        daemon.stop()
        trail, key = daemon.settings.audit, daemon.settings.trail_key
        before = (trail.read_bytes(), key.read_bytes())
        daemon.start()
        daemon.rexec("echo", "evil")
        wait_for(lambda: "evil" in trail.read_text(), "the record")
        daemon.stop()
    auditor.fetch()
    trail.write_bytes(before[0])
    key.write_bytes(before[1])
    at_home = daemon.rexecd("audit", "verify")
    elsewhere = auditor.verify("--key", "secret.key", *auditor.copy())
    with_checkpoint = auditor.verify("--key", "public.key", "--checkpoint", "checkpoints", *auditor.copy())

    assert (0, 0) == (at_home.returncode, elsewhere.returncode)
    assert 1 == with_checkpoint.returncode
    assert "cut: " in with_checkpoint.stdout


def test_a_sealing_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Whoever holds it can make trails; the public half may be anybody's."""
    with running(tmp_path / "daemon") as daemon:
        auditor = Auditor(daemon, tmp_path / "desk")
        daemon.stop()
    (auditor.desk / "secret.key").chmod(0o644)
    done = auditor.verify("--key", "secret.key", *auditor.copy())

    assert (1, True) == (done.returncode, "readable by others" in done.stderr)


def test_where_nothing_was_checked_it_is_said(tmp_path: Path) -> None:
    """A checkpoint of earlier records proves nothing of later ones, also where these follow at once."""
    with running(tmp_path / "daemon") as daemon:
        auditor = Auditor(daemon, tmp_path / "desk")
        wait_for(lambda: daemon.status()["trail"]["behind"] == 0, "a checkpoint of everything")
        auditor.fetch()
        os.kill(daemon.monitor_pid, signal.SIGUSR1)
        wait_for(lambda: list(daemon.settings.audit.parent.glob("audit.jsonl.0*")), "another file")
        daemon.rexec("echo", "one")
        daemon.stop()
    auditor.copy()
    done = auditor.verify("--key", "public.key", "--checkpoint", "checkpoints", "audit.jsonl")

    assert (1, "") == (done.returncode, done.stdout)
    assert "no checkpoint is of these records: without the sealing key nothing was checked" in done.stderr


def test_the_operators_command_gets_checkpoints(tmp_path: Path) -> None:
    """On its standard input, the last one at the stop."""
    taken = tmp_path / "taken"
    script = tmp_path / "take"
    script.write_text(f"#!/bin/sh\ncat >> {taken}\n")
    script.chmod(0o755)
    with running(tmp_path / "daemon", f", checkpoint_command: [{script}]") as daemon:
        auditor = Auditor(daemon, tmp_path / "desk")
        daemon.rexec("echo", "one")
        wait_for(taken.exists, "a checkpoint")
        daemon.stop()
    found = notes(taken.read_text())
    shutil.copy(taken, auditor.desk / "checkpoints")
    done = auditor.verify("--key", "public.key", "--checkpoint", "checkpoints", *auditor.copy())

    assert found[-1] == (daemon.settings.audit.parent / "checkpoint").read_text()
    assert 0 == done.returncode, done.stdout
    assert f"{len(found)} checkpoint" in done.stdout


def test_a_command_that_takes_its_time_is_left_alone(tmp_path: Path) -> None:
    """The monitor ends strangers among its children once a second; this is none."""
    taken = tmp_path / "taken"
    script = tmp_path / "take"
    script.write_text(f"#!/bin/sh\nsleep 2.2\ncat >> {taken}\n")
    script.chmod(0o755)
    with running(tmp_path / "daemon", f", checkpoint_command: [{script}]") as daemon:
        daemon.rexec("echo", "one")
        wait_for(taken.exists, "a checkpoint")

        assert "checkpoint_command" not in daemon.complaints()


def test_a_command_that_fails_stops_nothing_and_is_told_of(tmp_path: Path) -> None:
    """Once in the log, and in the status for as long as it lasts."""
    script = tmp_path / "take"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    with running(tmp_path / "daemon", f", checkpoint_command: [{script}]") as daemon:
        for _ in range(3):
            assert daemon.rexec("echo", "one").stdout == "one\n"
        wait_for(lambda: "exit status 3" in daemon.complaints(), "the complaint")
        status = daemon.rexecd("status")
        daemon.stop()

        assert (0, True) == (
            status.returncode,
            f"checkpoint_command: {script}: exit status 3" in status.stderr,
        )
        assert 1 == daemon.complaints().count("exit status 3")


def test_a_command_that_others_can_change_is_not_run(tmp_path: Path) -> None:
    """Check says so before, and status then."""
    script = tmp_path / "take"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o777)
    with running(tmp_path / "daemon", f", checkpoint_command: [{script}]") as daemon:
        daemon.rexec("echo", "one")
        wait_for(lambda: "can be changed by group or others" in daemon.rexecd("status").stderr, "the warning")
        check = daemon.rexecd("check")

    assert 1 == check.returncode
    assert f"audit: checkpoint_command: {str(script)!r} can be changed by group or others" in check.stderr
    assert not (tmp_path / "ran").exists()


FORGED = {
    "of another key": "web1.example/rexecd\n1\nAAAA\n\n— web1.example/rexecd AAAA\n",
    "no note": "noise\n",
    "nothing": "",
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_checkpoint_is_one_line(daemon: Daemon, tmp_path: Path, case: str) -> None:
    """It is no finding about the trail."""
    forged = tmp_path / "forged"
    forged.write_text(FORGED[case])
    done = daemon.rexecd("audit", "verify", "--checkpoint", str(forged))

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(f"rexecd: error: {forged}: ")
    assert done.stderr.count("\n") == 1


def test_on_the_host_the_key_file_alone_is_held_against_the_trail(own_daemon: Daemon) -> None:
    """After the auditor's key was moved away, as it should be."""
    own_daemon.start()
    own_daemon.rexec("echo", "one")
    own_daemon.stop()
    own_daemon.made.verification_key.unlink()
    good = own_daemon.rexecd("audit", "verify")
    trail = own_daemon.settings.audit
    trail.write_bytes(trail.read_bytes().replace(b'"echo one"', b'"echo two"', 1))
    edited = own_daemon.rexecd("audit", "verify")

    assert (0, 1) == (good.returncode, edited.returncode)
    assert "seals were not checked, for want of their key" in good.stdout
    assert "is not the one that was persisted" in edited.stdout


@pytest.mark.slow
def test_files_are_set_aside_under_load_without_a_gap(tmp_path: Path) -> None:
    """By size, by signal and by logrotate, while callers are at work."""
    with running(tmp_path / "daemon", ", max_size: 64KiB") as daemon:
        trail = daemon.settings.audit
        done = threading.Event()

        def work() -> None:
            with daemon.caller() as caller:
                while not done.is_set():
                    caller.run("echo " + "x" * 500)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(6):
            sequence = daemon.status()["trail"]["sequence"]
            wait_for(lambda: daemon.status()["trail"]["sequence"] > sequence + 100, "records")  # noqa: B023
            if turn % 2:
                os.kill(daemon.monitor_pid, signal.SIGUSR1)
            else:
                trail.rename(trail.with_name(f"audit.jsonl-{turn}"))
        wait_for(lambda: list(trail.parent.glob("*.gz")), "a compressed file")
        done.set()
        for thread in threads:
            thread.join()
        daemon.stop()
        verified = daemon.rexecd("audit", "verify")
        records = daemon.records()

    assert 0 == verified.returncode, verified.stdout
    assert list(range(1, len(records) + 1)) == [record["rexec"]["sequence"] for record in records]
    assert {1: True} == {
        gzip.decompress(path.read_bytes())[-1] == 0x0A: True for path in trail.parent.glob("*.gz")
    }
    shown = daemon.rexecd("audit", "show", "--action", "service-started")
    assert 1 == shown.stdout.count("\n")


def test_keys_are_made_for_who_has_none(own_daemon: Daemon, tmp_path: Path) -> None:
    """A new trail, begun by hand: the auditor's half is shown once, and fits."""
    state = own_daemon.settings.state
    again = own_daemon.rexecd("audit", "init-key")
    own_daemon.settings.trail_key.unlink()
    too_early = own_daemon.rexecd("audit", "init-key")
    (state / "checkpoint.key").unlink()
    own_daemon.settings.audit.rename(tmp_path / "old.jsonl")
    made = own_daemon.rexecd("audit", "init-key", "--out", str(tmp_path / "key"))
    own_daemon.start()
    own_daemon.rexec("echo", "one")
    own_daemon.stop()
    verified = own_daemon.rexecd("audit", "verify", "--key", str(tmp_path / "key"))
    (state / "checkpoint.key").unlink()
    warned = own_daemon.rexecd("check")
    second = own_daemon.rexecd("audit", "init-key")

    assert (1, True) == (again.returncode, "there is a key already" in again.stderr)
    assert (1, True) == (too_early.returncode, "another key's trail: move it away" in too_early.stderr)
    assert (0, "") == (made.returncode, made.stdout)
    assert 0o600 == (tmp_path / "key").stat().st_mode & 0o777
    assert 0 == verified.returncode, verified.stdout
    assert "the trail has no checkpoints: 'rexecd audit init-key' makes a key" in warned.stderr
    assert (0, 1) == (second.returncode, second.stdout.count("\n"))
    assert "+" in second.stdout
