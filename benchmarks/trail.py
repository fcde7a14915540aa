"""What the trail costs: `make bench-trail`.

First a record by itself, appended in this process. Then a command on an open connection, of daemons that take
turns: without a trail (its writing is taken out of the monitor, which nothing else can do), and with each
`sync`; then with many callers at once. Printed are medians, and ratios to the daemon without a trail. Nothing
is asserted.
"""

import argparse
import contextlib
import functools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.audit import events
from benchmarks.served import POLICY, SETTINGS, apart, popen, take_turns
from rexecd import client
from rexecd.audit.events import compose
from rexecd.audit.keys import KEY_NAME, create_keys
from rexecd.audit.seal import Chain
from rexecd.audit.trail import Terms, Trail
from rexecd.clock import Clock

_WITHOUT = """
from rexecd.audit.trail import Trail
Trail.append = Trail.owe = lambda self, *_, **__: None
"""
_SYNCS = ("interval", "none", "always")


def one_record(count: int) -> Iterator[tuple[str, float]]:
    """Yield the microseconds of a record: of its parts, and appended with each sync."""
    samples = [event for _, event in zip(range(count), events(), strict=False)]
    now = datetime.now(UTC)
    composed = [compose(action, fields, now=now) for action, fields in samples]
    chain = Chain.begin(bytes(32))
    lines = [chain.seal(prefix)[0] for prefix in composed]
    yield "compose", _each(lambda number: compose(*samples[number], now=now), count)
    yield "seal", _each(lambda number: chain.seal(composed[number]), count)
    with tempfile.TemporaryDirectory() as directory:
        descriptor = os.open(Path(directory, "bare"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        yield "bare write", _each(lambda number: os.write(descriptor, lines[number]), count)
        yield (
            "bare write and fdatasync",
            _each(lambda number: _written(descriptor, lines[number]), min(300, count)),
        )
        os.close(descriptor)
    for sync in _SYNCS:
        with tempfile.TemporaryDirectory() as directory:
            create_keys(Path(directory), "bench")
            terms = Terms(sync=sync)
            path, key = Path(directory, "audit.jsonl"), Path(directory, KEY_NAME)
            with Trail.open(path, key, clock=Clock(), terms=terms) as trail:
                yield (
                    f"append, sync: {sync}",
                    _each(
                        lambda number: trail.append(samples[number][0], **samples[number][1]),
                        min(300, count) if sync == "always" else count,
                    ),
                )


def _written(descriptor: int, line: bytes) -> None:
    os.write(descriptor, line)
    os.fdatasync(descriptor)


def _each(operation: Callable[[int], object], count: int) -> float:
    """Return the median microseconds of an operation."""
    taken = []
    for number in range(count):
        begun = time.perf_counter()
        operation(number)
        taken.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(taken)


@contextlib.contextmanager
def opened(sync: str | None) -> Iterator[Callable[[], client.Session]]:
    """Run a daemon with that sync, or without a trail, and yield what connects to it."""
    trail = "" if sync is None else f"audit: {{file: audit/audit.jsonl, sync: {sync}}}\n"
    with apart(SETTINGS + trail, POLICY, "bench", "" if sync else _WITHOUT) as (running, _):
        yield running.connect


def at_once(connect: Callable[[], client.Session], callers: int, each: int) -> float:
    """Return the commands a second of so many callers at once."""
    sessions = [connect() for _ in range(callers)]

    def work(session: client.Session) -> None:
        for _ in range(each):
            session.run("true")

    threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    for session in sessions:
        session.close()
    return callers * each / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--each", type=int, default=40)
    arguments = parser.parse_args()
    for name, microseconds in one_record(arguments.records):
        print(f"{name:<40} {microseconds:8.1f} us", flush=True)
    with contextlib.ExitStack() as stack:
        found = {sync or "off": stack.enter_context(opened(sync)) for sync in (None, *_SYNCS)}
        sessions = {name: stack.enter_context(connect()) for name, connect in found.items()}
        runs = {name: functools.partial(session.run, "true") for name, session in sessions.items()}
        taken = take_turns({"bare Popen": popen, **runs}, rounds=arguments.rounds, each=arguments.each)
        medians = {name: statistics.median(values) for name, values in taken.items()}
        for name, median in medians.items():
            print(f"{'command, ' + name:<40} {median:8.3f} ms {median / medians['off']:8.3f} x off")
        rates = {name: [at_once(connect, 16, 25) for _ in range(3)] for name, connect in found.items()}
        for name, several in rates.items():
            print(f"{'16 callers at once, ' + name:<40} {statistics.median(several):8.0f} commands/s")


if __name__ == "__main__":
    main()
