"""Tokens: mint, take apart, compare. Pure: randomness and the known tokens are arguments.

A token is `rxt_<id>_<secret><check>`, base62 with the digits `0-9A-Za-z` in that order:

* id, 8 digits: public, names the record, stands in the trail;
* secret, 43 digits: 256 bits;
* check, 6 digits: CRC-32 of everything before it, padded with `0` on the left. It finds typing
  errors and lets scanners tell tokens from noise; it protects nothing.

Only the SHA-256 of the whole text is kept. A slow hash would add nothing to 256 random bits
but a way to keep us busy. To lay one token out on many hosts without its secret, its digest is written as
`rxd_<id>_<SHA-256 in hex>`.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from rexecd import names
from rexecd.errors import Code, Refused
from rexecd.networks import Network, is_within

DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX: Final = "rxt_"
_FAILED: Final = "authentication failed"
_ID_SIZE: Final = 8
_SECRET_SIZE: Final = 43
_CHECK_SIZE: Final = 6
#: Bytes from here on would make the first digits likelier than the last.
_UNIFORM: Final = 256 - 256 % len(DIGITS)

_TOKEN: Final = re.compile(rb"rxt_([0-9A-Za-z]{8})_[0-9A-Za-z]{49}")
_DIGEST: Final = re.compile(r"rxd_([0-9A-Za-z]{8})_([0-9a-f]{64})")
_TOKEN_ID: Final = re.compile(r"[0-9A-Za-z]{8}")
#: Cut tokens too: what is left of a secret is still nobody's business. Underscores too: a second
#: token that follows at once would lose its own beginning to the first.
_SECRETS: Final = re.compile(r"rxt_([0-9A-Za-z]{8})_[0-9A-Za-z_]+")

#: What an unknown token is compared with, so that it costs what a known one costs. Nothing
#: is known to have this digest, and a match would not be accepted.
_NO_DIGEST: Final = bytes(hashlib.sha256().digest_size)

#: How long before its end the holder of a token is warned, and `status` counts it.
SOON: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token: the text for its holder, the rest for the store."""

    text: str = field(repr=False)
    token_id: str
    digest: bytes


class Use(NamedTuple):
    """When a token was last accepted, or something was asked for with it, and from where."""

    when: datetime
    address: str


class Terms(NamedTuple):
    """What a token is good for, besides what its principal may do anyway."""

    #: From then on it is refused; None: never.
    expires: datetime | None = None
    #: Where its holder has to come from; empty for anywhere.
    networks: tuple[Network, ...] = ()
    #: Commands, `prefix.*` or `*`; empty for all of its principal's.
    only: tuple[str, ...] = ()
    #: What the operator wants to remember of it.
    note: str = ""


NO_TERMS: Final = Terms()


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What the server keeps of a token; raise ValueError for what could never authenticate."""

    token_id: str
    digest: bytes = field(repr=False)
    principal: str
    created: datetime
    terms: Terms = NO_TERMS
    revoked: datetime | None = None
    used: Use | None = None

    def __post_init__(self) -> None:
        if _TOKEN_ID.fullmatch(self.token_id) is None:
            raise ValueError(f"{self.token_id!r} is no token id")
        if len(self.digest) != len(_NO_DIGEST):
            raise ValueError(f"token {self.token_id}: its digest is no SHA-256")
        if not names.is_name(names.PRINCIPAL, self.principal):
            raise ValueError(f"token {self.token_id}: {self.principal!r} is no name of a principal")
        times = (self.created, self.revoked, self.terms.expires, self.used and self.used.when)
        if any(time is not None and time.tzinfo is None for time in times):
            raise ValueError(f"token {self.token_id}: a time without a zone")

    def flaw(self, now: datetime) -> str | None:
        """Return why it is good for nothing any more; None while it is good."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.has_expired(now) else None

    def has_expired(self, now: datetime) -> bool:
        """Return whether its time is over."""
        return self.terms.expires is not None and self.terms.expires <= now


class WrongSecret(Refused):
    """A token whose id is known and whose secret is not its own: somebody guesses, or mistypes."""

    def __init__(self, token_id: str) -> None:
        super().__init__(Code.AUTHENTICATION_FAILED, _FAILED, reason="wrong secret")
        self.token_id = token_id


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


def spell_digest(token_id: str, digest: bytes) -> str:
    """Return a token's digest as it is carried to other hosts; it authenticates nobody."""
    return f"rxd_{token_id}_{digest.hex()}"


def parse_digest(text: str) -> tuple[str, bytes]:
    """Return id and SHA-256 of a token that was made elsewhere; raise ValueError."""
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise ValueError("a digest is 'rxd_', 8 characters, '_' and 64 hexadecimal digits")
    return match[1], bytes.fromhex(match[2])


def authenticate(
    presented: bytes, records: Mapping[str, TokenRecord], *, address: str, now: datetime
) -> TokenRecord:
    """Return the record of a token that is good, now and from there; raise Refused.

    Whatever is wrong, the caller hears the same after the same work: one hash, one look-up,
    one comparison (ATTACKS AUT-04). The reason is for the trail. A secret that does not match raises
    WrongSecret.
    """
    theirs = digest(presented)
    token_id = parse(presented)
    record = records.get(token_id or "")
    same = secrets.compare_digest(theirs, record.digest if record else _NO_DIGEST)
    if token_id is None:
        raise refused("malformed token")
    if record is None:
        raise refused("unknown token")
    if not same:
        raise WrongSecret(token_id)
    flaw = record.flaw(now)
    if flaw is not None:
        raise refused(f"{flaw} token")
    networks = record.terms.networks
    if networks and not is_within(address, networks):
        raise refused(f"the token is good from {', '.join(map(str, networks))} only")
    return record


def mask(text: str) -> str:
    """Return `text` with the secret of every token in it, whole or cut, replaced by `***`."""
    if PREFIX not in text:
        return text
    return _SECRETS.sub(r"rxt_\1_***", text)


def refused(reason: str) -> Refused:
    """Return what every failure to authenticate is to the caller; the reason is for the trail."""
    return Refused(Code.AUTHENTICATION_FAILED, _FAILED, reason=reason)


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
