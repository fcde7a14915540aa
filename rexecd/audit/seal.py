"""The chain: seal a record to the one before, and say where and how a chain is broken.

The trail is a fold. `Chain` is a value: sealing or checking a line gives the line and the next
value, and whoever keeps the old one has not moved. No I/O here; `docs/AUDIT.md` 3 is the
specification.

Rule 1: seal and digest cover the exact bytes that stand in the file; nothing is parsed to check them.
Rule 2: the key of a record is gone once the record is sealed: keys only step forward.
Rule 3: the digest needs no key, so that whoever has a signed one can check a trail without any secret.
"""

import enum
import hashlib
import hmac
import re
from typing import Final, NamedTuple, NoReturn, Self

from rexecd.errors import RexecError

KEY_SIZE: Final = 32
#: The digest of a trail without records, to which the first one is sealed.
NOTHING: Final = bytes(32)

_STEP: Final = b"rexecd trail key step\0"
_MARK: Final = b',"seal":"'
_END: Final = b'"}}\n'
#: What follows the sealed bytes: mark, seal, end.
_TAIL: Final = len(_MARK) + 64 + len(_END)
_SEAL: Final = slice(-len(_END) - 64, -len(_END))
_ENDING: Final = re.compile(rb',"seal":"[0-9a-f]{64}"\}\}\n')
_NUMBERED: Final = re.compile(rb'\{.*,"sequence":([1-9][0-9]{0,18})')


class Change(enum.Enum):
    """What was done to a trail, as far as its bytes tell."""

    #: The last line has no end: a write was cut short, or the file was.
    TORN = "torn"
    #: A line that this program never writes.
    NOT_A_RECORD = "not-a-record"
    #: Records before this one are missing.
    MISSING = "missing"
    #: This record's number was used before: inserted, repeated or moved.
    OUT_OF_ORDER = "out-of-order"
    #: The bytes do not fit the seal, or the seal does not fit the record before.
    EDITED = "edited"
    #: The trail ends before the record that is known to have been written.
    CUT = "cut"


class Broken(RexecError):
    """A line that does not continue the chain."""

    def __init__(self, change: Change, text: str) -> None:
        super().__init__(f"{change.value}: {text}")
        self.change = change
        self.text = text


class Chain(NamedTuple):
    """Where a trail stands: its next record's number and key, and what lies before."""

    sequence: int
    #: None: it is followed without the key, and seals are not checked.
    key: bytes | None
    #: Of every line so far.
    digest: bytes
    #: Of the last record, as it stands there; empty before the first one.
    seal_text: bytes = b""

    def __repr__(self) -> str:
        return f"Chain(sequence={self.sequence})"  # the key is nobody's business

    @classmethod
    def begin(cls, key: bytes | None) -> Self:
        """Return the chain before the first record of a trail."""
        return cls(1, key, NOTHING)

    def seal(self, prefix: bytes) -> tuple[bytes, Self]:
        """Return the sealed line of a record and the chain behind it; only with the key."""
        body = b'%b,"sequence":%d' % (prefix, self.sequence)
        seal = self._seal(body)
        line = b"".join((body, _MARK, seal, _END))
        return line, self._after(line, seal)

    def check(self, line: bytes) -> Self:
        """Return the chain behind `line`; raise Broken if it does not continue this one."""
        body = line[:-_TAIL]
        if not body.endswith(b',"sequence":%d' % self.sequence):
            self._complain(line)
        seal = line[_SEAL]
        if self.key is None:
            if not _is_whole(line):
                self._complain(line)
        elif line[-_TAIL:] != b"".join((_MARK, self._seal(body), _END)):
            self._complain(line)
        return self._after(line, seal)

    def last_end(self) -> bytes:
        """Return how the line of the record before this place ends."""
        return b',"sequence":%d%b%b%b' % (self.sequence - 1, _MARK, self.seal_text, _END)

    def is_next(self, line: bytes) -> bool:
        """Return whether `line` has the form and the number of the next record."""
        try:
            return number(line) == self.sequence
        except Broken:
            return False

    def _seal(self, body: bytes) -> bytes:
        if self.key is None:
            raise ValueError("sealing needs the key")
        return hmac.digest(self.key, self.digest + body, "sha256").hex().encode()

    def _after(self, line: bytes, seal: bytes) -> Self:
        key = None if self.key is None else evolve(self.key)
        return type(self)(self.sequence + 1, key, hashlib.sha256(self.digest + line).digest(), seal)

    def _complain(self, line: bytes) -> NoReturn:
        """Raise Broken for a line that does not fit, saying why."""
        sequence = number(line)
        if sequence > self.sequence:
            missing = f"record {self.sequence}"
            if sequence > self.sequence + 1:
                missing = f"records {self.sequence} to {sequence - 1}"
            raise Broken(Change.MISSING, f"{missing} missing before record {sequence}")
        if sequence < self.sequence:
            text = f"record {sequence} where record {self.sequence} belongs"
            raise Broken(Change.OUT_OF_ORDER, text)
        raise Broken(Change.EDITED, f"record {sequence} does not fit its seal or the record before")


def evolve(key: bytes) -> bytes:
    """Return the key of the next record; there is no way back."""
    return hashlib.sha256(_STEP + key).digest()


def number(line: bytes) -> int:
    """Return the number in a line that has the form of a record; raise Broken."""
    if not line.endswith(b"\n"):
        raise Broken(Change.TORN, "the line has no end")
    match = _NUMBERED.fullmatch(line[:-_TAIL])
    if match is None or not _is_whole(line):
        raise Broken(Change.NOT_A_RECORD, "not a record of a trail")
    return int(match[1])


def _is_whole(line: bytes) -> bool:
    """Return whether a line ends as every record does; what its seal says is not looked at."""
    return _ENDING.fullmatch(line, max(0, len(line) - _TAIL)) is not None
