"""Whether the server is the one that was meant: by an authority's certificate, or by its key.

The key is one that was given (a pin), or one that a file of known hosts has.

Rule 1: nothing is trusted that was not named; the system's own authorities are not asked.
Rule 2: everything here is settled before the first byte of ours, the token, is sent. Only our
certificate is part of the handshake. With an authority it goes to nobody who has not proved itself before;
where the key decides, which is compared behind the handshake, a false server has seen it, and with it who
calls: a certificate is no secret, and its private key is not sent to anybody.
"""

import os
import re
import shlex
import ssl
from collections.abc import Mapping
from functools import lru_cache

from rexecd.client.errors import (
    CallerError,
    ChangedKey,
    ConnectFailed,
    ProtocolBroken,
    UnknownHost,
    Untrusted,
    UsageError,
)
from rexecd.typed import TYPE_CHECKING, Final, NamedTuple
from rexecd.wire.transport import ALPN

if TYPE_CHECKING:
    from rexecd.client.identity import Identity

#: A bundle of all authorities that browsers know has a fifth of it.
_MAX_AUTHORITY: Final = 1024 * 1024
_PIN: Final = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_NOT_TLS: Final = "the server does not speak TLS"
_NAME_ONE: Final = (
    "give --ca FILE (the operator's ca.pem), or --pin sha256:HEX ('rexecd check' prints it); or let rexec "
    "ask on first use, and remember the key in a file of known hosts"
)
#: What a server that is full, or has had enough of somebody, looks like from outside.
SHED: Final = (
    "a server ends it like this when it is full, and for a while after failed attempts from an address: "
    "try again in a minute"
)


class Known(NamedTuple):
    """What a file says of one host; no key at all where it does not name it."""

    path: str
    #: Each key with its line, counted from 1. Several: any of them, as while keys are changed over.
    keys: tuple[tuple[int, bytes], ...]

    def check(self, digest: bytes, place: str) -> None:
        """Raise UnknownHost or ChangedKey unless the server's key is one of those."""
        if any(
            digest == key for _, key in self.keys
        ):  # digests of public keys: how long it takes tells nothing
            return
        fingerprint = f"sha256:{digest.hex()}"
        if not self.keys:
            raise UnknownHost(
                f"{place}: the server is not known yet; its key is {fingerprint}",
                hint="compare it with the operator's ('rexecd check' or 'rexecd cert show' there prints it); "
                f"if it is the same, give --pin {fingerprint}, or say yes to it once in a terminal",
                fingerprint=fingerprint,
            )
        numbers = [str(line) for line, _ in self.keys]
        where = f"{self.path}, line{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
        script = ";".join(f"{number}d" for number in numbers)
        raise ChangedKey(
            f"{place}: THE SERVER'S KEY HAS CHANGED! Someone may stand in between. It has {fingerprint}, "
            f"and not the one it had before ({where}). Nothing was sent",
            hint=f"if the operator says that this key is right: sed -i '{script}' {shlex.quote(self.path)}",
            fingerprint=fingerprint,
        )


class Trust(NamedTuple):
    """What the server has to prove; where both are given, both."""

    #: File with the authority's certificate.
    ca: str | None
    #: SHA-256 of the server's public key.
    pin: bytes | None
    #: What a file of known hosts says of it; with neither of the others.
    known: Known | None = None

    @property
    def can_hold(self) -> bool:
        """Return whether any server could be the right one; a host that is not known yet cannot."""
        return self.known is None or bool(self.known.keys)

    @property
    def basis(self) -> str:
        """Return in words what the server has to prove itself by."""
        if self.known is not None:
            return f"a key in {self.known.path}"
        by = [f"a certificate of {self.ca}"] if self.ca is not None else []
        return " and ".join([*by, "the pinned key"] if self.pin is not None else by)


def make_trust(ca: str | os.PathLike[str] | None, pin: str | None, known: Known | None = None) -> Trust:
    """Return what was asked for; raise UsageError when that is nothing, no pin, or too much."""
    if known is not None:
        if ca is not None or pin is not None:
            raise UsageError("known hosts are for servers without --ca and --pin", hint=_NAME_ONE)
        return Trust(None, None, known)
    if ca is None and pin is None:
        raise UsageError("nothing says how to recognise the server", hint=_NAME_ONE)
    authority = None if ca is None else os.fspath(ca)
    return Trust(authority, None if pin is None else parse_pin(pin))


def parse_pin(pin: str) -> bytes:
    """Return the SHA-256 a pin stands for; raise UsageError."""
    match = _PIN.fullmatch(pin)
    if match is None:
        raise UsageError(f"pin {pin!r}: not 'sha256:' and 64 hexadecimal digits")
    return bytes.fromhex(match[1])


def make_context(trust: Trust, identity: "Identity | None" = None) -> ssl.SSLContext:
    """Return the TLS settings that demand what `trust` says; raise UsageError for a bad file.

    Whoever has no certificate shares them with every connection that demands the same: nobody may change
    them. The authority's file is read each time, and what is in it decides which those are.
    """
    authority = None if trust.ca is None else _read_authority(trust.ca)
    try:
        if (
            identity is None or not trust.can_hold
        ):  # then the connection is for seeing the server's key, no more
            return _shared(authority)
        context = _demanding(authority)
    except (ssl.SSLError, ValueError):
        raise UsageError(f"authority {trust.ca!r}: no certificate in PEM form") from None
    from rexecd.client.identity import present  # noqa: PLC0415 - not for who has no certificate

    present(context, identity)
    return context


def _read_authority(path: str) -> bytes:
    """Return what is in an authority's file; raise UsageError."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a call does not load pathlib
            content = file.read(_MAX_AUTHORITY + 1)
    except OSError as error:
        raise UsageError(f"authority {path!r}: {error.strerror}") from None
    if len(content) > _MAX_AUTHORITY:
        raise UsageError(f"authority {path!r}: more than {_MAX_AUTHORITY} bytes")
    return content


def _demanding(authority: bytes | None) -> ssl.SSLContext:
    """Return settings that demand a certificate of an authority (PEM), or leave all to `prove`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    if authority is None:  # the key is compared after the handshake
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    # Comments may be in any language, which Python does not pass on.
    context.load_verify_locations(cadata=authority.decode("latin-1").encode("ascii", "replace").decode())
    return context


#: They are as dear to make as half a handshake.
_shared: Final = lru_cache(maxsize=8)(_demanding)


def prove(sock: ssl.SSLSocket, trust: Trust, place: str) -> None:
    """Raise Untrusted unless the key is the right one, ProtocolBroken unless `rexec/1` was agreed."""
    if trust.pin is not None:
        _compare_pin(_key_of(sock, place), trust.pin, place)
    if sock.selected_alpn_protocol() != ALPN:
        raise ProtocolBroken(
            f"{place}: the server does not speak {ALPN}", hint="is this the port of a rexecd?"
        )
    if trust.known is not None:  # last, so that nobody is asked about a server of something else
        trust.known.check(_key_of(sock, place), place)


def fingerprint_of(sock: ssl.SSLSocket, place: str) -> str:
    """Return the key a server has, as a pin; raise Untrusted where it cannot be read."""
    return f"sha256:{_key_of(sock, place).hex()}"


def _key_of(sock: ssl.SSLSocket, place: str) -> bytes:
    """Return the SHA-256 of the key the server has proved to hold; raise Untrusted."""
    import hashlib  # noqa: PLC0415 - not for who has an authority

    from rexecd.der import public_key_info  # noqa: PLC0415 - as above

    try:
        return hashlib.sha256(public_key_info(sock.getpeercert(binary_form=True) or b"")).digest()
    except ValueError as error:
        raise Untrusted(f"{place}: the server's certificate cannot be read: {error}") from None


def _compare_pin(found: bytes, pin: bytes, place: str) -> None:
    if found != pin:
        raise Untrusted(
            f"{place}: the server's key is not the pinned one: it has sha256:{found.hex()}",
            hint="ask the operator whether the key was changed; if it was not, someone stands in between",
            fingerprint=f"sha256:{found.hex()}",
        )


#: What OpenSSL found wrong with a certificate (X509_V_ERR_*), and the remedy.
_ASK_RENEWAL: Final = "ask the operator for a new server certificate"
_ASK_CA: Final = "is --ca the certificate of this server's authority?"
_ASK_NAME: Final = "use a name the certificate holds, or ask the operator to issue it for this one"
EXPIRED: Final = 10
_COMPLAINTS: Final[Mapping[int, tuple[str, str]]] = {
    9: ("certificate is not valid yet", "are the clocks of both sides right?"),
    EXPIRED: ("certificate expired", _ASK_RENEWAL),
    18: ("certificate is signed by itself, not by the given authority", _ASK_CA),
    19: ("certificate was issued by another authority", _ASK_CA),
    20: ("certificate was issued by another authority", _ASK_CA),
    21: ("certificate was issued by another authority", _ASK_CA),
    62: ("certificate does not name this host", _ASK_NAME),
    64: ("certificate does not name this address", _ASK_NAME),
}
#: Handshakes that failed for another reason than the certificate.
_HANDSHAKES: Final[Mapping[str, str]] = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server does not speak TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "the server does not speak TLS 1.3",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": f"the server does not speak {ALPN}",
    "NO_APPLICATION_PROTOCOL": f"the server does not speak {ALPN}",
}


def explain(error: ssl.SSLError, place: str, *, ended: str = "") -> CallerError:
    """Return what to raise for a failed handshake; `ended` is the day a certificate expired."""
    if isinstance(error, ssl.SSLCertVerificationError):
        fallback = f"certificate is not valid: {error.verify_message}"
        complaint, hint = _COMPLAINTS.get(error.verify_code, (fallback, _ASK_CA))
        when = f" on {ended}" if ended else ""
        return Untrusted(f"{place}: the server's {complaint}{when}", hint=hint)
    reason: str | None = getattr(error, "reason", None)
    if reason is None or isinstance(error, ssl.SSLEOFError):  # it found no fault; there is just no more
        return ConnectFailed(f"{place}: the server ended the connection during the handshake", hint=SHED)
    from rexecd.client.identity import refusal  # noqa: PLC0415 - not for what goes well

    if (refused := refusal(reason, place)) is not None:
        return refused
    fallback = f"the handshake failed: {reason.lower().replace('_', ' ')}"
    return ConnectFailed(f"{place}: {_HANDSHAKES.get(reason, fallback)}")
