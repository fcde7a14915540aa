"""Tokens: their form, that nothing but the right one is accepted, and that they are masked."""

import itertools
import secrets
import zlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.errors import Code, Refused
from rexecd.identity import tokens
from rexecd.identity.tokens import (
    Terms,
    TokenRecord,
    WrongSecret,
    authenticate,
    mask,
    mint,
    parse,
    parse_digest,
    spell_digest,
)

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
MINTED = mint(secrets.token_bytes)
TEXT = MINTED.text.encode()
RECORD = TokenRecord(MINTED.token_id, MINTED.digest, "ci", WHEN)
RECORDS = {RECORD.token_id: RECORD}


def refusal(presented: bytes, records: dict[str, TokenRecord]) -> Refused:
    """Return how a token is refused."""
    with pytest.raises(Refused) as caught:
        authenticate(presented, records, address="192.0.2.1", now=WHEN)
    return caught.value


def test_a_token_has_the_published_form() -> None:
    """62 characters: prefix, id, secret, check; scanners know it by this."""
    assert len(MINTED.text) == 62
    assert parse(TEXT) == MINTED.token_id
    assert MINTED.text.startswith(f"rxt_{MINTED.token_id}_")


def test_a_known_token_is_made_of_known_bytes() -> None:
    """The vector in ink: digits in order, secret behind the id, CRC-32 behind both."""
    counter = itertools.count()
    minted = mint(lambda size: bytes(next(counter) % 62 for _ in range(size)))

    assert minted.text == "rxt_01234567_89ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno" + minted.text[-6:]
    assert minted.token_id == "01234567"
    value = 0
    for digit in minted.text[-6:]:
        value = value * 62 + tokens.DIGITS.index(digit)
    assert value == 0xFFFFFFFF & zlib.crc32(minted.text[:-6].encode())


def test_digits_are_uniform() -> None:
    """Every byte once: each digit comes equally often, the rest is thrown away."""
    draws = iter([bytes(range(256))])
    found = tokens._digits(lambda _: next(draws), 248)

    assert set(Counter(found).values()) == {4}
    assert len(Counter(found)) == 62


def test_the_right_token_is_accepted() -> None:
    """Its record comes back."""
    assert authenticate(TEXT, RECORDS, address="192.0.2.1", now=WHEN) is RECORD


def test_a_minted_token_hides_its_text() -> None:
    """Neither repr of what holds a token or a digest shows it."""
    assert MINTED.text not in repr(MINTED)
    assert repr(MINTED.digest) not in repr(RECORD)


def other_secret() -> bytes:
    """Return a well-formed token with RECORD's id and another secret."""
    other = mint(secrets.token_bytes).text
    body = f"rxt_{RECORD.token_id}_{other[13:56]}"
    return (body + tokens._check(body.encode())).encode()


REFUSED = {
    "unknown": (mint(secrets.token_bytes).text.encode(), RECORDS, "unknown token"),
    "no tokens at all": (TEXT, {}, "unknown token"),
    "wrong secret": (other_secret(), RECORDS, "wrong secret"),
    "revoked": (TEXT, {RECORD.token_id: replace(RECORD, revoked=WHEN)}, "revoked token"),
    "expired": (TEXT, {RECORD.token_id: replace(RECORD, terms=Terms(expires=WHEN))}, "expired token"),
    "revoked before it expired": (
        TEXT,
        {RECORD.token_id: replace(RECORD, terms=Terms(expires=WHEN), revoked=WHEN)},
        "revoked token",
    ),
    "another network": (
        TEXT,
        {RECORD.token_id: replace(RECORD, terms=Terms(networks=(ip_network("198.51.100.0/24"),)))},
        "the token is good from 198.51.100.0/24 only",
    ),
    "wrong check": (TEXT[:-1] + (b"0" if TEXT[-1:] != b"0" else b"1"), RECORDS, "malformed token"),
    "empty": (b"", RECORDS, "malformed token"),
    "newline behind": (TEXT + b"\n", RECORDS, "malformed token"),
    "blank in front": (b" " + TEXT, RECORDS, "malformed token"),
    "cut": (TEXT[:-1], RECORDS, "malformed token"),
    "not ASCII": ("é\U0001f600".encode(), RECORDS, "malformed token"),
    "not UTF-8": (b"\xff\xfe\x00", RECORDS, "malformed token"),
    "one mebibyte": (b"\x01" * 1024 * 1024, RECORDS, "malformed token"),
    "full-width digits": (MINTED.text.replace("r", "\uff52", 1).encode(), RECORDS, "malformed token"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_every_wrong_token_is_refused_alike(case: str) -> None:
    """The caller hears one sentence whatever was wrong; the trail hears what it was."""
    presented, records, reason = REFUSED[case]
    refused = refusal(presented, records)

    assert refused.reason == reason
    assert (refused.code, refused.text) == (Code.AUTHENTICATION_FAILED, "authentication failed")


def test_an_empty_digest_lets_nobody_in() -> None:
    """A record without a digest, a name or an id cannot exist (ATTACKS AUT-01)."""
    for change in ({"digest": b""}, {"principal": ""}, {"token_id": ""}, {"created": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(ValueError, match=r"token|zone"):
            replace(RECORD, **change)


def test_every_wrong_token_costs_one_hash_and_one_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no early exit to be measured from outside (ATTACKS AUT-04)."""
    done: list[str] = []
    real_digest, real_compare = tokens.digest, secrets.compare_digest

    def digest(presented: bytes) -> bytes:
        done.append("hash")
        return real_digest(presented)

    def compare(one: bytes, other: bytes) -> bool:
        done.append("compare")
        return real_compare(one, other)

    monkeypatch.setattr(tokens, "digest", digest)
    monkeypatch.setattr(secrets, "compare_digest", compare)
    for presented, records, _ in REFUSED.values():
        done.clear()
        refusal(presented, records)

        assert done == ["hash", "compare"]


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_refused(presented: bytes) -> None:
    """Whatever is presented is an ordinary failure."""
    refusal(presented, RECORDS)


@given(st.integers(0, 61), st.integers(1, 255))
def test_any_changed_byte_is_refused(at: int, change: int) -> None:
    """One byte off is as good as none."""
    changed = bytearray(TEXT)
    changed[at] ^= change

    refusal(bytes(changed), RECORDS)


@given(st.text(), st.text(), st.integers(14, 62))
def test_masking_leaves_no_secret(before: str, behind: str, end: int) -> None:
    """Whole or cut, between any texts, only the id of a token is left; twice changes nothing."""
    masked = mask(before + MINTED.text[:end] + behind)

    assert f"rxt_{MINTED.token_id}_***" in masked
    assert MINTED.text[13:end] not in masked or end < 20
    assert mask(masked) == masked


def test_masking_is_not_led_astray_by_a_false_beginning() -> None:
    """A token behind what looks like the beginning of one is masked as well."""
    assert mask(f"rxt_00000000_{MINTED.text}") == "rxt_00000000_***"


def test_masking_leaves_other_text_alone() -> None:
    """What has no token in it comes back as it was."""
    for text in ("", "disk /srv", "rxt_", "rxt_short_x", f"rxt_{MINTED.token_id}_"):
        assert mask(text) == text


def test_a_token_is_good_until_the_very_moment_it_expires() -> None:
    """Not a microsecond longer; without an end it is good for ever."""
    ending = replace(RECORD, terms=Terms(expires=WHEN))

    assert ending.flaw(WHEN - timedelta(microseconds=1)) is None
    assert "expired" == ending.flaw(WHEN)
    assert RECORD.flaw(datetime(9999, 1, 1, tzinfo=UTC)) is None


PLACES = {
    "198.51.100.9": True,
    "::ffff:198.51.100.9": True,
    "2001:db8::1": True,
    "2001:db8::1%eth0": True,
    "198.51.101.9": False,
    "2001:db9::1": False,
    "": False,
    "nowhere": False,
}


@pytest.mark.parametrize("address", PLACES)
def test_a_token_with_networks_is_good_from_there_only(address: str) -> None:
    """What is no address is in no network."""
    networks = (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))
    records = {RECORD.token_id: replace(RECORD, terms=Terms(networks=networks))}
    try:
        found = authenticate(TEXT, records, address=address, now=WHEN)
    except Refused:
        found = None

    assert PLACES[address] == (found is not None)


def test_only_a_wrong_secret_of_a_known_token_is_told_apart() -> None:
    """It is what is counted; the caller hears nothing of it."""
    kinds = {case: type(refusal(presented, records)) for case, (presented, records, _) in REFUSED.items()}

    assert WrongSecret is kinds.pop("wrong secret")
    assert {Refused} == set(kinds.values())
    with pytest.raises(WrongSecret) as caught:
        authenticate(other_secret(), RECORDS, address="192.0.2.1", now=WHEN)
    assert RECORD.token_id == caught.value.token_id


def test_a_digest_has_the_published_form() -> None:
    """77 characters, nothing of the secret among them; read again it is the same."""
    spelled = spell_digest(MINTED.token_id, MINTED.digest)

    assert 77 == len(spelled)
    assert f"rxd_{MINTED.token_id}_{MINTED.digest.hex()}" == spelled
    assert MINTED.text[13:20] not in spelled
    assert (MINTED.token_id, MINTED.digest) == parse_digest(spelled)
    assert spelled == mask(spelled)


GOOD_DIGEST = spell_digest(MINTED.token_id, MINTED.digest)
BAD_DIGESTS = {
    "empty": "",
    "the token itself": MINTED.text,
    "cut": GOOD_DIGEST[:-1],
    "newline behind": f"{GOOD_DIGEST}\n",
    "blank in front": f" {GOOD_DIGEST}",
    "capitals": GOOD_DIGEST[:13] + GOOD_DIGEST[13:].upper().replace("0", "A"),
    "full-width digits": GOOD_DIGEST[:-1] + "\uff10",
    "short id": GOOD_DIGEST[:4] + GOOD_DIGEST[5:],
}


@pytest.mark.parametrize("case", BAD_DIGESTS)
def test_what_is_no_digest_is_refused_and_not_repeated(case: str) -> None:
    """Somebody may have pasted the token itself: it does not turn up in the complaint."""
    with pytest.raises(ValueError, match="a digest is 'rxd_'") as caught:
        parse_digest(BAD_DIGESTS[case])

    assert MINTED.text[13:] not in str(caught.value)
