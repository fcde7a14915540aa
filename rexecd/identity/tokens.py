"""Tokens: mint, take apart, compare. Pure: randomness and the known tokens are arguments.

A token is `rxt_<id>_<secret><check>`, base62 with the digits `0-9A-Za-z` in that order:

* id, 8 digits: public, names the record, stands in the trail;
* secret, 43 digits: 256 bits;
* check, 6 digits: CRC-32 of everything before it, padded with `0` on the left. It finds typing
  errors and lets scanners tell tokens from noise; it protects nothing.

Only the SHA-256 of the whole text is kept. A slow hash would add nothing to 256 random bits
but a way to keep us busy.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from rexecd import names
from rexecd.errors import Code, Refused

DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX: Final = "rxt_"
_ID_SIZE: Final = 8
_SECRET_SIZE: Final = 43
_CHECK_SIZE: Final = 6
#: Bytes from here on would make the first digits likelier than the last.
_UNIFORM: Final = 256 - 256 % len(DIGITS)

_TOKEN: Final = re.compile(rb"rxt_([0-9A-Za-z]{8})_[0-9A-Za-z]{49}")
_TOKEN_ID: Final = re.compile(r"[0-9A-Za-z]{8}")
#: Cut tokens too: what is left of a secret is still nobody's business. Underscores too: a second
#: token that follows at once would lose its own beginning to the first.
_SECRETS: Final = re.compile(r"rxt_([0-9A-Za-z]{8})_[0-9A-Za-z_]+")

#: What an unknown token is compared with, so that it costs what a known one costs. Nothing
#: is known to have this digest, and a match would not be accepted.
_NO_DIGEST: Final = bytes(hashlib.sha256().digest_size)


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token: the text for its holder, the rest for the store."""

    text: str = field(repr=False)
    token_id: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What the server keeps of a token; raise ValueError for what could never authenticate."""

    token_id: str
    digest: bytes = field(repr=False)
    principal: str
    created: datetime
    revoked: datetime | None = None

    def __post_init__(self) -> None:
        if _TOKEN_ID.fullmatch(self.token_id) is None:
            raise ValueError(f"{self.token_id!r} is no token id")
        if len(self.digest) != len(_NO_DIGEST):
            raise ValueError(f"token {self.token_id}: its digest is no SHA-256")
        if not names.is_name(names.PRINCIPAL, self.principal):
            raise ValueError(f"token {self.token_id}: {self.principal!r} is no name of a principal")
        if self.created.tzinfo is None or (self.revoked is not None and self.revoked.tzinfo is None):
            raise ValueError(f"token {self.token_id}: a time without a zone")


def mint(random: Callable[[int], bytes]) -> Minted:
    """Return a new token made from `random` (`secrets.token_bytes`)."""
    token_id = _digits(random, _ID_SIZE)
    body = f"{PREFIX}{token_id}_{_digits(random, _SECRET_SIZE)}"
    text = body + _check(body.encode())
    return Minted(text, token_id, digest(text.encode()))


def digest(presented: bytes) -> bytes:
    """Return what is stored of a token and compared."""
    return hashlib.sha256(presented).digest()


def parse(presented: bytes) -> str | None:
    """Return the id in a well-formed token, None for any other bytes."""
    match = _TOKEN.fullmatch(presented)
    if match is None or _check(presented[:-_CHECK_SIZE]).encode() != presented[-_CHECK_SIZE:]:
        return None
    return match[1].decode()


def authenticate(presented: bytes, records: Mapping[str, TokenRecord]) -> TokenRecord:
    """Return the record of a token that is known and not revoked; raise Refused.

    Whatever is wrong, the caller hears the same after the same work: one hash, one look-up,
    one comparison (ATTACKS AUT-04). The reason is for the trail.
    """
    theirs = digest(presented)
    token_id = parse(presented)
    record = records.get(token_id or "")
    same = secrets.compare_digest(theirs, record.digest if record else _NO_DIGEST)
    if token_id is None:
        raise _refused("malformed token")
    if record is None:
        raise _refused("unknown token")
    if not same:
        raise _refused("wrong secret")
    if record.revoked is not None:
        raise _refused("revoked token")
    return record


def mask(text: str) -> str:
    """Return `text` with the secret of every token in it, whole or cut, replaced by `***`."""
    if PREFIX not in text:
        return text
    return _SECRETS.sub(r"rxt_\1_***", text)


def _refused(reason: str) -> Refused:
    return Refused(Code.AUTHENTICATION_FAILED, "authentication failed", reason=reason)


def _digits(random: Callable[[int], bytes], size: int) -> str:
    """Return `size` digits, each as likely as any other."""
    found = ""
    while len(found) < size:
        found += "".join(DIGITS[byte % len(DIGITS)] for byte in random(size) if byte < _UNIFORM)
    return found[:size]


def _check(body: bytes) -> str:
    rest = zlib.crc32(body)
    found = ""
    for _ in range(_CHECK_SIZE):
        rest, digit = divmod(rest, len(DIGITS))
        found = DIGITS[digit] + found
    return found
