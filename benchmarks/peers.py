"""The programs that do the same job, each with a server of its own on the loopback, in its best set-up.

OpenSSH and asyncssh are in ssh.py; NRPE with TLS. What is missing says how to get it, and the others go on
without.
"""

import compileall
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from benchmarks.served import POLICY as NOTHING
from benchmarks.served import SETTINGS, Served, runner, served
from rexecd import __version__, client

_NRPE = "/usr/sbin/nrpe"
_CHECK = "/usr/lib/nagios/plugins/check_nrpe"
#: Seconds a server may take until somebody can connect.
_PATIENCE = 10.0

#: Nothing, and so many bytes.
POLICY = f"""\
{NOTHING.rstrip()}
  zeros:
    summary: Write so many bytes
    run: [/usr/bin/head, -c, "{{bytes}}", /dev/zero]
    parameters:
      bytes: {{type: integer, min: 1, max: 100000000000}}
    timeout: 10m
  sink:
    summary: Take what comes
    run: [/bin/sh, -c, "exec /bin/cat > /dev/null"]
    stdin: require
    timeout: 10m
"""

Operation = Callable[[], object]


def _cannot(*_: object) -> None:
    raise RuntimeError("this peer cannot be taken from slowly")


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
    #: The same, and be told with every piece how many came so far.
    pull_slowly: Callable[[int, Callable[[int], object]], object] = _cannot
    #: Give so many bytes of input to a command.
    push: Callable[[int], object] | None = None
    #: Where it is, for whoever loads it (load.py).
    load: Sequence[str] = ()
    #: The process that has all others of it below it.
    pid: int = 0
    #: Its version, and how it is set up.
    setup: str = ""


Starter = Callable[[Path], AbstractContextManager[Peer]]


def free_port() -> int:
    """Return a port nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def server(line: Sequence[str], port: int) -> Iterator[int]:
    """Run a server that listens on a port, yield its process, and end it."""
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
            yield process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def rexecd(directory: Path, settings: str = SETTINGS) -> Iterator[Peer]:
    """Run rexecd."""
    with served(settings, POLICY, "bench") as running:
        yield peer_of(running, directory)


def peer_of(running: Served, directory: Path) -> Peer:
    """Return a running daemon as a peer; its token is kept in a file."""
    # An installed program has its bytecode beside it; one that runs from a checkout may not.
    compileall.compile_dir(str(Path(client.__file__).parents[1]), quiet=2)
    token = directory / "token"
    token.touch(mode=0o600)
    token.write_text(running.token)
    program = str(Path(sys.executable).with_name("rexec"))
    how = ["-F", "none", "--ca", running.ca, "--token-file", str(token)]
    return Peer(
        "rexecd",
        {"rexec, new connection": [program, *how, running.address, "true"]},
        opened=lambda: _session(running),
        once=lambda: running.once("true"),
        pull=lambda size: pull(running, size),
        pull_slowly=lambda size, each: pull(running, size, each),
        push=lambda size: push(running, size),
        load=("rexecd", running.address, running.ca, str(token)),
        pid=running.pid,
        setup=f"{__version__}, as it comes, with more connections allowed",
    )


@contextlib.contextmanager
def _session(running: Served) -> Iterator[Operation]:
    with running.connect() as session:
        yield runner(session, "true")


def pull(running: Served, size: int, each: Callable[[int], object] = lambda _: None) -> None:
    """Take so many bytes of output; `each` is told with every piece how many came so far."""
    taken = 0

    def take(_: client.Stream, data: bytes) -> None:
        nonlocal taken
        taken += len(data)
        each(taken)

    with running.connect() as session:
        session.execute(f"zeros {size}", offer=client.Offer.NONE, sink=take)
    if taken != size:
        raise RuntimeError(f"{taken} bytes came of {size}")


@contextlib.contextmanager
def zeros(size: int) -> Iterator[BinaryIO]:
    """Yield a file of so many zeros that takes no room."""
    with tempfile.TemporaryFile(prefix="rexec-bench-") as file:
        file.truncate(size)
        yield file


def push(running: Served, size: int) -> None:
    """Give so many bytes of input."""
    with running.connect() as session, zeros(size) as file:
        done = session.execute(
            "sink", offer=client.Offer.ESSENTIAL, source=file.fileno(), sink=lambda *_: None
        )
    if done.returncode:
        raise RuntimeError(f"input failed: {done}")


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
    with server([_NRPE, "-c", str(config), "-f"], port) as pid:
        call = [_CHECK, "-H", "127.0.0.1", "-p", str(port), "-c", "true"]
        yield Peer(
            "NRPE",
            {"check_nrpe, new connection": call},
            pid=pid,
            setup=f"{_version()}, with TLS, no arguments",
        )


def _version() -> str:
    said = subprocess.run([_NRPE, "-V"], capture_output=True, text=True, check=False).stdout.split()
    return next((word for word in said if word[:1].isdigit()), "?")
