"""`rexecd check`: everything that is wrong, and what is unwise, before it counts.

Rule 1: every part is looked at, whatever is wrong with another one; only without settings there
are no parts.
Rule 2: what is not there is not made.
"""

import argparse
import contextlib
import enum
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from rexecd.audit.keys import load_chain, load_signer
from rexecd.cli import say
from rexecd.cli.owner import MONITORS, act_as_owner
from rexecd.errors import ConfigError, Fault, RexecError
from rexecd.execution.cgroup import obstacle, offered
from rexecd.execution.identity import check_can_end, defaults, describe
from rexecd.execution.probe import probe
from rexecd.execution.workers import Workers
from rexecd.files import Resolver, check_directory, program_fault, read_file, script_fault
from rexecd.identity.certificates import expires, pin
from rexecd.identity.store import Store
from rexecd.monitor.publisher import NO_CHECKPOINTS
from rexecd.policy.examples import run_examples
from rexecd.policy.lint import Facts, directories_of, lint, programs_of, scripts_of
from rexecd.policy.load import File
from rexecd.policy.model import Defaults, Policy
from rexecd.policyfiles import check_identities, check_requirements, load_files
from rexecd.settings import Settings, load_settings
from rexecd.tls import load_identity
from rexecd.yamltext import Place, is_closed

_FINDING: Final = 1
_Found = TypeVar("_Found")


class _Severity(enum.Enum):
    """Whether a finding always counts, or only with `--strict`."""

    ERROR = "error"
    WARNING = "warning"


class _Finding(NamedTuple):
    """One thing to put right or to look at; only warnings have a code."""

    severity: _Severity
    code: str | None
    place: Place | None
    message: str

    def __str__(self) -> str:
        place = "" if self.place is None else f"{self.place}: "
        code = "" if self.code is None else f"{self.code} "
        return f"{place}{code}{self.message}"

    def as_object(self) -> dict[str, object]:
        """Return it for `--json`."""
        file, line, column = (None, None, None) if self.place is None else self.place
        return {
            "severity": self.severity.value,
            "code": self.code,
            "file": file,
            "line": line,
            "column": column,
            "message": self.message,
        }


class _Report:
    """What was found: findings, and a line for each part that is good."""

    def __init__(self) -> None:
        self.findings: list[_Finding] = []
        self.facts: list[str] = []

    def add_error(self, place: Place | None, message: str) -> None:
        """Remember something that is wrong."""
        self.findings.append(_Finding(_Severity.ERROR, None, place, message))

    def add_warning(self, code: str | None, place: Place | None, message: str) -> None:
        """Remember something that is unwise."""
        self.findings.append(_Finding(_Severity.WARNING, code, place, message))

    def attempt(self, part: Callable[[], _Found]) -> _Found | None:
        """Return what a part returns; None where it fails, and remember why."""
        try:
            return part()
        except ConfigError as error:
            for fault in error.found:
                self.add_error(None if fault.place is None else Place(*fault.place), fault.message)
        except RexecError as error:
            self.add_error(None, str(error))
        except OSError as error:
            self.add_error(None, f"{error.filename}: {error.strerror}")
        return None

    def is_good(self, *, strict: bool) -> bool:
        """Return whether there is nothing that counts."""
        return not any(strict or finding.severity is _Severity.ERROR for finding in self.findings)


def check(arguments: argparse.Namespace) -> int:
    """Report the faults of the settings, or else of policy, certificate and state; 1 if any count.

    With `--policy` that policy alone is looked at, and neither settings nor state are needed.
    """
    report = _Report()
    if arguments.policy is not None:
        _check_policy(arguments.policy, report)
    else:
        settings = report.attempt(lambda: load_settings(arguments.config))
        if settings is not None:
            _check_installation(settings, report)
    report.findings.sort(key=lambda finding: finding.severity is _Severity.WARNING)
    is_good = report.is_good(strict=arguments.strict)
    if arguments.json:
        findings = [finding.as_object() for finding in report.findings]
        say.out(json.dumps({"good": is_good, "findings": findings, "facts": report.facts}, indent=2))
    else:
        _tell(report, is_good=is_good)
    return 0 if is_good else _FINDING


def _tell(report: _Report, *, is_good: bool) -> None:
    for finding in report.findings:
        speak = say.error if finding.severity is _Severity.ERROR else say.warning
        speak("rexecd", str(finding))
    if is_good:
        for fact in report.facts:
            say.out(f"rexecd: {fact}")


def _check_installation(settings: Settings, report: _Report) -> None:
    certificate = report.attempt(lambda: _check_certificate(settings, report))  # of root and gateway
    report.attempt(lambda: act_as_owner(settings.state, keep=MONITORS))  # the rest is for the monitor
    _check_policy(settings.policy, report, settings)
    state = report.attempt(lambda: _check_state(settings, report))
    report.facts += [fact for fact in (certificate, state) if fact is not None]


def _check_policy(path: Path, report: _Report, settings: Settings | None = None) -> None:
    """Add what there is to say of a policy: its faults, or else failed examples and warnings.

    With settings it is the one of this machine's monitor, which has to be able to carry it out.
    """
    chosen = Defaults() if settings is None else report.attempt(lambda: defaults(settings))
    loaded = report.attempt(lambda: load_files(path, chosen or Defaults()))
    if loaded is None:
        return
    policy, files = loaded
    before = len(report.findings)
    if settings is not None and chosen is not None:
        report.attempt(lambda: check_identities(policy))
        report.attempt(lambda: check_requirements(policy, settings))
        if len(report.findings) == before:
            _check_host(policy, settings, chosen, report)
    held, failures = run_examples(policy, resolve=Resolver())
    for failure in failures:
        report.add_error(failure.place, failure.message)
    if len(report.findings) == before:
        report.facts.append(f"{path}: {_size(policy, held)}: good")
    facts = Facts(
        programs={
            **{program: program_fault(program) for program in programs_of(policy)},
            **{script: script_fault(script) for script in scripts_of(policy)},
        },
        token_principals=None if settings is None else _token_principals(settings.tokens),
        open_ended=tuple(_last_line(file) for file in files if not is_closed(file.text)),
        missing=frozenset(filter(_is_missing, directories_of(policy))),
        shared=frozenset(filter(_is_shared, directories_of(policy))),
    )
    report.findings += _warnings(policy, facts)


def _check_host(policy: Policy, settings: Settings, chosen: Defaults, report: _Report) -> None:
    """Add what this host cannot give the policy's commands: it is tried, as the monitor tries it.

    Whether the monitor will have a control group only its own start can tell, so here that is taken on
    trust where the machine has what it takes.
    """
    report.attempt(lambda: check_can_end(containment=settings.containment))
    controllers = frozenset[str]() if settings.containment == "subreaper" else offered()
    if settings.containment == "control-group" or (controllers and _needs_group(policy)):
        why = obstacle()
        if why:
            what = f"no control groups can be had from here ({why}); the monitor's own start decides"
            report.add_warning(None, None, what)
    missing = report.attempt(lambda: _try(policy, controllers))
    for fault in missing or ():
        report.add_warning(None, None if fault.place is None else Place(*fault.place), fault.message)
    if policy.rules:
        report.facts.append(f"commands run as {describe(chosen.identity)} where their rule does not say")


def _try(policy: Policy, controllers: frozenset[str]) -> tuple[Fault, ...]:
    with contextlib.closing(Workers(None, controllers=controllers)) as workers:
        return probe(policy, workers)


def _needs_group(policy: Policy) -> bool:
    """Return whether a rule has a ceiling that only a control group keeps for certain."""
    return any(rule.resources.processes is not None for rule in policy.rules.values())


def _size(policy: Policy, held: int) -> str:
    parts = [say.count(len(policy.principals), "principal"), say.count(len(policy.rules), "command")]
    if held:
        parts.append(f"{say.count(held, 'example')} {'holds' if held == 1 else 'hold'}")
    return ", ".join(parts)


def _is_missing(directory: str) -> bool:
    """Return whether it is not there; where we may not look nothing is known."""
    try:
        Path(directory).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_shared(directory: str) -> bool:
    """Return whether everybody can make names in a directory, or put another one in its place.

    What is not there, is no directory or cannot be looked at is not known to be.
    """
    try:
        here = Path(directory).resolve(strict=True)
        modes = [path.stat().st_mode for path in (here, *here.parents)]
    except (OSError, RuntimeError):
        return False
    is_open = stat.S_ISDIR(modes[0]) and bool(modes[0] & stat.S_IWOTH)
    return is_open or any(mode & stat.S_IWOTH and not mode & stat.S_ISVTX for mode in modes[1:])


def _warnings(policy: Policy, facts: Facts) -> list[_Finding]:
    return [
        _Finding(_Severity.WARNING, found.code, found.place, found.message) for found in lint(policy, facts)
    ]


def _last_line(file: File) -> Place:
    return Place(file.source, file.text.rstrip().count("\n") + 1, 1)


def _token_principals(path: Path) -> frozenset[str] | None:
    """Return the principals with a valid token; None where no store is, or none that we may open."""
    if not path.exists():  # opening would make it
        return None
    try:
        with Store(path) as store:
            records = store.records().values()
    except RexecError:
        return None
    now = datetime.now(UTC)
    return frozenset(record.principal for record in records if record.flaw(now) is None)


def _check_certificate(settings: Settings, report: _Report) -> str:
    load_identity(settings)
    certificate = read_file(settings.certificate.resolve())
    end = expires(certificate)
    if end <= datetime.now(UTC):
        raise ConfigError(f"{settings.certificate}: expired on {end:%Y-%m-%d}: renew it")
    if end <= datetime.now(UTC) + timedelta(seconds=settings.certificate_warning):
        report.add_warning(None, None, f"{settings.certificate}: expires on {end:%Y-%m-%d}: renew it")
    return f"{settings.certificate}: good until {end:%Y-%m-%d}, --pin sha256:{pin(certificate)}"


def _check_state(settings: Settings, report: _Report) -> str:
    for directory in (settings.state, settings.audit.parent):
        check_directory(directory)
    command = settings.audit_checkpoint_command
    fault = program_fault(command[0]) if command else None
    if fault is not None:
        raise ConfigError(f"{settings.source}: audit: checkpoint_command: {fault}")
    chain = load_chain(settings.trail_key)
    if load_signer(settings.state) is None:
        report.add_warning(None, None, NO_CHECKPOINTS)
    return f"{settings.trail_key}: good, at record {chain.sequence}"
