"""From an address to a socket behind which a proved server listens, under one deadline."""

import socket
import ssl
from collections.abc import Callable

from rexecd.client.address import Address, ascii_host
from rexecd.client.deadline import Deadline
from rexecd.client.errors import ConnectFailed, UsageError
from rexecd.client.trust import EXPIRED, SHED, Trust, explain, fingerprint_of, make_context, prove
from rexecd.typed import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from rexecd.client.identity import Identity

#: A server that vanished without a word (power, a cut cable) is noticed after idle + count x interval.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


Trace = Callable[[str], None]

#: Which addresses of a name are tried.
_FAMILIES: Final = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}


class Dialling(NamedTuple):
    """How to get there: over which family of addresses, and who is told what is tried."""

    family: str = "any"
    trace: Trace | None = None

    def tell(self, what: str) -> None:
        """Say what is tried, where somebody wants to know."""
        if self.trace is not None:
            self.trace(what)


_QUIETLY: Final = Dialling()


def dial(
    address: Address,
    trust: Trust,
    deadline: Deadline,
    identity: "Identity | None" = None,
    how: Dialling = _QUIETLY,
) -> ssl.SSLSocket:
    """Return a connected TLS socket whose server proved itself; nothing has been sent on it.

    Raise UsageError, ConnectFailed, Untrusted or ProtocolBroken. Looking a name up is the one
    step the deadline cannot cut short.
    """
    if how.family not in _FAMILIES:
        raise UsageError(f"family {how.family!r}: none of {', '.join(_FAMILIES)}")
    context = make_context(trust, identity)
    try:
        return _dial(address, trust, context, deadline, how)
    except ssl.SSLError as error:
        raise explain(error, str(address), ended=_end_of(error, address, deadline, how)) from None
    except socket.gaierror as error:
        raise ConnectFailed(f"{address}: {_unknown_name(error, how.family)}") from None
    except OSError as error:  # TimeoutError among them
        what = error.strerror or str(error)
        raise ConnectFailed(f"{address}: {what[:1].lower()}{what[1:]}", hint=_remedy(error)) from None


def _dial(
    address: Address, trust: Trust, context: ssl.SSLContext, deadline: Deadline, how: Dialling
) -> ssl.SSLSocket:
    sock = _handshake(_reach(address, deadline, how), address, context, deadline)
    try:
        if how.trace is not None:
            suite, *_ = sock.cipher() or ("no cipher",)
            how.tell(f"{sock.version()} with {suite}, {_so_far(deadline)}")
            how.tell(f"the server's key is {fingerprint_of(sock, str(address))}")
        prove(sock, trust, str(address))
    except BaseException:
        sock.close()
        raise
    if how.trace is not None:
        how.tell(f"the server proved itself by {trust.basis}")
    return sock


def _so_far(deadline: Deadline) -> str:
    return f"{deadline.elapsed() * 1000:.0f} ms after the beginning"


def _unknown_name(error: socket.gaierror, family: str) -> str:
    what = error.strerror or str(error)
    only = {"inet": " (IPv4 only)", "inet6": " (IPv6 only)"}.get(family, "")
    return f"{what[:1].lower()}{what[1:]}{only}"


def _reach(address: Address, deadline: Deadline, how: Dialling) -> socket.socket:
    """Try every address of the name, each with its share of the time that is left."""
    # As bytes: Python then leaves out the IDNA tables, a tenth of the program's start.
    host = ascii_host(address).encode("ascii")
    found = socket.getaddrinfo(host, address.port, _FAMILIES[how.family], type=socket.SOCK_STREAM)
    failure: OSError = TimeoutError("the name has no address")
    for number, (family, kind, protocol, _, place) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        where = Address(str(place[0]), address.port)
        how.tell(f"trying {where}")
        try:
            sock.settimeout(deadline.remaining() / (len(found) - number))
            sock.connect(place)
            _tune(sock)
            how.tell(f"connected, {_so_far(deadline)}")
            return sock
        except TimeoutError:
            sock.close()
            failure = TimeoutError(f"no answer within {deadline.seconds:g} s")
        except OSError as error:
            sock.close()
            how.tell(f"{where}: {error.strerror or error}")
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


def _end_of(error: ssl.SSLError, address: Address, deadline: Deadline, how: Dialling) -> str:
    """Return when an expired certificate ended, or nothing.

    OpenSSL does not hand out a certificate it refused, so a second handshake fetches it; nothing
    is sent on that one, and nothing it says is believed further than this message.
    """
    if not isinstance(error, ssl.SSLCertVerificationError) or error.verify_code != EXPIRED:
        return ""
    from rexecd.der import last_day  # noqa: PLC0415 - seldom

    context = make_context(Trust(None, None))
    try:
        with _handshake(
            _reach(address, deadline, how._replace(trace=None)), address, context, deadline
        ) as sock:
            return last_day(sock.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return ""


def _remedy(error: OSError) -> str | None:
    if isinstance(error, ConnectionRefusedError):
        return "does rexecd run there, and is this its port?"
    if isinstance(error, ConnectionResetError):
        return SHED
    return None
