"""What a round is given, and how much of everything there is to be."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import Peer

#: Bytes.
GB = 10**9


class Plan(NamedTuple):
    """How much of everything."""

    #: Of ten single operations each.
    rounds: int = 20
    #: Of each load, of so many callers.
    seconds: float = 1.0
    callers: Sequence[int] = (1, 4, 16, 64, 256)
    passes: int = 3
    #: Bytes in and out; half of it is taken slowly, in so many seconds.
    size: int = 2 * GB
    slow: float = 10.0
    idle: Sequence[int] = (100, 1000, 5000)
    rules: Sequence[int] = (10, 100, 1000)
    tokens: Sequence[int] = (10, 1000, 10_000)
    records: Sequence[int] = (0, 100_000, 1_000_000)
    #: Seconds of mixed load, and of one of its windows.
    mixed: float = 600.0
    window: float = 10.0


class Bench(NamedTuple):
    """What a round has at hand."""

    plan: Plan
    #: Those that are here, each with a server that runs.
    peers: Sequence[Peer]
    #: Certificates for bare servers.
    certs: Path
    #: When everything has to be over, on the monotonic clock.
    end: float

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()

    def peer(self, name: str) -> Peer | None:
        """Return the peer of that name, None where it is not here."""
        return next((peer for peer in self.peers if peer.name == name), None)
