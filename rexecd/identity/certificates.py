"""An authority of one's own, and certificates for servers and callers that strict verifiers accept.

The extensions are what OpenSSL's VERIFY_X509_STRICT asks for: subject and authority key
identifier, key usage, basic constraints, extended key usage. Runs on cryptography 38.
"""

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rexecd.errors import ConfigError
from rexecd.forms import is_printable
from rexecd.identity.shown import ClientCertificate
from rexecd.names import PRINCIPAL, is_name

#: A caller's clock may be this much behind ours and still accept a new certificate.
_SKEW: Final = timedelta(minutes=5)
#: The most X.520 allows in a common name.
_MAX_COMMON_NAME: Final = 64
_MAX_HOST: Final = 253
#: What the library raises, sooner or later, for a certificate that is odd or broken.
_ODD: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key (PKCS 8, not encrypted), both PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


def read_client(der: bytes) -> ClientCertificate:
    """Return what a caller's certificate says; raise ConfigError for what is none, or is not for callers.

    Whether its authority is known, and whether the caller has its key, TLS has to find out before. TLS also
    takes one that does not say what it is for: that may be a server's.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        if ExtendedKeyUsageOID.CLIENT_AUTH not in _purposes(certificate):
            raise ConfigError("it does not say that it is for clients (extended key usage)")
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        only = names[0].value if len(names) == 1 else None
        return ClientCertificate(
            hashlib.sha256(der).hexdigest(),
            only if isinstance(only, str) else None,
            certificate.subject.rfc4514_string(),
            _end(certificate),
        )
    except _ODD:
        raise ConfigError("not a certificate") from None


def make_authority(name: str, *, now: datetime, days: int) -> Pair:
    """Return an authority that can issue server certificates and nothing below itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, key.public_key(), now=now, until=now + timedelta(days=days))
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(_authority_key(key), critical=False)
    )
    signed = builder.sign(key, hashes.SHA256())
    return Pair(signed.public_bytes(serialization.Encoding.PEM), _private(key))


def issue_server(authority: Pair, hosts: Sequence[str], *, now: datetime, days: int) -> Pair:
    """Return a server certificate for names and addresses; raise ConfigError.

    It ends when its authority ends, if that is sooner.
    """
    if not hosts:
        raise ConfigError("a server certificate needs at least one host; pass --host NAME")
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    wanted = _Wanted(_name(hosts[0]), names, ExtendedKeyUsageOID.SERVER_AUTH)
    return _with_new_key(authority, wanted, now=now, days=days)


def issue_client(authority: Pair, principal: str, *, now: datetime, days: int) -> Pair:
    """Return a client certificate for a principal; raise ConfigError. It ends as a server's does."""
    if not is_name(PRINCIPAL, principal):
        raise ConfigError(f"{principal!r} cannot name a principal")
    wanted = _Wanted(_name(principal), None, ExtendedKeyUsageOID.CLIENT_AUTH)
    return _with_new_key(authority, wanted, now=now, days=days)


def renew(authority: Pair, certificate_pem: bytes, *, now: datetime, days: int) -> bytes:
    """Return a certificate like another of the same authority, for the same key, with a new end.

    The private key is not needed: it may stay where it is. Whoever trusts the authority, or has pinned the
    key, goes on trusting. Raise ConfigError.
    """
    old = _certificate(certificate_pem)
    issuer, _ = _load(authority)
    try:
        if _kind(old) == "authority":
            raise ConfigError("of an authority: make a new one, and give callers both in one file")
        old.public_key()
        _verify(old, issuer)
        usage = old.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = [each.value for each in old.extensions if isinstance(each.value, x509.SubjectAlternativeName)]
        (purpose,) = usage
    except (x509.ExtensionNotFound, InvalidSignature, *_ODD):
        raise ConfigError("not issued by this authority: issue a new one") from None
    wanted = _Wanted(old.subject, names[0] if names else None, purpose)
    return _issue(authority, wanted, old.public_key(), now=now, days=days)


class Facts(NamedTuple):
    """What a certificate says, for people."""

    #: `authority`, `server`, `client` or `other`.
    kind: str
    subject: str
    issuer: str
    #: Hosts it is for.
    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    #: SHA-256 of its DER form, in hex.
    fingerprint: str
    #: What `rexec --pin sha256:` takes.
    pin: str


def describe(certificate_pem: bytes) -> Facts:
    """Return what a certificate (PEM) says; raise ConfigError for what is none."""
    certificate = _certificate(certificate_pem)
    try:
        return Facts(
            _kind(certificate),
            certificate.subject.rfc4514_string(),
            certificate.issuer.rfc4514_string(),
            _hosts(certificate),
            _begin(certificate),
            _end(certificate),
            hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest(),
            hashlib.sha256(_public(certificate.public_key())).hexdigest(),
        )
    except _ODD as error:
        raise _unreadable(error) from None


def _kind(certificate: x509.Certificate) -> str:
    for each in certificate.extensions:
        if isinstance(each.value, x509.BasicConstraints) and each.value.ca:
            return "authority"
    purposes = _purposes(certificate)
    if ExtendedKeyUsageOID.SERVER_AUTH in purposes:
        return "server"
    return "client" if ExtendedKeyUsageOID.CLIENT_AUTH in purposes else "other"


def _purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return [
        each
        for found in certificate.extensions
        if isinstance(found.value, x509.ExtendedKeyUsage)
        for each in found.value
    ]


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    found = [
        each.value for each in certificate.extensions if isinstance(each.value, x509.SubjectAlternativeName)
    ]
    return tuple(
        str(name.value)
        for names in found
        for name in names
        if isinstance(name, x509.DNSName | x509.IPAddress)
    )


def pin(certificate_pem: bytes) -> str:
    """Return what `rexec --pin sha256:` takes: the SHA-256 of the public key (SPKI), in hex.

    Raise ConfigError for what is no certificate.
    """
    try:
        return hashlib.sha256(_public(_certificate(certificate_pem).public_key())).hexdigest()
    except _ODD as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> ConfigError:
    return ConfigError(f"a certificate that cannot be read: {error}")


def expires(certificate_pem: bytes) -> datetime:
    """Return when a certificate ends, in UTC; raise ConfigError for what is none."""
    return _end(_certificate(certificate_pem))


def _end(certificate: x509.Certificate) -> datetime:
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=UTC)  # before cryptography 42


def _begin(certificate: x509.Certificate) -> datetime:
    if hasattr(certificate, "not_valid_before_utc"):
        return certificate.not_valid_before_utc
    return certificate.not_valid_before.replace(tzinfo=UTC)  # before cryptography 42


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion):
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
    if not text or not is_printable(text):  # what is not Unicode is not printable either
        raise ConfigError(f"{text!r} cannot stand in a certificate; choose another name")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_MAX_COMMON_NAME])])


class _Wanted(NamedTuple):
    """What a certificate that is issued is to say, besides its key and its time."""

    subject: x509.Name
    names: x509.SubjectAlternativeName | None
    purpose: x509.ObjectIdentifier


def _with_new_key(authority: Pair, wanted: _Wanted, *, now: datetime, days: int) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_issue(authority, wanted, key.public_key(), now=now, days=days), _private(key))


def _issue(authority: Pair, wanted: _Wanted, key: Any, *, now: datetime, days: int) -> bytes:  # noqa: ANN401 - any kind of public key
    """Return a certificate of an authority (PEM) that ends when the authority does, if that is sooner."""
    issuer, issuer_key = _load(authority)
    end = _end(issuer)
    if end <= now:
        raise ConfigError(f"the authority expired on {end:%Y-%m-%d}; make a new one")
    builder = (
        _builder(wanted.subject, key, now=now, until=min(end, now + timedelta(days=days)))
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([wanted.purpose]), critical=False)
        .add_extension(_authority_key(issuer_key), critical=False)
    )
    if wanted.names is not None:
        builder = builder.add_extension(wanted.names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _verify(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Raise InvalidSignature or ValueError unless the issuer, one of ours, has signed a certificate."""
    key, algorithm = issuer.public_key(), certificate.signature_hash_algorithm
    if (
        certificate.issuer != issuer.subject
        or not isinstance(key, ec.EllipticCurvePublicKey)
        or algorithm is None
    ):
        raise ValueError("of another authority")
    key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))


def _builder(subject: x509.Name, key: Any, *, now: datetime, until: datetime) -> x509.CertificateBuilder:  # noqa: ANN401
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
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


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
