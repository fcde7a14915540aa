"""The gateway's own certificate while it serves: read again on demand, and watched for its end.

What there is to say of it goes to the log and, by way of the reporter, to the trail.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from rexecd.errors import ConfigError
from rexecd.gateway.report import Reporter
from rexecd.log import Log
from rexecd.seam.messages import Trouble
from rexecd.settings import Settings
from rexecd.tls import ServerIdentity, load_identity

#: How often its end is looked at, and how often it is told that it comes.
_LOOK_EVERY: Final = 60.0
_TELL_EVERY: Final = timedelta(days=1)


class CertificateWatch:
    """What the gateway shows to callers now, and when it ends."""

    def __init__(self, settings: Settings, reporter: Reporter, log: Log) -> None:
        """Read certificate and key; raise ConfigError."""
        self._settings = settings
        self._reporter = reporter
        self._log = log
        self._told: datetime | None = None
        self._look_at = 0.0
        self.identity = load_identity(settings)

    def announce(self) -> None:
        """Say which certificate is in use."""
        fingerprint, ends = self.identity.fingerprint, f"{self.identity.expires:%Y-%m-%dT%H:%M:%SZ}"
        self._log.info("certificate in use", fingerprint=fingerprint, expires=ends)
        self._report(Trouble.CERTIFICATE_LOADED, f"sha256:{fingerprint}, until {ends}")

    def renew(self) -> ServerIdentity | None:
        """Read the files again and return what they hold; with faulty ones the old stays, and it is said."""
        try:
            self.identity = load_identity(self._settings)
        except ConfigError as error:
            for fault in error.faults:
                self._log.error(f"{fault} (the old certificate stays in use)")
            self._report(Trouble.CERTIFICATE_REJECTED, error.faults[0])
            return None
        self._told = None
        self._look_at = 0.0
        self.announce()
        return self.identity

    def look(self) -> None:
        """Warn once a day of an end that is near, or was; called at every turn of the accept loop."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_EVERY
        now, ends = datetime.now(UTC), self.identity.expires
        if ends - now > timedelta(seconds=self._settings.certificate_warning):
            return
        if self._told is not None and now < self._told + _TELL_EVERY:
            return
        self._told = now
        verb = "expired" if ends <= now else "expires"
        what = f"{self._settings.certificate}: {verb} on {ends:%Y-%m-%d}: renew it"
        (self._log.error if ends <= now else self._log.warning)(what)
        self._report(Trouble.CERTIFICATE_EXPIRING, what)

    def _report(self, trouble: Trouble, detail: str) -> None:
        self._reporter.report(trouble, "", 0, detail)
