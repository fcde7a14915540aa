"""`rexecd policy`: why a request is allowed or refused, what a principal may do, and what a change changes.

Rule 1: nothing of a line is repeated but what the decision itself says: it may hold secrets.
Rule 2: a row is one line: a newline in a policy is escaped like everything that steers a terminal.
"""

import argparse
import json
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from rexecd.cli import say
from rexecd.cli.owner import MONITORS, act_as_owner
from rexecd.errors import ConfigError, Refused
from rexecd.execution.identity import MEANS, can_become, defaults
from rexecd.files import Resolver, program_fault
from rexecd.networks import Network
from rexecd.policy import diff as differences
from rexecd.policy import words
from rexecd.policy.decide import Request, admits, granted_by, is_from, split
from rexecd.policy.explain import Explanation
from rexecd.policy.explain import explain as explained
from rexecd.policy.kinds import listed
from rexecd.policy.listing import usage
from rexecd.policy.model import (
    Identity,
    Invocation,
    Justification,
    OnDisconnect,
    PassedFile,
    PassedText,
    Policy,
    Principal,
    Quota,
    Resources,
    Rule,
)
from rexecd.policyfiles import load_policy
from rexecd.printable import printable
from rexecd.settings import load_settings
from rexecd.wire.messages import Offer, SignalName
from rexecd.yamltext import shown, spell_duration, spell_size, suggest

_FINDING: Final = 1
_LOOPBACK: Final = "127.0.0.1"
#: True with the settings and without them.
_OWN_USER: Final = "run_as of rexecd.yaml, or else the daemon's own user"
#: Where a rule without the key starts, and what its files do not get.
_DIRECTORY: Final = "/"
_UMASK: Final = 0o027


def explain(arguments: argparse.Namespace) -> int:
    """Say what would come of a request, and every check that leads there; 1 if it is refused."""
    _, policy = _policy_of(arguments)
    line = arguments.line[0] if len(arguments.line) == 1 else shlex.join(arguments.line)
    request = Request(
        principal=arguments.principal,
        connection_id="explain",
        request_id="explain-1",
        address=arguments.address or _LOOPBACK,
        line=line,
        offer=Offer.ESSENTIAL if arguments.stdin else Offer.OPTIONAL,
        justification=arguments.reason,
    )
    explanation = explained(policy, request, resolve=Resolver())
    rule = _rule_of(policy, line)
    if arguments.json:
        say.out(json.dumps(_explanation_object(explanation, rule), indent=2))
    else:
        _print(_explanation_text(explanation, rule))
    return 0 if isinstance(explanation.outcome, Invocation) else _FINDING


def list_power(arguments: argparse.Namespace) -> int:
    """Show every command a principal may run, hidden ones too: this is for the operator."""
    path, policy = _policy_of(arguments)
    principal = policy.principals.get(arguments.principal)
    if principal is None:
        hint = suggest(arguments.principal, policy.principals) or f"; it has {listed(policy.principals)}"
        raise ConfigError(f"{path}: no principal {shown(arguments.principal)}{hint}")
    address = arguments.address
    rules = [rule for rule in principal.rules.values() if address is None or admits(principal, rule, address)]
    if arguments.json:
        say.out(json.dumps(_power_object(policy, principal, rules), indent=2))
    else:
        _print(_power_text(policy, principal, rules, address))
    return 0


def _policy_of(arguments: argparse.Namespace) -> tuple[Path, Policy]:
    """Return the policy that is meant, and its file: that of the settings is read as the monitor reads it."""
    path: Path | None = arguments.policy
    if path is not None:
        return path, load_policy(path)
    settings = load_settings(arguments.config)
    act_as_owner(settings.state, keep=MONITORS)  # what the monitor cannot see, or become, is said
    return settings.policy, load_policy(settings.policy, defaults(settings))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        say.out(printable(line))


def _table(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield rows with their second halves in one column."""
    width = max((len(name) for name, _ in rows), default=0)
    return (f"  {name:<{width}}  {value}" for name, value in rows)


def _size(amount: int | None) -> str:
    return "no limit" if amount is None else spell_size(amount)


def _limits(*parts: Resources | Quota) -> str:
    return ", ".join(f"{key} {value}" for key, value in words.limits(*parts).items()) or "none"


def _kept_rows(kept: Rule | Invocation) -> Iterator[tuple[str, str]]:
    """Yield what a command is kept within, as far as something is said of it."""
    if words.limits(kept.quota, kept.resources):
        yield "limits", _limits(kept.quota, kept.resources)
    if kept.sandbox is not None:
        yield "sandbox", words.sandbox(kept.sandbox)
    if len(kept.signals) < len(SignalName):
        yield "signals", words.signals(kept.signals)
    if kept.on_disconnect is OnDisconnect.FINISH:
        yield "on disconnect", "runs to its end"


def _kept_object(kept: Rule | Invocation) -> dict[str, object]:
    return {
        "limits": words.limits_object(kept.quota, kept.resources),
        "sandbox": words.sandbox_object(kept.sandbox),
        "signals": [signal.name for signal in SignalName if signal in kept.signals],
        "on_disconnect": kept.on_disconnect.value,
    }


def _networks(networks: tuple[Network, ...]) -> str:
    return ", ".join(map(str, networks)) or "anywhere"


def _rule_of(policy: Policy, line: str) -> Rule | str:
    """Return the rule a line names, or why there is none."""
    try:
        name = split(line)[0]
    except Refused:
        return "none: the line has no first word"
    return policy.rules.get(name) or f"none has this name{suggest(name, policy.rules)}"


def _explanation_text(explanation: Explanation, rule: Rule | str) -> Iterator[str]:
    outcome = explanation.outcome
    yield "allow" if isinstance(outcome, Invocation) else "refuse"
    yield f"  rule  {rule if isinstance(rule, str) else f'{rule.name} ({rule.place})'}"
    yield "checks, in order"
    rows = [(check.name, f"{'ok' if check.passed else 'NO'}  {check.found}") for check in explanation.checks]
    yield from _table(rows)
    if isinstance(outcome, Invocation):
        yield "what is started"
        yield from _table(_invocation_rows(outcome))
    else:
        yield "what the caller hears"
        yield f"  {outcome.code.word}: {outcome.text}"
        yield "what the trail says"
        yield f"  {outcome.reason}"


def _invocation_rows(invocation: Invocation) -> list[tuple[str, str]]:
    # A descriptor's number stands behind its argument; it is known when the command is started.
    numbered = {passed.argument for passed in invocation.passed}
    return [
        *(
            (f"argument {index}", f"{argument!r}{' and a number' if index in numbered else ''}")
            for index, argument in enumerate(invocation.argv)
        ),
        *(("passed", _passed(passed)) for passed in invocation.passed),
        ("identity", str(invocation.identity or _OWN_USER)),
        ("environment", ", ".join(sorted(invocation.environment))),
        ("working directory", invocation.working_directory),
        ("umask", f"{invocation.umask:03o}"),
        ("timeout", spell_duration(invocation.timeout)),
        ("caller's input", "read" if invocation.takes_input else "none"),
        ("input limit", _size(invocation.input_ceiling)),
        ("output limit", _size(invocation.output_ceiling)),
        *_kept_rows(invocation),
        *(("note", note) for note in _notes(invocation)),
    ]


def _notes(invocation: Invocation) -> Iterator[str]:
    """Yield what would stop the start, as far as this process sees it on this machine."""
    fault = program_fault(invocation.argv[0])
    if fault is not None:
        yield fault
    wanted = [
        (passed.path, stat.S_ISREG, "a regular file")
        for passed in invocation.passed
        if isinstance(passed, PassedFile)
    ]
    wanted.append((invocation.working_directory, stat.S_ISDIR, "a directory"))
    for path, is_it, what in wanted:
        try:
            if not is_it(Path(path).stat().st_mode):
                yield f"{path!r} is not {what}"
        except OSError as error:
            yield f"{path!r} cannot be looked at: {error.strerror}"
    if invocation.identity is not None and not can_become(invocation.identity):
        yield f"this process cannot start anything as {invocation.identity}: that takes {MEANS}"


def _passed(passed: PassedText | PassedFile) -> str:
    if passed.argument is None:
        return "a secret, as standard input"
    what = f"the file {passed.path!r}" if isinstance(passed, PassedFile) else "a secret"
    return f"{what}, as the descriptor that argument {passed.argument} names"


def _explanation_object(explanation: Explanation, rule: Rule | str) -> dict[str, object]:
    outcome = explanation.outcome
    about: dict[str, object] = {
        "command": None if isinstance(rule, str) else rule.name,
        "place": None if isinstance(rule, str) else str(rule.place),
        "checks": [check._asdict() for check in explanation.checks],
    }
    if isinstance(outcome, Invocation):
        return {"outcome": "allow", **about, "invocation": _invocation_object(outcome), "refusal": None}
    refusal = {"code": outcome.code.word, "text": outcome.text, "reason": outcome.reason}
    return {"outcome": "refuse", **about, "invocation": None, "refusal": refusal}


def _invocation_object(invocation: Invocation) -> dict[str, object]:
    return {
        "argv": list(invocation.argv),
        "passed": [
            {
                "what": "file" if isinstance(passed, PassedFile) else "secret",
                "argument": passed.argument,
                "path": passed.path if isinstance(passed, PassedFile) else None,
            }
            for passed in invocation.passed
        ],
        "identity": _identity_object(invocation.identity),
        "environment": sorted(invocation.environment),
        "working_directory": invocation.working_directory,
        "umask": f"{invocation.umask:03o}",
        "timeout": invocation.timeout,
        "takes_input": invocation.takes_input,
        "input_limit": invocation.input_ceiling,
        "output_limit": invocation.output_ceiling,
        **_kept_object(invocation),
        "notes": list(_notes(invocation)),
    }


def _identity_object(identity: Identity | None) -> dict[str, object] | None:
    return None if identity is None else {**identity._asdict(), "groups": list(identity.groups)}


def _power_text(
    policy: Policy, principal: Principal, rules: Sequence[Rule], address: str | None
) -> Iterator[str]:
    count = f"{len(rules)} of {say.count(len(principal.rules), 'command')}"
    yield f"{principal.name} ({principal.place}), from {_networks(principal.sources)}: {count}"
    if address is not None and not is_from(address, principal.sources):
        yield f"  {principal.name} may not come from {address}"
    if principal.requires_certificate:
        yield "  require  certificate"
    if words.limits(principal.quota):
        yield f"  limits  {_limits(principal.quota)}"
    for rule in rules:
        yield ""
        yield f"{usage(rule)} ({rule.place})"
        yield from _table(_rule_rows(policy, principal, rule))


def _rule_rows(policy: Policy, principal: Principal, rule: Rule) -> list[tuple[str, str]]:
    rows = [
        ("runs", str(rule.template)),
        ("as", str(rule.identity or _OWN_USER)),
        ("timeout", spell_duration(rule.timeout)),
        ("from", _networks(rule.sources)),
        ("stdin", rule.stdin.value),
        ("by", granted_by(policy, principal, rule.name)),
        *(
            (f"parameter {name}", differences.describe_parameter(each))
            for name, each in rule.parameters.items()
        ),
        *((f"environment {name}", repr(value)) for name, value in rule.environment.items()),
    ]
    if rule.working_directory != _DIRECTORY:
        rows.append(("working directory", rule.working_directory))
    if rule.umask != _UMASK:
        rows.append(("umask", f"{rule.umask:03o}"))
    limits = (("input limit", rule.input_ceiling), ("output limit", rule.output_ceiling))
    rows += [(name, _size(limit)) for name, limit in limits if limit is not None]
    rows += _kept_rows(rule)
    if rule.justification is Justification.REQUIRED:
        rows.append(("reason", "required"))
    if rule.hidden:
        rows.append(("hidden", "left out of listings for callers"))
    return rows


def _power_object(policy: Policy, principal: Principal, rules: Sequence[Rule]) -> dict[str, object]:
    return {
        "principal": principal.name,
        "place": str(principal.place),
        "roles": list(principal.roles),
        "from": list(map(str, principal.sources)),
        "require": "certificate" if principal.requires_certificate else None,
        "limits": words.limits_object(principal.quota),
        "commands": [
            {**_rule_object(rule), "granted_by": granted_by(policy, principal, rule.name)} for rule in rules
        ],
    }


def _rule_object(rule: Rule) -> dict[str, object]:
    return {
        "name": rule.name,
        "place": str(rule.place),
        "usage": usage(rule),
        "summary": rule.summary,
        "runs": str(rule.template),
        "parameters": [
            {"name": name, "takes": differences.describe_parameter(parameter)}
            for name, parameter in rule.parameters.items()
        ],
        "run_as": _identity_object(rule.identity),
        "timeout": rule.timeout,
        "from": list(map(str, rule.sources)),
        "stdin": rule.stdin.value,
        "environment": dict(rule.environment),
        "working_directory": rule.working_directory,
        "umask": f"{rule.umask:03o}",
        "input_limit": rule.input_ceiling,
        "output_limit": rule.output_ceiling,
        **_kept_object(rule),
        "justification": rule.justification.value,
        "hidden": rule.hidden,
    }
