"""Verify a trail: its chain, its end, and what was signed of it; find the first place that was touched.

With the sealing key each record is checked by itself. Without it, by checkpoints alone, what lies between two
of them is checked as one. Everything streams. A trail is taken as hostile: its writer may have been anyone.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rexecd import limits
from rexecd.audit import seal
from rexecd.audit.checkpoint import Checkpoint
from rexecd.audit.events import Action
from rexecd.audit.lines import Line
from rexecd.audit.seal import Broken, Chain, Change
from rexecd.audit.search import at

#: So near to its beginning a line says what it is.
_HEAD: Final = 160
_PRUNED: Final = f'"action":"{Action.TRAIL_PRUNED.value}"'.encode()


@dataclass(frozen=True, slots=True)
class Finding:
    """The first place where a trail is not what was written."""

    path: Path
    line: int
    #: The record that belongs there.
    sequence: int
    change: Change
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change.value}: {self.text}"


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` saw. `first` above 1 says that earlier records are in none of the files."""

    records: int = 0
    first: int = 0
    last: int = 0
    #: Of all records up to the last good one, in hex: what a checkpoint says.
    digest: str = ""
    finding: Finding | None = None
    #: Up to which record it is known that there are some; a cut behind it cannot be seen.
    known_end: int = 0
    #: How many checkpoints fit, and how many are of records before the first.
    checkpoints: int = 0
    unseen: int = 0
    #: Up to which record earlier ones were removed in order.
    removed_until: int = 0
    is_sealed: bool = True

    @property
    def good(self) -> bool:
        """Return whether nothing was found; for an exit status."""
        return self.finding is None

    def __str__(self) -> str:
        if self.finding is not None:
            return str(self.finding)
        if not self.records:
            return "no records"
        facts = [f"records {self.first} to {self.last} unbroken, digest {self.digest}"]
        if self.checkpoints:
            facts.append(f"{self.checkpoints} checkpoint{'s fit' if self.checkpoints > 1 else ' fits'}")
        if self.unseen:
            facts.append(f"{self.unseen} of earlier records could not be compared")
        if self.first > 1:
            how = (
                "were removed when their time was over"
                if self.removed_until
                else "are in none of these files"
            )
            facts.append(f"records before {self.first} {how}")
        if not self.is_sealed:
            facts.append("seals were not checked, for want of their key")
            if self.known_end < self.last:
                facts.append(f"records behind {self.known_end} were not checked")
        if not self.known_end:
            facts.append("the end was not checked, for want of the key file or a checkpoint")
        return "; ".join(facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What a trail is held against."""

    #: The first sealing key; None: seals are not checked.
    key: bytes | None = None
    #: What the state directory says of the end.
    head: Chain | None = None
    checkpoints: Sequence[Checkpoint] = ()
    #: Whether all files are there, so that the first record has to be the first, or its absence be explained.
    is_whole: bool = False
    _by_records: dict[int, list[Checkpoint]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for checkpoint in self.checkpoints:
            self._by_records.setdefault(checkpoint.records, []).append(checkpoint)

    def at(self, records: int) -> list[Checkpoint]:
        """Return what was signed of so many records."""
        return self._by_records.get(records, [])

    @property
    def last(self) -> int:
        """Return up to which record the trail has to go."""
        signed = max((checkpoint.records for checkpoint in self.checkpoints), default=0)
        return max(signed, self.head.sequence - 1 if self.head is not None else 0)


def verify(found: Iterable[Line], known: Knowledge, *, where: Path) -> Report:
    """Check the lines of one trail, from the oldest, up to the first that is bad; raise ConfigError.

    `where` is the file whose end is the trail's.
    """
    walk = _Walk(known)
    line: Line | None = None
    for line in found:
        try:
            walk.step(line)
        except Broken as broken:
            return walk.report(Finding(line.path, line.number, walk.next, broken.change, broken.text))
    try:
        walk.end()
    except Broken as broken:
        path, number = (line.path, line.number) if line is not None else (where, 0)
        if broken.change is Change.MISSING and walk.beginning is not None:
            path, number = walk.beginning.path, walk.beginning.number
        return walk.report(Finding(path, number, walk.next, broken.change, broken.text))
    return walk.report()


class _Walk:
    """Follow the chain through the lines of all files."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._chain: Chain | None = None
        self._records = 0
        self._first = 0
        self._fitted = 0
        self._signed = 0
        self._removed_until = 0
        #: The first line.
        self.beginning: Line | None = None

    @property
    def next(self) -> int:
        """Return the number of the record that comes next."""
        return 1 if self._chain is None else self._chain.sequence

    def step(self, line: Line) -> None:
        """Take one line; raise Broken, and then nothing moved."""
        chain = self._chain
        if chain is None:
            chain = self._begin(line.data)
            self._compare(chain)
            self._first, self.beginning = chain.sequence, line
        after = chain.check(line.data)
        self._compare(after)
        if _PRUNED in line.data[:_HEAD]:
            self._take_pruned(line.data)
        self._chain = after
        self._records += 1

    def end(self) -> None:
        """Raise Broken if the trail should go on, or should have begun before."""
        last = self._known.last
        if self.next <= last:
            text = f"records {self.next} to {last} were written and are missing at the end"
            raise Broken(Change.CUT, text)
        if self._known.is_whole and self._first > 1 and self._removed_until < self._first - 1:
            text = f"records 1 to {self._first - 1} are missing, and no record tells of their removal"
            raise Broken(Change.MISSING, text)

    def report(self, finding: Finding | None = None) -> Report:
        """Return what was seen so far."""
        chain, known = self._chain, self._known
        return Report(
            records=self._records,
            first=self._first,
            last=self.next - 1,
            digest="" if chain is None else chain.digest.hex(),
            finding=finding,
            known_end=known.last,
            checkpoints=self._fitted,
            unseen=sum(checkpoint.records < self._first - 1 for checkpoint in known.checkpoints),
            removed_until=self._removed_until,
            is_sealed=known.key is not None,
        )

    def _compare(self, chain: Chain) -> None:
        """Hold what lies before a place against what is known of it; raise Broken."""
        known = self._known
        head = known.head
        if head is not None and chain.sequence == head.sequence and chain.digest != head.digest:
            text = f"record {chain.sequence - 1} or one before is not the one that was persisted"
            raise Broken(Change.EDITED, text)
        records = chain.sequence - 1
        for checkpoint in known.at(records):
            if checkpoint.digest != chain.digest:
                since = (
                    f"record {self._signed + 1} to {records}" if self._signed < records - 1 else f"{records}"
                )
                raise Broken(Change.EDITED, f"of records {since} one is not what was signed")
            self._fitted += 1
            self._signed = records

    def _begin(self, line: bytes) -> Chain:
        """Return the chain before the first line of the first file; raise Broken.

        A later file of a trail begins in mid-chain: its first record says what it is sealed to,
        and is itself sealed with a key that only its true number leads to.
        """
        sequence = seal.number(line)
        key = self._known.key
        if sequence == 1:
            return Chain.begin(key)
        digest = _previous_digest(line)
        if digest is None:
            raise Broken(Change.MISSING, f"records 1 to {sequence - 1} missing before record {sequence}")
        head = self._known.head
        if head is not None and sequence > head.sequence:  # and stepping the key that far could take for ever
            missing = f"record {head.sequence - 1}, the last one persisted, is missing"
            raise Broken(Change.MISSING, f"{missing} before record {sequence}")
        if sequence > limits.MAX_SKIPPED_RECORDS:
            raise Broken(Change.NOT_A_RECORD, f"record {sequence} is beyond what any trail holds")
        if key is not None:
            for _ in range(sequence - 1):
                key = seal.evolve(key)
        return Chain(sequence, key, digest)

    def _take_pruned(self, line: bytes) -> None:
        until = at(_parsed(line), ("rexec", "removed_until"))
        if type(until) is int:
            self._removed_until = max(self._removed_until, until)


def _previous_digest(line: bytes) -> bytes | None:
    """Return what a file's first record says of all before it, None for any other record."""
    record = _parsed(line)
    text = at(record, ("rexec", "previous_digest"))
    if at(record, ("event", "action")) != Action.TRAIL_OPENED.value or not isinstance(text, str):
        return None
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return None
    return digest if len(digest) == len(seal.NOTHING) else None


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
