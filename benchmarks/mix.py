"""Callers of one kind, for long: `mix KIND ADDRESS CA TOKEN_FILE CALLERS EACH BEGIN WINDOW WINDOWS`.

Every one of CALLERS asks EACH times a second, from BEGIN on the monotonic clock, through so many windows of
WINDOW seconds. Nobody tries to catch up. For each window a line of JSON is printed at the end: how many, how
long, what failed, and our share of the processor.
"""

import functools
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Row, summary
from rexecd import client

#: Bytes a caller of `output` takes, and one of `input` gives.
PIECE = 1_000_000


class Times(NamedTuple):
    """When what kind of callers ask."""

    begin: float
    window: float
    windows: int
    pause: float


def _refused(session: client.Session) -> None:
    try:
        session.run("nothing-of-the-kind")
    except client.Refused:
        return
    raise RuntimeError("what there is not was allowed")


def _command(session: client.Session) -> None:
    session.run("true")


def _take(session: client.Session) -> None:
    session.run(f"zeros {PIECE}")


def _put(session: client.Session) -> None:
    session.run("sink", input=bytes(PIECE))


#: What is asked over a connection that is open; every other kind asks for one of its own.
ASK: dict[str, Callable[[client.Session], object]] = {
    "commands": _command,
    "output": _take,
    "input": _put,
    "refusals": _refused,
}


class Kind:
    """What callers do, and what came of it."""

    def __init__(self, name: str, address: str, ca: str, token: str) -> None:
        self._connect: Callable[[], client.Session] = functools.partial(
            client.connect, address, token=token, ca=ca
        )
        self._session: client.Session | None = None
        self._ask = ASK.get(name)

    def once(self) -> None:
        """Ask once: over the connection that is open, or over a new one."""
        if self._ask is None:
            with self._connect() as session:
                session.run("true")
            return
        if self._session is None or self._session.is_closed:
            self._session = self._connect()
        self._ask(self._session)

    def close(self) -> None:
        """Say goodbye."""
        if self._session is not None:
            self._session.close()


def work(kind: Kind, times: Times, first: float, done: Callable[[int, float | None], None]) -> None:
    """Ask again and again until the last window is over."""
    due, end = times.begin + first, times.begin + times.window * times.windows
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        begun = time.monotonic()
        window = int((begun - times.begin) / times.window)
        if window >= times.windows:
            break
        try:
            kind.once()
            done(window, (time.monotonic() - begun) * 1e3)
        except (client.CallerError, OSError, RuntimeError):
            done(window, None)
        due = max(due + times.pause, time.monotonic())
    kind.close()


def main() -> None:
    """Work, and print."""
    name, address, ca, token = sys.argv[1:5]
    callers, each, begin, window = (float(word) for word in sys.argv[5:9])
    times = Times(begin, window, int(sys.argv[9]), 1 / each)
    secret = Path(token).read_text()
    taken: list[list[float]] = [[] for _ in range(times.windows)]
    failed = [0] * times.windows
    lock = threading.Lock()

    def done(number: int, milliseconds: float | None) -> None:
        with lock:
            if milliseconds is None:
                failed[number] += 1
            else:
                taken[number].append(milliseconds)

    workers = [
        threading.Thread(
            target=work,
            args=(Kind(name, address, ca, secret), times, number * times.pause / callers, done),
        )
        for number in range(int(callers))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    share = time.process_time() / (times.window * times.windows)
    for all_, number in zip(taken, failed, strict=True):
        row: Row = (summary(all_) if all_ else {"count": 0}) | {"failed": number, "generator_cpu": share}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
