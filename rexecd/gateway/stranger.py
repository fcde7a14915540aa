"""A peer before it has presented a token: one deadline for all of it, and no byte of ours without TLS.

Whatever goes wrong here is reported, and penalizes the peer's source: but for a stop of our own service
and a monitor that is away, which are nobody's fault.
"""

import socket
import ssl
from typing import Any, Final, NamedTuple

from rexecd.gateway.grace import Grace
from rexecd.gateway.report import Reporter
from rexecd.gateway.stream import DeadlinePassed, Stopping, Stream, has_begun
from rexecd.gateway.throttle import Offence, Place
from rexecd.limits import MAX_CERTIFICATE
from rexecd.networks import parse_address
from rexecd.seam.messages import Trouble
from rexecd.serving import Stop
from rexecd.settings import Settings
from rexecd.wire.transport import ALPN

_NO_HANDSHAKE: Final = "no handshake within the grace time"
_NO_BYTE: Final = "connection ended without a byte"
_LOST: Final = "connection lost"


class Surroundings(NamedTuple):
    """What all sessions of one gateway share."""

    settings: Settings
    context: ssl.SSLContext
    reporter: Reporter
    grace: Grace
    stop: Stop


class Peer(NamedTuple):
    """Who is at the other end of a connection, and the place it was given."""

    address: str
    port: int
    #: None: not admitted, or not yet.
    place: Place | None = None


def address_of(peer: tuple[Any, ...]) -> tuple[str, int]:
    """Return a peer's address and port as records have them: IPv6 as in RFC 5952, without a zone.

    A v4 caller of a dual-stack listener is shown as what it is (RFC 4291, 2.5.5.2).
    """
    address = str(peer[0])
    return str(parse_address(address)) if ":" in address else address, int(peer[1])


class Stranger:
    """One peer, as long as nobody knows who it is."""

    def __init__(self, peer: Peer, surroundings: Surroundings) -> None:
        self._peer = peer
        self._around = surroundings

    def greet(self, raw: socket.socket, deadline: float) -> Stream | None:
        """Return a TLS connection that speaks our protocol, or None; then all is closed and reported.

        Nothing is made for TLS before the first byte has come: silence costs no more than a thread.
        """
        if not self._has_begun(raw, deadline):
            return None
        around = self._around
        try:
            stream = Stream(raw, around.context, around.stop, keepalive=around.settings.keepalive)
        except OSError:
            self._turn_away(Offence.PROTOCOL, _LOST)
            return None
        # Wrapping took the socket over; from here on closing it is this thread's work alone.
        try:
            with around.grace.until(deadline, stream.fileno()):
                is_ours = self._shake_hands(stream, deadline)
        except BaseException:
            stream.abort()
            raise
        if not is_ours:
            stream.abort()
            return None
        return stream

    def report(self, trouble: Trouble, why: str) -> None:
        """Report it to the monitor."""
        self._around.reporter.report(trouble, self._peer.address, self._peer.port, why)

    def penalize(self, offence: Offence) -> None:
        """Add to the penalty of its source; that one is refused from now on is reported once."""
        place = self._peer.place
        refusal = None if place is None else place.penalize(offence)
        if refusal is not None:
            self.report(Trouble.PENALIZED, str(refusal))

    def accept(self) -> None:
        """Count it no longer as a stranger."""
        if self._peer.place is not None:
            self._peer.place.authenticated()

    def _has_begun(self, raw: socket.socket, deadline: float) -> bool:
        try:
            if has_begun(raw, deadline, self._around.stop):
                return True
            self._turn_away(Offence.EMPTY, _NO_BYTE)
        except DeadlinePassed:
            self._turn_away(Offence.SILENCE, _NO_HANDSHAKE)
        except Stopping:
            pass
        return False

    def _shake_hands(self, stream: Stream, deadline: float) -> bool:
        """Return whether the peer speaks our protocol; else it is reported and gets no answer."""
        offence = Offence.PROTOCOL
        try:
            stream.handshake(deadline)
            if len(stream.peer_certificate()) > MAX_CERTIFICATE:
                why = f"a client certificate of more than {MAX_CERTIFICATE} bytes"
            elif stream.protocol() == ALPN:
                return True
            else:
                why = f"the peer does not speak {ALPN}"
        except DeadlinePassed:
            offence, why = Offence.SILENCE, _NO_HANDSHAKE
        except Stopping:
            return False
        except ssl.SSLCertVerificationError as error:
            why = f"client certificate: {error.verify_message}"
        except ssl.SSLError as error:
            why = error.reason or "handshake failed"
        except OSError as error:
            why = error.strerror or _LOST
        self._turn_away(offence, why)
        return False

    def _turn_away(self, offence: Offence, why: str) -> None:
        self.report(Trouble.TLS_FAILED, why)
        self.penalize(offence)
