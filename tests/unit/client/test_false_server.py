"""A server that is not the one that was meant: every byte it gets is written down."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
import trustme

from rexecd import client
from tests.unit.client.fake_server import TOKEN, Authority, leaf_pin

_PATIENCE = 10.0
_HANDSHAKE, _CIPHER, _ALERT, _DATA = 22, 20, 21, 23
NOWHERE = "sha256:" + "0" * 64


class Leaf(Protocol):
    """A certificate that a server can present."""

    def configure_cert(self, context: ssl.SSLContext) -> None:
        """Let a server present it."""


class FalseServer:
    """Shake hands with whoever comes, and keep what is received: on the wire, and inside TLS."""

    def __init__(self, leaf: Leaf) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(["rexec/1"])
        leaf.configure_cert(self._context)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(_PATIENCE)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.wire: list[bytes] = []
        self.inside: list[bytes] = []

    def serve(self, connections: int) -> None:
        """Serve so many connections to their ends."""
        for _ in range(connections):
            sock, _ = self.listener.accept()
            with sock:
                sock.settimeout(_PATIENCE)
                self._talk(sock)

    def _talk(self, sock: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        received = [b"", b""]

        def listen() -> bool:
            """Take what is there, and go on unless that was all."""
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                received[1] += tls.read(65536)
            sock.sendall(outgoing.read())
            data = sock.recv(65536)
            received[0] += data
            incoming.write(data)
            return data != b""

        with contextlib.suppress(OSError):  # ssl.SSLError among them: the caller had enough
            while listen():
                pass
        self.wire.append(received[0])
        self.inside.append(received[1])


def records(wire: bytes) -> list[tuple[int, int]]:
    """Return type and length of each TLS record."""
    found = []
    while wire:
        size = int.from_bytes(wire[3:5], "big")
        found.append((wire[0], size))
        wire = wire[5 + size :]
    return found


@contextlib.contextmanager
def false(leaf: Leaf, connections: int = 1) -> Iterator[FalseServer]:
    """Give a false server for so many connections, and see what they sent when all are over."""
    server = FalseServer(leaf)
    thread = threading.Thread(target=server.serve, args=(connections,))
    thread.start()
    try:
        yield server
    finally:
        thread.join(_PATIENCE)
        server.listener.close()
    assert connections == len(server.wire)
    assert [b""] * connections == server.inside
    for wire in server.wire:
        assert TOKEN.encode() not in wire
        hello, *rest = records(wire)
        assert _HANDSHAKE == hello[0]
        # Finished (its digest has 32 or 48 bytes) or an alert: there is no room for a token.
        assert {(_CIPHER, 1), (_ALERT, 2), (_DATA, 53), (_DATA, 69), (_DATA, 19)} >= {*rest}
        assert 3 >= len(rest)


def expired(authority: Authority) -> trustme.LeafCert:
    """Return a certificate that was good once."""
    ended = datetime(2024, 1, 3, tzinfo=UTC)
    return authority.issue(not_before=ended - timedelta(days=9), not_after=ended)


def too_early(authority: Authority) -> trustme.LeafCert:
    """Return a certificate that will be good one day."""
    begins = datetime.now(UTC) + timedelta(days=9)
    return authority.issue(not_before=begins, not_after=begins + timedelta(days=9))


class SelfSigned:
    """A certificate that is its own authority."""

    def __init__(self) -> None:
        self._pair = trustme.CA()

    def configure_cert(self, context: ssl.SSLContext) -> None:
        """Let a server present it."""
        with self._pair.private_key_pem.tempfile() as key, self._pair.cert_pem.tempfile() as certificate:
            context.load_cert_chain(certificate, key)


CASES: dict[str, tuple[Callable[[Authority, Authority], Leaf], int]] = {
    "wrong authority": (lambda _right, other: other.issue(), 1),
    "wrong name": (lambda right, _other: right.issue("elsewhere.example"), 1),
    # The second connection is for the day on which it ended.
    "address as a name": (lambda right, _other: right.issue("localhost"), 1),
    "signed by itself": (lambda _right, _other: SelfSigned(), 1),
    "not valid yet": (lambda right, _other: too_early(right), 1),
    "expired": (lambda right, _other: expired(right), 2),
}


@pytest.mark.parametrize("case", CASES)
def test_with_an_authority_nothing_is_sent(authority: Authority, tmp_path: Path, case: str) -> None:
    """Not one byte of ours behind the handshake."""
    make, connections = CASES[case]
    with (
        false(make(authority, Authority(tmp_path)), connections) as server,
        pytest.raises(client.Untrusted),
    ):
        client.connect(server.address, token=TOKEN, ca=authority.path)


@pytest.mark.parametrize("also_ca", [False, True])
def test_with_a_pin_nothing_is_sent_to_another_key(authority: Authority, *, also_ca: bool) -> None:
    """The handshake is whole, and there it ends."""
    with false(authority.issue()) as server, pytest.raises(client.Untrusted) as caught:
        client.connect(server.address, token=TOKEN, pin=NOWHERE, ca=authority.path if also_ca else None)

    assert caught.value.fingerprint.startswith("sha256:")


def test_to_an_unknown_host_nothing_is_sent(authority: Authority, tmp_path: Path) -> None:
    """The library asks nobody: it shows the key, and that is all."""
    leaf = authority.issue()
    with false(leaf) as server, pytest.raises(client.UnknownHost) as caught:
        client.connect(server.address, token=TOKEN, known_hosts=tmp_path / "known_hosts")

    assert leaf_pin(leaf) == caught.value.fingerprint
    assert not (tmp_path / "known_hosts").exists()


def test_to_a_changed_key_nothing_is_sent(authority: Authority, tmp_path: Path) -> None:
    """It is said loudly, with the line that would have to go."""
    known = tmp_path / "known_hosts"
    leaf = authority.issue()
    with false(leaf) as server, pytest.raises(client.ChangedKey) as caught:
        known.write_text(f"# all of ours\nelsewhere:1 {leaf_pin(leaf)}\n{server.address} {NOWHERE}\n")
        known.chmod(0o600)
        client.connect(server.address, token=TOKEN, known_hosts=known)

    assert leaf_pin(leaf) == caught.value.fingerprint
    assert "THE SERVER'S KEY HAS CHANGED" in str(caught.value)
    assert f"{known}, line 3" in str(caught.value)
    assert f"sed -i '3d' {known}" in str(caught.value.hint)


def test_what_is_wrong_here_reaches_no_network(authority: Authority, tmp_path: Path) -> None:
    """Nobody listens at this port, and that is not what is complained about."""
    known = tmp_path / "known_hosts"
    known.write_text("half a li")
    known.chmod(0o600)
    with pytest.raises(client.UsageError, match="not a line"):
        client.connect("127.0.0.1:1", token=TOKEN, known_hosts=known)
    known.write_text("")
    with pytest.raises(client.UsageError, match="known hosts are for servers without"):
        client.connect("127.0.0.1:1", token=TOKEN, known_hosts=known, ca=authority.path)
