"""The four main ratios in under a minute: `make bench-quick`.

Rounds are interleaved (A B C D A B C D ...), so that a machine that gets slower does so for all of
them. Printed are medians of single operations and ratios of those medians. Nothing is asserted.
"""

import argparse
import contextlib
import json
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.served import POLICY, SETTINGS, popen
from rexecd import client
from rexecd.cli.init import Layout, lay_out
from rexecd.cli.monitor import opened_service
from rexecd.monitor import tokens
from rexecd.seam import messages as seam
from rexecd.settings import load_settings

#: A TLS server that only shakes hands, in a process of its own.
_BARE_SERVER = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.num_tickets = 0
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    raw, _ = listener.accept()
    try:
        with context.wrap_socket(raw, server_side=True) as tls:
            tls.recv(1)
    except OSError:
        pass
"""


def interpreter() -> None:
    """Start the interpreter and what any TLS client in Python needs."""
    subprocess.run([sys.executable, "-I", "-c", "import argparse, json, socket, ssl"], check=True)


@contextlib.contextmanager
def bare_tls(made: Layout) -> Iterator[Callable[[], None]]:
    """Yield a bare TLS handshake, certificate verified, against a bare server."""
    certs = made.authority.parent
    line = [sys.executable, "-I", "-c", _BARE_SERVER, str(certs / "server.pem"), str(certs / "server.key")]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(made.authority)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline()) if process.stdout else 0

        def handshake() -> None:
            with (
                socket.create_connection(("127.0.0.1", port)) as raw,
                context.wrap_socket(raw, server_hostname="127.0.0.1"),
            ):
                pass

        try:
            yield handshake
        finally:
            process.terminate()


@contextlib.contextmanager
def served(made: Layout) -> Iterator[str]:
    """Run the real daemon and yield its address."""
    line = [sys.executable, "-I", "-m", "rexecd", "serve", "--config", str(made.config)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().rpartition(" ")[2].strip() if process.stdout else ""
        finally:
            process.terminate()


def measure(operations: dict[str, Callable[[], None]], *, rounds: int, each: int) -> dict[str, float]:
    """Return the median of each operation in milliseconds, over interleaved rounds."""
    taken: dict[str, list[float]] = {name: [] for name in operations}
    for _ in range(rounds):
        for name, operation in operations.items():
            for _ in range(max(1, each // 20) if "process" in name else each):
                begun = time.perf_counter()
                operation()
                taken[name].append((time.perf_counter() - begun) * 1e3)
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--each", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rexecd-bench-") as name:
        directory = Path(name)
        made = lay_out(directory, ["127.0.0.1"], settings=SETTINGS, policy=POLICY)
        with opened_service(load_settings(made.config)) as service:
            token = str(tokens.create(service, seam.CreateToken("bench"))["token"])
        file = directory / "token"
        file.touch(mode=0o600)
        file.write_text(token)
        ca = str(made.authority)
        with (
            served(made) as address,
            bare_tls(made) as handshake,
            client.connect(address, token=token, ca=ca) as session,
        ):
            rexec = [sys.executable, "-I", "-m", "rexecd.cli.rexec"]
            whole = [*rexec, "--ca", ca, "--token-file", str(file), address, "true"]
            medians = measure(
                {
                    "bare Popen": popen,
                    "command on an open connection": lambda: _nothing(session.run("true")),
                    "bare TLS handshake": handshake,
                    "connect, authenticate, run, close": lambda: _nothing(
                        client.run(address, "true", token=token, ca=ca)
                    ),
                    "whole process: interpreter": interpreter,
                    "whole process: rexec HOST true": lambda: _nothing(
                        subprocess.run(whole, check=True, stdin=subprocess.DEVNULL)
                    ),
                },
                rounds=arguments.rounds,
                each=arguments.each,
            )
    report(medians, as_json=arguments.json)


def _nothing(_: object) -> None:
    """Drop a result."""


def report(medians: dict[str, float], *, as_json: bool) -> None:
    """Print the medians and the ratios of DESIGN's table."""
    spawn, shake = medians["bare Popen"], medians["bare TLS handshake"]
    ratios = {
        "open connection / bare Popen": medians["command on an open connection"] / spawn,
        "new connection / (handshake + Popen)": medians["connect, authenticate, run, close"]
        / (spawn + shake),
        "rexec / interpreter": medians["whole process: rexec HOST true"]
        / medians["whole process: interpreter"],
    }
    if as_json:
        print(json.dumps({"medians_ms": medians, "ratios": ratios}, indent=2))
        return
    for name, value in medians.items():
        print(f"{name:<40} {value:8.3f} ms")
    for name, value in ratios.items():
        print(f"{name:<40} {value:8.2f} x")


if __name__ == "__main__":
    main()
