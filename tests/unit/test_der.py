"""The small DER walk against cryptography, on real certificates and on damaged ones."""

import contextlib
from datetime import UTC, datetime

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.der import last_day, public_key_info

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

KEYS: dict[str, Key] = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "p-256": ec.generate_private_key(ec.SECP256R1()),
    "p-521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ed448": ed448.Ed448PrivateKey.generate(),
}


def make(key: Key, ended: datetime = datetime(2033, 4, 5, tzinfo=UTC), subject: str = "unit") -> bytes:
    """Return a certificate signed by its own key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(1999, 1, 1, tzinfo=UTC))
        .not_valid_after(ended)
    )
    needs_hash = isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return builder.sign(key, hashes.SHA256() if needs_hash else None).public_bytes(Encoding.DER)


SAMPLE = make(KEYS["ed25519"])


@pytest.mark.parametrize("kind", KEYS)
def test_the_key_is_the_one_cryptography_reads(kind: str) -> None:
    """RSA, elliptic curves and Edwards keys alike."""
    expected = KEYS[kind].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    assert expected == public_key_info(make(KEYS[kind]))


def test_a_certificate_with_extensions_is_read() -> None:
    """As an authority issues them."""
    pem = trustme.CA().issue_cert("web1.example").cert_chain_pems[0].bytes()
    certificate = x509.load_pem_x509_certificate(pem)
    expected = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    assert expected == public_key_info(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("ended", "day"),
    [
        (datetime(2026, 1, 3, tzinfo=UTC), "2026-01-03"),
        (datetime(2049, 12, 31, tzinfo=UTC), "2049-12-31"),
        (datetime(2050, 1, 1, tzinfo=UTC), "2050-01-01"),
        (datetime(9999, 12, 31, tzinfo=UTC), "9999-12-31"),
    ],
)
def test_the_last_day_is_read_in_both_forms(ended: datetime, day: str) -> None:
    """Two-digit years until 2049, four digits from 2050."""
    assert day == last_day(make(KEYS["ed25519"], ended))


@given(at=st.integers(0, len(SAMPLE) - 1))
@settings(max_examples=200, deadline=None)
def test_a_cut_certificate_is_an_error(at: int) -> None:
    """However much is missing at the end."""
    with pytest.raises(ValueError):
        public_key_info(SAMPLE[:at])


def test_bytes_behind_a_certificate_are_an_error() -> None:
    """A pin covers one certificate, not two."""
    with pytest.raises(ValueError, match="left over"):
        public_key_info(SAMPLE + b"\x00")


@given(at=st.integers(0, len(SAMPLE) - 1), byte=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_damaged_certificate_gives_a_key_or_an_error(at: int, byte: int) -> None:
    """Never another exception, which would be a traceback before the peer is known."""
    damaged = SAMPLE[:at] + bytes([byte]) + SAMPLE[at + 1 :]
    for read in (public_key_info, last_day):
        with contextlib.suppress(ValueError):
            read(damaged)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_noise_is_an_error(data: bytes) -> None:
    """Nothing but ValueError leaves the walk."""
    with pytest.raises(ValueError):
        public_key_info(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80\x00\x00",
        b"\x30\x81\x05" + bytes(5),
        b"\x30\x82\x00\x90" + bytes(144),
        b"\x30\x84\xff\xff\xff\xff",
    ],
    ids=["indefinite length", "long form for a short one", "leading zero", "absurd length"],
)
def test_a_length_has_one_spelling(data: bytes) -> None:
    """X.690 10.1: definite, and as short as it goes."""
    with pytest.raises(ValueError, match="length"):
        public_key_info(data)
