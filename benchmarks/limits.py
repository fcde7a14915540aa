"""What the machine can do at most, measured beside the rest: starting programs, handshakes, TLS streams."""

import contextlib
import functools
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

SPAWN = "limit: posix_spawn"
POPEN = "limit: Popen with two pipes"
HANDSHAKE = "limit: TLS handshake"
STREAM = "limit: a TLS stream in Python"
LOOPS = "limit: two loops of posix_spawn"

#: A loop that starts programs and does nothing else, for so many seconds.
_SPAWNING = """
import os, sys, time
count, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {}), 0)
    count += 1
print(count)
"""
_LISTENING = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.num_tickets = 0
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
"""
#: A TLS server that only shakes hands.
_SHAKING = f"""{_LISTENING}
while True:
    raw, _ = listener.accept()
    try:
        with context.wrap_socket(raw, server_side=True) as tls:
            tls.recv(1)
    except OSError:
        pass
"""
#: TLS servers that send so many bytes to whoever comes first, or take them and say so.
_SENDING = f"""{_LISTENING}
tls = context.wrap_socket(listener.accept()[0], server_side=True)
left, piece = int(sys.argv[3]), memoryview(bytes(65536))
while left:
    left -= tls.send(piece[:left])
tls.close()
"""
_TAKING = f"""{_LISTENING}
tls = context.wrap_socket(listener.accept()[0], server_side=True)
left, room = int(sys.argv[3]), bytearray(65536)
while left:
    left -= tls.recv_into(room)
tls.send(b"!")
tls.close()
"""


def spawn() -> None:
    """Start /bin/true with nothing, and wait for it: the least there is."""
    pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
    os.waitpid(pid, 0)


def spawning(processes: int, seconds: float) -> float:
    """Return how many programs a second so many loops start in processes of their own."""
    line = [sys.executable, "-I", "-c", _SPAWNING, str(seconds)]
    all_ = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return sum(int(one.communicate()[0]) for one in all_) / seconds


@contextlib.contextmanager
def _server(certs: Path, program: str, *words: str) -> Iterator[Callable[[], ssl.SSLSocket]]:
    """Run a bare server in a process of its own; yield what connects to it, its certificate verified."""
    line = [sys.executable, "-I", "-c", program, str(certs / "server.pem"), str(certs / "server.key"), *words]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certs / "ca.pem")
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline()) if process.stdout else 0

        def connect() -> ssl.SSLSocket:
            raw = socket.create_connection(("127.0.0.1", port))
            return context.wrap_socket(raw, server_hostname="127.0.0.1")

        try:
            yield connect
        finally:
            process.terminate()


@contextlib.contextmanager
def bare_tls(certs: Path) -> Iterator[Callable[[], None]]:
    """Yield a bare TLS handshake against a bare server."""
    with _server(certs, _SHAKING) as connect:
        yield functools.partial(_shake, connect)


def _shake(connect: Callable[[], ssl.SSLSocket]) -> None:
    with connect():
        pass


def stream(certs: Path, size: int, *, is_output: bool) -> None:
    """Take so many bytes through TLS from another process, or give them to it."""
    with _server(certs, _SENDING if is_output else _TAKING, str(size)) as connect, connect() as tls:
        left, room = size, memoryview(bytearray(65536))
        while left:
            left -= tls.recv_into(room) if is_output else tls.send(room[:left])
        if not is_output:
            tls.recv(1)
