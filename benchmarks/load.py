"""A load generator, in a process of its own: `load KIND ... CALLERS SECONDS`; prints what it did as JSON.

Callers of rexecd are one loop over non-blocking connections: what is measured is the daemon. Callers of ssh
are asyncssh's own, which cost more than they should: their share of the processor is in the answer.
"""

import asyncio
import json
import select
import ssl
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import ssh_options
from rexecd.client.session import connect
from rexecd.wire.connection import Connection
from rexecd.wire.messages import Exit, Offer, Run


def report(taken: list[float], seconds: float, began: float) -> None:
    """Print what was done: how many, how many a second, how long each, and our share of one processor."""
    taken.sort()
    print(
        json.dumps(
            {
                "count": len(taken),
                "per_second": len(taken) / seconds,
                "p50_ms": statistics.median(taken) * 1e3 if taken else None,
                "p99_ms": taken[int(len(taken) * 0.99)] * 1e3 if taken else None,
                "generator_cpu": (time.process_time() - began) / seconds,
            }
        )
    )


class Caller:
    """One connection, and the moment its command was asked for."""

    def __init__(self, address: str, ca: str, token: str) -> None:
        # The library's session, taken apart: it has proved the server and has been let in.
        session: Any = connect(address, token=token, ca=ca)
        self.session = session
        self.tls: ssl.SSLSocket = session._conversation._link._sock  # noqa: SLF001 - see above
        self.connection: Connection = session._conversation._connection  # noqa: SLF001 - as above
        self.since = 0.0

    def ask(self) -> None:
        """Ask for the next command."""
        self.since = time.perf_counter()
        self.tls.send(self.connection.send(RUN))

    def hear(self) -> bool:
        """Take what came; return whether the command has ended."""
        while True:
            try:
                data = self.tls.recv(16384)
            except ssl.SSLWantReadError:
                return False
            if not data:
                raise RuntimeError("the server ended a connection")
            self.connection.receive(data)
            while (message := self.connection.next_message()) is not None:
                if isinstance(message, Exit):
                    return True


RUN = Run("true", Offer.NONE, "", 0)


def load_rexecd(words: Sequence[str], callers: int, seconds: float) -> None:
    """Keep every caller busy."""
    address, ca, token = words
    all_ = [Caller(address, ca, Path(token).read_text()) for _ in range(callers)]
    poller = select.epoll()
    by_number = {caller.tls.fileno(): caller for caller in all_}
    taken: list[float] = []
    for number, caller in by_number.items():
        poller.register(number, select.EPOLLIN)
        caller.ask()
    begun, cpu = time.perf_counter(), time.process_time()
    end = begun + seconds
    while (now := time.perf_counter()) < end:
        for number, _ in poller.poll(end - now):
            caller = by_number[number]
            if caller.hear():
                taken.append(time.perf_counter() - caller.since)
                caller.ask()
    report(taken, time.perf_counter() - begun, cpu)


async def load_ssh(words: Sequence[str], callers: int, seconds: float) -> None:
    """Keep every caller busy."""
    library: Any = __import__("asyncssh")
    port, user, key, command = words
    options = ssh_options(int(port), user, key)
    all_ = [await library.connect(**options) for _ in range(callers)]
    taken: list[float] = []
    begun, cpu = time.perf_counter(), time.process_time()
    end = begun + seconds

    async def work(connection: Any) -> None:  # noqa: ANN401 - of a library without types here
        while time.perf_counter() < end:
            since = time.perf_counter()
            await connection.run(command, check=True)
            taken.append(time.perf_counter() - since)

    await asyncio.gather(*map(work, all_))
    report(taken, time.perf_counter() - begun, cpu)
    for connection in all_:
        connection.abort()


def main() -> None:
    """Load, and print."""
    kind, *words, callers, seconds = sys.argv[1:]
    if kind == "rexecd":
        load_rexecd(words, int(callers), float(seconds))
    else:
        asyncio.run(load_ssh(words, int(callers), float(seconds)))


if __name__ == "__main__":
    main()
