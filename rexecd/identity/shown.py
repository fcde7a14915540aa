"""What a caller shows besides its token. `certificates.py` reads it, where somebody is asked for one."""

from datetime import datetime
from typing import NamedTuple


class ClientCertificate(NamedTuple):
    """What counts of a caller's certificate."""

    #: SHA-256 of its DER form, in hex.
    fingerprint: str
    #: The one common name of its subject; None if it has none, or more than one.
    principal: str | None
    #: The whole subject, for people (RFC 4514).
    subject: str
    expires: datetime
