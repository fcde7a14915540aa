"""Where callers come in: IPv4 and IPv6, several addresses, one spelling of each in the trail."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rexecd import client
from tests.away import cable
from tests.harness import PATIENCE, SETTINGS, Daemon, needs_ipv6, wait_for

_LISTEN: Final = 'listen: "127.0.0.1:0"'


def _says(daemon: Daemon, address: str) -> str:
    """Return what a command says that is asked for at one of the addresses."""
    pin = f"sha256:{daemon.made.pin}"
    with client.connect(address, token=daemon.tokens["ann"], pin=pin) as session:
        return session.run("echo here").stdout.decode()


@contextlib.contextmanager
def _running(line: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run something until the end of the block; what happens there, it ends."""
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


@needs_ipv6
def test_every_address_is_served_and_told_in_one_line(tmp_path: Path) -> None:
    """In the order of the settings; each can be taken port 0 of."""
    settings = SETTINGS.replace(_LISTEN, 'listen: ["127.0.0.1:0", "[::1]:0", "127.0.0.2:0"]')
    daemon = Daemon(tmp_path, settings=settings).start()
    hosts = [address.rpartition(":")[0] for address in daemon.addresses]
    heard = [_says(daemon, address) for address in daemon.addresses]
    wait_for(lambda: len(daemon.records("connection-closed")) == 3)
    sources = [record["source"]["ip"] for record in daemon.records("connection-opened")]
    daemon.stop()

    assert ["127.0.0.1", "[::1]", "127.0.0.2"] == hosts
    assert ["here\n"] * 3 == heard
    assert ["127.0.0.1", "::1"] == sources[:2]


@needs_ipv6
def test_an_address_that_came_as_ipv6_is_recorded_as_what_it_is(tmp_path: Path) -> None:
    """A dual-stack listener shows IPv4 callers as ::ffff:127.0.0.1; nobody else does."""
    daemon = Daemon(tmp_path, settings=SETTINGS.replace(_LISTEN, 'listen: "127.0.0.1:0"'))
    line = [sys.executable, "-I", "-m", "rexecd", "serve", "--config", str(daemon.made.config)]
    with _running([*line, "--listen", ":0"]) as process:
        assert process.stdout
        port = process.stdout.readline().rpartition(":")[2].strip()
        for host in ("127.0.0.1", "[::1]"):
            assert "here\n" == _says(daemon, f"{host}:{port}")

    opened = daemon.records("connection-opened")
    assert ["127.0.0.1", "::1"] == [record["source"]["ip"] for record in opened]


def test_listen_may_be_said_several_times(tmp_path: Path) -> None:
    """And is then used instead of the settings."""
    daemon = Daemon(tmp_path)
    line = [sys.executable, "-I", "-m", "rexecd", "serve", "--config", str(daemon.made.config)]
    listen = ["--listen", "127.0.0.3:0", "--listen", "127.0.0.4:0"]
    with _running([*line, *listen]) as process:
        assert process.stdout
        ready = process.stdout.readline().removeprefix("rexecd: ready on ").strip().split(", ")
        heard = [_says(daemon, address) for address in ready]

    assert ["127.0.0.3", "127.0.0.4"] == [address.partition(":")[0] for address in ready]
    assert ["here\n", "here\n"] == heard
    assert 0 == process.returncode


def test_an_address_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    """Which of several it was, and what to do."""
    daemon = Daemon(tmp_path)
    done = daemon.rexecd("gateway", "--listen", "127.0.0.1:0", "--listen", "192.0.2.1:0")

    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "cannot listen on 192.0.2.1:0: Cannot assign requested address: choose another" in done.stderr


_STARTER: Final = """
import os, sys
names = sys.argv[1].split(":")
for place, number in enumerate(sys.argv[2].split(","), 3):
    os.dup2(int(number), place)
    os.set_inheritable(place, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=sys.argv[1])
os.execv(sys.executable, [sys.executable, "-I", "-m", "rexecd", *sys.argv[3:]])
"""


def test_several_inherited_listeners_are_served(own_daemon: Daemon) -> None:
    """As one socket unit with several ListenStream= passes them, all of one name."""
    own_daemon.start()  # for its monitor
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        # Above the numbers they are put to.
        copies = [os.dup(sock.fileno()) for sock in (one, two) for _ in range(4)][-5::4]
        where = ",".join(map(str, copies))
        line = [sys.executable, "-c", _STARTER, "callers:callers", where, "gateway"]
        with _running([*line, "--config", str(own_daemon.made.config)], pass_fds=copies) as process:
            assert process.stdout
            ready = process.stdout.readline()
            answers: list[bytes] = []
            for sock in (one, two):
                with socket.create_connection(sock.getsockname(), timeout=PATIENCE) as stranger:
                    stranger.sendall(b"not TLS")
                    with contextlib.suppress(ConnectionError):
                        answers.append(stranger.recv(99))
        for copy in copies:
            os.close(copy)
        ports = [sock.getsockname()[1] for sock in (one, two)]

    assert f"rexecd: ready on 127.0.0.1:{ports[0]}, 127.0.0.1:{ports[1]}\n" == ready
    assert not any(answers)
    assert 0 == process.returncode


_STRANGER: Final = """
import socket, sys
host, port, source, data = sys.argv[1:]
try:
    with socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0)) as sock:
        sock.sendall(bytes.fromhex(data))
        print("closed" if sock.recv(99) == b"" else "answered")
except OSError:
    print("closed")
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0")
def test_an_ipv6_source_is_its_network(tmp_path: Path) -> None:
    """What one address of a /64 did wrong, all of them pay for; addresses are recorded as in RFC 5952."""
    with cable() as away:
        settings = SETTINGS.replace(_LISTEN, f'listen: ["127.0.0.1:0", "[{away.here6}]:0"]')
        settings += "penalty_least: 5s\n"
        daemon = Daemon(tmp_path, settings=settings).start()
        port = daemon.addresses[1].rpartition(":")[2]

        def knock(source: str) -> None:
            garbage = b"not TLS at all, and long enough".hex()
            away.run(sys.executable, "-c", _STRANGER, away.here6, port, source, garbage)

        knock(away.there6)
        wait_for(lambda: daemon.records("source-penalized"), "a penalty")
        knock(away.there6.removesuffix("2") + "3")
        shed = wait_for(lambda: daemon.records("limit-reached"), "a refusal")
        failed = daemon.records("tls-failed")
        daemon.stop()

    assert [away.there6] == [record["source"]["ip"] for record in failed]
    assert away.there6.removesuffix("2") + "3" == shed[0]["source"]["ip"]
    assert "its source is refused for a while" == shed[0]["event"]["reason"]


@pytest.mark.parametrize("which", ["listen: []", 'listen: ["127.0.0.1:0", "nowhere"]', "listen: 7512"])
def test_addresses_that_are_none_are_told_with_their_place(tmp_path: Path, which: str) -> None:
    """One line each."""
    daemon = Daemon(tmp_path)
    daemon.made.config.write_text(SETTINGS.replace(_LISTEN, which))
    done = daemon.rexecd("config", "show")

    assert 1 <= done.returncode <= 2
    assert 1 == len(done.stderr.splitlines())
    assert "rexecd.yaml:2:" in done.stderr
