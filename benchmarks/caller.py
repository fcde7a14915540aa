"""A whole call, from the shell's fork to the exit status, beside ssh and check_nrpe: `make bench-caller`.

Every program runs /bin/true on this machine over the loopback, with a server of its own kind in its best
lawful set-up: OpenSSH without PAM and names to look up, by an ed25519 key and aes128-gcm, with a new
connection each time and over one that is open (ControlMaster); NRPE with TLS. They take turns. Printed are
median, spread and the program's own CPU time, and ratios of the medians. Nothing is asserted; what is missing
is said.
"""

import argparse
import contextlib
import json
import os
import pwd
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.served import POLICY, SETTINGS, served

_SSHD = "/usr/sbin/sshd"
_NRPE = "/usr/sbin/nrpe"
_CHECK = "/usr/lib/nagios/plugins/check_nrpe"
#: Seconds a server may take until somebody can connect.
_PATIENCE = 10.0


class Call(NamedTuple):
    """One call, in milliseconds."""

    wall: float
    cpu: float


def call(line: Sequence[str]) -> Call:
    """Run a program to its end; raise RuntimeError where that is none of the good ones."""
    begun = time.perf_counter()
    null = subprocess.DEVNULL
    process = subprocess.Popen(line, stdin=null, stdout=null, stderr=null)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{line[0]} ended with {process.returncode}")
    return Call(wall * 1e3, (used.ru_utime + used.ru_stime) * 1e3)


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
def rexecd(directory: Path) -> Iterator[dict[str, list[str]]]:
    """Yield the calls of our own program."""
    with served(SETTINGS, POLICY, "bench") as running:
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text(running.token)
        line = ["--ca", running.ca, "--token-file", str(token), running.address, "true"]
        program = Path(sys.executable).with_name("rexec")
        yield {"rexec, new connection": [str(program), "-F", "none", *line]}


@contextlib.contextmanager
def openssh(directory: Path) -> Iterator[dict[str, list[str]]]:
    """Yield the calls of ssh."""
    if not (shutil.which("ssh") and Path(_SSHD).exists()):
        raise RuntimeError("apt install openssh-server openssh-client")
    keys = {name: str(directory / name) for name in ("host", "user")}
    for key in keys.values():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    port = free_port()
    Path("/run/sshd").mkdir(exist_ok=True)
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": keys["host"],
        "AuthorizedKeysFile": f"{keys['user']}.pub",
        "PidFile": "none",
        "UsePAM": "no",
        "UseDNS": "no",
        "StrictModes": "no",
        "PrintMotd": "no",
        "PermitRootLogin": "yes",
        "Ciphers": "aes128-gcm@openssh.com",
    }
    config = directory / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    options = [
        "-F",
        "none",
        "-i",
        keys["user"],
        "-p",
        str(port),
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
    ]
    options += [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ]
    target = f"{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1"
    shared = ["ssh", "-S", str(directory / "mux"), *options]
    with server([_SSHD, "-D", "-f", str(config)], port):
        subprocess.run([*shared, "-M", "-N", "-f", target], check=True, stdin=subprocess.DEVNULL)
        try:
            yield {
                "ssh, new connection": ["ssh", "-S", "none", *options, target, "/bin/true"],
                "ssh, over one that is open": [*shared, target, "/bin/true"],
            }
        finally:
            subprocess.run([*shared, "-O", "exit", target], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def nrpe(directory: Path) -> Iterator[dict[str, list[str]]]:
    """Yield the call of check_nrpe; it wants a word from the command, so this one says one."""
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
        yield {"check_nrpe, new connection": [_CHECK, "-H", "127.0.0.1", "-p", str(port), "-c", "true"]}


def measure(calls: dict[str, list[str]], rounds: int) -> dict[str, list[Call]]:
    """Return every call, over rounds in which all take turns; the first round is not counted."""
    taken: dict[str, list[Call]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, line in calls.items():
            one = call(line)
            if number:
                taken[name].append(one)
    return taken


def report(taken: dict[str, list[Call]]) -> None:
    """Print the table."""
    ours = statistics.median(one.wall for one in taken["rexec, new connection"])
    heads = "".join(f"{head:>8}" for head in ("median", "min", "max", "sigma", "cpu", "ratio"))
    print(f"{'whole process, milliseconds':34}{heads}")
    for name, all_ in taken.items():
        wall = [one.wall for one in all_]
        median = statistics.median(wall)
        numbers = (
            median,
            min(wall),
            max(wall),
            statistics.stdev(wall),
            statistics.median(one.cpu for one in all_),
        )
        print(f"{name:34}{''.join(f'{number:8.1f}' for number in numbers)}{median / ours:8.2f}")


def main() -> None:
    """Start the servers, measure, and end them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    peers: list[Callable[[Path], contextlib.AbstractContextManager[dict[str, list[str]]]]] = [
        rexecd,
        openssh,
        nrpe,
    ]
    calls: dict[str, list[str]] = {}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="rexec-bench-"))
        for peer in peers:
            made = Path(directory) / peer.__name__
            made.mkdir()
            try:
                calls |= stack.enter_context(peer(made))
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                print(f"without {peer.__name__}: {error}", file=sys.stderr)
        calls["python, and what TLS needs there"] = [sys.executable, "-I", "-c", "import ssl"]
        taken = measure(calls, arguments.rounds)
    if arguments.json:
        print(json.dumps({name: [one._asdict() for one in all_] for name, all_ in taken.items()}))
    else:
        report(taken)


if __name__ == "__main__":
    main()
