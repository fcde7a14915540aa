"""Which strangers get a connection at all, and for how long a source that misbehaves gets none.

Rule 1: everything is decided before there is a thread, in constant time, from what is in memory here.
Rule 2: what is held is bounded whatever the number of sources: places by `max_connections`, penalties
by `max_sources`.
Rule 3: a place is given back exactly once, however often that is asked for.
Rule 4: no clock and no dice of its own; the clock only goes forward.

A source is an IPv4 address or an IPv6 network, as long as the settings say. The reasons stand in ADR 0019.
"""

import enum
import heapq
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

#: (4 or 6, the bits that make a source). Integers, because ipaddress objects once hashed alike, and
#: because no more than eight of these have the same hash.
_Source = tuple[int, int]

#: A peer that comes and goes without a byte is as likely a health check as an attack: this part of the
#: penalty for breaking the protocol.
_SHARE_OF_EMPTY: Final = 0.1
#: Who leaves after the handshake may have wanted to see our key, as callers do on first use. By default it is
#: the second that sshd takes for it.
_SHARE_OF_UNTRIED: Final = 0.2
#: Doubled no more often than this: the highest penalty is reached long before.
_MOST_DOUBLINGS: Final = 16
#: What has run off is dropped that many at a time, more than can come in between.
_DROPPED_AT_ONCE: Final = 2


class Offence(enum.Enum):
    """What a stranger did wrong; the value is what it is called, once or several times."""

    TOKEN = "refused token{s}"  # noqa: S105 - no secret
    SILENCE = "silent connection{s}"
    PROTOCOL = "broken connection{s}"
    UNTRIED = "connection{s} without a token"
    EMPTY = "connection{s} without a byte"

    def times(self, number: int) -> str:
        """Return `3 refused tokens`."""
        return f"{number} {self.value.format(s='' if number == 1 else 's')}"


class Figures(NamedTuple):
    """What the settings have to say here, by their names (rexecd.yaml(5) says what they mean)."""

    max_connections: int
    reserved_connections: int
    max_connections_source: int
    #: START, RATE, FULL.
    max_startups: tuple[int, int, int]
    max_startups_source: int
    source_prefix_v4: int
    source_prefix_v6: int
    exempt: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    penalty_authentication: float
    penalty_silence: float
    penalty_protocol: float
    penalty_least: float
    penalty_most: float
    max_sources: int


class Refusal(NamedTuple):
    """A source is refused from now on."""

    seconds: float
    offences: Counter[Offence]

    def __str__(self) -> str:
        what = ", ".join(offence.times(number) for offence, number in self.offences.items())
        return f"refused for {self.seconds:.3g}s: {what}"


class _Record:
    """What is remembered of one source."""

    __slots__ = ("expiry", "forgotten", "is_refused", "offences", "times_refused")

    def __init__(self) -> None:
        #: When its penalty has run off.
        self.expiry = 0.0
        #: The second in which nothing is known of it any more.
        self.forgotten = 0
        #: Whether it gets no connection until `expiry`.
        self.is_refused = False
        self.times_refused = 0
        #: Those that made the penalty that runs now.
        self.offences: Counter[Offence] = Counter()


class _Penalties:
    """The records of one family of addresses, and in which order they are forgotten.

    Sources are kept in buckets of a second, and a heap has the numbers of the buckets: putting one in,
    moving it, and taking out the first costs no more for many than for few.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: dict[int, _Record] = {}
        self._buckets: dict[int, dict[int, None]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        return len(self._records)

    def find(self, source: int) -> _Record | None:
        """Return what is remembered."""
        return self._records.get(source)

    def take(self, source: int, now: float) -> _Record:
        """Return the record of a source, a new one where there was none; make room for it."""
        for _ in range(_DROPPED_AT_ONCE):
            if self._records and self._first() < now:
                self._drop_first()
        record = self._records.get(source)
        if record is None:
            if len(self._records) >= self._most:
                self._drop_first()
            record = self._records[source] = _Record()
        elif record.forgotten < now:
            self._leave_bucket(source, record)
            record = self._records[source] = _Record()
        else:
            self._leave_bucket(source, record)
        return record

    def keep(self, source: int, record: _Record, until: float) -> None:
        """Put a record that was taken back, to be forgotten then."""
        record.forgotten = int(until) + 1
        if record.forgotten not in self._buckets:
            self._buckets[record.forgotten] = {}
            heapq.heappush(self._order, record.forgotten)
        self._buckets[record.forgotten][source] = None

    def _leave_bucket(self, source: int, record: _Record) -> None:
        del self._buckets[record.forgotten][source]

    def _first(self) -> int:
        """Return the first bucket with somebody in it; there has to be one."""
        while not self._buckets[self._order[0]]:
            del self._buckets[heapq.heappop(self._order)]
        return self._order[0]

    def _drop_first(self) -> None:
        """Forget whoever is forgotten first anyway."""
        source, _ = self._buckets[self._first()].popitem()
        del self._records[source]


class Place:
    """One connection that was admitted, and what it takes of what there is."""

    __slots__ = ("_throttle", "address", "is_counted", "is_startup", "source")

    def __init__(self, throttle: "Throttle", address: str, source: _Source | None) -> None:
        self._throttle = throttle
        self.address = address
        #: None: exempt.
        self.source = source
        self.is_startup = True
        self.is_counted = True

    def authenticated(self) -> None:
        """Give back the place among those without a good token."""
        self._throttle.authenticated(self)

    def leave(self) -> None:
        """Give back everything."""
        self._throttle.leave(self)

    def penalize(self, offence: Offence) -> Refusal | None:
        """Add to the penalty of its source; return the refusal if this is where one begins."""
        return self._throttle.penalize(self, offence)


class Throttle:
    """Counts connections, and remembers who misbehaved. Any thread may use it."""

    def __init__(
        self, figures: Figures, *, monotonic: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self._figures = figures
        self._monotonic = monotonic
        self._random = random
        self._lock = threading.Lock()
        self._penalties = {4: _Penalties(figures.max_sources), 6: _Penalties(figures.max_sources)}
        self._amounts = {
            Offence.TOKEN: figures.penalty_authentication,
            Offence.SILENCE: figures.penalty_silence,
            Offence.PROTOCOL: figures.penalty_protocol,
            Offence.UNTRIED: figures.penalty_protocol * _SHARE_OF_UNTRIED,
            Offence.EMPTY: figures.penalty_protocol * _SHARE_OF_EMPTY,
        }
        self._shifts = {4: 32 - figures.source_prefix_v4, 6: 128 - figures.source_prefix_v6}
        self._exempt: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for network in figures.exempt:
            row = int(network.netmask), int(network.network_address)
            self._exempt[network.version].append(row)
        self._connections = 0
        self._startups = 0
        self._connections_of: Counter[_Source] = Counter()
        self._startups_of: Counter[_Source] = Counter()

    @property
    def connections(self) -> int:
        """Return how many connections there are."""
        return self._connections

    @property
    def startups(self) -> int:
        """Return how many of them have no good token yet."""
        return self._startups

    @property
    def remembered(self) -> int:
        """Return of how many sources anything is known, penalties and places together."""
        return sum(map(len, self._penalties.values())) + len(self._connections_of) + len(self._startups_of)

    def admit(self, address: str) -> Place | str:
        """Return a place for a connection from this address, or why there is none."""
        source = self._source(address)
        with self._lock:
            why = self._objection(source)
            if why:
                return why
            self._connections += 1
            self._startups += 1
            if source is not None:
                self._connections_of[source] += 1
                self._startups_of[source] += 1
        return Place(self, address, source)

    def authenticated(self, place: Place) -> None:
        """Count a connection no longer among those without a good token."""
        with self._lock:
            self._end_startup(place)

    def leave(self, place: Place) -> None:
        """Count a connection no longer."""
        with self._lock:
            self._end_startup(place)
            if place.is_counted:
                place.is_counted = False
                self._connections -= 1
                _decrease(self._connections_of, place.source)

    def penalize(self, place: Place, offence: Offence) -> Refusal | None:
        """Add to the penalty of a connection's source; return the refusal if this is where one begins.

        An offence adds its amount to what is left of the penalty (after OpenSSH's PerSourcePenalties),
        twice that after each refusal of this source that is not forgotten yet. A refusal is
        forgotten when the source has been without a penalty for `penalty_most`.
        """
        figures, amount = self._figures, self._amounts[offence]
        if place.source is None or not amount:
            return None
        now = self._monotonic()
        family, source = place.source
        with self._lock:
            penalties = self._penalties[family]
            record = penalties.take(source, now)
            if record.expiry <= now:
                record.is_refused = False
                record.offences.clear()
            record.offences[offence] += 1
            amount *= 2.0 ** min(record.times_refused, _MOST_DOUBLINGS)
            record.expiry = min(max(now, record.expiry) + amount, now + figures.penalty_most)
            left = record.expiry - now
            begins = left >= figures.penalty_least and not record.is_refused
            if begins:
                record.is_refused = True
                record.times_refused += 1
            memory = figures.penalty_most if record.times_refused else 0.0
            penalties.keep(source, record, record.expiry + memory)
            return Refusal(left, record.offences.copy()) if begins else None

    def _objection(self, source: _Source | None) -> str:
        """Return why a connection is not admitted; empty if it is."""
        connections = startups = 0
        if source is not None:
            connections, startups = self._connections_of[source], self._startups_of[source]
            if why := self._objection_to(source, connections, startups):
                return why
        figures, there_are = self._figures, self._connections
        if there_are >= figures.max_connections:
            return f"{there_are} connections are open"
        if connections and there_are >= figures.max_connections - figures.reserved_connections:
            return f"{there_are} connections are open, and the rest is for sources that have none"
        if self._startups >= figures.max_startups[2] or (startups and self._is_unlucky()):
            return f"{self._startups} connections have no good token"
        return ""

    def _objection_to(self, source: _Source, connections: int, startups: int) -> str:
        """Return what is held against a source alone."""
        if self._is_refused(source):
            return "its source is refused for a while"
        if connections >= self._figures.max_connections_source:
            return f"{connections} connections of its source are open"
        if startups >= self._figures.max_startups_source:
            return f"{startups} connections of its source have no good token"
        return ""

    def _is_refused(self, source: _Source) -> bool:
        record = self._penalties[source[0]].find(source[1])
        return record is not None and record.is_refused and record.expiry > self._monotonic()

    def _is_unlucky(self) -> bool:
        """Return whether the dice drop it early.

        Whoever has no connection without a token yet does not play: where few sources crowd, their own
        bad luck keeps room for everybody else's first one.
        """
        start, rate, full = self._figures.max_startups
        if self._startups < start:
            return False
        chance = rate + (100 - rate) * (self._startups - start) / max(1, full - start)
        return self._random() * 100 < chance

    def _end_startup(self, place: Place) -> None:
        if place.is_startup:
            place.is_startup = False
            self._startups -= 1
            _decrease(self._startups_of, place.source)

    def _source(self, address: str) -> _Source | None:
        """Return what source an address belongs to; None if it is exempt."""
        family = 6 if ":" in address else 4
        number = int.from_bytes(
            socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)  # noqa: PLR2004
        )
        for mask, network in self._exempt[family]:
            if number & mask == network:
                return None
        return family, number >> self._shifts[family]


def _decrease(counts: Counter[_Source], source: _Source | None) -> None:
    """Count one less; nobody is remembered for having none."""
    if source is None:
        return
    counts[source] -= 1
    if not counts[source]:
        del counts[source]
