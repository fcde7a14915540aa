"""What a service manager sees of both processes, and what its reload does."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.cli.init import lay_out
from tests.harness import PATIENCE, Daemon, wait_for


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Return a socket that hears what processes say of themselves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE)
        yield sock


@contextlib.contextmanager
def _started(daemon: Daemon, manager: socket.socket, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a verb as a service manager does, and end it."""
    line = [sys.executable, "-I", "-m", "rexecd", *words, "--config", str(daemon.made.config)]
    environment = os.environ | {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "400000"}
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _hear(manager: socket.socket, start: str) -> str:
    """Return the next thing said that begins so."""
    while True:
        said = manager.recv(4096).decode()
        if said.startswith(start):
            return said


def _certificate(daemon: Daemon) -> bytes | None:
    """Return what the server shows to a caller that comes now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as raw,
        context.wrap_socket(raw) as tls,
    ):
        return tls.getpeercert(binary_form=True)


@pytest.mark.parametrize("words", [["monitor"], ["gateway", "--listen", "127.0.0.1:0"], ["serve"]])
def test_a_service_manager_hears_when_it_is_ready_lives_and_stops(
    own_daemon: Daemon, manager: socket.socket, words: list[str]
) -> None:
    """Each verb for itself; the monitor's STATUS says what is in force."""
    with _started(own_daemon, manager, *words) as process:
        ready = _hear(manager, "READY=1")
        _hear(manager, "WATCHDOG=1")
        process.terminate()
        _hear(manager, "STOPPING=1")

    assert process.returncode == 0
    assert words[0] != "monitor" or ", 0 sessions, 0 commands running" in ready


@pytest.mark.parametrize("words", [["monitor"], ["gateway", "--listen", "127.0.0.1:0"]])
def test_a_reload_begins_and_ends_for_the_service_manager(
    own_daemon: Daemon, manager: socket.socket, words: list[str]
) -> None:
    """However it comes out; here the files are gone."""
    with _started(own_daemon, manager, *words) as process:
        _hear(manager, "READY=1")
        own_daemon.settings.policy.unlink()
        own_daemon.settings.key.unlink()
        process.send_signal(signal.SIGHUP)
        reloading = _hear(manager, "RELOADING=1")
        _hear(manager, "READY=1")

    assert "\nMONOTONIC_USEC=" in reloading


def test_a_new_certificate_is_shown_to_the_next_caller(own_daemon: Daemon, tmp_path: Path) -> None:
    """SIGHUP to `serve` reaches the gateway; open connections and running ones stay."""
    other = lay_out(tmp_path / "other", ["127.0.0.1"])
    own_daemon.start()
    first = _certificate(own_daemon)
    with own_daemon.caller() as caller:
        for name in ("server.pem", "server.key"):
            shutil.copy(other.authority.with_name(name), own_daemon.made.authority.with_name(name))
        assert own_daemon.process
        own_daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: _certificate(own_daemon) != first, "the new certificate")
        answer = caller.run("echo still")

    assert len(answer) == 3


def test_a_certificate_that_fits_no_key_leaves_the_old_one(own_daemon: Daemon, tmp_path: Path) -> None:
    """It is said on standard error, and callers notice nothing."""
    other = lay_out(tmp_path / "other", ["127.0.0.1"])
    own_daemon.start()
    first = _certificate(own_daemon)
    shutil.copy(other.authority.with_name("server.key"), own_daemon.made.authority.with_name("server.key"))
    assert own_daemon.process
    own_daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "(the old certificate stays in use)" in own_daemon.complaints(), "a complaint")

    assert _certificate(own_daemon) == first
    assert own_daemon.rexec("echo", "x").stdout == "x\n"


def test_a_gateway_user_that_is_not_there_stops_the_start(own_daemon: Daemon) -> None:
    """Better no start than a seam that nobody can open, or everybody."""
    with own_daemon.made.config.open("a") as file:
        file.write("gateway_user: nobody-of-that-name\n")
    done = own_daemon.rexecd("monitor")

    assert done.returncode == 1
    assert "gateway_user: there is no user 'nobody-of-that-name' on this machine" in done.stderr
