"""Who may come in: the tokens and the revoked certificates as they are now, and who is in with which.

Rule 1: what is changed is changed in the store first, and nothing that comes behind that can fail; a reader
has the old mapping or the new one, whole.
Rule 2: whoever is in with a token or certificate that is good no more hears of it at once (`Lives`).
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from rexecd.clock import Clock
from rexecd.errors import RexecError
from rexecd.identity.shown import ClientCertificate
from rexecd.identity.store import RevokedCertificate, Store
from rexecd.identity.tokens import TokenRecord, Use, authenticate, refused
from rexecd.serving import Flag

#: Seconds in which wrong secrets of one token are counted.
_WINDOW: Final = 60.0


class Credential(NamedTuple):
    """What a session was opened with."""

    token: TokenRecord
    certificate: ClientCertificate | None = None


class Guesses:
    """How many wrong secrets came for each known token lately. Any thread may use it.

    A token's secret has 256 bits and cannot be guessed; what is bounded is the trying. Whoever tries must not
    be able to shut its holder out, so the address it was last used from is listened to all the same.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        #: By token id: when the window began, and how many came in it. No more than there are tokens.
        self._counts: dict[str, tuple[float, int]] = {}

    def count(self, token_id: str) -> bool:
        """Count a wrong secret of a known token; return whether it is the one that was too many."""
        now = self._clock.monotonic()
        with self._lock:
            began, number = self._counts.get(token_id, (now, 0))
            if now >= began + _WINDOW:
                began, number = now, 0
            self._counts[token_id] = (began, number + 1)
            return number + 1 == self._most

    def are_too_many(self, token_id: str) -> bool:
        """Return whether only its usual address is listened to just now."""
        with self._lock:
            began, number = self._counts.get(token_id, (0.0, 0))
            return number >= self._most and self._clock.monotonic() < began + _WINDOW

    def forget(self, token_ids: Iterable[str]) -> None:
        """Forget what was counted for tokens that are there no more."""
        with self._lock:
            for token_id in token_ids:
                self._counts.pop(token_id, None)


class Lives:
    """For each token and certificate that somebody is in with, a flag that is set at its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By token id or fingerprint: the flag of whoever comes in now.
        self._flags: dict[str, Flag] = {}
        #: How many wait for each flag, also for one that is set already and nobody new is given.
        self._waiting: dict[Flag, int] = {}
        self._ended: set[Flag] = set()
        #: By fingerprint: when that certificate ends. Those of tokens can change, and are the store's.
        self._ends: dict[str, datetime] = {}

    @contextlib.contextmanager
    def joined(self, *keys: str, ends: datetime | None = None) -> Iterator[tuple[Flag, ...]]:
        """Give the flags to wait for while the block lasts; `ends` is when the last one's time is over."""
        with contextlib.ExitStack() as stack:
            flags = []
            for key in keys:
                flags.append(self._join(key, ends if key == keys[-1] else None))
                stack.callback(self._leave, key, flags[-1])
            yield tuple(flags)

    @property
    def keys(self) -> tuple[str, ...]:
        """Return what somebody is in with."""
        with self._lock:
            return tuple(self._flags)

    def over(self, now: datetime) -> list[str]:
        """Return the certificates that somebody is in with and that have ended."""
        with self._lock:
            return [fingerprint for fingerprint, ends in self._ends.items() if ends <= now]

    def end(self, keys: Iterable[str]) -> None:
        """Wake everybody who is in with one of these."""
        with self._lock:
            for flag in (self._flags[key] for key in keys if key in self._flags):
                flag.set()
                self._ended.add(flag)

    def _join(self, key: str, ends: datetime | None) -> Flag:
        with self._lock:
            flag = self._flags.get(key)
            if flag is None or flag in self._ended:
                flag = self._flags[key] = Flag()
            self._waiting[flag] = self._waiting.get(flag, 0) + 1
            if ends is not None:
                self._ends[key] = ends
            return flag

    def _leave(self, key: str, flag: Flag) -> None:
        with self._lock:
            self._waiting[flag] -= 1
            if self._waiting[flag]:
                return
            del self._waiting[flag]
            self._ended.discard(flag)
            if self._flags.get(key) is flag:
                del self._flags[key]
                self._ends.pop(key, None)
            flag.close()


class Credentials:
    """The store as the monitor knows it. Changes are made under the service's lock; any thread may ask."""

    def __init__(self, store: Store, clock: Clock, *, most_failures: int) -> None:
        self._store = store
        self._clock = clock
        self._tokens: Mapping[str, TokenRecord] = store.records()
        self._certificates: Mapping[str, RevokedCertificate] = store.revoked_certificates()
        #: Of tokens that were used since we began; and whose last use has still to be written down.
        self._uses: dict[str, Use] = {}
        self._unwritten: set[str] = set()
        self._noting = threading.Lock()
        self.guesses = Guesses(most_failures, clock)
        self.lives = Lives()

    @property
    def tokens(self) -> Mapping[str, TokenRecord]:
        """Return every token, dead ones too; when each was last used may be a moment old."""
        return self._tokens

    def authenticate(self, presented: bytes, address: str) -> TokenRecord:
        """Return the record of a good token; raise Refused, WrongSecret for one with another's id."""
        record = authenticate(presented, self._tokens, address=address, now=self._clock.now())
        if self.guesses.are_too_many(record.token_id) and address != self._usual_address(record):
            raise refused("too many wrong secrets came just now, and this is not the usual address")
        return record

    def check_certificate(self, certificate: ClientCertificate) -> None:
        """Raise Refused for a client certificate that is good no more."""
        flaw = self._certificate_flaw(certificate)
        if flaw is not None:
            raise refused(f"{flaw} client certificate")

    def flaw(self, credential: Credential) -> str | None:
        """Return why a session may not go on, for its caller; None if it may."""
        record = self._tokens.get(credential.token.token_id)
        flaw = "revoked" if record is None else record.flaw(self._clock.now())
        if flaw is not None:
            return "the token was revoked" if flaw == "revoked" else "the token has expired"
        certificate = credential.certificate
        flaw = None if certificate is None else self._certificate_flaw(certificate)
        if flaw is not None:
            return f"the client certificate {'was' if flaw == 'revoked' else 'has'} {flaw}"
        return None

    def note_use(self, token_id: str, address: str) -> None:
        """Remember that a token was used; `write_uses` writes it down."""
        with self._noting:
            self._uses[token_id] = Use(self._clock.now(), address)
            self._unwritten.add(token_id)

    def write_uses(self) -> None:
        """Write down when tokens were last used, in one thread; raise RexecError, and it is tried again."""
        with self._noting:
            uses = {each: self._uses[each] for each in self._unwritten}
            self._unwritten.clear()
        if not uses:
            return
        try:
            self._store.note_uses(uses)
        except RexecError:
            with self._noting:
                self._unwritten |= uses.keys() & self._uses.keys()
            raise

    def end_dead(self) -> None:
        """Wake sessions whose token or certificate has expired."""
        now, tokens = self._clock.now(), self._tokens
        used = (tokens[key] for key in self.lives.keys if key in tokens)
        self.lives.end([record.token_id for record in used if record.has_expired(now)])
        self.lives.end(self.lives.over(now))

    def add(self, record: TokenRecord) -> None:
        """Keep a new token."""
        self._store.add(record)
        self._tokens = {**self._tokens, record.token_id: record}

    def replace(self, token_id: str, record: TokenRecord, *, until: datetime) -> None:
        """Keep a new token in place of an old one, which is good until then."""
        self._store.replace(token_id, record, until=until)
        old = self._tokens[token_id]
        ending = replace(old, terms=old.terms._replace(expires=until))
        self._tokens = {**self._tokens, token_id: ending, record.token_id: record}
        self.end_dead()

    def revoke(self, token_ids: Iterable[str]) -> None:
        """End tokens, and with them the sessions that were opened with them."""
        now = self._clock.now()
        ended = [self._tokens[each] for each in token_ids if self._tokens[each].revoked is None]
        self._store.revoke([record.token_id for record in ended], now)
        self._tokens = {
            **self._tokens,
            **{record.token_id: replace(record, revoked=now) for record in ended},
        }
        self.lives.end(record.token_id for record in ended)

    def forget(self, token_ids: Iterable[str]) -> None:
        """Remove dead tokens."""
        gone = frozenset(token_ids)
        self._store.forget(gone)
        self._tokens = {each: record for each, record in self._tokens.items() if each not in gone}
        with self._noting:
            self._uses = {each: use for each, use in self._uses.items() if each not in gone}
            self._unwritten -= gone
        self.guesses.forget(gone)
        self.lives.end(gone)  # one may have expired since `end_dead` looked

    def revoke_certificate(self, certificate: RevokedCertificate) -> None:
        """Refuse a client certificate, and end the sessions that were opened with it."""
        self._store.revoke_certificate(certificate)
        self._certificates = {**self._certificates, certificate.fingerprint: certificate}
        self.lives.end([certificate.fingerprint])

    @property
    def revoked_certificates(self) -> Mapping[str, RevokedCertificate]:
        """Return the client certificates that are refused, by fingerprint."""
        return self._certificates

    def close(self) -> None:
        """Write down what is not yet, and close the store."""
        with contextlib.suppress(RexecError):  # nobody misses it, and the store has to be closed
            self.write_uses()
        self._store.close()

    def _usual_address(self, record: TokenRecord) -> str | None:
        use = self._uses.get(record.token_id) or record.used
        return None if use is None else use.address

    def _certificate_flaw(self, certificate: ClientCertificate) -> str | None:
        if certificate.fingerprint in self._certificates:
            return "revoked"
        return "expired" if certificate.expires <= self._clock.now() else None
