"""The chain: seal a record to the one before, and say where and how a chain is broken.

The trail is a fold. `Chain` is a value: sealing or checking a line gives the line and the next
value, and whoever keeps the old one has not moved. No I/O here; `docs/AUDIT.md` 3 is the
specification.

Rule 1: the seal covers the exact bytes that stand in the file; nothing is parsed to check it.
Rule 2: the key of a record is gone once the record is sealed: keys only step forward.
"""

import enum
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn, Self

from rexecd import limits
from rexecd.errors import RexecError

KEY_SIZE: Final = 32
#: What the first record of a trail is sealed to.
NOTHING: Final = bytes(32)

_STEP: Final = b"rexecd trail key step\0"
_MARK: Final = b',"seal":"'
_END: Final = b'"}}\n'
#: What follows the sealed bytes: mark, seal, end.
_TAIL: Final = len(_MARK) + 64 + len(_END)
_NUMBERED: Final = re.compile(rb'\{.*,"sequence":([1-9][0-9]{0,18})')
_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False).encode


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
    """Where a trail stands: the number and key of its next record, and the last seal."""

    sequence: int
    key: bytes
    previous: bytes

    def __repr__(self) -> str:
        return f"Chain(sequence={self.sequence})"  # the key is nobody's business

    @classmethod
    def begin(cls, key: bytes) -> Self:
        """Return the chain before the first record of a trail."""
        return cls(1, key, NOTHING)

    def seal(self, prefix: bytes) -> tuple[bytes, Self]:
        """Return the sealed line of a record and the chain behind it."""
        body = b'%b,"sequence":%d' % (prefix, self.sequence)
        seal = hmac.digest(self.key, self.previous + body, "sha256")
        line = b"".join((body, _MARK, seal.hex().encode(), _END))
        return line, self._after(seal)

    def check(self, line: bytes) -> Self:
        """Return the chain behind `line`; raise Broken if it does not continue this one."""
        body = line[:-_TAIL]
        if not body.endswith(b',"sequence":%d' % self.sequence):
            self._complain(line)
        seal = hmac.digest(self.key, self.previous + body, "sha256")
        if line[-_TAIL:] != b"".join((_MARK, seal.hex().encode(), _END)):
            self._complain(line)
        return self._after(seal)

    def last_end(self) -> bytes:
        """Return how the line of the record before this place ends."""
        return b',"sequence":%d%b%b%b' % (self.sequence - 1, _MARK, self.previous.hex().encode(), _END)

    def is_next(self, line: bytes) -> bool:
        """Return whether `line` has the form and the number of the next record."""
        try:
            return number(line) == self.sequence
        except Broken:
            return False

    def _after(self, seal: bytes) -> Self:
        return type(self)(self.sequence + 1, evolve(self.key), seal)

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
    if match is None or not line[-_TAIL:].startswith(_MARK) or not line.endswith(_END):
        raise Broken(Change.NOT_A_RECORD, "not a record of a trail")
    return int(match[1])


def encode(record: Mapping[str, object]) -> bytes:
    """Return a record's JSON without the two braces at its end, all bytes 0x20 to 0x7e.

    `rexec`, last and not empty, stays open for number and seal. Raise ValueError for a record
    of another form.
    """
    text = _ENCODE(record)
    if not text.endswith("}}"):
        raise ValueError("the record does not end with its 'rexec' fields")
    if len(text) > limits.MAX_RECORD - _TAIL - len(',"sequence":') - 19:
        raise ValueError(f"the record takes {len(text)} bytes")
    return text[:-2].replace("\x7f", "\\u007f").encode("ascii")
