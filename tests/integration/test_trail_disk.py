"""Real disks that are full, read-only, faulty or gone: nothing runs that is not recorded, and it recovers."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.wire import messages as wire
from tests.harness import SETTINGS, Daemon, wait_for

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")


def run(*line: object) -> str:
    """Run one of the machine's tools."""
    return subprocess.run(list(map(str, line)), check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def mounted(where: Path, *arguments: object) -> Iterator[None]:
    """Mount a file system there for a while."""
    run("mount", *arguments, where)
    try:
        where.chmod(0o700)
        yield
    finally:
        run("umount", "-l", where)


def prepared(tmp_path: Path, disk: Path) -> Daemon:
    """Return a daemon whose trail is on that disk, and takes steps quickly."""
    audit = f"audit: {{file: {disk}/audit.jsonl, step: 50ms}}\n"
    return Daemon(tmp_path / "daemon", settings=SETTINGS + audit)


@contextlib.contextmanager
def stopped_at_last(daemon: Daemon) -> Iterator[Daemon]:
    """Give a daemon, and stop it however that ends."""
    try:
        yield daemon
    finally:
        if daemon.process is not None:
            daemon.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a directory for a trail."""
    made = tmp_path / "disk"
    made.mkdir(mode=0o700)
    return made


def is_red(daemon: Daemon, why: str) -> bool:
    """Return whether status is red, and says why."""
    done = daemon.rexecd("status")
    return (
        done.returncode == 1
        and f"nothing runs: {daemon.settings.audit}" in done.stderr
        and why in done.stderr
    )


def is_green(daemon: Daemon) -> bool:
    """Return whether nothing is wrong."""
    return daemon.rexecd("status").returncode == 0


def is_refused(daemon: Daemon) -> bool:
    """Return whether a new caller is told to try later, and nothing runs."""
    done = daemon.rexec("echo", "never")
    return (done.returncode, done.stdout) == (125, "") and "try later" in done.stderr


@ROOT_ONLY
def test_a_full_disk_stops_everything_until_there_is_room(tmp_path: Path, disk: Path) -> None:
    """The end of what ran then is not lost: it is the first thing that is written."""
    with (
        mounted(disk, "-t", "tmpfs", "-o", "size=256k", "none"),
        stopped_at_last(prepared(tmp_path, disk)) as daemon,
    ):
        daemon.start()
        with daemon.caller() as caller:
            caller.say(wire.Run("sleep", wire.Offer.NONE, ""))
            daemon.wait_for_record("command-started")
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(512))
            for _ in range(20):  # what is left of the trail's last page
                if is_refused(daemon):
                    break
            assert is_red(daemon, "No space left on device")
        wait_for(lambda: daemon.status()["trail"]["owed"] > 0, "an end that is owed")
        ballast.unlink()
        wait_for(lambda: is_green(daemon), "the recovery")
        killed = daemon.wait_for_record("command-killed")
        assert daemon.rexec("echo", "again").stdout == "again\n"
        daemon.stop()

        resumed = daemon.records("trail-resumed")[0]
        assert "No space left on device" in resumed["event"]["reason"]
        assert resumed["rexec"]["sequence"] < killed["rexec"]["sequence"]
        assert len(daemon.records("connection-opened")) == len(daemon.records("connection-closed"))
        assert daemon.rexecd("audit", "verify").returncode == 0


def loop_device(image: Path) -> str:
    """Return a loop device of a new file system without a journal; skip the test where there is none."""
    with image.open("wb") as file:
        file.truncate(8 * 1024 * 1024)
    try:
        run("mkfs.ext4", "-q", "-O", "^has_journal", image)
        return run("losetup", "--find", "--show", image)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop device: {error}")


@ROOT_ONLY
def test_a_disk_that_becomes_read_only_stops_everything(tmp_path: Path, disk: Path) -> None:
    """As the kernel does it after an error (errors=remount-ro); mounted anew, a start goes on."""
    device = loop_device(tmp_path / "image")
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(mounted(disk, device))
            daemon = stack.enter_context(stopped_at_last(prepared(tmp_path, disk))).start()
            assert daemon.rexec("echo", "before").stdout == "before\n"
            run("mount", "-o", "remount,abort", disk)
            assert is_refused(daemon)
            assert is_red(daemon, "Read-only file system")
        with mounted(disk, device), stopped_at_last(daemon):
            daemon.start()
            assert daemon.rexec("echo", "after").stdout == "after\n"
            daemon.stop()
            assert "never" not in daemon.settings.audit.read_text()
            assert daemon.rexecd("audit", "verify").returncode == 0
    finally:
        run("losetup", "--detach", device)


@ROOT_ONLY
def test_a_disk_that_loses_what_it_took_stops_everything_until_it_does_no_more(
    tmp_path: Path, disk: Path
) -> None:
    """Writes reach the kernel and not the disk. Only the sync says so, once: all is written again then."""
    below = tmp_path / "below"
    below.mkdir()
    with mounted(below, "-t", "tmpfs", "-o", "size=16m", "none"), contextlib.ExitStack() as stack:
        device = loop_device(below / "image")
        stack.callback(run, "losetup", "--detach", device)
        stack.enter_context(mounted(disk, device))
        daemon = stack.enter_context(stopped_at_last(prepared(tmp_path, disk))).start()
        used = (below / "image").stat().st_blocks // 2
        run("mount", "-o", f"remount,size={used}k", below)
        for _ in range(40):
            if is_refused(daemon):
                break
        assert is_red(daemon, "cannot be made durable: No space left")
        run("mount", "-o", "remount,size=16m", below)
        wait_for(lambda: is_green(daemon), "the recovery")
        assert daemon.rexec("echo", "after").stdout == "after\n"
        daemon.stop()
        run("umount", disk)  # so that what is read comes from the disk
        run("mount", device, disk)

        assert "cannot be made durable" in daemon.records("trail-resumed")[0]["event"]["reason"]
        assert daemon.rexecd("audit", "verify").returncode == 0


def test_a_directory_that_vanishes_stops_everything_until_it_is_back(tmp_path: Path, disk: Path) -> None:
    """What would be written into the void is not written."""
    with stopped_at_last(prepared(tmp_path, disk)) as daemon:
        daemon.start()
        away = disk.rename(tmp_path / "away")

        assert is_refused(daemon)
        assert is_red(daemon, "not found")
        away.rename(disk)
        wait_for(lambda: is_green(daemon), "the recovery")
        assert daemon.rexec("echo", "again").stdout == "again\n"
        daemon.stop()
        assert daemon.rexecd("audit", "verify").returncode == 0


def test_a_trail_that_somebody_writes_to_stops_everything_until_it_is_moved_away(
    tmp_path: Path, disk: Path
) -> None:
    """The evidence stays as it is, and the chain goes on in a new file."""
    with stopped_at_last(prepared(tmp_path, disk)) as daemon:
        daemon.start()
        audit = daemon.settings.audit
        with audit.open("ab") as file:
            file.write(b'{"forged":1}\n')

        assert is_refused(daemon)
        assert is_red(daemon, "somebody else has written it; run 'rexecd audit verify', and move it away")
        evidence = audit.rename(audit.with_name("evidence"))
        wait_for(lambda: is_green(daemon), "the recovery")
        assert daemon.rexec("echo", "again").stdout == "again\n"
        daemon.stop()
        found = daemon.rexecd("audit", "verify", str(evidence), str(audit))
        assert (found.returncode, "not-a-record" in found.stdout) == (1, True)
