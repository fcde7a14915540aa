"""What a principal may run, in words for people and as JSON Schema for programs.

Rule: a listing names no path and no pattern (ATTACKS POL-15); a summary may, it is the operator's.
"""

import json
import shlex
from typing import Final

from rexecd.limits import MAX_SCHEMA, MAX_TEXT
from rexecd.policy.decide import admits, is_among
from rexecd.policy.kinds import Integer, Number
from rexecd.policy.model import Justification, Policy, Rule, Stdin
from rexecd.policy.parameters import Parameter
from rexecd.policy.places import Path
from rexecd.wire.messages import Entry

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
#: Longest line about one parameter, in bytes (PROTOCOL 4).
_LINE: Final = 512
_STDIN: Final = {Stdin.ACCEPT: "read if there is any", Stdin.REQUIRE: "required"}


def entries(policy: Policy, principal: str, address: str, only: tuple[str, ...] = ()) -> tuple[Entry, ...]:
    """Return an entry for every rule the principal may use from there, by name; none for a stranger.

    `only` is what the token is good for. What is hidden is left out; it can be run all the same.
    """
    known = policy.principals.get(principal)
    if known is None:
        return ()
    rules = (known.rules[name] for name in sorted(known.rules) if is_among(name, only))
    return tuple(_entry(rule) for rule in rules if not rule.hidden and admits(known, rule, address))


def _entry(rule: Rule) -> Entry:
    lines = [_describe(parameter) for parameter in rule.parameters.values()]
    if rule.stdin is not Stdin.REFUSE:
        lines.append(f"standard input: {_STDIN[rule.stdin]}")
    if rule.justification is Justification.REQUIRED:
        lines.append("a reason: required (--reason TEXT)")
    return Entry(
        name=rule.name,
        usage=cut(usage(rule), MAX_TEXT),
        summary=cut(rule.summary, MAX_TEXT),
        description=cut(rule.description, MAX_TEXT),
        parameters=tuple(cut(line, _LINE) for line in lines),
        schema=_fitting(json.dumps(schema(rule), separators=(",", ":"))),
    )


def usage(rule: Rule) -> str:
    """Return how a rule is called: `logs <unit> [lines=50] [--follow]`."""
    return " ".join([rule.name, *map(_slot, rule.parameters.values())])


def schema(rule: Rule) -> dict[str, object]:
    """Return the JSON Schema of an object with a property for each parameter.

    `x-rexec` has what a program needs to know besides them.
    """
    parameters = rule.parameters.values()
    return {
        "$schema": _DIALECT,
        "title": rule.name,
        "description": rule.summary,
        "type": "object",
        "properties": {parameter.name: _property(parameter) for parameter in parameters},
        "required": [parameter.name for parameter in parameters if parameter.is_required],
        "additionalProperties": False,
        "x-rexec": {
            "stdin": rule.stdin.value,
            "justification": rule.justification.value,
            "timeout": rule.timeout,
        },
    }


def _property(parameter: Parameter) -> dict[str, object]:
    default = None if isinstance(parameter.kind, Path) else parameter.default
    if default is None:
        return dict(parameter.schema)
    number = {Integer: int, Number: float}.get(type(parameter.kind))
    return {**parameter.schema, "default": default if number is None else number(default)}


def _fitting(text: str) -> str:
    """Return a schema, or nothing for one that a message cannot carry."""
    return text if len(text) <= MAX_SCHEMA else ""


def _slot(parameter: Parameter) -> str:
    if parameter.is_flag:
        return f"[--{parameter.name}]"
    if parameter.repeat is not None:
        return f"<{parameter.name}>..." if parameter.repeat.least else f"[{parameter.name}]..."
    shown = _default(parameter)
    if shown:
        return f"[{parameter.name}={shown}]"
    return f"<{parameter.name}>" if parameter.is_required else f"[{parameter.name}]"


def _default(parameter: Parameter) -> str:
    """Return a default as a caller would write it; nothing for none and for a path."""
    if parameter.default is None or isinstance(parameter.kind, Path):
        return ""
    return shlex.quote(parameter.default)


def _describe(parameter: Parameter) -> str:
    """Return `unit: one of nginx, postgresql (the service)`."""
    name = f"--{parameter.name}" if parameter.is_flag else parameter.name
    default = _default(parameter)
    if default:
        suffix = f", {default} if left out"
    elif parameter.default is not None:  # a path
        suffix = ", or the command's own"
    else:
        suffix = ", or nothing" if parameter.optional else ""
    summary = f" ({parameter.summary})" if parameter.summary else ""
    return f"{name}: {parameter.takes}{suffix}{summary}"


def cut(text: str, most: int) -> str:
    """Return at most `most` bytes of UTF-8 of a text, and never half a character."""
    data = text.encode()
    return text if len(data) <= most else data[: most - 3].decode(errors="ignore") + "..."
