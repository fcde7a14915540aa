"""The server's TLS context. The only file, besides the caller's own, that names `ssl` options."""

import hashlib
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from rexecd.der import not_after
from rexecd.errors import ConfigError
from rexecd.files import RESTORE, check_directory, read_file
from rexecd.settings import Settings
from rexecd.wire.transport import ALPN

_MAKE_ONE: Final = "'rexecd cert init' makes an authority"


class ServerIdentity(NamedTuple):
    """What the server shows to callers, and what it asks of them."""

    context: ssl.SSLContext
    #: SHA-256 of its certificate (DER), in hex.
    fingerprint: str
    expires: datetime


def load_identity(settings: Settings) -> ServerIdentity:
    """Return a context for the settings' files that speaks TLS 1.3 and nothing but our protocol.

    Raise ConfigError for files that are missing, readable by others, malformed or no pair.
    """
    certificate, key = _judged(settings.certificate), _judged(settings.key, secret=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([ALPN])
    # Tickets would be written behind every handshake and are of no use without resumption.
    context.num_tickets = 0
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise ConfigError(
            f"{certificate}: not a usable pair with {key} ({reason}): restore the one that belongs to it"
        ) from None
    if settings.client_ca is not None:
        _ask_for_certificates(context, settings.client_ca)
    return ServerIdentity(context, *_facts(certificate))


def _ask_for_certificates(context: ssl.SSLContext, path: Path) -> None:
    """Accept client certificates of these authorities, and refuse all others; without one it goes on."""
    authorities = _judged(path, hint=_MAKE_ONE)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cafile=authorities)
    except (ssl.SSLError, OSError):
        raise ConfigError(f"{path}: no certificate in PEM form: {_MAKE_ONE}") from None
    if not context.get_ca_certs():
        raise ConfigError(f"{path}: holds no certificate of an authority: {_MAKE_ONE}")


def _judged(path: Path, *, secret: bool = False, hint: str = RESTORE) -> Path:
    """Return where a file really is; raise ConfigError for one that others could change.

    OpenSSL opens it by name, after we have judged it; so the directories count, that of a link and that of
    what it leads to.
    """
    check_directory(path.parent.resolve())
    real = path.resolve()
    check_directory(real.parent)
    read_file(real, secret=secret, hint=hint)
    return real


def _facts(certificate: Path) -> tuple[str, datetime]:
    """Return fingerprint and end of the first certificate in a file."""
    pem = read_file(certificate).decode("ascii", "replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        first = pem[pem.index(begin) : pem.index(end) + len(end)]
        der = ssl.PEM_cert_to_DER_cert(first)
        ends = datetime.strptime(not_after(der), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"{certificate}: cannot be read as a certificate: {error}") from None
    return hashlib.sha256(der).hexdigest(), ends
