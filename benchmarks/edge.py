"""How long another caller's command takes beside each kind of hostile stranger.

`make bench-edge`. One caller runs `echo` on an open connection, in rounds: quiet, then beside each attack,
which is a process of its own on the same machine and comes from another source each time. Printed are the
medians, their ratio to the quiet one, and what the attacker got done; "a busy process" attacks nobody, and
says what of it is only the attacker's use of a processor. The settings are the defaults. Exit status 1 if
a ratio is above --most, unless a process that attacks nobody explains it.
"""

import argparse
import contextlib
import os
import selectors
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.served import Served, served
from rexecd import client
from rexecd.confine import raise_descriptor_limit
from rexecd.wire import messages as wire
from rexecd.wire.connection import Connection, Role

_SETTINGS = 'version: 1\nlisten: "127.0.0.1:0"\n'
_POLICY = """\
version: 1
principals: {bench: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
  echo: {summary: Print a word, run: /bin/echo word}
"""
#: An attacker has processors of its own, where it is not a benchmark: it gets what the daemon leaves.
_LOWEST: Final = 19
_RESET: Final = struct.pack("ii", 1, 0)
_GARBAGE: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 8
_HELLO: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)


class Attack:
    """One attacker: where it comes from, and what it has done so far."""

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self._number = number
        self.done = 0

    def connect(self, source: int = 0, *, seconds: float = 5.0) -> socket.socket:
        """Connect from one of the attacker's addresses."""
        sock = socket.socket()
        sock.settimeout(seconds)
        sock.bind((f"127.{1 + self._number % 250}.{source // 250}.{1 + source % 250}", 0))
        sock.connect(("127.0.0.1", self.port))
        return sock

    def spin(self) -> None:
        """Harm nobody, and take a processor as each attacker here does."""
        for _ in range(10_000):
            self.done += 1

    def closed(self) -> None:
        """Connect to a port where nobody listens, as often as one can."""
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.connect(("127.0.0.1", 1))
        self.done += 1

    def storm(self) -> None:
        """Connect and reset."""
        sock = self.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()
        self.done += 1

    def garbage(self) -> None:
        """Say something that is not TLS, and wait for the end."""
        with contextlib.suppress(OSError), self.connect() as sock:
            sock.sendall(_GARBAGE)
            sock.recv(1)
        self.done += 1

    def tokens(self) -> None:
        """Present a wrong token."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["rexec/1"])
        with contextlib.suppress(OSError), self.connect() as raw, context.wrap_socket(raw) as tls:
            tls.sendall(Connection(Role.CLIENT).send(wire.Authenticate(b"rxt_" + b"x" * 58)))
            while tls.recv(4096):
                pass
        self.done += 1

    def silent(self, number: int, sources: int, drip: bytes = b"") -> Iterator[None]:
        """Hold `number` connections open and, one after the other, say a byte on each; replace lost ones."""
        socks: dict[int, tuple[socket.socket, int]] = {}
        selector = selectors.DefaultSelector()
        came = 0
        while True:
            while len(socks) < number:
                with contextlib.suppress(OSError):
                    sock = self.connect(came % sources)
                    sock.setblocking(False)
                    socks[sock.fileno()] = sock, 0
                    selector.register(sock, selectors.EVENT_READ)
                came += 1
                self.done += 1
                if not came % 50:
                    self._bury(selector, socks)
                    yield
            self._bury(selector, socks)
            for number_of, (sock, said) in list(socks.items()) if drip else ():
                with contextlib.suppress(OSError):
                    sock.send(drip[said : said + 1])
                    socks[number_of] = sock, said + 1
            time.sleep(0.02)
            yield

    @staticmethod
    def _bury(selector: selectors.BaseSelector, socks: dict[int, tuple[socket.socket, int]]) -> None:
        """Close what the server has closed."""
        for key, _ in selector.select(0):
            selector.unregister(key.fd)
            socks.pop(key.fd)[0].close()


def attack(name: str, port: int, number: int) -> None:
    """Attack until standard input ends; say when it is under way, and then how much was done."""
    raise_descriptor_limit(6000, what="the benchmark")
    os.nice(_LOWEST)
    one = Attack(port, number)
    steps: dict[str, Callable[[], Iterator[None]]] = {
        "a busy process": lambda: _again(one.spin),
        "a closed port": lambda: _again(one.closed),
        "silent 1 source": lambda: one.silent(1000, 1),
        "silent 5,000": lambda: one.silent(5000, 2500),
        "drip": lambda: one.silent(200, 4, drip=_HELLO),
        "storm": lambda: _again(one.storm),
        "tokens": lambda: _again(one.tokens),
        "garbage": lambda: _again(one.garbage),
    }
    os.set_blocking(0, False)
    begun = time.monotonic()
    told = False
    for _ in steps[name]():
        if not told and time.monotonic() > begun + 1.0:
            told = True
            print("going", flush=True)
        with contextlib.suppress(BlockingIOError):
            if os.read(0, 1) == b"":
                break
    print(one.done / (time.monotonic() - begun), flush=True)


def _again(step: Callable[[], None]) -> Iterator[None]:
    while True:
        for _ in range(20):
            with contextlib.suppress(OSError):
                step()
        yield


_CONTROL: Final = "a busy process"
#: So much slower than beside one that attacks nobody is the daemon's own.
_AND: Final = 1.25
ATTACKS: Final = (
    _CONTROL,
    "a closed port",
    "silent 1 source",
    "silent 5,000",
    "drip",
    "storm",
    "tokens",
    "garbage",
)


def measure(session: client.Session, number: int) -> list[float]:
    """Return the milliseconds of so many commands."""
    taken = []
    for _ in range(number):
        begun = time.perf_counter()
        session.run("echo")
        taken.append((time.perf_counter() - begun) * 1e3)
    return taken


def beside(
    daemon: Served, session: client.Session, name: str, number: int, commands: int
) -> tuple[list[float], float]:
    """Return the milliseconds of commands beside an attack, and how often a second it struck."""
    port = daemon.address.rpartition(":")[2]
    line = [
        sys.executable,
        "-m",
        "benchmarks.edge",
        "--attack",
        name,
        "--port",
        port,
        "--number",
        str(number),
    ]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline() != "going\n":
            sys.exit(f"{name} did not begin")
        taken = measure(session, commands)
        process.stdin.close()
        return taken, float(process.stdout.readline())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commands", type=int, default=200)
    parser.add_argument("--most", type=float, default=2.0)
    parser.add_argument("--only", choices=ATTACKS)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.attack:
        attack(arguments.attack, arguments.port, arguments.number)
        return
    names = [arguments.only] if arguments.only else list(ATTACKS)
    taken: dict[str, list[float]] = {name: [] for name in ("quiet", *names)}
    rates: dict[str, list[float]] = {name: [] for name in names}
    with served(_SETTINGS, _POLICY, "bench") as daemon:
        session = client.connect(daemon.address, token=daemon.token, ca=daemon.ca)
        measure(session, arguments.commands)
        for turn in range(arguments.rounds):
            for place, name in enumerate(names):
                taken["quiet"] += measure(session, arguments.commands)
                times, rate = beside(daemon, session, name, turn * len(names) + place, arguments.commands)
                taken[name] += times
                rates[name].append(rate)
                time.sleep(1.0)
        session.close()
    _tell(taken, rates, most=arguments.most)


def _tell(taken: dict[str, list[float]], rates: dict[str, list[float]], *, most: float) -> None:
    """Print a row for each; exit with 1 if the machine was not to blame for a ratio above `most`."""
    middles = {name: statistics.median(times) for name, times in taken.items()}
    quiet, busy = middles["quiet"], middles.get(_CONTROL, 0.0)
    print(f"{'':<18}{'p50 ms':>8}{'p95 ms':>8}{'to quiet':>10}{'to busy':>9}{'a second':>10}")
    for name, times in taken.items():
        late = statistics.quantiles(times, n=20)[-1]
        compared = f"{middles[name] / busy:>9.2f}" if busy else f"{'':>9}"
        struck = f"{statistics.median(rates[name]):>10.0f}" if name in rates else ""
        print(f"{name:<18}{middles[name]:>8.2f}{late:>8.2f}{middles[name] / quiet:>10.2f}{compared}{struck}")
    above = [name for name, middle in middles.items() if middle > most * quiet and middle > _AND * busy]
    if above:
        sys.exit(f"above {most:g}: {', '.join(above)}")


if __name__ == "__main__":
    main()
