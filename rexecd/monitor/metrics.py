"""Which metrics there are: a pure function of what was counted and of how the service is now.

Rule: names and labels are an interface. What is here stays; AUDIT 8 has the same table, and a test compares.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rexecd.audit.events import Action
from rexecd.audit.sinks import Condition
from rexecd.monitor import meter as counted
from rexecd.monitor.exposition import Family, Sample, counter, gauge, histogram, info
from rexecd.monitor.meter import Meter


class Facts(NamedTuple):
    """How the service is at one moment. Times are seconds since 1970; None is not known."""

    #: Whether it serves; not in the last words of one that stops.
    is_up: bool
    version: str
    began: float
    policy_digest: str
    policy_loaded: float
    #: Whether the last reload was refused.
    is_policy_stale: bool
    rules: int
    principals: int
    sessions: int
    running: int
    workers_busy: int
    workers_idle: int
    tokens: int
    tokens_expiring: int
    #: The end of the token that ends first.
    token_expires: float | None
    #: The end of the server's certificate as its file says; what the gateway says is counted.
    certificate_expires: float | None
    trail_sequence: int
    is_trail_healthy: bool
    trail_lost: int
    #: Ends that are written as soon as something can be.
    trail_owed: int
    sinks: Mapping[str, Condition]


def families(meter: Meter, facts: Facts, *, lag: float) -> list[Family]:
    """Return everything; `lag` is for how many seconds records wait for the trail's next step."""
    return [
        *_about_service(facts),
        *_about_commands(meter),
        *_about_callers(meter, facts),
        *_about_credentials(meter, facts),
        *_about_trail(meter, facts, lag),
        *_about_sinks(facts),
    ]


def _about_service(facts: Facts) -> Iterator[Family]:
    yield gauge("rexecd_up", "Whether the monitor serves; 0 once it has stopped in order.", _one(facts.is_up))
    yield info("rexecd_build", "The version of rexecd.", (("version", facts.version),))
    yield gauge(
        "rexecd_start_timestamp_seconds", "When the monitor started.", _one(facts.began), unit="seconds"
    )
    yield info("rexecd_policy", "The policy in force.", (("digest", facts.policy_digest),))
    yield gauge(
        "rexecd_policy_loaded_timestamp_seconds",
        "Since when it is in force.",
        _one(facts.policy_loaded),
        unit="seconds",
    )
    yield gauge(
        "rexecd_policy_reload_failed",
        "Whether the last reload was refused and the policy before stays in force.",
        _one(facts.is_policy_stale),
    )
    yield gauge("rexecd_policy_rules", "Commands of the policy in force.", _one(facts.rules))
    yield gauge("rexecd_policy_principals", "Principals of the policy in force.", _one(facts.principals))


def _about_commands(meter: Meter) -> Iterator[Family]:
    commands = sorted(meter.commands.copy().items())
    yield counter(
        "rexecd_commands",
        "Commands by rule and outcome; _other stands for more than 200 rules, _none for what was refused "
        "before its rule was known.",
        (Sample(count, (("rule", rule), ("outcome", outcome))) for (rule, outcome), count in commands),
    )
    yield histogram(
        "rexecd_command_duration_seconds",
        "How long commands took that were started.",
        counted.BUCKETS,
        list(meter.durations),
        meter.duration_sum,
    )
    yield counter(
        "rexecd_command_limits",
        "Commands that ran into a ceiling of their rule.",
        _each("limit", meter.limits),
    )
    yield counter(
        "rexecd_command_truncated", "Commands whose output or input was cut.", _one(meter.truncated)
    )
    yield counter(
        "rexecd_command_bytes",
        "Bytes that passed between callers and commands, the gateway's word.",
        _each("stream", meter.bytes),
        unit="bytes",
    )


def _about_callers(meter: Meter, facts: Facts) -> Iterator[Family]:
    records = meter.records
    yield gauge("rexecd_sessions", "Connections with a token that are open.", _one(facts.sessions))
    yield gauge("rexecd_commands_running", "Commands that run.", _one(facts.running))
    yield gauge(
        "rexecd_workers",
        "Processes that start commands.",
        _each("state", {"busy": facts.workers_busy, "idle": facts.workers_idle}),
    )
    yield counter(
        "rexecd_connections_opened",
        "Connections that presented a token.",
        _one(records[Action.CONNECTION_OPENED]),
    )
    yield counter(
        "rexecd_connections_closed",
        "Such connections that are over.",
        _one(records[Action.CONNECTION_CLOSED]),
    )
    yield counter("rexecd_authentications", "Tokens that were accepted.", _one(records[Action.AUTH_ACCEPTED]))
    yield counter(
        "rexecd_refusals",
        "Refused tokens, connections and commands, by what the caller was told.",
        _each("code", meter.refusals),
    )
    yield counter("rexecd_tls_failures", "Connections without a TLS handshake.", _one(meter.tls_failures))
    yield counter(
        "rexecd_unauthenticated_connections",
        "Connections that presented no token in time.",
        _one(meter.unauthenticated),
    )
    yield counter(
        "rexecd_shed_connections", "Connections closed at once, for their number.", _one(meter.shed)
    )
    yield counter("rexecd_penalties", "Sources that were refused for a while.", _one(meter.penalties))
    yield counter(
        "rexecd_seam_violations",
        "Questions of the gateway that it may not ask.",
        _one(records[Action.SEAM_VIOLATED]),
    )


def _about_credentials(meter: Meter, facts: Facts) -> Iterator[Family]:
    ends = {"file": facts.certificate_expires, "gateway": meter.certificate_expires}
    yield gauge(
        "rexecd_certificate_expiry_timestamp_seconds",
        "When the server's certificate ends: the one in its file, and the one the gateway said it uses.",
        (Sample(end, (("certificate", which),)) for which, end in ends.items() if end is not None),
        unit="seconds",
    )
    yield gauge("rexecd_tokens", "Tokens that are good.", _one(facts.tokens))
    yield gauge("rexecd_tokens_expiring", "Those with less than a week.", _one(facts.tokens_expiring))
    yield gauge(
        "rexecd_token_expiry_timestamp_seconds",
        "When the good token ends that ends first.",
        () if facts.token_expires is None else _one(facts.token_expires),
        unit="seconds",
    )


def _about_trail(meter: Meter, facts: Facts, lag: float) -> Iterator[Family]:
    yield counter(
        "rexecd_records",
        "Records of the trail, by action.",
        _each("action", {action.value: count for action, count in meter.records.items()}),
    )
    yield gauge("rexecd_trail_sequence", "The number of the last record.", _one(facts.trail_sequence))
    yield gauge("rexecd_trail_healthy", "Whether the trail can be written.", _one(facts.is_trail_healthy))
    yield counter("rexecd_trail_lost_records", "Records that could not be written.", _one(facts.trail_lost))
    yield gauge("rexecd_trail_owed_records", "Ends that are still to be written.", _one(facts.trail_owed))
    yield gauge(
        "rexecd_trail_lag_seconds",
        "How long records wait for the next step, which makes them durable and forgets their keys.",
        _one(lag),
        unit="seconds",
    )


def _about_sinks(facts: Facts) -> Iterator[Family]:
    sinks = facts.sinks
    yield counter(
        "rexecd_sink_sent_records",
        "Records that the journal or the syslog socket took.",
        _each("sink", {name: each.sent for name, each in sinks.items()}),
    )
    yield counter(
        "rexecd_sink_dropped_records",
        "Records that it did not get; the file has them.",
        _each("sink", {name: each.dropped for name, each in sinks.items()}),
    )
    yield gauge(
        "rexecd_sink_waiting_bytes",
        "Records that wait for it.",
        _each("sink", {name: each.waiting for name, each in sinks.items()}),
        unit="bytes",
    )
    yield gauge(
        "rexecd_sink_up",
        "Whether it takes records.",
        _each("sink", {name: int(each.error is None) for name, each in sinks.items()}),
    )


def _one(value: float) -> Iterable[Sample]:
    return (Sample(int(value) if isinstance(value, bool) else value),)


def _each(label: str, values: Mapping[str, float]) -> Iterable[Sample]:
    return (Sample(value, ((label, name),)) for name, value in values.items())
