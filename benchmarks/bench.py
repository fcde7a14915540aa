"""Everything side by side, in one run, on the loopback: `make bench`.

Rounds are interleaved (A B C A B C ...), so that a machine that gets slower does so for all. Printed, and
written as JSON where `--out` says, are medians, 99th percentiles, and the limits of the machine beside them.
Nothing is asserted; a peer that is missing is named, and the others go on. All that was started is stopped.
"""

import argparse
import contextlib
import functools
import json
import os
import platform
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import caller
from benchmarks.peers import Operation, Peer, asyncssh, nrpe, openssh, rexecd
from benchmarks.quick import bare_tls
from benchmarks.served import POLICY, SETTINGS, popen, take_turns
from rexecd.cli.init import lay_out

#: Nobody is turned away for being one too many.
_WIDE = f"""\
{SETTINGS}max_connections: 400
reserved_connections: 0
max_connections_source: 400
max_connections_each: 400
max_startups_source: 400
max_startups: 400:30:400
max_commands: 300
max_commands_each: 300
"""
_GIB = 1 << 30
#: A loop that starts programs and does nothing else, for so many seconds.
_SPAWNING = """
import os, sys, time
count, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {}), 0)
    count += 1
print(count)
"""
#: A TLS server that sends so many bytes to whoever comes first.
_SENDING = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
tls = context.wrap_socket(listener.accept()[0], server_side=True)
piece = bytes(65536)
for _ in range(int(sys.argv[3]) // len(piece)):
    tls.sendall(piece)
tls.close()
"""


def summary(taken: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile of milliseconds, and how many there were."""
    ordered = sorted(taken)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"p50": statistics.median(ordered), "p99": p99, "count": len(ordered)}


def spawn() -> None:
    """Start /bin/true with nothing, and wait for it: the least there is."""
    pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
    os.waitpid(pid, 0)


def commands(peers: Sequence[Peer], handshake: Operation, rounds: int) -> dict[str, Any]:
    """Measure one command after another: over an open connection, and with one of its own."""
    with contextlib.ExitStack() as stack:
        operations: dict[str, Operation] = {
            "limit: posix_spawn": spawn,
            "limit: Popen with two pipes": popen,
            "limit: TLS handshake": handshake,
        }
        for peer in peers:
            if peer.opened is not None and peer.once is not None:
                operations[f"{peer.name}: open connection"] = stack.enter_context(peer.opened())
                operations[f"{peer.name}: new connection"] = peer.once
        for operation in operations.values():
            operation()
        taken = take_turns(operations, rounds=rounds, each=10)
    return {name: summary(all_) for name, all_ in taken.items()}


def parallel(peers: Sequence[Peer], numbers: Sequence[int], seconds: float) -> dict[str, Any]:
    """Measure how many commands a second all callers get together; the generator is another process."""
    found: dict[str, Any] = {"limit: two loops of posix_spawn": {"per_second": spawning(2, seconds)}}
    for number in numbers:
        for peer in peers:
            if peer.load:
                found[f"{peer.name}: {number} callers"] = loaded(peer, number, seconds)
    return found


def spawning(processes: int, seconds: float) -> float:
    """Return how many programs a second so many loops start in processes of their own."""
    line = [sys.executable, "-I", "-c", _SPAWNING, str(seconds)]
    all_ = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return sum(int(one.communicate()[0]) for one in all_) / seconds


def loaded(peer: Peer, callers: int, seconds: float) -> dict[str, Any]:
    """Return what a load generator says."""
    line = [sys.executable, "-m", "benchmarks.load", *peer.load, str(callers), str(seconds)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=seconds + 120)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1]}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def bulk(peers: Sequence[Peer], made: Path, size: int, rounds: int) -> dict[str, Any]:
    """Measure output: bytes from a command into the caller, beside a TLS stream with nothing at its ends."""
    pulls: dict[str, Callable[[], object]] = {
        "limit: a TLS stream in Python": functools.partial(stream, made, size)
    }
    for peer in peers:
        if peer.pull is not None:
            pulls[f"{peer.name}: output"] = functools.partial(peer.pull, size)
    taken = take_turns(pulls, rounds=rounds, each=1)
    return {name: {"GB_per_second": size / statistics.median(all_) / 1e6} for name, all_ in taken.items()}


def stream(made: Path, size: int) -> None:
    """Send so many bytes through TLS, from another process."""
    certs = made / "certs"
    line = [
        sys.executable,
        "-I",
        "-c",
        _SENDING,
        str(certs / "server.pem"),
        str(certs / "server.key"),
        str(size),
    ]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certs / "ca.pem")
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline()) if process.stdout else 0
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
        ):
            left = size
            while left:
                left -= len(tls.recv(65536))


@contextlib.contextmanager
def beating() -> Iterator[list[float]]:
    """Note every tenth of a second how late this process gets the processor: how busy the machine is."""
    late: list[float] = []
    stop = threading.Event()

    def beat() -> None:
        while True:
            begun = time.perf_counter()
            if stop.wait(0.1):
                return
            late.append((time.perf_counter() - begun - 0.1) * 1e3)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield late
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def own_user(directory: Path) -> Iterator[Peer]:
    """Run rexecd so that commands are the daemon's own user, as those of the others are."""
    with rexecd(directory, _WIDE + ("run_as: root\n" if os.geteuid() == 0 else "")) as peer:
        yield peer


@contextlib.contextmanager
def another_user(directory: Path) -> Iterator[Peer]:
    """Run rexecd as it comes: commands are another user, without capabilities."""
    if os.geteuid() != 0:
        raise RuntimeError("only root can run commands as another user")
    with rexecd(directory, _WIDE) as peer:
        yield peer._replace(name="rexecd, as nobody", lines={}, pull=None)


def machine() -> dict[str, Any]:
    """Return what it was measured on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "kernel": platform.release(),
    }


def show(title: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one table."""
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    print(f"\n{title:44}" + "".join(f"{column:>16}" for column in columns))
    for name, row in found.items():
        cells = (row.get(column, "") for column in columns)
        shown = (f"{cell:16.3f}" if isinstance(cell, float) else f"{cell!s:>16}" for cell in cells)
        print(f"{name:44}{''.join(shown)}")


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="of ten single commands each")
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 4, 16, 64, 256])
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    with contextlib.ExitStack() as stack:
        peers = caller.started([own_user, another_user, openssh, asyncssh, nrpe], stack)
        directory = Path(stack.enter_context(caller.scratch()))
        made = lay_out(directory, ["127.0.0.1"], settings=SETTINGS, policy=POLICY)
        late = stack.enter_context(beating())
        handshake = stack.enter_context(bare_tls(made))
        found["commands"] = commands(peers, handshake, arguments.rounds)
        show("one after another, milliseconds", found["commands"])
        taken = caller.measure(caller.lines_of(peers), arguments.rounds)
        found["processes"] = {name: summary([one.wall for one in all_]) for name, all_ in taken.items()}
        show("whole processes, milliseconds", found["processes"])
        found["bulk"] = bulk(peers, directory, 2 * _GIB, 3)
        show("two gigabytes out", found["bulk"])
        found["parallel"] = parallel(peers, arguments.callers, arguments.seconds)
        show("at once", found["parallel"])
    found["machine"]["late_ms"] = summary(late)
    show("the machine", {"a tenth of a second was late by, ms": found["machine"]["late_ms"]})
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
