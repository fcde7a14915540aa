"""How the service is now, as metrics: gathered from it, and from the file of its certificate."""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final

from rexecd import __version__, der, files
from rexecd.errors import ConfigError
from rexecd.monitor.exposition import Form, render
from rexecd.monitor.metrics import Facts, families
from rexecd.monitor.service import Service
from rexecd.settings import Settings

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def metrics(service: Service, form: Form, *, is_up: bool = True) -> str:
    """Return all metrics as text."""
    return render(families(service.meter, _facts(service, is_up=is_up), lag=service.trail.behind), form)


def _facts(service: Service, *, is_up: bool) -> Facts:
    policy = service.policy
    busy, idle = service.worker_use
    tokens = service.tokens
    return Facts(
        is_up=is_up,
        version=__version__,
        began=service.began.timestamp(),
        policy_digest=policy.digest,
        policy_loaded=service.policy_loaded.timestamp(),
        is_policy_stale=service.policy_error is not None,
        rules=len(policy.rules),
        principals=len(policy.principals),
        sessions=service.sessions.now,
        running=service.admission.running,
        workers_busy=busy,
        workers_idle=idle,
        tokens=tokens.good,
        tokens_expiring=tokens.expiring,
        token_expires=None if tokens.first_end is None else tokens.first_end.timestamp(),
        certificate_expires=certificate_end(service.settings),
        trail_sequence=service.trail.sequence,
        is_trail_healthy=service.trail.healthy,
        trail_lost=service.trail.lost,
        trail_owed=service.trail.owed,
        sinks={sink.name: sink.condition for sink in service.sinks},
    )


def certificate_end(settings: Settings) -> float | None:
    """Return when the certificate in the settings' file ends; None where it cannot be read."""
    try:
        found = _PEM.search(files.read_file(settings.certificate.resolve()))
        if found is None:
            return None
        ends = der.not_after(base64.b64decode(found[1]))
        return datetime.strptime(ends, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    except (ConfigError, OSError, ValueError, binascii.Error):
        return None
