"""The caller's own certificate: how it is loaded, and what it means when a server refuses it.

Rule 1: OpenSSL never asks the terminal for anything.
Rule 2: no message holds a piece of the key.
"""

import os
import shlex
import ssl
import stat
from collections.abc import Mapping

from rexecd.client.errors import AuthenticationFailed, UsageError
from rexecd.portable import HAS_OWNERS, flags
from rexecd.typed import Final, NamedTuple

#: A chain has some kilobytes.
_MAX_FILE: Final = 1024 * 1024
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_ASK: Final = "ask the operator for a new client certificate"
#: What a server's TLS says of a client certificate, and the remedy (RFC 8446 6.2). It comes behind the
#: handshake, which with TLS 1.3 is over for us before the server has seen our certificate.
_ALERTS: Final[Mapping[str, tuple[str, str]]] = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": ("wants a client certificate", "give --cert FILE and --key FILE"),
    "TLSV1_ALERT_UNKNOWN_CA": (
        "does not know the authority of the client certificate",
        "ask the operator for one of the server's own authority (client_ca)",
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": ("says that the client certificate is not valid today", _ASK),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": ("says that the client certificate was revoked", _ASK),
    "SSLV3_ALERT_BAD_CERTIFICATE": ("does not accept the client certificate", _ASK),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": ("does not accept the client certificate", _ASK),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": (
        "does not accept this kind of certificate for a client",
        "a server's own certificate is none for callers: " + _ASK,
    ),
    "TLSV1_ALERT_ACCESS_DENIED": ("does not accept the client certificate", _ASK),
    "TLSV1_ALERT_DECRYPT_ERROR": ("could not verify the client certificate's signature", _ASK),
}


class Identity(NamedTuple):
    """Files in PEM form: a certificate with its chain, and its private key."""

    cert: str
    key: str


def make_identity(cert: str | os.PathLike[str] | None, key: str | os.PathLike[str] | None) -> Identity | None:
    """Return what was asked for, if anything was; raise UsageError for a key without a certificate."""
    if cert is None:
        if key is not None:
            raise UsageError("a key without its certificate is of no use", hint="give --cert FILE too")
        return None
    return Identity(os.fspath(cert), os.fspath(cert if key is None else key))


def present(context: ssl.SSLContext, identity: Identity) -> None:
    """Let the handshake present a certificate where the server asks for one; raise UsageError."""
    if _CERTIFICATE not in _read("certificate", identity.cert):
        raise UsageError(f"certificate {identity.cert!r}: no certificate in PEM form")
    if _KEY not in _read("key", identity.key, is_secret=True):
        raise UsageError(
            f"key {identity.key!r}: no private key in PEM form",
            hint="give its own file with --key FILE" if identity.key == identity.cert else None,
        )
    asked: list[bool] = []

    def no_password() -> str:
        asked.append(True)
        return ""

    try:
        # OpenSSL opens them once more, by name: who may exchange them in their directory is their owner.
        context.load_cert_chain(identity.cert, identity.key, password=no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError among them
        if asked:
            raise UsageError(
                f"key {identity.key!r}: it is encrypted, and nobody is asked for its password",
                hint=f"(umask 077; openssl pkey -in {shlex.quote(identity.key)} -out NEW) takes it off",
            ) from None
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise UsageError(f"key {identity.key!r}: not the one of {identity.cert!r}") from None
        raise UsageError(f"{identity.cert!r} and {identity.key!r}: no usable certificate and key") from None


def refusal(alert: str, place: str) -> AuthenticationFailed | None:
    """Return what to raise where the connection ended with this alert, None if it is of something else."""
    if alert not in _ALERTS:
        return None
    what, hint = _ALERTS[alert]
    return AuthenticationFailed(f"{place}: the server {what}", hint=hint)


def _read(what: str, path: str, *, is_secret: bool = False) -> bytes:
    """Return what a file holds; raise UsageError, also for a secret that others can read."""
    try:
        descriptor = os.open(path, flags("O_NONBLOCK"))
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"{what} {path!r}: not a file")
            if HAS_OWNERS and is_secret and mode & _OTHERS and not _is_guarded(path):
                raise UsageError(
                    f"{what} {path!r}: others can read it (mode {stat.S_IMODE(mode):04o})",
                    hint=f"chmod 600 {shlex.quote(path)}",
                )
            return os.read(descriptor, _MAX_FILE)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise UsageError(f"{what} {path!r}: {getattr(error, 'strerror', None) or error}") from None


def _is_guarded(path: str) -> bool:
    """Return whether a directory of systemd's protects the file; an access list there looks like a group."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")  # without one, a name alone would be in it
    return bool(given) and os.path.dirname(path) == given  # noqa: PTH120
