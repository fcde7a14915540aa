"""Read a trail: verify its chain, and show its records safely. Which ones is said in find.py.

Everything streams: memory does not grow with the trail. A trail is taken as hostile here; its
writer may have been anyone.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from rexecd import limits
from rexecd.audit import seal
from rexecd.audit.events import Action
from rexecd.audit.seal import Broken, Chain, Change
from rexecd.audit.trail import load_chain
from rexecd.errors import ConfigError


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

    records: int
    first: int | None
    last: int | None
    #: The seal of the last good record, in hex: worth noting down elsewhere.
    seal: str
    finding: Finding | None
    #: Whether the end was held against the key file; without it a cut end cannot be seen.
    has_end: bool = False

    @property
    def good(self) -> bool:
        """Return whether nothing was found; for an exit status."""
        return self.finding is None

    def __str__(self) -> str:
        if self.finding is not None:
            return str(self.finding)
        if self.first is None:
            return "no records"
        seen = f"records {self.first} to {self.last} unbroken, last seal {self.seal}"
        earlier = f"; records before {self.first} are in none of these files" if self.first > 1 else ""
        end = "" if self.has_end else "; the end was not checked, for want of the key file"
        return seen + earlier + end


#: A record as JSON gives it: nothing is known of what is inside.
Record = dict[str, Any]


class Line(NamedTuple):
    """One line of a trail, and where it stands; of one that is too long, a piece."""

    path: Path
    number: int
    data: bytes


def verify(paths: Sequence[Path], key_hex: str, *, head: Path | None = None) -> Report:
    """Check the files of one trail, the oldest first, up to the first bad line; raise ConfigError.

    `key_hex` is what `create_key` returned. With `head`, the state's key file, the trail must also
    reach the last persisted record and hold it with the right seal. ConfigError means that
    nothing could be checked: no such file, no such key.
    """
    persisted = None if head is None else load_chain(head)  # first: the trail may grow meanwhile
    walk = _Walk(_key(key_hex), persisted)
    finding = None
    for path in paths:
        for line in lines(path):
            try:
                walk.step(line.data)
            except Broken as broken:
                finding = Finding(path, line.number, walk.next, broken.change, broken.text)
                return walk.report(finding)
    if persisted is not None and walk.next < persisted.sequence:
        text = f"records {walk.next} to {persisted.sequence - 1} were written and are missing at the end"
        path = paths[-1] if paths else Path()
        finding = Finding(path, _count(path) if paths else 0, walk.next, Change.CUT, text)
    return walk.report(finding)


def read(paths: Iterable[Path]) -> Iterator[Record]:
    """Yield every record of the files, as `parse` gives it; raise ConfigError."""
    for path in paths:
        yield from map(parse, lines(path))


def lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file; raise ConfigError."""
    try:
        with path.open("rb", buffering=1024 * 1024) as file:
            number = 0
            while data := file.readline(limits.MAX_RECORD + 1):
                number += 1
                if not data.endswith(b"\n"):  # it may be being written just now: look once more
                    data += file.readline(limits.MAX_RECORD + 1 - len(data))
                yield Line(path, number, data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def parse(line: Line) -> Record:
    """Return the record of a line.

    A line that is none gives a marker: `{"unreadable": {"path": ..., "line": ..., "text": ...}}`.
    """
    try:
        record = json.loads(line.data)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        return record
    text = line.data[: limits.MAX_NAME].decode("ascii", "backslashreplace")
    return {"unreadable": {"path": str(line.path), "line": line.number, "text": text}}


#: What `render` shows behind time, number and action, and where it stands.
SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "principal": ("user", "name"),
    "token": ("rexec", "token_id"),
    "rule": ("rule", "name"),
    "outcome": ("event", "outcome"),
    "code": ("rexec", "code"),
    "reason": ("event", "reason"),
    "connection": ("rexec", "connection_id"),
    "request": ("rexec", "request_id"),
    "from": ("source", "ip"),
    "as": ("process", "user", "name"),
    "because": ("rexec", "justification"),
    "exit": ("process", "exit_code"),
    "signal": ("rexec", "signal"),
    "duration": ("event", "duration"),
    "cpu_time": ("rexec", "cpu_time"),
    "peak_memory": ("rexec", "peak_memory"),
    "limit": ("rexec", "limit"),
    "output_bytes": ("rexec", "output_bytes"),
    "error_output_bytes": ("rexec", "error_output_bytes"),
    "input_bytes": ("rexec", "input_bytes"),
    "truncated": ("rexec", "truncated"),
    "operator": ("rexec", "operator"),
    "operator_id": ("rexec", "operator_id"),
    "login": ("rexec", "login"),
    "login_id": ("rexec", "login_id"),
    "count": ("rexec", "count"),
    "detail": ("rexec", "detail"),
    "line": ("rexec", "line"),
}
#: What can stand bare. Anything else is quoted and escaped, so that nobody can forge a field.
_BARE: Final = re.compile(r"[A-Za-z0-9._:@/+-]+")


def as_it_is(value: object) -> object:
    """Return a record's time as it stands there."""
    return value


def render(record: Mapping[str, object], *, time: Callable[[object], object] = as_it_is) -> str:
    """Return one line for people; whatever the record holds, only bytes 0x20 to 0x7e.

    `time` says how the record's time is shown.
    """
    broken = record.get("unreadable")
    if broken is not None:
        place, line, text = (safe(at(broken, (name,))) for name in ("path", "line", "text"))
        return f"{place}:{line}: not a record: {text}"
    words = [
        safe(time(at(record, ("@timestamp",)))),
        safe(at(record, ("rexec", "sequence"))),
        safe(at(record, ("event", "action"))),
    ]
    for name, path in SHOWN.items():
        value = at(record, path)
        if value is None or value is False:  # what was not cut off
            continue
        if name in {"duration", "cpu_time"} and isinstance(value, int):
            value = in_seconds(value)
        words.append(f"{name}={safe(value)}")
    return " ".join(words)


def in_seconds(nanoseconds: object) -> str | None:
    """Return a record's duration for people, None for what is none."""
    if not isinstance(nanoseconds, int) or abs(nanoseconds) >= 2**63:
        return None
    return f"{nanoseconds // 10**6 / 1000:.3f}s"


class _Walk:
    """Follow the chain through the lines of all files."""

    def __init__(self, key: bytes, head: Chain | None) -> None:
        self._key = key
        self._head = head
        self._chain: Chain | None = None
        self._first: int | None = None
        self._records = 0

    @property
    def next(self) -> int:
        """Return the number of the record that comes next."""
        return 1 if self._chain is None else self._chain.sequence

    def step(self, line: bytes) -> None:
        """Take one line; raise Broken, and then nothing moved."""
        chain = self._chain or self._begin(line)
        after = chain.check(line)
        head = self._head
        if head is not None and after.sequence == head.sequence and after.previous != head.previous:
            raise Broken(Change.EDITED, f"record {chain.sequence} is not the one that was persisted")
        if self._chain is None:
            self._first = chain.sequence
        self._chain = after
        self._records += 1

    def report(self, finding: Finding | None) -> Report:
        """Return what was seen so far."""
        if self._chain is None:
            return Report(0, None, None, "", finding)
        last = self._chain.sequence - 1
        seen = self._chain.previous.hex()
        return Report(self._records, self._first, last, seen, finding, has_end=self._head is not None)

    def _begin(self, line: bytes) -> Chain:
        """Return the chain before the first line of the first file; raise Broken.

        A later file of a trail begins in mid-chain: its first record says what it is sealed to,
        and is itself sealed with a key that only its true number leads to.
        """
        sequence = seal.number(line)
        chain = Chain.begin(self._key)
        if sequence == 1:
            return chain
        previous = _previous_seal(line)
        if previous is None:
            raise Broken(Change.MISSING, f"records 1 to {sequence - 1} missing before record {sequence}")
        self._compare_beginning(sequence, previous)
        if sequence > limits.MAX_SKIPPED_RECORDS:
            raise Broken(Change.NOT_A_RECORD, f"record {sequence} is beyond what any trail holds")
        key = self._key
        for _ in range(sequence - 1):
            key = seal.evolve(key)
        return Chain(sequence, key, previous)

    def _compare_beginning(self, sequence: int, previous: bytes) -> None:
        """Raise Broken if a file cannot begin like this. A new file is persisted as it is begun."""
        if self._head is None:
            return
        if sequence > self._head.sequence:  # and stepping the key that far could take for ever
            missing = f"record {self._head.sequence - 1}, the last one persisted, is missing"
            raise Broken(Change.MISSING, f"{missing} before record {sequence}")
        if sequence == self._head.sequence and previous != self._head.previous:
            raise Broken(Change.EDITED, f"record {sequence} does not follow the last one persisted")


def _previous_seal(line: bytes) -> bytes | None:
    """Return what a file's first record says it is sealed to, None for any other record."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = at(record, ("rexec", "previous_seal"))
    if at(record, ("event", "action")) != Action.TRAIL_OPENED.value or not isinstance(text, str):
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _key(key_hex: str) -> bytes:
    try:
        key = bytes.fromhex(key_hex)
    except ValueError:
        key = b""
    if len(key) != seal.KEY_SIZE:
        raise ConfigError(f"the verification key is not {2 * seal.KEY_SIZE} hexadecimal digits")
    return key


def _count(path: Path) -> int:
    return sum(1 for _ in lines(path))


def at(record: object, path: tuple[str, ...]) -> object:
    """Return the value at `path`, None where there is none."""
    for name in path:
        if not isinstance(record, dict):  # as JSON gives it; of Mapping it would take thrice as long
            return None
        record = record.get(name)
    return record


def safe(value: object) -> str:
    """Return any value as one word, or quoted, in bytes 0x20 to 0x7e."""
    if value is None:
        return "-"
    if type(value) is int:
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _BARE.fullmatch(text) else ascii(text)
