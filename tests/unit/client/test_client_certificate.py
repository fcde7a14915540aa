"""The caller's own certificate: its files, who sees it, and how a server refuses it."""

import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from rexecd import client
from rexecd.cli.rexec import main
from rexecd.client.identity import refusal
from tests.unit.client.fake_server import TOKEN, Authority, FakeServer, Peer, leaf_pin

Serve = Callable[..., FakeServer]
Capture = pytest.CaptureFixture[str]


class Pair:
    """A certificate and its key, in files."""

    def __init__(self, directory: Path, leaf: trustme.LeafCert, name: str = "me") -> None:
        self.cert, self.key = directory / f"{name}.pem", directory / f"{name}.key"
        self.both = directory / f"{name}-both.pem"
        leaf.cert_chain_pems[0].write_to_path(str(self.cert))
        leaf.private_key_pem.write_to_path(str(self.key))
        leaf.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        for path in (self.key, self.both):
            path.chmod(0o600)


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> Pair:
    """Return a caller's certificate of the server's authority."""
    return Pair(tmp_path, authority.issue("ann@example.org"))


def demand(server: FakeServer, authority: Authority) -> FakeServer:
    """Let a server serve nobody without a certificate of this authority."""
    server._context.verify_mode = ssl.CERT_REQUIRED
    server._context.load_verify_locations(authority.path)
    return server


def greet(peer: Peer) -> None:
    """Accept the token, and name who presented a certificate."""
    shown = dict(peer.sock.getpeercert() or {})
    peer.welcome(str(shown.get("subjectAltName")))
    peer.wait_until_gone()


@pytest.mark.parametrize("trust", ["ca", "pin"])
def test_a_certificate_is_presented_where_it_is_asked_for(
    authority: Authority, pair: Pair, tmp_path: Path, trust: str
) -> None:
    """From two files or from one, and whatever the server is recognised by."""
    leaf = authority.issue()
    how = {"ca": authority.path} if trust == "ca" else {"pin": leaf_pin(leaf)}
    for files in ({"cert": pair.cert, "key": pair.key}, {"cert": pair.both}):
        with (
            demand(FakeServer(leaf, greet), authority) as server,
            client.connect(server.address, token=TOKEN, **how, **files) as session,  # type: ignore[arg-type]
        ):
            assert "ann@example.org" in session.banner


def test_nobody_asks_for_it_and_nothing_changes(authority: Authority, pair: Pair, serve: Serve) -> None:
    """A certificate that is not wanted is not shown."""
    with client.connect(
        serve(greet).address, token=TOKEN, ca=authority.path, cert=pair.cert, key=pair.key
    ) as session:
        assert "None" == session.banner


def test_a_host_that_is_not_known_yet_does_not_see_it(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    """The first connection is for the server's key and for nothing else."""
    seen: list[object] = []

    def note(peer: Peer) -> None:
        seen.append(peer.sock.getpeercert())
        peer.wait_until_gone()

    with FakeServer(authority.issue(), note) as server, pytest.raises(client.UnknownHost):
        server._context.verify_mode = ssl.CERT_OPTIONAL
        server._context.load_verify_locations(authority.path)
        client.connect(server.address, token=TOKEN, known_hosts=tmp_path / "k", cert=pair.cert, key=pair.key)

    assert [None] == seen


def outdated(authority: Authority) -> trustme.LeafCert:
    """Return a certificate that was good once."""
    ended = datetime(2024, 1, 3, tzinfo=UTC)
    return authority.issue("ann@example.org", not_before=ended - timedelta(days=9), not_after=ended)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (None, "the server wants a client certificate"),
        (outdated, "the server says that the client certificate is not valid today"),
        (lambda _: trustme.CA().issue_cert("x@example.org"), "does not know the authority of the client"),
    ],
)
def test_a_certificate_that_is_refused_is_said_in_one_line(
    authority: Authority,
    tmp_path: Path,
    make: Callable[[Authority], trustme.LeafCert] | None,
    said: str,
) -> None:
    """The server's alert comes behind a handshake that is over for us, and is no lost connection."""
    pair = Pair(tmp_path, make(authority)) if make is not None else None
    files = {"cert": str(pair.cert), "key": str(pair.key)} if pair is not None else {}
    with (
        demand(FakeServer(authority.issue(), greet), authority) as server,
        pytest.raises(client.AuthenticationFailed, match=said) as caught,
    ):
        client.connect(server.address, token=TOKEN, ca=authority.path, **files)  # type: ignore[arg-type]

    assert caught.value.hint is not None
    assert 255 == caught.value.exit_status


@pytest.mark.parametrize(
    ("alert", "said"),
    {
        "SSLV3_ALERT_CERTIFICATE_REVOKED": "certificate was revoked",
        "SSLV3_ALERT_BAD_CERTIFICATE": "does not accept the client certificate",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "this kind of certificate",
    }.items(),
)
def test_each_alert_has_its_words(alert: str, said: str) -> None:
    """What OpenSSL calls them is for nobody."""
    error = refusal(alert, "web1:7512")

    assert said in str(error)
    assert refusal("SSLV3_ALERT_HANDSHAKE_FAILURE", "web1:7512") is None


def test_a_key_that_others_can_read_is_refused(authority: Authority, pair: Pair) -> None:
    """As a token file is; what holds a certificate alone may be read by anybody."""
    pair.cert.chmod(0o644)
    for path, files in ((pair.key, {"cert": pair.cert, "key": pair.key}), (pair.both, {"cert": pair.both})):
        path.chmod(0o640)
        with pytest.raises(client.UsageError, match=r"others can read it \(mode 0640\)") as caught:
            client.connect("127.0.0.1:1", token=TOKEN, ca=authority.path, **files)  # type: ignore[arg-type]

        assert f"chmod 600 {path}" == caught.value.hint


@pytest.mark.parametrize("directory", [None, ""])
def test_a_key_that_is_named_without_a_directory_is_nobodys_credential(
    authority: Authority, pair: Pair, directory: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--key ann.key` has no directory, as a service that was given no credentials has none."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if directory is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", directory)
    monkeypatch.chdir(pair.key.parent)
    pair.key.chmod(0o644)
    with pytest.raises(client.UsageError, match=r"others can read it \(mode 0644\)"):
        client.connect("127.0.0.1:1", token=TOKEN, ca=authority.path, cert=pair.cert.name, key=pair.key.name)


def test_a_credential_of_systemd_may_look_readable(
    authority: Authority, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory protects it, and an access list shows as the group's right."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(pair.key.parent))
    pair.key.chmod(0o440)
    with pytest.raises(client.ConnectFailed):
        client.connect("127.0.0.1:1", token=TOKEN, ca=authority.path, cert=pair.cert, key=pair.key)


def test_files_that_are_no_pair_are_named(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    """Each with what is wrong about it, before any network."""
    other = Pair(tmp_path, authority.issue("bob@example.org"), "other")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for cert, key, said in (
        (tmp_path / "none", pair.key, "No such file"),
        (pair.cert, tmp_path / "none", "No such file"),
        (pair.cert, tmp_path, "not a file"),
        (pair.key, pair.key, "no certificate in PEM form"),
        (pair.cert, None, "others can read it|no private key in PEM form"),
        (pair.cert, other.key, "not the one of"),
        (broken, pair.key, "no usable certificate and key"),
        (None, pair.key, "a key without its certificate"),
    ):
        with pytest.raises(client.UsageError, match=said):
            client.connect("127.0.0.1:1", token=TOKEN, ca=authority.path, cert=cert, key=key)


def test_an_encrypted_key_asks_nobody(
    authority: Authority, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """OpenSSL would open the terminal; the complaint says how to take the password off."""
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", pair.key, "-out", locked, "-aes256", "-passout", "pass:x"], check=True
    )
    locked.chmod(0o600)
    monkeypatch.setenv("REXEC_TOKEN", TOKEN)
    monkeypatch.setenv("REXEC_CERT", str(pair.cert))
    monkeypatch.setenv("REXEC_KEY", str(locked))

    assert 255 == main(["--ca", authority.path, "127.0.0.1:1", "x"])
    error, hint = capfd.readouterr().err.splitlines()
    assert "it is encrypted, and nobody is asked for its password" in error
    assert "openssl pkey -in" in hint
