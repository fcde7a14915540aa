"""What a principal may run, in words for people, cut to what the wire carries.

Rule: a listing names no path and no pattern (ATTACKS POL-15); a summary may, it is the operator's.
"""

import shlex

from rexecd.limits import MAX_PARAMETERS, MAX_TEXT
from rexecd.policy.model import Policy, Rule, Stdin
from rexecd.policy.parameters import Parameter, Path
from rexecd.wire.messages import Entry

#: Longest line about one parameter, in bytes (PROTOCOL 4).
_LINE = 512
_STDIN = {Stdin.ACCEPT: "read if there is any", Stdin.REQUIRE: "required"}


def entries(policy: Policy, principal: str) -> tuple[Entry, ...]:
    """Return an entry for every rule the principal may use, by name; none for a stranger."""
    known = policy.principals.get(principal)
    rules = {} if known is None else known.rules
    return tuple(_entry(rules[name]) for name in sorted(rules))


def _entry(rule: Rule) -> Entry:
    lines = [_describe(parameter) for parameter in rule.parameters.values()]
    if rule.stdin is not Stdin.REFUSE:
        lines.append(f"standard input: {_STDIN[rule.stdin]}")
    return Entry(
        name=rule.name,
        usage=cut(usage(rule), MAX_TEXT),
        summary=cut(rule.summary, MAX_TEXT),
        description=cut(rule.description, MAX_TEXT),
        parameters=tuple(cut(line, _LINE) for line in lines[:MAX_PARAMETERS]),
    )


def usage(rule: Rule) -> str:
    """Return how a rule is called: `logs <unit> [lines=50] [--follow]`."""
    return " ".join([rule.name, *map(_slot, rule.parameters.values())])


def _slot(parameter: Parameter) -> str:
    if parameter.is_flag:
        return f"[--{parameter.name}]"
    if parameter.default is None:
        return f"<{parameter.name}>"
    shown = _default(parameter)
    return f"[{parameter.name}={shown}]" if shown else f"[{parameter.name}]"


def _default(parameter: Parameter) -> str:
    """Return a default as a caller would write it; nothing for none and for a path."""
    if parameter.default is None or isinstance(parameter.kind, Path):
        return ""
    return shlex.quote(parameter.default)


def _describe(parameter: Parameter) -> str:
    """Return `unit: one of nginx, postgresql (the service)`."""
    name = f"--{parameter.name}" if parameter.is_flag else parameter.name
    default = _default(parameter)
    suffix = f", {default} if left out" if default else ""
    summary = f" ({parameter.summary})" if parameter.summary else ""
    return f"{name}: {parameter.kind.takes}{suffix}{summary}"


def cut(text: str, most: int) -> str:
    """Return at most `most` bytes of UTF-8 of a text, and never half a character."""
    data = text.encode()
    return text if len(data) <= most else data[: most - 3].decode(errors="ignore") + "..."
