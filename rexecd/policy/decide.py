"""One decision: a caller's line in, an Invocation out, or Refused.

Rule 1: no I/O. What a path resolves to is asked of the function handed in.
Rule 2: sizes are checked before anything is split or matched: `shlex` is quadratic.
Rule 3: unknown and forbidden commands get the same answer; the reason differs, for the trail.
Rule 4: no text and no reason repeats a value the caller sent.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd.errors import Code, Refused
from rexecd.limits import MAX_LINE, MAX_WORDS
from rexecd.policy.model import Invocation, Policy, Rule, Stdin
from rexecd.policy.parameters import Parameter, Resolve, listed
from rexecd.wire.messages import Offer

#: The environment every command starts from (ATTACKS POL-14): no pager waits for a key.
BASE_ENVIRONMENT: Final = MappingProxyType(
    {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/",
        "TERM": "dumb",
        "PAGER": "cat",
        "SYSTEMD_PAGER": "cat",
        "GIT_PAGER": "cat",
        "LESSSECURE": "1",
    }
)

_NO_SUCH_COMMAND: Final = "no such command, or not for you: see --list"
_UNSPLIT: Final = {
    "No closing quotation": "a quote is not closed",
    "No escaped character": "the line ends with a backslash",
}
#: Whether the command gets input; a pair that is not here is refused.
_INPUT: Final = {
    (Stdin.REFUSE, Offer.NONE): False,
    (Stdin.REFUSE, Offer.OPTIONAL): False,
    (Stdin.ACCEPT, Offer.NONE): False,
    (Stdin.ACCEPT, Offer.OPTIONAL): True,
    (Stdin.ACCEPT, Offer.ESSENTIAL): True,
    (Stdin.REQUIRE, Offer.OPTIONAL): True,
    (Stdin.REQUIRE, Offer.ESSENTIAL): True,
}


class Request(NamedTuple):
    """Who asks for what. The line is the caller's; the rest is what the monitor knows."""

    principal: str
    connection_id: str
    request_id: str
    address: str
    line: str
    offer: Offer


def decide(policy: Policy, request: Request, *, resolve: Resolve) -> Invocation:
    """Return the permission to run what was asked for; raise Refused.

    `resolve` turns a path into one without links and `..`: `os.path.realpath`.
    """
    words = split(request.line)
    rule = _permitted(policy, request.principal, words[0])
    values = bind(rule.parameters, words[1:], resolve=resolve)
    argv = rule.template.fill(rule.parameters, values)
    return Invocation(
        rule=rule.name,
        place=str(rule.place),
        argv=argv,
        environment=_environment(rule, request),
        working_directory=rule.working_directory,
        timeout=rule.timeout,
        takes_input=_takes_input(rule, request.offer),
        output_ceiling=rule.output_ceiling,
    )


def split(line: str) -> list[str]:
    """Return the words of a caller's line, at least one; raise Refused."""
    try:
        size = len(line.encode())
    except UnicodeEncodeError:
        raise Refused(Code.BAD_LINE, "the line is not valid UTF-8") from None
    if size > MAX_LINE:
        raise Refused(Code.BAD_LINE, f"the line has more than {MAX_LINE} bytes")
    if "\0" in line:
        raise Refused(Code.BAD_LINE, "the line holds a NUL character")
    try:
        words = shlex.split(line)
    except ValueError as error:
        text = _UNSPLIT.get(str(error), "the line cannot be split: check quotes and backslashes")
        raise Refused(Code.BAD_LINE, text) from None
    if not words:
        raise Refused(Code.BAD_LINE, "the line is empty")
    if len(words) > MAX_WORDS:
        raise Refused(Code.BAD_LINE, f"the line has more than {MAX_WORDS} words")
    return words


def _permitted(policy: Policy, principal: str, name: str) -> Rule:
    """Return the rule of that name if the principal may use it; raise Refused."""
    known = policy.principals.get(principal)
    rule = None if known is None else known.rules.get(name)
    if rule is not None:
        return rule
    reason = f"no role permits {name!r}" if name in policy.rules else "no such command"
    if known is None:
        reason = "the policy has no such principal"
    raise Refused(Code.NOT_PERMITTED, _NO_SUCH_COMMAND, reason=reason)


def _takes_input(rule: Rule, offer: Offer) -> bool:
    try:
        return _INPUT[rule.stdin, offer]
    except KeyError:
        wants = "requires input" if rule.stdin is Stdin.REQUIRE else "takes no input"
        raise Refused(Code.BAD_INPUT, f"this command {wants}") from None


def _environment(rule: Rule, request: Request) -> Mapping[str, str]:
    """Return all of the command's environment; nothing of the caller's line gets into it."""
    about = {
        "REXEC_PRINCIPAL": request.principal,
        "REXEC_COMMAND": rule.name,
        "REXEC_REQUEST_ID": request.request_id,
        "REXEC_CONNECTION_ID": request.connection_id,
        "REXEC_ADDRESS": request.address,
    }
    return MappingProxyType({**BASE_ENVIRONMENT, **rule.environment, **about})


def bind(parameters: Mapping[str, Parameter], words: Sequence[str], *, resolve: Resolve) -> dict[str, str]:
    """Return the checked text of every parameter, of flags only those given; raise Refused."""
    given, positional = _named(parameters, words)
    for parameter in parameters.values():
        if positional and not parameter.is_flag and parameter.name not in given:
            given[parameter.name] = positional.pop(0)
    if positional:
        raise Refused(Code.BAD_ARGUMENT, f"too many arguments: this command takes {_all(parameters)}")
    return {
        name: value if parameter.is_flag else parameter.check(value, resolve)
        for name, parameter in parameters.items()
        if (value := _value(parameter, given)) is not None
    }


def _named(parameters: Mapping[str, Parameter], words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the values given as `--name value` or `--name=value`, and the other words."""
    given: dict[str, str] = {}
    positional: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            positional.extend(rest)
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            parameter = _declared(parameters, name)
            if name in given:
                raise Refused(Code.BAD_ARGUMENT, f"parameter {name!r} is given more than once")
            if parameter.is_flag and equals:
                raise Refused(Code.BAD_ARGUMENT, f"parameter {name!r} takes {parameter.kind.takes}")
            given[name] = value if equals or parameter.is_flag else _following(rest, parameter)
        else:
            positional.append(word)
    return given, positional


def _declared(parameters: Mapping[str, Parameter], name: str) -> Parameter:
    try:
        return parameters[name]
    except KeyError:
        text = f"no such parameter: this command takes {_all(parameters)}"
        raise Refused(Code.BAD_ARGUMENT, text, reason="an undeclared parameter") from None


def _following(rest: Iterator[str], parameter: Parameter) -> str:
    value = next(rest, None)
    if value is None:
        raise _missing(parameter, "has no value")
    return value


def _value(parameter: Parameter, given: Mapping[str, str]) -> str | None:
    """Return what is to be checked: given, or the default; None for a flag that is not given."""
    value = given.get(parameter.name, parameter.default)
    if value is None and not parameter.is_flag:
        raise _missing(parameter, "is missing")
    return value


def _missing(parameter: Parameter, what: str) -> Refused:
    return Refused(Code.BAD_ARGUMENT, f"parameter {parameter.name!r} {what}; it takes {parameter.kind.takes}")


def _all(parameters: Mapping[str, Parameter]) -> str:
    return listed(parameters) or "no arguments"
