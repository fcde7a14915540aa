"""From what the table of a command has read to a Rule: what its keys have to be to each other."""

import ipaddress
from collections.abc import Mapping as Map
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd.forms import Entries
from rexecd.networks import networks
from rexecd.policy.declare import build_parameter
from rexecd.policy.identity import Accounts, resolve
from rexecd.policy.model import Defaults, Example, Identity, Justification, OnDisconnect, Rule, Stdin
from rexecd.policy.parameters import Parameter, Pass
from rexecd.policy.places import is_clean_path
from rexecd.policy.restrict import build_quota, build_resources, build_sandbox
from rexecd.policy.template import Element, Hole, Template, holes
from rexecd.wire.messages import SignalName
from rexecd.yamltext import Faults, Place, shown, suggest

#: None stands for a parameter with a fault.
_Declared = Map[str, Parameter | None]
#: How a value is passed that has no place among the arguments.
_WITHOUT_HOLE: Final = frozenset({Pass.STDIN, Pass.ENVIRONMENT})


class Host(NamedTuple):
    """What is asked of the machine the policy is for."""

    accounts: Accounts
    defaults: Defaults


def build_rule(name: str, place: Place, entries: Entries, host: Host, faults: Faults) -> Rule | None:
    """Return one command as declared, or None with a fault."""
    parameters = _parameters(entries, faults)
    template: Template | None = entries.get("run")
    if template is not None and parameters is not None:
        _check_holes(template, entries, parameters, faults)
        _check_travel(entries, parameters, faults)
    _check_environment(entries, faults)
    limits = _limits(entries, faults)
    resources = build_resources(entries, parameters or {}, faults)
    quota = build_quota(entries, faults)
    sandbox = build_sandbox(entries, faults)
    identity = _identity(entries, host, faults)
    examples = _examples(name, entries, faults)
    if template is None or parameters is None or any(map(entries.is_faulty, entries.node.entries)):
        return None
    timeout, cut_from = _timeout(entries, host.defaults)
    return Rule(
        name=name,
        place=place,
        summary=entries.get("summary") or "",
        description=entries.get("description").strip(),
        template=template,
        parameters=MappingProxyType({key: value for key, value in parameters.items() if value is not None}),
        stdin=Stdin(entries.get("stdin")),
        timeout=timeout,
        resources=resources,
        quota=quota,
        sandbox=sandbox,
        signals=frozenset(SignalName[signal] for signal in entries.get("signals")),
        on_disconnect=OnDisconnect(entries.get("on_disconnect")),
        environment=MappingProxyType(dict(_named(entries, "environment"))),
        working_directory=entries.get("working_directory"),
        umask=int(entries.get("umask"), 8),
        identity=identity,
        sources=networks(entries.get("from")),
        justification=Justification(entries.get("justification")),
        hidden=entries.get("hidden"),
        output_ceiling=limits.get("output"),
        input_ceiling=limits.get("input"),
        cut_from=cut_from,
        examples=examples,
        silenced=MappingProxyType(dict(_named(entries, "silence"))),
        written=frozenset(entries.node.entries),
    )


def _named(entries: Entries, key: str) -> Map[str, str]:
    found = entries.get(key)
    return {} if found is None else found.values


def _parameters(entries: Entries, faults: Faults) -> _Declared | None:
    """Return every parameter by name; None for one with a fault, so that its hole is not reported too."""
    if not entries.has("parameters"):
        return {}
    found: Entries | None = entries.get("parameters")
    if found is None:
        return None
    declared: dict[str, Parameter | None] = dict.fromkeys(found.node.entries)
    for name, (word, read) in found.values.items():
        declared[name] = build_parameter(name, word, read, faults)
    _check_repetition(found, declared, faults)
    return declared


def _check_repetition(found: Entries, declared: _Declared, faults: Faults) -> None:
    """Add a fault for values behind a repetition: by position it takes all that are left."""
    repetition = ""
    for name, parameter in declared.items():
        if parameter is None or parameter.is_flag:
            continue
        if repetition:
            faults.add(
                found.key_place(name), f"parameter {name!r} stands behind the repetition {repetition!r}"
            )
        if parameter.repeat is not None:
            repetition = name


def _check_holes(template: Template, entries: Entries, parameters: _Declared, faults: Faults) -> None:
    """Add a fault for holes without a parameter, parameters without a hole, and misfits of both."""
    run = entries.place("run")
    used = {hole.name for hole in template.holes}
    for name in sorted(used - parameters.keys()):
        literal = f"as plain text it is written '{{{{{name}}}}}'"
        faults.add(run, f"hole '{{{name}}}' has no parameter{suggest(name, parameters)}; {literal}")
    for name, parameter in parameters.items():
        declared: Entries = entries.get("parameters")
        if name not in used and _needs_hole(name, parameter, declared):
            faults.add(declared.key_place(name), f"parameter {name!r} is not used in 'run'")
        elif name in used and parameter is not None and parameter.passed in _WITHOUT_HOLE:
            faults.add(
                run, f"hole '{{{name}}}' would make an argument of what is passed otherwise; remove it"
            )
    for pieces in template.elements:
        for hole in holes(pieces):
            known = parameters.get(hole.name)
            if known is not None and (complaint := _misfit(hole, pieces, known)):
                faults.add(run, complaint)


def _needs_hole(name: str, parameter: Parameter | None, declared: Entries) -> bool:
    """Return whether a parameter stands in `run`; of a secret with a fault nobody can say."""
    if parameter is not None:
        return parameter.passed not in _WITHOUT_HOLE
    word: str = declared.values.get(name, ("", None))[0]
    return word != "secret"


def _misfit(hole: Hole, pieces: Element, parameter: Parameter) -> str | None:
    """Return why a hole and its parameter do not go together."""
    if parameter.is_flag and len(pieces) > 1:
        return f"flag '{hole}' has to be a whole argument"
    if parameter.repeat is not None and not hole.repeated:
        return f"the hole of repetition {hole.name!r} is written '{{{hole.name}...}}'"
    if hole.repeated and (parameter.repeat is None or len(pieces) > 1):
        whole = "has to be a whole argument" if parameter.repeat else "is no repetition: it needs 'most'"
        return f"hole '{hole}' {whole}"
    if parameter.passed is Pass.DESCRIPTOR and (pieces[-1] != hole or len(holes(pieces)) > 1):
        return f"hole '{hole}' becomes a descriptor: it stands alone, or at the end of its argument"
    if parameter.optional and len(holes(pieces)) > 1:
        return f"optional hole '{hole}' has to be the only hole of its argument"
    return None


def _check_travel(entries: Entries, parameters: _Declared, faults: Faults) -> None:
    """Add a fault where two things want one way to the program."""
    stdin, variables = "", {}
    for name, parameter in parameters.items():
        if parameter is None:
            continue
        at = entries.get("parameters").key_place(name)
        if parameter.passed is Pass.STDIN:
            if stdin or entries.get("stdin") not in (None, Stdin.REFUSE.value):
                faults.add(at, f"standard input has another use already; {name!r} cannot be passed there")
            stdin = name
        elif parameter.passed is Pass.ENVIRONMENT and parameter.variable:
            if parameter.variable in variables or parameter.variable in _named(entries, "environment"):
                faults.add(at, f"variable {parameter.variable!r} is set already")
            variables[parameter.variable] = name


def _check_environment(entries: Entries, faults: Faults) -> None:
    for name, text in _named(entries, "environment").items():
        if name == "PATH" and not all(map(is_clean_path, text.split(":"))):
            # An empty or relative part makes the working directory a place for programs (POL-13).
            faults.add(
                entries.get("environment").place(name), "every part of PATH has to be an absolute path"
            )


def _limits(entries: Entries, faults: Faults) -> Map[str, int]:
    found: Entries | None = entries.get("limits")
    if found is None:
        return {}
    if not found.node.entries:
        faults.add(entries.place("limits"), "this limits nothing; remove it")
    if found.has("input") and entries.get("stdin") == Stdin.REFUSE.value:
        faults.add(found.key_place("input"), "there is no input to limit: 'stdin' is refuse")
    return found.values


def _identity(entries: Entries, host: Host, faults: Faults) -> Identity | None:
    asked = entries.get("run_as")
    if asked is None:  # also where it has a fault, and then there is no rule
        return host.defaults.identity
    return resolve(asked, entries.place("run_as"), host.accounts, faults)


def _timeout(entries: Entries, defaults: Defaults) -> tuple[float, float | None]:
    """Return seconds, never more than the daemon lets any rule run, and what was written if that is more."""
    timeout: float = entries.get("timeout")
    if defaults.max_timeout is None or timeout <= defaults.max_timeout:
        return timeout, None
    return defaults.max_timeout, timeout if entries.has("timeout") else None


def _examples(name: str, entries: Entries, faults: Faults) -> tuple[Example, ...]:
    found = []
    for example, place in entries.items("examples"):
        if any(map(example.is_faulty, example.node.entries)) or not all(
            map(example.has, ("as", "line", "expect"))
        ):
            continue
        if example.get("line").split(None, 1)[:1] not in ([name], [f"'{name}'"], [f'"{name}"']):
            faults.add(example.place("line"), f"the line of an example begins with its command: {name!r}")
        if example.has("from") and not _is_address(example.get("from")):
            faults.add(example.place("from"), f"{shown(example.get('from'))} is no address")
        found.append(
            Example(
                place=place,
                principal=example.get("as"),
                address=example.get("from") or "",
                line=example.get("line"),
                justification=example.get("justification") or "",
                allowed=example.get("expect") == "allow",
            )
        )
    return tuple(found)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
