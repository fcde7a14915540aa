"""Who the server has to be, and that nothing is sent to anyone else."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rexecd import client
from rexecd.client.errors import CallerError
from rexecd.client.trust import explain
from tests.unit.client.fake_server import TOKEN, Authority, FakeServer, Peer, leaf_pin

NOWHERE = "sha256:" + "0" * 64


def welcome_and_wait(peer: Peer) -> None:
    """Accept the token, then wait for the caller to leave."""
    peer.welcome()
    peer.wait_until_gone()


def listen_only(peer: Peer) -> None:
    """Write down what the caller sends, and say nothing."""
    peer.wait_until_gone()


def fail_to_connect(server: FakeServer, *, host: str = "127.0.0.1", **options: object) -> CallerError:
    """Return the error of a connection that must not come about, and check that nothing was sent."""
    with pytest.raises(CallerError) as caught:
        client.connect(f"{host}:{server.port}", token=TOKEN, connect_timeout=5, **options)  # type: ignore[arg-type]

    assert server.received == b""
    assert TOKEN not in str(caught.value)
    return caught.value


def test_a_server_of_the_given_authority_is_trusted(authority: Authority) -> None:
    """The session knows who it speaks as."""
    with (
        FakeServer(authority.issue(), welcome_and_wait) as server,
        client.connect(server.address, token=TOKEN, ca=authority.path) as session,
    ):
        assert ("c-1", "ann", "") == (session.connection_id, session.principal, session.banner)


def test_a_server_with_the_pinned_key_is_trusted_without_an_authority(authority: Authority) -> None:
    """The name in the certificate does not matter then."""
    leaf = authority.issue("elsewhere.example")
    with (
        FakeServer(leaf, welcome_and_wait) as server,
        client.connect(server.address, token=TOKEN, pin="sha256:" + leaf_pin(leaf)[7:].upper()) as session,
    ):
        assert session.principal == "ann"


def test_authority_and_pin_can_both_hold(authority: Authority) -> None:
    """Both given, both right: connected."""
    leaf = authority.issue()
    with (
        FakeServer(leaf, welcome_and_wait) as server,
        client.connect(server.address, token=TOKEN, ca=authority.path, pin=leaf_pin(leaf)) as session,
    ):
        assert session.principal == "ann"


def test_a_wrong_pin_is_found_before_one_byte_is_sent(authority: Authority) -> None:
    """The message shows the key that was found."""
    leaf = authority.issue()
    with FakeServer(leaf, listen_only) as server:
        error = fail_to_connect(server, pin=NOWHERE)

    assert isinstance(error, client.Untrusted)
    assert leaf_pin(leaf) in str(error)


def test_a_wrong_pin_counts_beside_a_right_authority(authority: Authority) -> None:
    """Both have to hold."""
    with FakeServer(authority.issue(), listen_only) as server:
        error = fail_to_connect(server, ca=authority.path, pin=NOWHERE)

    assert isinstance(error, client.Untrusted)


def test_another_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    """Also where the key is the pinned one."""
    leaf = Authority(tmp_path).issue()
    with FakeServer(leaf, listen_only) as server:
        error = fail_to_connect(server, ca=authority.path, pin=leaf_pin(leaf))

    assert isinstance(error, client.Untrusted)
    assert "another authority" in str(error)


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    """The message says that it is the name."""
    with FakeServer(authority.issue("elsewhere.example"), listen_only) as server:
        by_address = fail_to_connect(server, ca=authority.path)
        by_name = fail_to_connect(server, ca=authority.path, host="localhost")

    assert "certificate does not name this address" in str(by_address)
    assert "certificate does not name this host" in str(by_name)


def test_an_expired_certificate_is_refused_with_its_day(authority: Authority) -> None:
    """The day comes from a second handshake, on which nothing is sent either."""
    ended = datetime(2024, 1, 3, tzinfo=UTC)
    leaf = authority.issue(not_before=ended - timedelta(days=9), not_after=ended)
    with FakeServer(leaf, listen_only) as server:
        error = fail_to_connect(server, ca=authority.path)

    assert isinstance(error, client.Untrusted)
    assert "certificate expired on 2024-01-03" in str(error)
    assert error.hint is not None


@pytest.mark.parametrize("alpn", [None, "http/1.1"])
def test_a_server_of_another_protocol_gets_no_token(authority: Authority, alpn: str | None) -> None:
    """ALPN must name our protocol."""
    with FakeServer(authority.issue(), listen_only, alpn=alpn) as server:
        error = fail_to_connect(server, ca=authority.path)

    assert "does not speak rexec/1" in str(error)


def test_tls_1_2_is_refused(authority: Authority) -> None:
    """There is no older version to fall back to."""
    with FakeServer(authority.issue(), listen_only) as server:
        server._context.minimum_version = ssl.TLSVersion.TLSv1_2
        server._context.maximum_version = ssl.TLSVersion.TLSv1_2
        error = fail_to_connect(server, ca=authority.path)

    assert "TLS 1.3" in str(error)


def test_a_port_without_tls_is_told_apart(authority: Authority) -> None:
    """A banner of something else is no handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(b"SSH-2.0-something\r\n")
                sock.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(client.ConnectFailed, match="does not speak TLS"):
            client.connect(f"127.0.0.1:{listener.getsockname()[1]}", token=TOKEN, ca=authority.path)
        thread.join()


def test_a_silent_port_costs_no_more_than_the_deadline(authority: Authority) -> None:
    """TCP is accepted by the kernel, and nobody answers the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(client.ConnectFailed, match=r"no answer within 0\.2 s"):
            client.connect(place, token=TOKEN, ca=authority.path, connect_timeout=0.2)


def test_a_server_that_keeps_silent_after_the_handshake_costs_no_more_either(authority: Authority) -> None:
    """The deadline holds until the token is answered."""
    with (
        FakeServer(authority.issue(), listen_only) as server,
        pytest.raises(client.ConnectFailed, match=r"no answer within 0\.3 s"),
    ):
        client.connect(server.address, token=TOKEN, ca=authority.path, connect_timeout=0.3)


@pytest.mark.parametrize("is_polite", [False, True])
def test_a_server_that_shows_the_door_may_be_full(authority: Authority, *, is_polite: bool) -> None:
    """Rexecd closes without a byte when it has enough, or enough of somebody; that is no fault to find."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close() -> None:
            sock, _ = listener.accept()
            with sock:
                if is_polite:
                    sock.recv(4096)  # what is read is not answered with a reset

        thread = threading.Thread(target=close)
        thread.start()
        with pytest.raises(client.ConnectFailed) as caught:
            client.connect(f"127.0.0.1:{listener.getsockname()[1]}", token=TOKEN, ca=authority.path)
        thread.join()

    assert "when it is full, and for a while after failed attempts" in str(caught.value.hint)


def test_nobody_at_the_port_is_said_in_one_line(authority: Authority) -> None:
    """A refused connection names the place and what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(client.ConnectFailed, match=f"^{place}: connection refused$") as caught:
        client.connect(place, token=TOKEN, ca=authority.path)

    assert caught.value.hint is not None


def test_without_trust_there_is_no_connection() -> None:
    """The message says how to give one."""
    with pytest.raises(client.UsageError, match="recognise the server") as caught:
        client.connect("127.0.0.1:1", token=TOKEN)

    for way in ("--ca FILE", "--pin sha256:HEX", "first use"):
        assert way in str(caught.value.hint)


@pytest.mark.parametrize(
    "pin", ["", "sha256:", "sha256:" + "0" * 63, "md5:" + "0" * 64, "0" * 64, NOWHERE + "\n"]
)
def test_what_is_no_pin_is_refused(pin: str) -> None:
    """A pin is never cut short, and never half compared."""
    with pytest.raises(client.UsageError, match="pin"):
        client.connect("127.0.0.1:1", token=TOKEN, pin=pin)


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and one without a certificate are told apart."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing here")
    endless = tmp_path / "endless.pem"
    endless.symlink_to("/dev/zero")
    for path, said in (
        (tmp_path / "none.pem", "No such file"),
        (empty, "no certificate in PEM form"),
        (endless, "more than 1048576 bytes"),
    ):
        with pytest.raises(client.UsageError, match=f"^authority '{path}': {said}"):
            client.connect("127.0.0.1:1", token=TOKEN, ca=path)


def test_what_an_authority_s_file_holds_now_is_what_counts(authority: Authority, tmp_path: Path) -> None:
    """It is exchanged between two connections of one process; a comment in it may be in any language."""
    file = tmp_path / "exchanged.pem"
    file.write_text("# Hauptzertifizierungsstelle für Büros\n" + Path(authority.path).read_text())
    with FakeServer(authority.issue(), welcome_and_wait) as server:
        client.connect(server.address, token=TOKEN, ca=file).close()
    Authority(tmp_path, file.name)
    with FakeServer(authority.issue(), listen_only) as server:
        error = fail_to_connect(server, ca=file)

    assert "certificate was issued by another authority" in str(error)


def test_a_broken_token_is_found_before_any_network(authority: Authority) -> None:
    """Nobody listens at this port, and that is not what is complained about."""
    with pytest.raises(client.UsageError, match="not a complete token") as caught:
        client.connect("127.0.0.1:1", token=TOKEN[:-1] + "!", ca=authority.path)

    assert TOKEN[:20] not in str(caught.value)


@pytest.mark.parametrize(
    "error", [ssl.SSLEOFError(8, "EOF"), ssl.SSLZeroReturnError(6), ssl.SSLSyscallError(5)]
)
def test_an_end_of_the_handshake_without_a_reason_is_an_end(error: ssl.SSLError) -> None:
    """Which of these OpenSSL makes of a server that closes depends on the moment."""
    explained = explain(error, "web1:7512")

    assert "web1:7512: the server ended the connection during the handshake" == str(explained)
    assert "when it is full" in str(explained.hint)
