"""The server's TLS context. The only file, besides the caller's own, that names `ssl` options."""

import ssl
from pathlib import Path

from rexecd.errors import ConfigError
from rexecd.files import RESTORE, check_directory, read_file
from rexecd.wire.transport import ALPN


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context that speaks TLS 1.3 only and offers nothing but our protocol.

    Raise ConfigError for files that are missing, readable by others, malformed or no pair.
    """
    for path in (certificate, key):
        check_directory(path.parent.resolve())  # OpenSSL opens them by name, after we have judged them
    read_file(certificate, hint=RESTORE)
    read_file(key, secret=True, hint=RESTORE)
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
    return context
