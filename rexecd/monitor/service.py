"""What all sessions of the monitor share: the policy in force, the tokens, the trail.

The policy is one immutable object that is swapped whole; a session asks for it anew at each
request, so a reload touches no open channel.
"""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from rexecd import __version__
from rexecd.audit.events import Action
from rexecd.audit.recorder import Recorder
from rexecd.audit.sinks import Sink
from rexecd.audit.trail import Trail
from rexecd.clock import Clock
from rexecd.errors import ConfigError, Fault
from rexecd.execution.identity import defaults, describe
from rexecd.execution.probe import probe, written
from rexecd.execution.workers import Workers
from rexecd.identity.shown import ClientCertificate
from rexecd.identity.store import Store
from rexecd.identity.tokens import SOON, WrongSecret, refused
from rexecd.log import Log
from rexecd.monitor.admission import Admission, Connections
from rexecd.monitor.asker import NOBODY, Asker
from rexecd.monitor.credentials import Credential, Credentials
from rexecd.monitor.meter import Meter
from rexecd.monitor.metricsfile import MetricsFile
from rexecd.monitor.publisher import NO_CHECKPOINTS, Publisher
from rexecd.policy.decide import enter
from rexecd.policy.load import check_whole
from rexecd.policy.model import Policy
from rexecd.policyfiles import check_identities, check_requirements, load_policy
from rexecd.serving import Stop
from rexecd.settings import Settings


def load_feasible(settings: Settings) -> Policy:
    """Return the policy of the settings' file; raise ConfigError with every fault.

    A policy this process could not carry out is a faulty one: better no start than a first
    request that fails.
    """
    policy = load_policy(settings.policy, defaults(settings))
    check_identities(policy)
    check_requirements(policy, settings)
    return policy


class Count:
    """How many of something there are now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = 0

    def begin(self) -> None:
        """Count one more."""
        with self._lock:
            self.now += 1

    def end(self) -> None:
        """Count one less."""
        with self._lock:
            self.now -= 1


class Tokens(NamedTuple):
    """How many tokens are good, how many of these not for long, and when the first of them ends."""

    good: int
    expiring: int
    first_end: datetime | None


class Service:
    """The monitor's state. One lock for changes; readers take a reference and go on with it."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        store: Store,
        trail: Trail,
        workers: Workers | None = None,
        *,
        log: Log | None = None,
        meter: Meter | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self.settings = settings
        self.trail = trail
        self.log = log or Log("rexecd")
        self.stop = Stop()
        self.clock: Clock = Clock()
        self.started = self.clock.monotonic()
        self.began = self.clock.now()
        self.sinks = sinks
        #: What counts the trail's records, and where else they go.
        self.meter = meter or Meter()
        self.metrics_file: MetricsFile | None = None
        self.publisher: Publisher | None = None
        self._policy = policy
        self._policy_loaded = self.clock.now()
        self._policy_error: str | None = None
        self.credentials = Credentials(store, self.clock, most_failures=settings.max_failures_each)
        #: Held while something is recorded and then changed.
        self.changing = threading.Lock()
        self._reloading = threading.Lock()
        self._workers = workers
        #: Who commands run as where their rule does not say.
        self.run_as = describe(defaults(settings).identity)
        self.sessions = Count()
        #: What of best-effort sandboxes this host does not give.
        self.missing: list[str] = []
        self.admission = Admission(most=settings.max_commands, most_each=settings.max_commands_each)
        self.connections = Connections(settings.max_connections_each)
        self._read_certificate = _refuse_certificate if settings.client_ca is None else _certificate_reader()

    @property
    def policy(self) -> Policy:
        """Return the policy in force now."""
        return self._policy

    @property
    def policy_loaded(self) -> datetime:
        """Return since when it is in force."""
        return self._policy_loaded

    @property
    def policy_error(self) -> str | None:
        """Return why the last reload was refused; None if it was not."""
        return self._policy_error

    @property
    def workers(self) -> Workers:
        """Return what commands are started with; a running monitor has it, and needs it."""
        if self._workers is None:
            raise RuntimeError("this process starts no commands")
        return self._workers

    @property
    def worker_use(self) -> tuple[int, int]:
        """Return how many workers are busy and how many wait: none in a process that starts no commands."""
        return (0, 0) if self._workers is None else self._workers.use

    @property
    def recorder(self) -> Recorder:
        """Return a recorder for what belongs to no connection."""
        return self.trail.recorder(policy_digest=self._policy.digest)

    def authenticate(self, presented: bytes, address: str, certificate: bytes) -> Credential:
        """Return what a session may be opened with; raise Refused, alike for every kind of wrong.

        The certificate (DER, may be empty) is the gateway's word: that TLS found it good, and its key there.
        """
        try:
            shown = self._read_certificate(certificate) if certificate else None
            token = self.credentials.authenticate(presented, address)
        except ConfigError as error:
            raise refused(f"client certificate: {error}") from None
        except WrongSecret as wrong:
            self._count_guess(wrong.token_id, address)
            raise
        if shown is not None:
            self.credentials.check_certificate(shown)
        certified = None if shown is None else shown.principal or ""
        enter(self._policy, token.principal, address, certified)
        self.credentials.note_use(token.token_id, address)
        return Credential(token, shown)

    def _count_guess(self, token_id: str, address: str) -> None:
        """Count a wrong secret; the one that is too many is recorded, what comes behind it is not."""
        if self.credentials.guesses.count(token_id):
            most = self.settings.max_failures_each
            reason = f"{most} wrong secrets within a minute: only the token's usual address is listened to"
            self.recorder.record(
                Action.LIMIT_REACHED, token_id=token_id, address=address, count=most, reason=reason
            )

    def reload(self, asker: Asker = NOBODY) -> Policy:
        """Read the policy again and put it in force; raise ConfigError and keep the old one.

        Either way it is recorded, and who asked; raise TrailError, with the old one in force, if it cannot.
        Tokens can be made and revoked while a large policy is read.
        """
        with self._reloading:
            try:
                policy = self._load_again()
            except ConfigError as error:
                with self.changing:
                    more = len(error.faults) - 1
                    self._policy_error = f"{error.faults[0]}{f' (and {more} more)' if more else ''}"
                    self.recorder.record(
                        Action.POLICY_REJECTED, reason=error.faults[0], count=len(error.faults), **asker
                    )
                for fault in error.faults:
                    self.log.error(f"{fault} (the old policy stays in force)")
                raise
            with self.changing:
                self.trail.recorder(policy_digest=policy.digest).record(Action.POLICY_LOADED, **asker)
                self._policy = policy
                self.trail.know(policy_digest=policy.digest)
                self._policy_loaded = self.clock.now()
                self._policy_error = None
            self.log.info("policy loaded", policy_digest=policy.digest)
            return policy

    def _load_again(self) -> Policy:
        try:
            policy = load_feasible(self.settings)
            check_whole(policy, self._policy)
            if self._workers is not None:
                self.take_missing(probe(policy, self._workers))
            return policy
        except ConfigError:
            raise
        except Exception as error:  # a fault of ours must not end the service, nor let a policy in
            what = f"cannot be read: internal error: {type(error).__name__}"
            raise ConfigError(f"{self.settings.policy}: {what}") from error

    def take_missing(self, missing: tuple[Fault, ...]) -> None:
        """Take what of best-effort sandboxes this host does not give, and log it."""
        self.missing = [written(fault) for fault in missing]
        for line in self.missing:
            self.log.warning(line)

    def status(self) -> dict[str, object]:
        """Return the facts of `rexecd status`."""
        policy = self._policy  # one of them, whatever is loaded meanwhile
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime": round(self.clock.monotonic() - self.started, 3),
            "policy_digest": policy.digest,
            "policy_loaded": self._policy_loaded.isoformat(timespec="seconds"),
            "policy_error": self._policy_error,
            "principals": len(policy.principals),
            "rules": len(policy.rules),
            "tokens": self.tokens.good,
            "tokens_expiring": self.tokens.expiring,
            "sessions": self.sessions.now,
            "running": self.admission.running,
            **self._about_execution(),
            "trail": {
                "sequence": self.trail.sequence,
                "healthy": self.trail.healthy,
                "error": self.trail.last_error,
                "lost": self.trail.lost,
                "owed": self.trail.owed,
                "behind": round(self.trail.behind, 3),
                "aside_error": self.trail.aside_error,
                "checkpoint_error": NO_CHECKPOINTS if self.publisher is None else self.publisher.error,
            },
            **{sink.name: sink.condition._asdict() for sink in self.sinks},
            **({} if self.metrics_file is None else {"metrics_file": {"error": self.metrics_file.error}}),
        }

    @property
    def tokens(self) -> Tokens:
        """Return how it stands with the tokens."""
        now = self.clock.now()
        good = [record for record in self.credentials.tokens.values() if record.flaw(now) is None]
        ends = [record.terms.expires for record in good if record.terms.expires is not None]
        return Tokens(len(good), sum(end <= now + SOON for end in ends), min(ends, default=None))

    def _about_execution(self) -> dict[str, object]:
        """Return what commands are started with, and kept within."""
        if self._workers is None:
            return {}
        busy, idle = self.worker_use
        return {
            "containment": self._workers.containment,
            "controllers": sorted(self._workers.controllers),
            "run_as": self.run_as,
            "workers": {"busy": busy, "idle": idle},
        }

    def close(self) -> None:
        """Release store and trail; the last step of the trail's key is persisted."""
        self.credentials.close()
        self.trail.close()


def _certificate_reader() -> Callable[[bytes], ClientCertificate]:
    # Where nobody is asked for a certificate this process does without a parser of them.
    from rexecd.identity.certificates import read_client  # noqa: PLC0415

    return read_client


def _refuse_certificate(_: bytes) -> ClientCertificate:
    raise ConfigError("shown to a gateway that asks for none")
