"""What an operator can do about tokens and client certificates: judged, recorded, then done.

Every function here raises ConfigError for what makes no sense, TrailError where it cannot be recorded, and
Unavailable where the store cannot be written; then nothing has changed, though the trail may tell of what
did not follow. What they return is the answer, as JSON. The record says who asked.
"""

import ipaddress
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from rexecd.audit.events import Action
from rexecd.errors import ConfigError
from rexecd.forms import is_printable
from rexecd.identity.store import RevokedCertificate
from rexecd.identity.tokens import Terms, TokenRecord, mint, parse_digest
from rexecd.limits import MAX_NOTE, MAX_TERMS
from rexecd.monitor.asker import NOBODY, Asker
from rexecd.monitor.service import Service
from rexecd.networks import network_complaint
from rexecd.policy.decide import is_among
from rexecd.seam import messages as seam

#: Longest life: a hundred years. Whoever means for ever says so.
_LONGEST: Final = 100 * 365 * 86400
#: So many tokens are named in an answer.
_MOST_NAMED: Final = 1000


def create(service: Service, asked: seam.CreateToken, asker: Asker = NOBODY) -> dict[str, object]:
    """Make a token; return it with its id. This is the only time the token itself is seen."""
    minted = mint(secrets.token_bytes)
    with service.changing:
        record = _new(service, minted.token_id, minted.digest, asked.principal, _terms(service, asked))
        _record(service, Action.TOKEN_CREATED, record, **asker)
        service.credentials.add(record)
    return {**_about(record), "token": minted.text}


def take(service: Service, asked: seam.ImportToken, asker: Asker = NOBODY) -> dict[str, object]:
    """Accept a token of which only the digest is here; a second time does nothing."""
    try:
        token_id, digest = parse_digest(asked.digest)
    except ValueError as error:
        # It is not repeated: it may be the token itself.
        raise ConfigError(f"DIGEST: {error}, as 'rexecd token mint' says it") from None
    with service.changing:
        known = service.credentials.tokens.get(token_id)
        if known is not None:
            _check_same(known, digest, asked.principal, service.clock.now())
            return {**_about(known), "is_new": False}
        if any(each.digest == digest for each in service.credentials.tokens.values()):
            raise ConfigError(f"{asked.digest}: this digest is another token's: see 'rexecd token list'")
        record = _new(service, token_id, digest, asked.principal, _terms(service, asked))
        _record(service, Action.TOKEN_IMPORTED, record, **asker)
        service.credentials.add(record)
    return {**_about(record), "is_new": True}


def rotate(service: Service, asked: seam.RotateToken, asker: Asker = NOBODY) -> dict[str, object]:
    """Make a token in place of another, which goes on for a while; it takes over what that is good for."""
    minted = mint(secrets.token_bytes)
    with service.changing:
        now = service.clock.now()
        old = _known(service, asked.token_id)
        flaw = old.flaw(now)
        if flaw is not None:
            raise ConfigError(f"token {old.token_id} is {flaw}: make a new one with 'rexecd token create'")
        if asked.changes_lifetime:
            expires = _expiry(service, asked.lifetime)
        else:
            expires = None if old.terms.expires is None else now + (old.terms.expires - old.created)
        terms = old.terms._replace(expires=expires)
        try:
            record = _new(service, minted.token_id, minted.digest, old.principal, terms)
        except ConfigError as error:  # the policy has changed since
            what = f"token {old.token_id} is good for nothing now ({error})"
            raise ConfigError(f"{what}: make another with 'rexecd token create'") from None
        until = min(filter(None, [old.terms.expires, now + timedelta(seconds=asked.overlap)]))
        reason = f"the old one is good until {_spell(until)}"
        _record(service, Action.TOKEN_ROTATED, record, replaces=old.token_id, reason=reason, **asker)
        service.credentials.replace(old.token_id, record, until=until)
    return {**_about(record), "token": minted.text, "replaces": old.token_id, "until": _spell(until)}


def revoke(service: Service, asked: seam.RevokeTokens, asker: Asker = NOBODY) -> dict[str, object]:
    """End a token at once, or all of a principal, also for connections that are open."""
    with service.changing:
        if asked.token_id:
            records = [_known(service, asked.token_id)]
        else:
            known = service.credentials.tokens.values()
            records = [each for each in known if each.principal == asked.principal]
            if not records:
                raise ConfigError(f"no token is of {asked.principal!r}: see 'rexecd token list'")
        ended = [each for each in records if each.revoked is None]
        for record in ended:
            _record_end(service, Action.TOKEN_REVOKED, record, asker)
        service.credentials.revoke([each.token_id for each in ended])
    return {"principal": records[0].principal, **_which(records)}


def purge(service: Service, asked: seam.PurgeTokens, asker: Asker = NOBODY) -> dict[str, object]:
    """Forget tokens that have been dead for some time."""
    with service.changing:
        before = service.clock.now() - timedelta(seconds=asked.age)
        dead = [each for each in service.credentials.tokens.values() if _has_died(each, before)]
        for record in dead:
            _record_end(service, Action.TOKEN_PURGED, record, asker)
        service.credentials.forget([each.token_id for each in dead])
    return _which(dead)


def revoke_certificate(
    service: Service, asked: seam.RevokeCertificate, asker: Asker = NOBODY
) -> dict[str, object]:
    """Refuse a client certificate at once, also for connections that are open."""
    try:
        expires = datetime.fromtimestamp(asked.expires, UTC)
    except (OverflowError, OSError, ValueError):
        raise ConfigError("the certificate ends at no time there is") from None
    with service.changing:
        is_new = asked.fingerprint not in service.credentials.revoked_certificates
        if is_new:
            service.recorder.record(
                Action.CERTIFICATE_REVOKED,
                certificate=asked.fingerprint.upper(),
                reason=asked.subject,
                **asker,
            )
            service.credentials.revoke_certificate(
                RevokedCertificate(asked.fingerprint, asked.subject, expires, service.clock.now())
            )
    return {"fingerprint": asked.fingerprint, "subject": asked.subject, "is_new": is_new}


def _check_same(known: TokenRecord, digest: bytes, principal: str, now: datetime) -> None:
    """Raise ConfigError unless a token that is here is the one that is imported, and still good."""
    state = known.flaw(now)
    if known.principal != principal:
        state = f"is {known.principal!r}'s"
    elif known.digest != digest:
        state = "has another secret"
    elif state is not None:
        state = f"is {state}"
    if state is not None:
        what = f"a token with the id {known.token_id} is here already and {state}"
        raise ConfigError(f"{what}: make another with 'rexecd token mint'")


def _known(service: Service, token_id: str) -> TokenRecord:
    record = service.credentials.tokens.get(token_id)
    if record is None:
        raise ConfigError(f"no token has the id {token_id!r}: see 'rexecd token list'")
    return record


def _has_died(record: TokenRecord, before: datetime) -> bool:
    return record.has_expired(before) or (record.revoked is not None and record.revoked <= before)


def _new(service: Service, token_id: str, digest: bytes, principal: str, terms: Terms) -> TokenRecord:
    """Return the record of a new token; raise ConfigError for one that would be good for nothing."""
    known = service.policy.principals.get(principal)
    if known is None:
        names = ", ".join(sorted(service.policy.principals))
        raise ConfigError(f"the policy has no principal {principal!r}: it has {names}")
    for pattern in terms.only:
        if not any(is_among(name, (pattern,)) for name in known.rules):
            what = f"{principal!r} may run no such command: see 'rexecd policy list'"
            raise ConfigError(f"--only {pattern!r}: {what}")
    try:
        return TokenRecord(token_id, digest, principal, service.clock.now(), terms)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _terms(service: Service, asked: seam.CreateToken | seam.ImportToken) -> Terms:
    """Return what a token is to be good for; raise ConfigError."""
    if max(len(asked.networks), len(asked.only)) > MAX_TERMS:
        raise ConfigError(f"--from, --only: at most {MAX_TERMS} of each")
    for text in asked.networks:
        complaint = network_complaint(text)
        if complaint is not None:
            raise ConfigError(f"--from {complaint}")
    if len(asked.note) > MAX_NOTE or not is_printable(asked.note):
        raise ConfigError(f"--note: at most {MAX_NOTE} characters, on one line")
    return Terms(
        _expiry(service, asked.lifetime),
        tuple(map(ipaddress.ip_network, asked.networks)),
        asked.only,
        asked.note,
    )


def _expiry(service: Service, lifetime: int) -> datetime | None:
    if lifetime > _LONGEST:
        raise ConfigError("--expires: more than a hundred years: say 'never' if that is meant")
    return service.clock.now() + timedelta(seconds=lifetime) if lifetime else None


def _record(service: Service, action: Action, record: TokenRecord, **more: object) -> None:
    """Record what becomes of a token, with what it is good for."""
    terms = record.terms
    facts: dict[str, object] = {
        "principal": record.principal,
        "token_id": record.token_id,
        "expires": _spell(terms.expires),
        "networks": " ".join(map(str, terms.networks)),
        "only": " ".join(terms.only),
        "note": terms.note,
    }
    service.recorder.record(action, **{name: fact for name, fact in (facts | more).items() if fact})


def _record_end(service: Service, action: Action, record: TokenRecord, asker: Asker) -> None:
    service.recorder.record(action, principal=record.principal, token_id=record.token_id, **asker)


def _about(record: TokenRecord) -> dict[str, object]:
    return {"id": record.token_id, "principal": record.principal, "expires": _spell(record.terms.expires)}


def _which(records: list[TokenRecord]) -> dict[str, object]:
    """Return how many tokens it was, and the first of them: an answer has to fit into a packet."""
    return {"count": len(records), "ids": [each.token_id for each in records[:_MOST_NAMED]]}


def _spell(when: datetime | None) -> str | None:
    return None if when is None else when.astimezone(UTC).isoformat(timespec="seconds")
