"""A rexecd that says what a test tells it to, behind real TLS on the loopback."""

import hashlib
import json
import socket
import ssl
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rexecd.errors import Code, RemoteProtocolError
from rexecd.wire.connection import Connection, Role
from rexecd.wire.frames import pack
from rexecd.wire.messages import (
    CATALOGUE,
    Accepted,
    Authenticate,
    Ending,
    Entry,
    Exit,
    Goodbye,
    List,
    Listed,
    Message,
    Refused,
    Run,
)

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PATIENCE = 10.0

T = TypeVar("T")


def make_token(name: str = "Unit0001", secret: str = "s" * 43) -> str:
    """Return a token whose checksum is right."""
    body = f"rxt_{name}_{secret}"
    number, checksum = zlib.crc32(body.encode()), ""
    for power in reversed(range(6)):
        checksum += _DIGITS[number // 62**power % 62]
    return body + checksum


TOKEN = make_token()


def pin_of(certificate: x509.Certificate) -> str:
    """Return the pin of a certificate, as cryptography sees its key."""
    info = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(info).hexdigest()}"


class Gone(Exception):
    """The caller ended the connection."""


class Peer:
    """The server's end of one connection, for a script to drive."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.connection = Connection(Role.SERVER)
        self.received = b""

    def expect(self, kind: type[T]) -> T:
        """Return the next message, which has to be of this type."""
        while (message := self.connection.next_message()) is None:
            self._receive()
        assert isinstance(message, kind), message
        return message

    def send(self, *messages: Message) -> None:
        """Send messages in order."""
        self.sock.sendall(b"".join(map(self.connection.send, messages)))

    def raw(self, data: bytes) -> None:
        """Send bytes that no server should."""
        self.sock.sendall(data)

    def wait_until_gone(self) -> None:
        """Read until the caller has ended the connection."""
        try:
            while data := self.sock.recv(65536):
                self.received += data
        except OSError:
            pass

    def welcome(self, banner: str = "", expires_in: int = 0) -> None:
        """Take the token and accept it."""
        assert self.expect(Authenticate).token == TOKEN.encode()
        self.send(Accepted("c-1", "ann", banner, expires_in))

    def _receive(self) -> None:
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise Gone
        self.received += data
        self.connection.receive(data)


Script = Callable[[Peer], None]


def welcoming(script: Script, banner: str = "", expires_in: int = 0) -> Script:
    """Return a script that first accepts the caller's token."""

    def welcome_then(peer: Peer) -> None:
        peer.welcome(banner, expires_in)
        script(peer)

    return welcome_then


class FakeServer:
    """Serve each connection with the next script; the last one serves all that follow."""

    def __init__(self, leaf: trustme.LeafCert, *scripts: Script, alpn: str | None = "rexec/1") -> None:
        self._scripts = list(scripts)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        if alpn is not None:
            self._context.set_alpn_protocols([alpn])
        leaf.configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_PATIENCE)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self.handshakes_failed = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE).close()
        self._thread.join(_PATIENCE)
        self._listener.close()
        if kind is None:
            assert self.failures == []

    @property
    def received(self) -> bytes:
        """Return every byte a caller sent inside TLS."""
        return b"".join(peer.received for peer in self.peers)

    def _serve(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            with sock:
                if self._is_over.is_set():
                    return
                self._talk(sock)

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE)
        try:
            with self._context.wrap_socket(sock, server_side=True) as secure:
                peer = Peer(secure)
                self.peers.append(peer)
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                script(peer)
        except (Gone, RemoteProtocolError):
            pass
        except OSError:
            self.handshakes_failed += 1
        except BaseException as error:  # noqa: BLE001 - shown in the test's own thread
            self.failures.append(error)


class Authority:
    """A certificate authority with its certificate in a file."""

    def __init__(self, directory: Path, name: str = "ca.pem") -> None:
        self._ca = trustme.CA()
        self.path = str(directory / name)
        self._ca.cert_pem.write_to_path(self.path)

    def issue(self, *names: str, **details: object) -> trustme.LeafCert:
        """Return a leaf for the names, 127.0.0.1 if there are none."""
        return self._ca.issue_cert(*(names or ("127.0.0.1", "localhost")), **details)  # type: ignore[arg-type]


def leaf_pin(leaf: trustme.LeafCert) -> str:
    """Return the pin of a leaf's key."""
    return pin_of(x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()))


GOOD_END = Exit(Ending.EXITED, 0, truncated=False, duration=1_500_000)


def frame(message: Message) -> bytes:
    """Return a message's frame, whatever the state."""
    return pack(CATALOGUE.encode(message))


def answer(*messages: Message) -> Callable[[Peer], None]:
    """Return a script that answers one command with the messages."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(*messages)
        peer.wait_until_gone()

    return script


def answer_raw(data: bytes) -> Callable[[Peer], None]:
    """Return a script that answers one command with bytes no server should send."""

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.raw(data)
        peer.wait_until_gone()

    return script


DISK = Entry(
    "disk",
    "disk [PATH]",
    "Free space\x1b[2J",
    "Counted\nin blocks.",
    ("PATH: path, /srv or /var",),
    '{"type": "object", "properties": {"PATH": {"title": "\\u001b[2J"}}}',
)
RESTART = Entry("service.restart", "service.restart UNIT", "Restart a service", "", (), "")


def list_commands(peer: Peer) -> None:
    """Send the listing."""
    peer.expect(List)
    peer.send(DISK, RESTART, Listed())


#: Sets a terminal's title, clears its screen, turns what follows round.
EVIL = "\x1b]0;owned\x07\x9b2J\u202e"


def attack(peer: Peer) -> None:
    """Answer everything with text that no terminal should get; each line it begins says `forged`."""
    schema = json.dumps({"properties": {EVIL: {"enum": [EVIL]}, "x": {"enum": [EVIL, "-- x", "good"]}}})
    names = (f"a{EVIL}", "-- b", "a\nforged", "attack")
    listing = [Entry(name, EVIL, f"{EVIL}\nforged", EVIL, (EVIL, f"x: {EVIL}"), schema) for name in names]
    while not isinstance(message := peer.expect(object), Goodbye):
        if isinstance(message, List):
            peer.send(*listing, Listed())
        else:
            peer.send(Refused("r", Code.NOT_PERMITTED, f"{EVIL}\nforged"))
