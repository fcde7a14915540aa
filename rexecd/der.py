"""Read two facts from a DER certificate (RFC 5280 4.1): its public key, and when it ends.

A strict walk and no parser: it takes only the tags that must stand there, only definite lengths
in their shortest form (X.690 10.1), and nothing that reaches past its container. The standard
library gives a certificate's bytes but not its key, and this is all that the caller and the exposed
process need of X.509.
"""

import re
from typing import Final

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_LONG_FORM: Final = 0x80
#: A certificate is never as long as a length of four bytes could say.
_MOST_LENGTH_BYTES: Final = 3
#: RFC 5280 4.1.2.5.1: a two-digit year of 50 or more is in the 1900s.
_PIVOT_YEAR: Final = 50


_TIME: Final = re.compile("[0-9]{14}Z", re.ASCII)


class _Walk:
    """Step over the elements of one container."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def has_next(self, tag: int) -> bool:
        """Return whether the next element has this tag."""
        return self._data[self._at : self._at + 1] == bytes([tag])

    def whole(self, tag: int) -> bytes:
        """Return the next element with its header; raise ValueError."""
        start = self._at
        self.content(tag)
        return self._data[start : self._at]

    def content(self, *tags: int) -> bytes:
        """Return the content of the next element; raise ValueError."""
        if not any(self.has_next(tag) for tag in tags):
            raise ValueError("not the element that must stand here")
        self._at += 1
        size = self._length()
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise ValueError("an element reaches past its container")
        return self._data[start : self._at]

    def finish(self) -> None:
        """Raise ValueError if anything is left."""
        if self._at != len(self._data):
            raise ValueError("bytes left over behind the certificate")

    def _length(self) -> int:
        first = self._take(1)[0]
        if first < _LONG_FORM:
            return first
        count = first - _LONG_FORM
        if not 0 < count <= _MOST_LENGTH_BYTES:
            raise ValueError("an indefinite or absurd length")
        raw = self._take(count)
        size = int.from_bytes(raw, "big")
        if raw[0] == 0 or size < _LONG_FORM:
            raise ValueError("a length not in its shortest form")
        return size

    def _take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) < count:
            raise ValueError("the certificate ends early")
        self._at += count
        return piece


def public_key_info(certificate: bytes) -> bytes:
    """Return the DER of the SubjectPublicKeyInfo; raise ValueError for what is no certificate."""
    walk = _to_validity(certificate)
    walk.content(_SEQUENCE)  # validity
    walk.content(_SEQUENCE)  # subject
    return walk.whole(_SEQUENCE)


def last_day(certificate: bytes) -> str:
    """Return the day on which the certificate ends, as `2026-01-03`; raise ValueError."""
    ends = not_after(certificate)
    return f"{ends[:4]}-{ends[4:6]}-{ends[6:8]}"


def not_after(certificate: bytes) -> str:
    """Return when the certificate ends, UTC, as `20260103040506`; raise ValueError."""
    validity = _Walk(_to_validity(certificate).content(_SEQUENCE))
    validity.content(_UTC_TIME, _GENERALIZED_TIME)
    is_short = validity.has_next(_UTC_TIME)
    digits = validity.content(_UTC_TIME, _GENERALIZED_TIME).decode("ascii")
    if is_short:
        digits = ("19" if int(digits[:2]) >= _PIVOT_YEAR else "20") + digits
    if _TIME.fullmatch(digits) is None:  # RFC 5280 4.1.2.5 allows no other form
        raise ValueError("not a time")
    return digits[:-1]


def _to_validity(certificate: bytes) -> _Walk:
    outer = _Walk(certificate)
    body = _Walk(outer.content(_SEQUENCE))
    outer.finish()
    walk = _Walk(body.content(_SEQUENCE))  # tbsCertificate
    if walk.has_next(_VERSION):
        walk.content(_VERSION)
    walk.content(_INTEGER)  # serialNumber
    walk.content(_SEQUENCE)  # signature
    walk.content(_SEQUENCE)  # issuer
    return walk
