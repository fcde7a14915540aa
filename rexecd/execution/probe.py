"""Whether this host can give what a policy's rules ask for: tried, not guessed.

Every distinct profile of a policy is given a worker, which is kept for the first command.
"""

from rexecd.errors import ConfigError, Fault
from rexecd.execution.jobs import Profile
from rexecd.execution.spawn import profile_of
from rexecd.execution.workers import Workers
from rexecd.policy.model import Policy, Rule


def probe(policy: Policy, workers: Workers) -> tuple[Fault, ...]:
    """Return what of best-effort sandboxes is missing; raise ConfigError for what cannot be given."""
    faults: list[Fault] = []
    missing: list[Fault] = []
    answers: dict[Profile, tuple[str, ...] | ConfigError] = {}
    for rule in sorted(policy.rules.values(), key=lambda each: each.place):
        profile = profile_of(rule)
        if profile not in answers:
            answers[profile] = _try(profile, workers)
        answer = answers[profile]
        if isinstance(answer, ConfigError):
            faults += (_about(rule, text) for text in answer.faults)
        else:
            missing += (_about(rule, f"best effort, without {text}") for text in answer)
    if faults:
        raise ConfigError(*map(written, faults), found=tuple(faults))
    return tuple(missing)


def written(fault: Fault) -> str:
    """Return a fault as one line, its place first."""
    if fault.place is None:
        return fault.message
    file, line, column = fault.place
    return f"{file}:{line}:{column}: {fault.message}"


def _try(profile: Profile, workers: Workers) -> tuple[str, ...] | ConfigError:
    try:
        return workers.probe(profile)
    except ConfigError as error:
        return error


def _about(rule: Rule, text: str) -> Fault:
    return Fault((rule.place.source, rule.place.line, rule.place.column), f"{rule.name}: {text}")
