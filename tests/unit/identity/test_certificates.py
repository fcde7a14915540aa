"""Certificates: a strict verifier accepts ours for the right host and nothing else."""

import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from rexecd.errors import ConfigError
from rexecd.identity.certificates import (
    Pair,
    describe,
    expires,
    issue_client,
    issue_server,
    make_authority,
    pin,
    read_client,
    renew,
)

NOW = datetime.now(UTC).replace(microsecond=0)
AUTHORITY = make_authority("a test authority", now=NOW, days=30)
HOSTS = ("localhost", "db-1.example.org", "127.0.0.1", "::1")
SERVER = issue_server(AUTHORITY, HOSTS, now=NOW, days=10)


def handshake(tmp_path: Path, server: Pair, authority: Pair, host: str) -> str | None:
    """Shake hands in memory and return the version both agreed on; raise what the client raises."""
    (tmp_path / "server.pem").write_bytes(server.certificate_pem + server.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    strict.minimum_version = ssl.TLSVersion.TLSv1_3
    strict.load_verify_locations(cadata=authority.certificate_pem.decode())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = strict.wrap_bio(down, up, server_hostname=host)
    peer = context.wrap_bio(up, down, server_side=True)
    for side in (client, peer, client, peer):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.version()


@pytest.mark.parametrize("host", HOSTS)
def test_a_strict_client_accepts_each_host(tmp_path: Path, host: str) -> None:
    """Names and addresses, with VERIFY_X509_STRICT and TLS 1.3."""
    assert handshake(tmp_path, SERVER, AUTHORITY, host) == "TLSv1.3"


def test_a_strict_client_refuses_another_host(tmp_path: Path) -> None:
    """The certificate is for what it names."""
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, SERVER, AUTHORITY, "db-2.example.org")


def test_a_strict_client_refuses_another_authority(tmp_path: Path) -> None:
    """The same name is not the same key."""
    other = make_authority("a test authority", now=NOW, days=30)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, SERVER, other, "localhost")


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    """Days are counted from the time that was passed in."""
    old = NOW - timedelta(days=20)
    authority = make_authority("old", now=old, days=30)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(tmp_path, issue_server(authority, HOSTS, now=old, days=10), authority, "localhost")


def test_a_certificate_ends_with_its_authority_at_the_latest() -> None:
    """A longer one would only seem to be valid."""
    assert expires(SERVER.certificate_pem) == NOW + timedelta(days=10)
    longer = issue_server(AUTHORITY, HOSTS, now=NOW, days=90)
    assert expires(longer.certificate_pem) == NOW + timedelta(days=30)


def test_the_pin_is_the_digest_of_the_public_key() -> None:
    """It stays over renewal with the same key, and differs between keys."""
    certificate = x509.load_pem_x509_certificate(SERVER.certificate_pem)
    public = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    assert pin(SERVER.certificate_pem) == hashlib.sha256(public).hexdigest()
    assert pin(SERVER.certificate_pem) != pin(AUTHORITY.certificate_pem)


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "-x", "é.org", "a..b", "*.example.org", "x" * 64, "a." * 130]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    """Neither a name nor an address: the certificate would fit nothing."""
    with pytest.raises(ConfigError, match="neither a host name nor an address"):
        issue_server(AUTHORITY, [host], now=NOW, days=1)


def test_a_long_name_is_issued() -> None:
    """A host may have more characters than a common name."""
    host = ".".join(["x" * 40] * 4)
    pem = issue_server(AUTHORITY, [host], now=NOW, days=1).certificate_pem
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )

    assert names.value.get_values_for_type(x509.DNSName) == [host]


def ed25519_pem() -> bytes:
    """Return a key of a kind we do not make."""
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


BAD = {
    "no certificate": (Pair(b"noise", AUTHORITY.key_pem), "not a certificate"),
    "no key": (Pair(AUTHORITY.certificate_pem, b"noise"), "not a private key"),
    "another kind of key": (Pair(AUTHORITY.certificate_pem, ed25519_pem()), "not an elliptic curve key"),
    "another's key": (Pair(AUTHORITY.certificate_pem, SERVER.key_pem), "does not belong"),
    "expired": (make_authority("x", now=NOW - timedelta(days=9), days=3), "the authority expired on"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_authority_is_one_line(case: str) -> None:
    """What cannot sign is found before something is signed."""
    authority, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        issue_server(authority, HOSTS, now=NOW, days=1)


def test_no_host_is_refused() -> None:
    """A certificate for nothing is a mistake."""
    with pytest.raises(ConfigError, match="at least one host"):
        issue_server(AUTHORITY, [], now=NOW, days=1)


def test_a_key_is_not_shown_by_repr() -> None:
    """A pair may end up in a traceback."""
    assert "PRIVATE" not in repr(AUTHORITY)


def test_a_renewed_certificate_has_the_same_key_and_names_and_another_end(tmp_path: Path) -> None:
    """A strict caller takes it with the old private key, and a pin still fits."""
    renewed = renew(AUTHORITY, SERVER.certificate_pem, now=NOW, days=20)
    before, after = describe(SERVER.certificate_pem), describe(renewed)

    assert "TLSv1.3" == handshake(tmp_path, Pair(renewed, SERVER.key_pem), AUTHORITY, "localhost")
    assert (before.kind, before.subject, before.names, before.pin) == (
        after.kind,
        after.subject,
        after.names,
        after.pin,
    )
    assert NOW + timedelta(days=20) == after.ends
    assert before.fingerprint != after.fingerprint


def test_a_client_certificate_is_renewed_as_one() -> None:
    """It does not become a server's."""
    client = issue_client(AUTHORITY, "ann", now=NOW, days=1)
    renewed = describe(renew(AUTHORITY, client.certificate_pem, now=NOW, days=2))

    assert ("client", "CN=ann", ()) == (renewed.kind, renewed.subject, renewed.names)


OTHERS = {
    "of an authority of the same name": issue_server(
        make_authority("a test authority", now=NOW, days=30), HOSTS, now=NOW, days=1
    ).certificate_pem,
    "of an authority of another name": issue_server(
        make_authority("another", now=NOW, days=30), HOSTS, now=NOW, days=1
    ).certificate_pem,
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_the_authority_did_not_issue_it_does_not_renew(case: str) -> None:
    """It would vouch for a key it knows nothing of."""
    with pytest.raises(ConfigError, match="not issued by this authority"):
        renew(AUTHORITY, OTHERS[case], now=NOW, days=1)


def test_an_authority_is_not_renewed() -> None:
    """It is replaced, and callers know both for a while."""
    with pytest.raises(ConfigError, match="give callers both in one file"):
        renew(AUTHORITY, AUTHORITY.certificate_pem, now=NOW, days=1)


def test_a_client_certificate_names_its_principal() -> None:
    """By its one common name; the fingerprint is that of its DER form."""
    client = issue_client(AUTHORITY, "ann@example.org", now=NOW, days=3)
    der = ssl.PEM_cert_to_DER_cert(client.certificate_pem.decode())
    found = read_client(der)

    assert ("ann@example.org", "CN=ann@example.org") == (found.principal, found.subject)
    assert (hashlib.sha256(der).hexdigest(), NOW + timedelta(days=3)) == (found.fingerprint, found.expires)


@pytest.mark.parametrize("der", [b"", b"noise", b"\x30\x80" + bytes(40), SERVER.certificate_pem])
def test_what_is_no_certificate_is_one_line(der: bytes) -> None:
    """The gateway may say anything."""
    with pytest.raises(ConfigError, match="not a certificate"):
        read_client(der)


def test_a_name_no_principal_can_have_gets_no_certificate() -> None:
    """It would be good for nothing."""
    with pytest.raises(ConfigError, match="cannot name a principal"):
        issue_client(AUTHORITY, "a b", now=NOW, days=1)


def test_a_certificate_of_another_kind_of_key_is_described() -> None:
    """As a company or a public authority issues them."""
    issued = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert("web1.example", key_type=trustme.KeyType.RSA)
    found = describe(issued.cert_chain_pems[0].bytes())

    assert ("web1.example",) == found.names
    assert "server" == found.kind


def odd(old: bytes, new: bytes) -> bytes:
    """Return a client certificate (DER) with some bytes exchanged for others."""
    der = ssl.PEM_cert_to_DER_cert(issue_client(AUTHORITY, "ann", now=NOW, days=3).certificate_pem.decode())
    assert old in der
    return der.replace(old, new, 1)


_VERSION_3, _VERSION_2 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"
_KEY_IDENTIFIER, _KEY_USAGE = b"\x55\x1d\x0e", b"\x55\x1d\x0f"
_OF_A_CURVE, _OF_NOTHING = b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x7f"
ODD = {
    "of version 2": (_VERSION_3, _VERSION_2),
    "with an extension twice": (_KEY_IDENTIFIER, _KEY_USAGE),
    "with a key of no kind": (_OF_A_CURVE, _OF_NOTHING),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_certificate_is_one_line(case: str) -> None:
    """Some authority has made it, and the library has an exception of its own for it."""
    pem = ssl.DER_cert_to_PEM_cert(odd(*ODD[case])).encode()
    with pytest.raises(ConfigError):
        describe(pem)
    with pytest.raises(ConfigError):
        renew(AUTHORITY, pem, now=NOW, days=1)


@pytest.mark.parametrize("case", ["of version 2", "with an extension twice"])
def test_an_odd_certificate_lets_nobody_in(case: str) -> None:
    """It is refused as what is none."""
    with pytest.raises(ConfigError, match="not a certificate"):
        read_client(odd(*ODD[case]))


@pytest.mark.parametrize("case", ["of version 2", "with a key of no kind"])
def test_an_odd_certificate_has_no_pin(case: str) -> None:
    """A check of the server's own says so."""
    with pytest.raises(ConfigError):
        pin(ssl.DER_cert_to_PEM_cert(odd(*ODD[case])).encode())


def test_a_certificate_that_does_not_say_that_it_is_for_clients_lets_nobody_in() -> None:
    """TLS takes one without any purpose for every purpose."""
    with pytest.raises(ConfigError, match="not say that it is for clients"):
        read_client(odd(b"\x55\x1d\x25", b"\x55\x1d\x7f"))
    with pytest.raises(ConfigError, match="not say that it is for clients"):
        read_client(ssl.PEM_cert_to_DER_cert(SERVER.certificate_pem.decode()))


@pytest.mark.parametrize("name", ["", "\udcff"])
def test_a_name_that_no_certificate_can_hold_is_one_line(name: str) -> None:
    """As a command line may say it."""
    with pytest.raises(ConfigError, match="cannot stand in a certificate"):
        make_authority(name, now=NOW, days=1)
