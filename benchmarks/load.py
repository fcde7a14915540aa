"""A load generator, in a process of its own: `load KIND ...`, told on its input what to do.

Each line is `CALLERS SECONDS`: have so many connections, keep them all busy for so long, and print what was
done as JSON. With no seconds they are only opened. At the end of the input it takes leave and ends.

Callers of rexecd are one loop over non-blocking connections: what is measured is the daemon. Callers of ssh
are asyncssh's own, which cost more than they should: their share of the processor is in the answer.
"""

import asyncio
import contextlib
import json
import select
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from rexecd.client.session import connect
from rexecd.wire.connection import Connection
from rexecd.wire.messages import Exit, Offer, Run

#: So many connections of ssh are opened at once.
_AT_ONCE = 4
#: Seconds a generator may take to leave.
_LEAVE = 20.0
RUN = Run("true", Offer.NONE, "", 0)


class Window:
    """So many seconds: how many answers came in them, how long each took, and what we used meanwhile."""

    def __init__(self, seconds: float) -> None:
        self._begun = time.perf_counter()
        self._cpu = time.process_time()
        self._seconds = seconds
        self._taken: list[float] = []
        self._in_time = 0

    def is_open(self) -> bool:
        """Return whether there is more to be asked."""
        return time.perf_counter() < self._begun + self._seconds

    def answered(self, since: float) -> None:
        """Note an answer; one that comes behind the end counts for how long it took, and for no rate."""
        self._taken.append(time.perf_counter() - since)
        self._in_time += self.is_open()

    def report(self) -> None:
        """Print it."""
        used = time.process_time() - self._cpu
        seconds = time.perf_counter() - self._begun
        taken = sorted(self._taken)
        answer = {
            "per_second": self._in_time / self._seconds,
            "p50": statistics.median(taken) * 1e3 if taken else None,
            "p99": taken[int(len(taken) * 0.99)] * 1e3 if taken else None,
            "count": len(taken),
            "generator_cpu": used / seconds,
        }
        print(json.dumps(answer), flush=True)


class Caller:
    """One connection, and the moment its command was asked for."""

    def __init__(self, address: str, ca: str, token: str) -> None:
        # The library's session, taken apart: it has proved the server and has been let in.
        session: Any = connect(address, token=token, ca=ca)
        session._close_wakers()  # noqa: SLF001 - two descriptors less, of thousands of callers
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


def keep_busy(all_: Sequence[Caller], seconds: float) -> None:
    """Keep every caller busy for so long, hear the last answers, and report."""
    poller = select.epoll()
    by_number = {caller.tls.fileno(): caller for caller in all_}
    window = Window(seconds)
    for number, caller in by_number.items():
        poller.register(number, select.EPOLLIN)
        caller.ask()
    waiting = len(all_)
    while waiting:
        for number, _ in poller.poll(60):
            caller = by_number[number]
            if caller.hear():
                window.answered(caller.since)
                if window.is_open():
                    caller.ask()
                else:
                    waiting -= 1
    window.report()
    poller.close()


def orders() -> Iterator[tuple[int, float]]:
    """Yield what is to be done."""
    for line in sys.stdin:
        callers, seconds = line.split()
        yield int(callers), float(seconds)


def load_rexecd(words: Sequence[str]) -> None:
    """Do what is ordered, of rexecd."""
    address, ca, token = words
    all_: list[Caller] = []
    secret = Path(token).read_text()
    for callers, seconds in orders():
        all_ += [Caller(address, ca, secret) for _ in range(callers - len(all_))]
        if seconds:
            keep_busy(all_[:callers], seconds)
        else:
            print("{}", flush=True)
    for caller in all_:
        caller.session.close()


async def load_ssh(words: Sequence[str]) -> None:
    """Do what is ordered, of a server of ssh."""
    from benchmarks.ssh import ssh_options  # noqa: PLC0415 - its imports cost memory

    library: Any = __import__("asyncssh")
    port, user, key, command = words
    options = ssh_options(int(port), user, key)
    few = asyncio.Semaphore(_AT_ONCE)
    all_: list[Any] = []

    async def open_one() -> None:
        async with few:
            all_.append(await library.connect(**options))

    for callers, seconds in orders():
        await asyncio.gather(*(open_one() for _ in range(callers - len(all_))))
        if seconds:
            await _keep_ssh_busy(all_[:callers], command, seconds)
        else:
            print("{}", flush=True)
    for connection in all_:
        connection.abort()


async def _keep_ssh_busy(all_: Sequence[Any], command: str, seconds: float) -> None:
    window = Window(seconds)

    async def work(connection: Any) -> None:  # noqa: ANN401 - of a library without types here
        while window.is_open():
            since = time.perf_counter()
            await connection.run(command, check=True)
            window.answered(since)

    await asyncio.gather(*map(work, all_))
    window.report()


class Generator:
    """A load generator of ours, as whoever gives the orders sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def kill(self) -> None:
        """Let all its callers vanish."""
        self._process.kill()

    def order(self, callers: int, seconds: float = 0) -> None:
        """Say what is to be done."""
        if self._process.stdin:
            self._process.stdin.write(f"{callers} {seconds}\n")
            self._process.stdin.flush()

    def answer(self) -> Row:
        """Wait until it is done; raise RuntimeError where it cannot be."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            said = self._process.stderr.read() if self._process.stderr else ""
            raise RuntimeError((said.strip().splitlines() or ["the load generator has ended"])[-1])
        row: Row = json.loads(line)
        return row


@contextlib.contextmanager
def generator(words: Sequence[str]) -> Iterator[Generator]:
    """Run a load generator, and end it."""
    line = [sys.executable, "-m", "benchmarks.load", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield Generator(process)
        except BaseException:
            process.terminate()
            raise
        finally:
            if process.stdin:
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LEAVE)
            process.terminate()


def main() -> None:
    """Load, and print."""
    kind, *words = sys.argv[1:]
    if kind == "rexecd":
        load_rexecd(words)
    else:
        asyncio.run(load_ssh(words))


if __name__ == "__main__":
    main()
