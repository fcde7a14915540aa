"""OpenSSH and asyncssh as peers: the same keys, ciphers and key exchange, and nothing looked up.

Commands over an open connection of OpenSSH's server are asked for by asyncssh, as its own client cannot run
two in one process; bytes are moved by its own client.
"""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import Operation, Peer, free_port, server, zeros

_SSHD = "/usr/sbin/sshd"
_SHELL = "/bin/dash"
_CIPHER = "aes128-gcm@openssh.com"
_EXCHANGE = "curve25519-sha256"
_PIECE = 1 << 18


def _make_keys(directory: Path) -> tuple[str, str]:
    """Return the paths of a host's key and a user's."""
    keys = [str(directory / name) for name in ("host", "user")]
    for key in keys:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return keys[0], keys[1]


def _in_dash(directory: Path, line: list[str]) -> tuple[list[str], str]:
    """Return a line whose process sees /bin/dash as this user's login shell, and what the shell is then.

    The daemon starts everything by the login shell. A mount namespace of its own shows it another passwd(5),
    and nobody else; where there can be none, the shell is what it is.
    """
    user = pwd.getpwuid(os.getuid())
    passwd = directory / "passwd"
    lines = Path("/etc/passwd").read_text().splitlines()
    mine = [
        f"{each.rpartition(':')[0]}:{_SHELL}" if each.startswith(f"{user.pw_name}:") else each
        for each in lines
    ]
    passwd.write_text("".join(f"{each}\n" for each in mine))
    passwd.chmod(0o644)
    mount = 'mount --bind "$0" /etc/passwd && exec "$@"'
    apart = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", mount, str(passwd)]
    if Path(_SHELL).exists() and shutil.which("unshare"):
        tried = subprocess.run([*apart, "/bin/true"], check=False, capture_output=True)
        if tried.returncode == 0:
            return [*apart, *line], Path(_SHELL).name
    return line, Path(user.pw_shell).name


def _make_config(directory: Path, port: int, host_key: str, user_key: str) -> Path:
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
        "PrintLastLog": "no",
        "Compression": "no",
        "PermitRootLogin": "yes",
        # A login shell that is bash would else read its owner's .bashrc for every command.
        "SetEnv": "SHLVL=9",
        "MaxSessions": 1000,
        "MaxStartups": 1000,
        "Ciphers": _CIPHER,
        "KexAlgorithms": _EXCHANGE,
    }
    config = directory / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    return config


def _has_library() -> bool:
    return importlib.util.find_spec("asyncssh") is not None


@contextlib.contextmanager
def openssh(directory: Path) -> Iterator[Peer]:
    """Run OpenSSH; what its own client cannot do is left out where asyncssh's is not here."""
    if not (shutil.which("ssh") and Path(_SSHD).exists()):
        raise RuntimeError("apt install openssh-server openssh-client")
    host_key, user_key = _make_keys(directory)
    port = free_port()
    Path("/run/sshd").mkdir(exist_ok=True)
    config = _make_config(directory, port, host_key, user_key)
    options = [
        *("-F", "none", "-i", user_key, "-p", str(port), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
    ]
    user = pwd.getpwuid(os.getuid()).pw_name
    target = f"{user}@127.0.0.1"
    shared = ["ssh", "-S", str(directory / "mux"), *options]
    line, shell = _in_dash(directory, [_SSHD, "-D", "-f", str(config)])
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0]
    with server(line, port) as pid:
        subprocess.run([*shared, "-M", "-N", "-f", target], check=True, stdin=subprocess.DEVNULL)
        try:
            yield Peer(
                "OpenSSH",
                {
                    "ssh, new connection": ["ssh", "-S", "none", *options, target, "/bin/true"],
                    "ssh, over one that is open": [*shared, target, "/bin/true"],
                },
                opened=(lambda: _opened(port, user, user_key, "/bin/true")) if _has_library() else None,
                once=(lambda: _once(port, user, user_key, "/bin/true")) if _has_library() else None,
                pull=lambda size: _ssh_pull([*shared, target, f"head -c {size} /dev/zero"], size),
                push=lambda size: _ssh_push([*shared, target, "cat > /dev/null"], size),
                load=("ssh", str(port), user, user_key, "/bin/true") if _has_library() else (),
                pid=pid,
                setup=f"{version}, no PAM, no DNS, login shell {shell}, ed25519, {_EXCHANGE}, {_CIPHER}",
            )
        finally:
            subprocess.run([*shared, "-O", "exit", target], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def asyncssh(directory: Path) -> Iterator[Peer]:
    """Run a server made of asyncssh, which starts the program by asyncio."""
    if not _has_library():
        raise RuntimeError("pip install asyncssh")
    host_key, user_key = _make_keys(directory)
    port = free_port()
    line = [sys.executable, "-m", "benchmarks.asyncssh_server", str(port), host_key, f"{user_key}.pub"]
    version = __import__("asyncssh").__version__
    with server(line, port) as pid:
        yield Peer(
            "asyncssh",
            {},
            opened=lambda: _opened(port, "bench", user_key, "true"),
            once=lambda: _once(port, "bench", user_key, "true"),
            pull=lambda size: _pull(port, user_key, size),
            push=lambda size: _push(port, user_key, size),
            load=("ssh", str(port), "bench", user_key, "true"),
            pid=pid,
            setup=f"{version}, one process, no shell, ed25519, {_EXCHANGE}, {_CIPHER}, no compression",
        )


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
        "encryption_algs": [_CIPHER],
        "kex_algs": [_EXCHANGE],
        "compression_algs": ["none"],
    }


@contextlib.contextmanager
def _opened(port: int, user: str, key: str, command: str) -> Iterator[Operation]:
    """Open a connection of asyncssh's; yield what runs the command over it."""
    library: Any = __import__("asyncssh")
    loop = asyncio.new_event_loop()
    try:
        connection = loop.run_until_complete(library.connect(**ssh_options(port, user, key)))
        yield lambda: loop.run_until_complete(connection.run(command, check=True))
        connection.close()
        loop.run_until_complete(connection.wait_closed())
    finally:
        loop.close()


def _once(port: int, user: str, key: str, command: str) -> None:
    with _opened(port, user, key, command) as run:
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


def _ssh_push(line: Sequence[str], size: int) -> None:
    with zeros(size) as file:
        subprocess.run(line, check=True, stdin=file)


def _pull(port: int, key: str, size: int) -> None:
    async def take(process: Any) -> None:  # noqa: ANN401 - of a library without types here
        taken = 0
        while data := await process.stdout.read(_PIECE):
            taken += len(data)
        if taken != size:
            raise RuntimeError(f"{taken} bytes came of {size}")

    asyncio.run(_with_process(port, key, f"zeros {size}", take))


def _push(port: int, key: str, size: int) -> None:
    async def give(process: Any) -> None:  # noqa: ANN401 - as above
        left, piece = size, bytes(_PIECE)
        while left:
            process.stdin.write(piece[:left])
            left -= min(left, _PIECE)
            await process.stdin.drain()
        process.stdin.write_eof()
        await process.wait(check=True)

    asyncio.run(_with_process(port, key, "sink", give))


async def _with_process(port: int, key: str, command: str, work: Any) -> None:  # noqa: ANN401 - as above
    library: Any = __import__("asyncssh")
    async with (
        library.connect(**ssh_options(port, "bench", key)) as connection,
        connection.create_process(command, encoding=None) as process,
    ):
        doing: Coroutine[Any, Any, None] = work(process)
        await doing
