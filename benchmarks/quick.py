"""The four main ratios in under a minute: `make bench-quick`.

Rounds are interleaved (A B C D A B C D ...), so that a machine that gets slower does so for all of
them. Printed are medians of single operations and ratios of those medians. Nothing is asserted.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import limits
from benchmarks.load import generator
from benchmarks.peers import Operation, Peer, rexecd
from benchmarks.served import SETTINGS, popen, take_turns
from rexecd.cli.init import lay_out

_POPEN = "bare Popen"
_OPEN = "command on an open connection"
_SHAKE = "bare TLS handshake"
_NEW = "connect, authenticate, run, close"
_INTERPRETER = "whole process: interpreter"
_REXEC = "whole process: rexec HOST true"
_CALLERS = 16


def interpreter() -> None:
    """Start the interpreter and what any TLS client in Python needs."""
    subprocess.run([sys.executable, "-I", "-c", "import argparse, json, socket, ssl"], check=True)


def measure(peer: Peer, handshake: Operation, *, rounds: int, each: int) -> dict[str, float]:
    """Return the median of each operation in milliseconds, over interleaved rounds."""
    if peer.opened is None or peer.once is None:
        raise RuntimeError("nothing can be asked")
    (whole,) = peer.lines.values()
    with peer.opened() as run:
        operations: dict[str, Callable[[], object]] = {
            _POPEN: popen,
            _OPEN: run,
            _SHAKE: handshake,
            _NEW: peer.once,
            _INTERPRETER: interpreter,
            _REXEC: lambda: subprocess.run(whole, check=True, stdin=subprocess.DEVNULL),
        }
        few = max(1, each // 20)
        taken = take_turns(operations, rounds=rounds, each=each, fewer={_INTERPRETER: few, _REXEC: few})
    return {name: statistics.median(all_) for name, all_ in taken.items()}


def at_once(peer: Peer, rounds: int, seconds: float) -> tuple[float, float]:
    """Return the commands a second of many callers, and of two loops that only start programs."""
    rates, bare = [], []
    with generator(peer.load) as load:
        load.order(_CALLERS)
        load.answer()
        for _ in range(rounds):
            bare.append(limits.spawning(2, seconds))
            load.order(_CALLERS, seconds)
            rates.append(float(load.answer()["per_second"]))
    return statistics.median(rates), statistics.median(bare)


def ratios(medians: dict[str, float], rate: float, bare: float) -> dict[str, float]:
    """Return the four."""
    return {
        "open connection / bare Popen": medians[_OPEN] / medians[_POPEN],
        "new connection / (handshake + Popen)": medians[_NEW] / (medians[_SHAKE] + medians[_POPEN]),
        "rexec / interpreter": medians[_REXEC] / medians[_INTERPRETER],
        f"{_CALLERS} callers / two posix_spawn loops": rate / bare,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--each", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load; there are three")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rexec-bench-")))
        lay_out(directory / "bare", ["127.0.0.1"])
        # Commands are the daemon's own user, as the bare ones are.
        settings = SETTINGS + ("" if os.geteuid() else "run_as: root\n")
        peer = stack.enter_context(rexecd(directory, settings))
        handshake = stack.enter_context(limits.bare_tls(directory / "bare" / "certs"))
        medians = measure(peer, handshake, rounds=arguments.rounds, each=arguments.each)
        rate, bare = at_once(peer, 3, arguments.seconds)
    found = ratios(medians, rate, bare)
    if arguments.json:
        rates = {"callers": rate, "loops": bare}
        print(json.dumps({"medians_ms": medians, "per_second": rates, "ratios": found}, indent=2))
        return
    for name, value in medians.items():
        print(f"{name:<40} {value:8.3f} ms")
    for name, value in found.items():
        print(f"{name:<40} {value:8.2f} x")


if __name__ == "__main__":
    main()
