"""From an address to a socket behind which a proved server listens, under one deadline."""

import socket
import ssl
from typing import Final

from rexecd.client.address import Address, ascii_host
from rexecd.client.deadline import Deadline
from rexecd.client.errors import ConnectFailed
from rexecd.client.identity import Identity
from rexecd.client.trust import EXPIRED, SHED, Trust, explain, make_context, prove
from rexecd.der import last_day

#: A server that vanished without a word (power, a cut cable) is noticed after idle + count x interval.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def dial(
    address: Address, trust: Trust, deadline: Deadline, identity: Identity | None = None
) -> ssl.SSLSocket:
    """Return a connected TLS socket whose server proved itself; nothing has been sent on it.

    Raise UsageError, ConnectFailed, Untrusted or ProtocolBroken. Looking a name up is the one
    step the deadline cannot cut short.
    """
    context = make_context(trust, identity)
    try:
        return _dial(address, trust, context, deadline)
    except ssl.SSLError as error:
        raise explain(error, str(address), ended=_end_of(error, address, deadline)) from None
    except OSError as error:  # TimeoutError among them
        what = error.strerror or str(error)
        raise ConnectFailed(f"{address}: {what[:1].lower()}{what[1:]}", hint=_remedy(error)) from None


def _dial(address: Address, trust: Trust, context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    sock = _handshake(_reach(address, deadline), address, context, deadline)
    try:
        prove(sock, trust, str(address))
    except BaseException:
        sock.close()
        raise
    return sock


def _reach(address: Address, deadline: Deadline) -> socket.socket:
    """Try every address of the name, each with its share of the time that is left."""
    # As bytes: Python then leaves out the IDNA tables, a tenth of the program's start.
    host = ascii_host(address).encode("ascii")
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
    failure: OSError = TimeoutError("the name has no address")
    for number, (family, kind, protocol, _, place) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(deadline.remaining() / (len(found) - number))
            sock.connect(place)
            _tune(sock)
            return sock
        except TimeoutError:
            sock.close()
            failure = TimeoutError(f"no answer within {deadline.seconds:g} s")
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _handshake(
    plain: socket.socket, address: Address, context: ssl.SSLContext, deadline: Deadline
) -> ssl.SSLSocket:
    with plain:  # wrapping takes the descriptor over, so this closes it only where that failed
        name = ascii_host(address).partition("%")[0].encode("ascii")  # without an IPv6 zone
        sock = context.wrap_socket(
            plain, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
    try:
        sock.settimeout(deadline.remaining())
        sock.do_handshake()
    except TimeoutError:
        sock.close()
        raise TimeoutError(f"no answer within {deadline.seconds:g} s") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _end_of(error: ssl.SSLError, address: Address, deadline: Deadline) -> str:
    """Return when an expired certificate ended, or nothing.

    OpenSSL does not hand out a certificate it refused, so a second handshake fetches it; nothing
    is sent on that one, and nothing it says is believed further than this message.
    """
    if not isinstance(error, ssl.SSLCertVerificationError) or error.verify_code != EXPIRED:
        return ""
    context = make_context(Trust(None, None))
    try:
        with _handshake(_reach(address, deadline), address, context, deadline) as sock:
            return last_day(sock.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return ""


def _remedy(error: OSError) -> str | None:
    if isinstance(error, ConnectionRefusedError):
        return "does rexecd run there, and is this its port?"
    if isinstance(error, ConnectionResetError):
        return SHED
    return None
