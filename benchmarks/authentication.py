"""Whether the time of a refusal tells what was wrong with a token: `make bench-authentication`.

Every kind of wrong is tried as often as every other, in random order: over the seam, where only the monitor's
work is in what is measured, and over TLS, as a stranger would. Printed are, for the answer and for the end of
the connection, percentiles of each kind in microseconds and, for each pair of kinds, how often the second
takes longer than the first (AUC: 0.5 says that they cannot be told apart) with the z of Mann and Whitney
(beyond 3 it is hardly chance). Nothing is asserted.
"""

import argparse
import contextlib
import itertools
import math
import random
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rexecd.cli.init import Layout, lay_out
from rexecd.cli.monitor import opened_service
from rexecd.identity.certificates import make_authority
from rexecd.identity.tokens import DIGITS, _check, mint
from rexecd.monitor import tokens
from rexecd.seam import messages as seam
from rexecd.seam.channel import connect
from rexecd.settings import Settings, load_settings
from rexecd.wire import messages as wire
from rexecd.wire.connection import Connection, Role

_SETTINGS = """\
version: 1
listen: "127.0.0.1:0"
client_ca: clients.pem
max_failures_each: 1000000
penalty_authentication: 0s
penalty_silence: 0s
penalty_protocol: 0s
log_level: error
"""
_POLICY = """\
version: 1
principals:
  plain: {roles: [all]}
  strict: {roles: [all], require: certificate}
roles: {all: {allow: ["*"]}}
commands: {"true": {summary: Do nothing, run: /bin/true}}
"""
_WARM = 200
_PATIENCE = 20.0
#: Beyond this it is hardly chance, though there are 42 pairs on each way.
_TOLD_APART = 3.5


class Times(NamedTuple):
    """Microseconds until the answer, and until the end of the connection."""

    answer: float
    end: float


Attempt = Callable[[bytes], Times]


def kinds(settings: Settings) -> dict[str, Callable[[], bytes]]:
    """Return what makes a token of each kind of wrong, and make those that are known."""

    def known(principal: str = "plain", lifetime: int = 0, networks: tuple[str, ...] = ()) -> str:
        return str(tokens.create(service, seam.CreateToken(principal, lifetime, networks))["token"])

    with opened_service(settings) as service:
        good, expired, revoked = known(), known(lifetime=1), known()
        elsewhere, bare = known(networks=("198.51.100.0/24",)), known("strict")
        tokens.revoke(service, seam.RevokeTokens(revoked[4:12], ""))
        time.sleep(1.1)

    def unknown() -> bytes:
        return mint(secrets.token_bytes).text.encode()

    def wrong_secret() -> bytes:
        body = f"{good[:13]}{mint(secrets.token_bytes).text[13:56]}"
        return (body + _check(body.encode())).encode()

    def malformed() -> bytes:
        return (good[:-1] + random.choice(DIGITS.replace(good[-1], ""))).encode()

    return {
        "unknown id": unknown,
        "wrong secret": wrong_secret,
        "malformed": malformed,
        "expired": expired.encode,
        "revoked": revoked.encode,
        "wrong network": elsewhere.encode,
        "no certificate": bare.encode,
    }


@contextlib.contextmanager
def running(made: Layout, verb: str) -> Iterator[str]:
    """Run the monitor, or both processes, and yield the last word of the line that says it is ready."""
    line = [sys.executable, "-I", "-m", "rexecd", verb, "--config", str(made.config)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process.stdout.readline().rpartition(" ")[2].strip() if process.stdout else ""
        finally:
            process.terminate()


@contextlib.contextmanager
def over_the_seam(made: Layout, settings: Settings) -> Iterator[Attempt]:
    """Yield an attempt as a gateway makes it."""

    def attempt(token: bytes) -> Times:
        channel = connect(settings.seam_socket, seam.SEAM, timeout=_PATIENCE)
        begun = time.perf_counter()
        channel.send(seam.Authenticate("192.0.2.7", 1234, "TLSv1.3", token))
        answer = channel.receive()
        answered = time.perf_counter()
        while channel.receive() is not None:
            pass
        ended = time.perf_counter()
        channel.close()
        _check_refused(answer)
        return Times((answered - begun) * 1e6, (ended - begun) * 1e6)

    with running(made, "monitor"):
        yield attempt


@contextlib.contextmanager
def over_tls(made: Layout, _: Settings) -> Iterator[Attempt]:
    """Yield an attempt as a stranger makes it; the handshake is over when the clock starts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(made.authority)
    context.set_alpn_protocols(["rexec/1"])

    with running(made, "serve") as address:
        port = int(address.rpartition(":")[2])

        def attempt(token: bytes) -> Times:
            connection = Connection(Role.CLIENT)
            raw = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
                begun = time.perf_counter()
                tls.sendall(connection.send(wire.Authenticate(token)))
                while (answer := connection.next_message()) is None:
                    connection.receive(tls.recv(4096))
                answered = time.perf_counter()
                with contextlib.suppress(OSError):
                    while tls.recv(4096):
                        pass
                ended = time.perf_counter()
            _check_refused(answer)
            return Times((answered - begun) * 1e6, (ended - begun) * 1e6)

        yield attempt


def _check_refused(answer: object) -> None:
    if not isinstance(answer, wire.Closed) or answer.text != "authentication failed":
        raise SystemExit(f"not refused as a wrong token is: {answer}")


def measure(makers: dict[str, Callable[[], bytes]], attempt: Attempt, each: int) -> dict[str, list[Times]]:
    """Return what each kind took, tried `each` times in random order."""
    taken: dict[str, list[Times]] = {name: [] for name in makers}
    order = [name for name in makers for _ in range(each)]
    random.shuffle(order)
    for name in order[:_WARM]:
        attempt(makers[name]())
    for name in order:
        taken[name].append(attempt(makers[name]()))
    return taken


def compare(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return how often `second` is the larger, and the z of Mann and Whitney for that."""
    ordered = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks, ties, place = 0.0, 0.0, 0
    for _, group in itertools.groupby(ordered, key=lambda pair: pair[0]):
        same = list(group)
        rank = place + (len(same) + 1) / 2
        ranks += rank * sum(which for _, which in same)
        ties += len(same) ** 3 - len(same)
        place += len(same)
    one, other = len(first), len(second)
    larger = ranks - other * (other + 1) / 2
    spread = one * other / 12 * (place + 1 - ties / (place * (place - 1)))
    return larger / (one * other), (larger - one * other / 2) / math.sqrt(spread)


def report(title: str, taken: dict[str, list[float]]) -> None:
    """Print the distributions side by side, and each pair."""
    print(f"\n{title}, microseconds")
    print(f"{'':<16}{'tries':>7}{'p5':>9}{'p50':>9}{'p95':>9}")
    for name, values in taken.items():
        ordered = sorted(values)
        marks = [ordered[int(len(ordered) * share)] for share in (0.05, 0.5, 0.95)]
        print(f"{name:<16}{len(values):>7}" + "".join(f"{mark:>9.0f}" for mark in marks))
    print(f"AUC / z{'':<9}" + "".join(f"{name:>18}" for name in list(taken)[1:]))
    told_apart = []
    for number, (name, values) in enumerate(list(taken.items())[:-1]):
        cells = ["" for _ in range(number)]
        for other, others in list(taken.items())[number + 1 :]:
            auc, z = compare(values, others)
            cells.append(f"{auc:.3f} / {z:+.1f}")
            if abs(z) > _TOLD_APART:
                told_apart.append(f"{name} and {other}")
        print(f"{name:<16}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"told apart: {'; '.join(told_apart) or 'none'}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--each", type=int, default=2000, help="attempts of each kind")
    parser.add_argument("--way", choices=("seam", "tls", "both"), default="both")
    arguments = parser.parse_args()
    ways = {"over the seam": over_the_seam, "over TLS": over_tls}
    for title, way in ways.items():
        if arguments.way not in {"both", title.split()[-1].lower()}:
            continue
        with tempfile.TemporaryDirectory(prefix="rexecd-bench-") as name:
            authority = make_authority("callers", now=datetime.now(UTC), days=9)
            made = lay_out(Path(name), ["127.0.0.1"], settings=_SETTINGS, policy=_POLICY)
            (made.config.parent / "clients.pem").write_bytes(authority.certificate_pem)
            settings = load_settings(made.config)
            makers = kinds(settings)
            with way(made, settings) as attempt:
                taken = measure(makers, attempt, arguments.each)
        for field in Times._fields:
            what = {"answer": "until the answer", "end": "until the end"}[field]
            report(
                f"{title}, {what}",
                {name: [getattr(times, field) for times in each] for name, each in taken.items()},
            )


if __name__ == "__main__":
    main()
