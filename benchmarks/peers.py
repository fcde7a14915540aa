"""The programs that do the same job, each with a server of its own on the loopback, in its best set-up.

OpenSSH without PAM and names to look up, by an ed25519 key and aes128-gcm; asyncssh with the same; NRPE with
TLS. What is missing says how to get it, and the others go on without.
"""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.served import SETTINGS, Served, served
from rexecd import client

_SSHD = "/usr/sbin/sshd"
_NRPE = "/usr/sbin/nrpe"
_CHECK = "/usr/lib/nagios/plugins/check_nrpe"
#: Seconds a server may take until somebody can connect.
_PATIENCE = 10.0

#: Nothing, and so many bytes.
POLICY = """\
version: 1
principals:
  bench: {roles: [all]}
roles:
  all: {allow: ["*"]}
commands:
  "true":
    summary: Do nothing
    run: /bin/true
  zeros:
    summary: Write so many bytes
    run: [/usr/bin/head, -c, "{bytes}", /dev/zero]
    parameters:
      bytes: {type: integer, min: 1, max: 100000000000}
    timeout: 10m
  sink:
    summary: Take what comes
    run: [/bin/sh, -c, "exec /bin/cat > /dev/null"]
    stdin: require
    timeout: 10m
"""

Operation = Callable[[], object]


class Peer(NamedTuple):
    """One program, ready to be used."""

    name: str
    #: Command lines that run /bin/true once, by what they are called.
    lines: dict[str, list[str]]
    #: Open a connection; give what runs /bin/true over it.
    opened: Callable[[], AbstractContextManager[Operation]] | None = None
    #: Connect, run /bin/true, close.
    once: Operation | None = None
    #: Take so many bytes of output from a command.
    pull: Callable[[int], object] | None = None
    #: Where it is, for whoever loads it (load.py).
    load: Sequence[str] = ()


Starter = Callable[[Path], AbstractContextManager[Peer]]


def free_port() -> int:
    """Return a port nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def server(line: Sequence[str], port: int) -> Iterator[None]:
    """Run a server that listens on a port, and end it."""
    null = subprocess.DEVNULL
    with subprocess.Popen(line, stdin=null, stdout=null, stderr=null) as process:
        try:
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            else:
                raise RuntimeError(f"{line[0]} does not listen")
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def rexecd(directory: Path, settings: str = SETTINGS) -> Iterator[Peer]:
    """Run rexecd."""
    with served(settings, POLICY, "bench") as running:
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text(running.token)
        program = str(Path(sys.executable).with_name("rexec"))
        how = ["-F", "none", "--ca", running.ca, "--token-file", str(token)]
        yield Peer(
            "rexecd",
            {"rexec, new connection": [program, *how, running.address, "true"]},
            opened=lambda: _session(running),
            once=lambda: client.run(running.address, "true", token=running.token, ca=running.ca),
            pull=lambda size: _pull(running, size),
            load=("rexecd", running.address, running.ca, str(token)),
        )


@contextlib.contextmanager
def _session(running: Served) -> Iterator[Operation]:
    with client.connect(running.address, token=running.token, ca=running.ca) as session:
        yield lambda: session.run("true")


def _pull(running: Served, size: int) -> None:
    taken = 0

    def take(_: client.Stream, data: bytes) -> None:
        nonlocal taken
        taken += len(data)

    with client.connect(running.address, token=running.token, ca=running.ca) as session:
        session.execute(f"zeros {size}", offer=client.Offer.NONE, sink=take)
    if taken != size:
        raise RuntimeError(f"{taken} bytes came of {size}")


def _make_keys(directory: Path) -> tuple[str, str]:
    """Return the paths of a host's key and a user's."""
    keys = [str(directory / name) for name in ("host", "user")]
    for key in keys:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return keys[0], keys[1]


@contextlib.contextmanager
def openssh(directory: Path) -> Iterator[Peer]:
    """Run OpenSSH."""
    if not (shutil.which("ssh") and Path(_SSHD).exists()):
        raise RuntimeError("apt install openssh-server openssh-client")
    host_key, user_key = _make_keys(directory)
    port = free_port()
    Path("/run/sshd").mkdir(exist_ok=True)
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": host_key,
        "AuthorizedKeysFile": f"{user_key}.pub",
        "PidFile": "none",
        "UsePAM": "no",
        "UseDNS": "no",
        "StrictModes": "no",
        "PrintMotd": "no",
        "PermitRootLogin": "yes",
        # A login shell that is bash would else read its owner's .bashrc for every command.
        "SetEnv": "SHLVL=9",
        "MaxSessions": 1000,
        "MaxStartups": 1000,
        "Ciphers": "aes128-gcm@openssh.com",
    }
    config = directory / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    options = [
        *("-F", "none", "-i", user_key, "-p", str(port), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
    ]
    user = pwd.getpwuid(os.getuid()).pw_name
    target = f"{user}@127.0.0.1"
    shared = ["ssh", "-S", str(directory / "mux"), *options]
    with server([_SSHD, "-D", "-f", str(config)], port):
        subprocess.run([*shared, "-M", "-N", "-f", target], check=True, stdin=subprocess.DEVNULL)
        try:
            yield Peer(
                "OpenSSH",
                {
                    "ssh, new connection": ["ssh", "-S", "none", *options, target, "/bin/true"],
                    "ssh, over one that is open": [*shared, target, "/bin/true"],
                },
                opened=lambda: _ssh(port, user, user_key, "/bin/true"),
                once=lambda: _ssh_once(port, user, user_key, "/bin/true"),
                pull=lambda size: _ssh_pull([*shared, target, f"head -c {size} /dev/zero"], size),
                load=("ssh", str(port), user, user_key, "/bin/true"),
            )
        finally:
            subprocess.run([*shared, "-O", "exit", target], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def asyncssh(directory: Path) -> Iterator[Peer]:
    """Run a server made of asyncssh, which starts the program by asyncio."""
    if importlib.util.find_spec("asyncssh") is None:
        raise RuntimeError("pip install asyncssh")
    host_key, user_key = _make_keys(directory)
    port = free_port()
    line = [sys.executable, "-m", "benchmarks.asyncssh_server", str(port), host_key, f"{user_key}.pub"]
    with server(line, port):
        yield Peer(
            "asyncssh",
            {},
            opened=lambda: _ssh(port, "bench", user_key, "true"),
            once=lambda: _ssh_once(port, "bench", user_key, "true"),
            load=("ssh", str(port), "bench", user_key, "true"),
        )


@contextlib.contextmanager
def nrpe(directory: Path) -> Iterator[Peer]:
    """Run NRPE; check_nrpe wants a word from the command, so this one says one."""
    if not (Path(_NRPE).exists() and Path(_CHECK).exists()):
        raise RuntimeError("apt install nagios-nrpe-server nagios-nrpe-plugin")
    port = free_port()
    config = directory / "nrpe.cfg"
    config.write_text(
        f"server_port={port}\nserver_address=127.0.0.1\nallowed_hosts=127.0.0.1\ndont_blame_nrpe=0\n"
        f"nrpe_user=nagios\nnrpe_group=nagios\npid_file={directory}/nrpe.pid\n"
        "command_timeout=60\nconnection_timeout=60\ncommand[true]=/bin/echo OK\n"
    )
    with server([_NRPE, "-c", str(config), "-f"], port):
        call = [_CHECK, "-H", "127.0.0.1", "-p", str(port), "-c", "true"]
        yield Peer("NRPE", {"check_nrpe, new connection": call})


def ssh_options(port: int, user: str, key: str) -> dict[str, Any]:
    """Return how asyncssh connects, to either server."""
    return {
        "host": "127.0.0.1",
        "port": port,
        "username": user,
        "client_keys": [key],
        "known_hosts": None,
        "config": None,
        "agent_path": None,
        "encryption_algs": ["aes128-gcm@openssh.com"],
    }


@contextlib.contextmanager
def _ssh(port: int, user: str, key: str, command: str) -> Iterator[Operation]:
    """Open a connection of asyncssh's; OpenSSH's own client cannot run two commands in one process."""
    library: Any = __import__("asyncssh")
    loop = asyncio.new_event_loop()
    try:
        connection = loop.run_until_complete(library.connect(**ssh_options(port, user, key)))
        yield lambda: loop.run_until_complete(connection.run(command, check=True))
        connection.close()
        loop.run_until_complete(connection.wait_closed())
    finally:
        loop.close()


def _ssh_once(port: int, user: str, key: str, command: str) -> None:
    with _ssh(port, user, key, command) as run:
        run()


def _ssh_pull(line: Sequence[str], size: int) -> None:
    taken = 0
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0) as process:
        if process.stdout is None:
            raise RuntimeError("ssh has no output")
        while data := process.stdout.read(1 << 20):
            taken += len(data)
    if taken != size:
        raise RuntimeError(f"{taken} bytes came of {size}")
