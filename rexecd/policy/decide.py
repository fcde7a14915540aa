"""One decision: a caller's line in, an Invocation out, or Refused.

Rule 1: no I/O. What a path resolves to is asked of the function handed in.
Rule 2: sizes are checked before anything is split or matched: `shlex` is quadratic.
Rule 3: unknown and forbidden commands get the same answer; the reason differs, for the trail.
Rule 4: no text and no reason repeats a value the caller sent.
Rule 5: every check says what it found to a `Trace`; `explain` listens, the monitor does not.
"""

import re
import shlex
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd.errors import Code, Refused
from rexecd.forms import is_printable
from rexecd.limits import MAX_JUSTIFICATION, MAX_LINE, MAX_WORDS
from rexecd.networks import Network, is_within
from rexecd.policy.bind import UNHEARD, Trace, bind
from rexecd.policy.kinds import Resolve
from rexecd.policy.model import (
    Invocation,
    Justification,
    PassedFile,
    PassedText,
    Policy,
    Principal,
    Rule,
    Stdin,
)
from rexecd.policy.parameters import Pass
from rexecd.policy.template import Filled, Values
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

#: Hangul fillers, and the blank pattern of Braille.
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_NO_SUCH_COMMAND: Final = "no such command, or not for you: see --list"
_UNSPLIT: Final = {
    "No closing quotation": "a quote is not closed",
    "No escaped character": "the line ends with a backslash",
}
#: A line whose words are what stands between single spaces: shlex has nothing to say of it.
_PLAIN: Final = re.compile(r"[\w@%+=:,./-]+(?: [\w@%+=:,./-]+)*", re.ASCII).fullmatch
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
    """Who asks for what. Line and justification are the caller's; the rest is what the monitor knows."""

    principal: str
    connection_id: str
    request_id: str
    address: str
    line: str
    offer: Offer
    justification: str = ""
    #: Seconds the caller wants it to run at most; None: as long as it may.
    timeout: float | None = None
    #: What its token is good for; empty for all its principal may run.
    only: tuple[str, ...] = ()
    #: Whether it showed a client certificate when it came; whether one is required may have changed since.
    is_certified: bool = True


def decide(policy: Policy, request: Request, *, resolve: Resolve, trace: Trace = UNHEARD) -> Invocation:
    """Return the permission to run what was asked for; raise Refused.

    `resolve` turns a path into one without links and `..`: `files.Resolver`, a new one each time.
    """
    trace.begin("line")
    words = split(request.line)
    trace.passed(lambda: f"{len(words)} word{'s' if len(words) > 1 else ''}")
    rule = _permitted(policy, request, words[0], trace)
    _check_justification(rule, request, trace)
    values = bind(rule.parameters, words[1:], resolve=resolve, trace=trace)
    trace.begin("arguments")
    filled = rule.template.fill(rule.parameters, values)
    trace.passed(lambda: f"{len(filled.argv)}, the program among them")
    trace.begin("input")
    takes_input = _takes_input(rule, request.offer)
    trace.passed(lambda: "read" if takes_input else "none")
    return Invocation(
        rule=rule.name,
        place=str(rule.place),
        argv=filled.argv,
        environment=_environment(rule, request, values),
        working_directory=rule.working_directory,
        umask=rule.umask,
        identity=rule.identity,
        timeout=rule.timeout if request.timeout is None else min(rule.timeout, request.timeout),
        takes_input=takes_input,
        output_ceiling=rule.output_ceiling,
        input_ceiling=rule.input_ceiling,
        passed=_passed(rule, filled, values),
        resources=rule.resources,
        quota=rule.quota,
        sandbox=rule.sandbox,
        signals=rule.signals,
        on_disconnect=rule.on_disconnect,
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
        words = line.split(" ") if _PLAIN(line) else shlex.split(line)
    except ValueError as error:
        text = _UNSPLIT.get(str(error), "the line cannot be split: check quotes and backslashes")
        raise Refused(Code.BAD_LINE, text) from None
    if not words:
        raise Refused(Code.BAD_LINE, "the line is empty")
    if len(words) > MAX_WORDS:
        raise Refused(Code.BAD_LINE, f"the line has more than {MAX_WORDS} words")
    return words


def named(policy: Policy, line: str) -> Rule | None:
    """Return the rule a caller's line names, whoever may use it; None where it names none of the policy."""
    try:
        return policy.rules.get(split(line)[0])
    except Refused:
        return None


def admits(principal: Principal, rule: Rule, address: str) -> bool:
    """Return whether both `from` of a principal and of one of its rules admit an address."""
    return is_from(address, principal.sources) and is_from(address, rule.sources)


def is_among(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether one of the patterns stands for a command, as in a role: all do where there are none."""
    return not patterns or any(
        pattern in ("*", name) or (pattern.endswith(".*") and name.startswith(pattern[:-1]))
        for pattern in patterns
    )


def is_from(address: str, sources: tuple[Network, ...]) -> bool:
    """Return whether `sources` admit an address: all do where there are none."""
    return not sources or is_within(address, sources)


def enter(policy: Policy, name: str, address: str, certified: str | None) -> None:
    """Raise Refused unless somebody with a good token may have a session from there.

    `certified` is whom the client certificate names, None where there is none: one that is shown has to name
    the principal, whether it is required or not. The caller hears the same for every kind of wrong.
    """
    principal = policy.principals.get(name)
    if principal is None:
        raise _no_entry(f"the policy has no principal {name!r}")
    if not is_from(address, principal.sources):
        raise _no_entry(f"{name!r} may not come from this address, {_only(principal.sources)}")
    if certified is None and principal.requires_certificate:
        raise _no_entry(f"{name!r} has to show a client certificate")
    if certified is not None and certified != name:
        raise _no_entry(f"the client certificate does not name {name!r}")


def _no_entry(reason: str) -> Refused:
    return Refused(Code.AUTHENTICATION_FAILED, "authentication failed", reason=reason)


def _permitted(policy: Policy, request: Request, name: str, trace: Trace) -> Rule:
    """Return the rule of that name if the principal may use it from there; raise Refused."""
    trace.begin("principal")
    principal = policy.principals.get(request.principal)
    if principal is None:
        raise _not_permitted("the policy has no such principal")
    trace.passed(lambda: f"{principal.name} ({principal.place})")
    trace.begin("principal's address")
    if not is_from(request.address, principal.sources):
        raise _not_permitted(f"the principal may not come from this address, {_only(principal.sources)}")
    trace.passed(lambda: _where(request.address, principal.sources))
    if principal.requires_certificate and not request.is_certified:
        raise _not_permitted("the principal has to show a client certificate, by now")
    trace.begin("command")
    rule = principal.rules.get(name)
    if rule is None:
        raise _not_permitted(f"no role permits {name!r}" if name in policy.rules else "no such command")
    if not is_among(name, request.only):
        raise _not_permitted(f"the token is good for {', '.join(request.only)} only")
    trace.passed(lambda: f"{name} ({rule.place}), allowed by {granted_by(policy, principal, name)}")
    trace.begin("command's address")
    if not is_from(request.address, rule.sources):
        raise _not_permitted(f"the command may not be run from this address, {_only(rule.sources)}")
    trace.passed(lambda: _where(request.address, rule.sources))
    return rule


def _not_permitted(reason: str) -> Refused:
    return Refused(Code.NOT_PERMITTED, _NO_SUCH_COMMAND, reason=reason)


def _only(sources: tuple[Network, ...]) -> str:
    return f"only from {', '.join(map(str, sources))}"


def _where(address: str, sources: tuple[Network, ...]) -> str:
    return f"{address} is in {', '.join(map(str, sources))}" if sources else "any"


def granted_by(policy: Policy, principal: Principal, name: str) -> str:
    """Return which roles of a principal allow a command, by which words: for people."""
    return ", ".join(
        f"role {role.name} with {term.pattern!r} ({term.place})"
        for role in (policy.roles[held] for held in principal.roles)
        for term in role.allow
        if name in term.commands
    )


def _check_justification(rule: Rule, request: Request, trace: Trace) -> None:
    """Raise Refused for a reason that is missing, too long, or could forge what people read."""
    trace.begin("justification")
    text = request.justification
    if len(text.encode(errors="replace")) > MAX_JUSTIFICATION or not is_printable(text):
        what = f"a reason has at most {MAX_JUSTIFICATION} bytes and no control characters"
        raise Refused(Code.BAD_LINE, what)
    if rule.justification is Justification.REQUIRED and not any(map(_is_visible, text)):
        raise Refused(Code.JUSTIFICATION_REQUIRED, "this command needs a reason why it is run")
    trace.passed(lambda: "given" if text else "not required")


def _is_visible(character: str) -> bool:
    """Return whether a character shows something: fillers are letters to Unicode, and show nothing."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _FILLERS


def _takes_input(rule: Rule, offer: Offer) -> bool:
    try:
        return _INPUT[rule.stdin, offer]
    except KeyError:
        wants = "requires input" if rule.stdin is Stdin.REQUIRE else "takes no input"
        raise Refused(Code.BAD_INPUT, f"this command {wants}") from None


def _environment(rule: Rule, request: Request, values: Values) -> Mapping[str, str]:
    """Return all of the command's environment; of the caller's line only secrets get into it."""
    about = {
        "REXEC_PRINCIPAL": request.principal,
        "REXEC_COMMAND": rule.name,
        "REXEC_REQUEST_ID": request.request_id,
        "REXEC_CONNECTION_ID": request.connection_id,
        "REXEC_ADDRESS": request.address,
    }
    secrets = {
        parameter.variable: values[name][0]
        for name, parameter in rule.parameters.items()
        if parameter.passed is Pass.ENVIRONMENT and name in values
    }
    return MappingProxyType({**BASE_ENVIRONMENT, **rule.environment, **secrets, **about})


def _passed(rule: Rule, filled: Filled, values: Values) -> tuple[PassedText | PassedFile, ...]:
    """Return what the program gets through descriptors."""
    passed: list[PassedText | PassedFile] = []
    for index, name in filled.descriptors.items():
        if rule.parameters[name].is_secret:
            passed.append(PassedText(index, values[name][0].encode()))
        else:
            passed.append(PassedFile(index, values[name][0], name))
    passed += [
        PassedText(None, values[name][0].encode())
        for name, parameter in rule.parameters.items()
        if parameter.passed is Pass.STDIN and name in values
    ]
    return tuple(passed)
