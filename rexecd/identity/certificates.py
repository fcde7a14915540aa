"""An authority of one's own, and server certificates that strict verifiers accept.

The extensions are what OpenSSL's VERIFY_X509_STRICT asks for: subject and authority key
identifier, key usage, basic constraints, extended key usage. Runs on cryptography 38.
"""

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rexecd.errors import ConfigError

#: A caller's clock may be this much behind ours and still accept a new certificate.
_SKEW: Final = timedelta(minutes=5)
#: The most X.520 allows in a common name.
_MAX_COMMON_NAME: Final = 64
_MAX_HOST: Final = 253
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key (PKCS 8, not encrypted), both PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


class ClientCertificate(NamedTuple):
    """What counts of a caller's certificate."""

    #: SHA-256 of its DER form, in hex.
    fingerprint: str
    #: The one common name of its subject; None if it has none, or more than one.
    principal: str | None
    #: The whole subject, for people (RFC 4514).
    subject: str
    expires: datetime


def read_client(der: bytes) -> ClientCertificate:
    """Return what a caller's certificate says; raise ConfigError for what is none.

    Whether its authority is known, and whether the caller has its key, TLS has to find out before.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        only = names[0].value if len(names) == 1 else None
        return ClientCertificate(
            hashlib.sha256(der).hexdigest(),
            only if isinstance(only, str) else None,
            certificate.subject.rfc4514_string(),
            _end(certificate),
        )
    except ValueError:
        raise ConfigError("not a certificate") from None


def make_authority(name: str, *, now: datetime, days: int) -> Pair:
    """Return an authority that can issue server certificates and nothing below itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, key, now=now, until=now + timedelta(days=days))
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(_authority_key(key), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue_server(authority: Pair, hosts: Sequence[str], *, now: datetime, days: int) -> Pair:
    """Return a server certificate for names and addresses; raise ConfigError.

    It ends when its authority ends, if that is sooner.
    """
    if not hosts:
        raise ConfigError("a server certificate needs at least one host; pass --host NAME")
    issuer, issuer_key = _load(authority)
    end = expires(authority.certificate_pem)
    if end <= now:
        raise ConfigError(f"the authority expired on {end:%Y-%m-%d}; make a new one")
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    builder = (
        _builder(_name(hosts[0]), key, now=now, until=min(end, now + timedelta(days=days)))
        .issuer_name(issuer.subject)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_authority_key(issuer_key), critical=False)
    )
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def pin(certificate_pem: bytes) -> str:
    """Return what `rexec --pin sha256:` takes: the SHA-256 of the public key (SPKI), in hex.

    Raise ConfigError for what is no certificate.
    """
    return hashlib.sha256(_public(_certificate(certificate_pem).public_key())).hexdigest()


def expires(certificate_pem: bytes) -> datetime:
    """Return when a certificate ends, in UTC; raise ConfigError for what is none."""
    return _end(_certificate(certificate_pem))


def _end(certificate: x509.Certificate) -> datetime:
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=UTC)  # before cryptography 42


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ConfigError("not a certificate in PEM form") from None


def _load(authority: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = _certificate(authority.certificate_pem)
    try:
        key = serialization.load_pem_private_key(authority.key_pem, password=None)
    except (TypeError, ValueError):
        raise ConfigError("the authority's key is not a private key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("the authority's key is not an elliptic curve key; make a new authority")
    if _public(key.public_key()) != _public(certificate.public_key()):
        raise ConfigError("the authority's key does not belong to its certificate")
    return certificate, key


def _public(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined,no-any-return]  # every kind of public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if len(host) > _MAX_HOST or _HOST.fullmatch(host) is None:
        raise ConfigError(f"{host!r} is neither a host name nor an address")
    return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_MAX_COMMON_NAME])])


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_key(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
