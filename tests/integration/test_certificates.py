"""Certificates with a real daemon: of callers, and of the server, whose renewal nobody notices."""

import hashlib
import json
import os
import signal
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rexecd import client
from rexecd.errors import Code
from rexecd.identity.certificates import Pair, issue_client, issue_server, make_authority
from rexecd.wire import messages as wire
from tests.harness import POLICY, SETTINGS, Caller, Daemon, wait_for

WITH_CERTIFICATES = SETTINGS + "client_ca: certs/ca.pem\n"
STRICT = POLICY.replace("ann: {roles: [tester]}", "ann: {roles: [tester], require: certificate}")
REFUSED = wire.Closed(Code.AUTHENTICATION_FAILED, "authentication failed")


def issue(daemon: Daemon, *arguments: str) -> Path:
    """Issue a client certificate with `rexecd cert issue` and return its file; its key is beside it."""
    out = daemon.made.config.parent / "callers"
    out.mkdir(exist_ok=True)
    done = daemon.rexecd("cert", "issue", *arguments, "--out", str(out))
    assert (0, "") == (done.returncode, done.stderr)
    return max(out.glob("*.pem"), key=lambda path: path.stat().st_mtime_ns)


def authority_of(daemon: Daemon) -> Pair:
    """Return the authority that `rexecd init` made."""
    certs = daemon.made.authority.parent
    return Pair((certs / "ca.pem").read_bytes(), (certs / "ca.key").read_bytes())


def keep(directory: Path, name: str, pair: Pair) -> Path:
    """Write a pair and return the certificate's file."""
    path = directory / f"{name}.pem"
    path.write_bytes(pair.certificate_pem)
    path.with_suffix(".key").write_bytes(pair.key_pem)
    path.with_suffix(".key").chmod(0o600)
    return path


def answer(daemon: Daemon, token: str, pair: Path | None) -> wire.Message:
    """Return what a caller hears when it presents a token."""
    with daemon.caller(None, pair=pair) as caller:
        caller.say(wire.Authenticate(daemon.tokens[token].encode()))
        return caller.hear()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon whose principal `ann` has to show a certificate."""
    made = Daemon(tmp_path_factory.mktemp("strict"), settings=WITH_CERTIFICATES, policy=STRICT).start()
    yield made
    made.stop()


def test_token_and_certificate_of_one_principal_let_it_in(strict: Daemon) -> None:
    """Both are needed, and the trail says which certificate it was."""
    pair = issue(strict, "--client", "ann")
    with strict.caller("ann", pair=pair) as caller:
        answers = caller.run("echo hello")
    der = ssl.PEM_cert_to_DER_cert(pair.read_text())

    assert b"hello\n" == answers[1].data
    accepted = strict.records("auth-accepted")[-1]
    assert hashlib.sha256(der).hexdigest().upper() == accepted["tls"]["client"]["hash"]["sha256"]


def test_without_its_certificate_a_good_token_is_as_good_as_a_wrong_one(strict: Daemon) -> None:
    """The caller hears the same; the trail knows why."""
    missing = answer(strict, "ann", None)
    reason = strict.records("auth-refused")[-1]["event"]["reason"]

    assert missing == REFUSED
    assert "'ann' has to show a client certificate" == reason


def test_a_certificate_of_another_principal_is_refused(strict: Daemon) -> None:
    """Token and certificate have to name the same one, also where none is required."""
    pair = issue(strict, "--client", "bob")

    assert REFUSED == answer(strict, "ann", pair)
    assert isinstance(answer(strict, "bob", pair), wire.Accepted)
    assert REFUSED == answer(strict, "bob", issue(strict, "--client", "ann", "--name", "other"))


def test_who_need_not_show_one_may_come_without(strict: Daemon) -> None:
    """A certificate is asked for, and not demanded, in the handshake."""
    assert isinstance(answer(strict, "bob", None), wire.Accepted)


def test_a_reload_that_asks_for_certificates_binds_open_sessions_too(own_daemon: Daemon) -> None:
    """As a reload that takes a command, or an address, from its principal does: from the next request on."""
    policy = own_daemon.settings.policy
    own_daemon.made.config.write_text(WITH_CERTIFICATES)
    own_daemon.start()
    pair = issue(own_daemon, "--client", "ann")
    with own_daemon.caller("ann") as without, own_daemon.caller("ann", pair=pair) as showed:
        before = without.run("echo hello")
        policy.write_text(STRICT)
        assert 0 == own_daemon.rexecd("reload").returncode
        after, listed, served = without.run("echo hello"), _list(without), showed.run("echo hello")
        entries = _list(showed)

    assert b"hello\n" == before[1].data
    assert (Code.NOT_PERMITTED, 0) == (after[-1].code, len(listed))
    assert b"hello\n" == served[1].data
    assert len(entries) > 3
    reason = own_daemon.records("command-refused")[-1]["event"]["reason"]
    assert "the principal has to show a client certificate, by now" == reason


def _list(caller: Caller) -> list[wire.Message]:
    """Return the entries a caller is told of."""
    caller.say(wire.List())
    heard: list[wire.Message] = []
    while isinstance(message := caller.hear(), wire.Entry):
        heard.append(message)
    return heard


@pytest.mark.parametrize(
    "kind", ["of another authority", "of a server", "expired", "with two names", "not strict"]
)
def test_a_certificate_that_is_none_of_ours_lets_nobody_in(strict: Daemon, tmp_path: Path, kind: str) -> None:
    """Whoever has only its own word for it gets no session."""
    now = datetime.now(UTC)
    ours, other = authority_of(strict), make_authority("rexecd authority", now=now, days=9)
    pair = {
        "of another authority": lambda: issue_client(other, "ann", now=now, days=1),
        "of a server": lambda: issue_server(ours, ["ann"], now=now, days=1),
        "expired": lambda: issue_client(ours, "ann", now=now - timedelta(days=9), days=1),
        "with two names": lambda: _issued_otherwise(ours, "ann", "bob"),
        "not strict": lambda: _issued_otherwise(ours, "ann", without=x509.AuthorityKeyIdentifier),
    }[kind]()
    path = keep(tmp_path, "pair", pair)
    try:
        heard = answer(strict, "ann", path)
    except (ssl.SSLError, ConnectionError):  # TLS 1.3 tells it at the first read or write
        heard = None

    assert heard in (None, REFUSED)
    wait_for(lambda: strict.records()[-1]["event"]["action"] != "auth-accepted", "a record")


def _issued_otherwise(authority: Pair, *names: str, without: type | None = None) -> Pair:
    """Return a client certificate with these common names, and without one of the usual extensions."""
    now = datetime.now(UTC)
    model = issue_client(authority, "ann", now=now, days=1)
    old = x509.load_pem_x509_certificate(model.certificate_pem)
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem)
    key = serialization.load_pem_private_key(authority.key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each) for each in names])
    builder = x509.CertificateBuilder(issuer.subject, name, old.public_key(), 1)
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    for extension in (
        each for each in old.extensions if without is None or not isinstance(each.value, without)
    ):
        builder = builder.add_extension(extension.value, critical=extension.critical)
    signed = builder.sign(key, hashes.SHA256())
    return Pair(signed.public_bytes(serialization.Encoding.PEM), model.key_pem)


def test_a_revoked_certificate_is_refused_at_once_and_on_open_connections(strict: Daemon) -> None:
    """By file, or by the fingerprint that stands in the trail; the list is kept, and shown."""
    pair = issue(strict, "--client", "ann", "--name", "stolen")
    with strict.caller("ann", pair=pair) as idle:
        assert idle.accepted
        done = strict.rexecd("cert", "revoke", str(pair))
        heard = idle.hear()
    fingerprint = strict.records("certificate-revoked")[-1]["tls"]["client"]["hash"]["sha256"]
    again = strict.rexecd("cert", "revoke", f"sha256:{fingerprint}")
    shown = json.loads(strict.rexecd("cert", "show", "--json").stdout)

    assert 0 == done.returncode
    assert wire.Closed(Code.REVOKED, "the client certificate was revoked") == heard
    assert REFUSED == answer(strict, "ann", pair)
    assert "revoked client certificate" == strict.records("auth-refused")[-1]["event"]["reason"]
    assert "was revoked already" in again.stdout
    assert ["CN=ann"] == [each["subject"] for each in shown["revoked"]]


def test_a_certificate_that_ends_takes_its_connections_with_it(strict: Daemon, tmp_path: Path) -> None:
    """Also one on which nothing is asked."""
    now = datetime.now(UTC)
    brief = issue_client(
        authority_of(strict), "ann", now=now - timedelta(days=1) + timedelta(seconds=4), days=1
    )
    with strict.caller("ann", pair=keep(tmp_path, "brief", brief)) as idle:
        assert idle.accepted
        heard = idle.hear()

    assert wire.Closed(Code.REVOKED, "the client certificate has expired") == heard


def test_the_server_itself_refuses_a_requirement_it_cannot_check(tmp_path: Path) -> None:
    """A policy that requires what nobody is asked for would lock everybody out."""
    daemon = Daemon(tmp_path)
    daemon.settings.policy.write_text(STRICT)
    done = daemon.rexecd("check")

    assert 1 == done.returncode
    assert "policy.yaml:3:3: 'require: certificate' needs client_ca in" in done.stderr


def renew(daemon: Daemon, *arguments: str) -> None:
    """Renew the server's certificate and let the gateway read it."""
    before = len(daemon.records("certificate-loaded"))
    done = daemon.rexecd("cert", "renew", *arguments)
    assert 0 == done.returncode, done.stderr
    os.kill(daemon.gateway_pid, signal.SIGHUP)
    wait_for(lambda: len(daemon.records("certificate-loaded")) > before, "the new certificate")


def shown_by(daemon: Daemon) -> bytes:
    """Return the certificate that a new connection is shown."""
    with daemon.caller(None) as caller:
        return caller.tls.getpeercert(binary_form=True) or b""


def test_a_renewal_is_noticed_by_nobody(own_daemon: Daemon) -> None:
    """Neither with --ca nor with a pin, nor on a connection that is open; new ones see the new one."""
    own_daemon.start()
    old = shown_by(own_daemon)
    with own_daemon.caller() as kept:
        renew(own_daemon)
        answers = kept.run("echo 'still here'")
    pin, token = f"sha256:{own_daemon.made.pin}", own_daemon.tokens["ann"]
    by_pin = client.run(own_daemon.address, ["echo", "pin"], token=token, pin=pin)

    assert b"still here\n" == answers[1].data
    assert 0 == own_daemon.rexec("echo", "ca").returncode
    assert b"pin\n" == by_pin.stdout
    assert old != shown_by(own_daemon)


def test_a_faulty_certificate_leaves_the_old_one_in_use(own_daemon: Daemon) -> None:
    """It is said in the log and recorded, and the next good one is taken."""
    own_daemon.start()
    good = own_daemon.settings.certificate.read_bytes()
    own_daemon.settings.certificate.write_bytes(own_daemon.made.authority.read_bytes())
    os.kill(own_daemon.gateway_pid, signal.SIGHUP)
    wait_for(lambda: own_daemon.records("certificate-rejected"), "the refusal")

    assert 0 == own_daemon.rexec("echo", "x").returncode
    assert "the old certificate stays in use" in own_daemon.complaints()
    own_daemon.settings.certificate.write_bytes(good)
    renew(own_daemon)


def test_a_certificate_that_ends_soon_is_announced_everywhere(own_daemon: Daemon) -> None:
    """In the log, in the trail, by status and by check, thirty days ahead; none of it is an error yet."""
    own_daemon.start()
    renew(own_daemon, "--days", "20")
    wait_for(lambda: own_daemon.records("certificate-expiring"), "the warning in the trail")
    status = own_daemon.rexecd("status")
    check = own_daemon.rexecd("check")

    assert "renew it" in own_daemon.records("certificate-expiring")[0]["event"]["reason"]
    assert "renew it" in own_daemon.complaints()
    assert (0, True) == (status.returncode, "warning: " in status.stderr and "renew it" in status.stderr)
    assert (0, True) == (check.returncode, "renew it" in check.stderr)


def test_certificate_and_key_may_lie_behind_links(tmp_path: Path) -> None:
    """As other programs lay them out (mounted secrets, `live/` of certbot), if nobody else can change it."""
    daemon = Daemon(tmp_path)
    certs = daemon.settings.certificate.parent
    archive = certs / "archive"
    archive.mkdir(mode=0o755)
    for name in ("server.pem", "server.key"):
        (certs / name).rename(archive / name)
        (certs / name).symlink_to(archive / name)
    daemon.start()
    done = daemon.rexec("echo", "x")
    assert 0 == daemon.stop()
    archive.chmod(0o777)
    checked = daemon.rexecd("check")

    assert 0 == done.returncode
    assert (1, True) == (checked.returncode, str(archive) in checked.stderr)


def test_a_foreign_authority_works_through_files(own_daemon: Daemon, tmp_path: Path) -> None:
    """A company's: with an intermediate in the chain, for callers who trust its root."""
    root = trustme.CA()
    issued = root.create_child_ca().issue_cert("127.0.0.1")
    own_daemon.start()
    own_daemon.settings.certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    own_daemon.settings.key.write_bytes(issued.private_key_pem.bytes())
    os.kill(own_daemon.gateway_pid, signal.SIGHUP)
    wait_for(lambda: len(own_daemon.records("certificate-loaded")) > 1, "the new certificate")
    ca = tmp_path / "root.pem"
    root.cert_pem.write_to_path(str(ca))
    done = client.run(own_daemon.address, ["echo", "x"], token=own_daemon.tokens["ann"], ca=ca)

    assert b"x\n" == done.stdout
