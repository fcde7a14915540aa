"""What is legal in a policy and still unwise: warnings with codes that stay what they are.

Rule 1: this is pure. What the machine says (files, tokens) is handed in as facts.
Rule 2: a code is never used for anything else, and a code that goes is not given away again.
Rule 3: a finding says what to do. What cannot be put right in the policy is not reported.
To add one: a row in CODES, a function that yields it (here or in the `*_lint.py` of its theme), a row in
docs/LINT.md.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd.policy.calls import Call, calls, head, literal
from rexecd.policy.environment_lint import about_environment, searched
from rexecd.policy.grants_lint import Remark, about_reach, about_roles, about_tokens, alike
from rexecd.policy.limits_lint import about_limits, reached
from rexecd.policy.model import Policy, Rule
from rexecd.policy.openness import is_open
from rexecd.policy.parameters import Pass
from rexecd.policy.paths_lint import about_paths, about_texts, absent
from rexecd.policy.places import Path
from rexecd.policy.programs_lint import about_calls
from rexecd.policy.shell_lint import about_characters
from rexecd.policy.template import holes
from rexecd.yamltext import Place, spell_duration, suggest


class Code(NamedTuple):
    """What a code stands for."""

    name: str
    meaning: str


class Finding(NamedTuple):
    """One thing to look at."""

    place: Place
    code: str
    message: str


class Facts(NamedTuple):
    """What the machine says. `programs_of`, `scripts_of` and `directories_of` name what to ask about."""

    #: What is wrong with each program and script, by path; None for nothing.
    programs: Mapping[str, str | None]
    #: Principals that have a valid token; None if that is not known.
    token_principals: frozenset[str] | None
    #: The last line of each file that may have been cut short without anybody noticing.
    open_ended: tuple[Place, ...]
    #: Directories, and paths of sandboxes, that are not there.
    missing: frozenset[str]
    #: Directories in which everybody can make names, or on the way to which.
    shared: frozenset[str]


#: The closed list.
CODES: Final[Mapping[str, Code]] = MappingProxyType(
    {
        "RX100": Code("callers-program", "a caller's value or input is a program, or a part of one"),
        "RX101": Code("shell", "the program is a shell"),
        "RX102": Code("interpreter", "the program is an interpreter"),
        "RX103": Code("editor", "the program is an editor or pager"),
        "RX104": Code("wrapper", "the program starts another one that its arguments name"),
        "RX105": Code("free-tool", "free text reaches a program that starts or writes what it is told to"),
        "RX106": Code("free-option", "a value may become any option of a program that is on the list"),
        "RX107": Code("program-file", "the program is missing, is none, or can be changed by others"),
        "RX109": Code("privilege", "the program starts another one with other rights"),
        "RX110": Code(
            "free-manager", "an open value says what is installed, started or changed on the system"
        ),
        "RX111": Code("shell-character", "an argument means something to a shell, and no shell reads it"),
        "RX201": Code("wide-path", "a path may be anywhere, or where the system keeps its own"),
        "RX202": Code("leading-dash", "an open value may become any option of the program"),
        "RX203": Code("shared-path", "a path is looked up where other users can put links"),
        "RX204": Code("lost-value", "a value may be left out while the option in front of it stays"),
        "RX205": Code("secret-environment", "a secret is passed in the environment"),
        "RX206": Code("missing-root", "nothing can be below a directory that a path has to be below"),
        "RX207": Code("late-required", "a parameter that is required stands behind one that is not"),
        "RX208": Code("text-path", "a text or pattern names any file, or leads out of its directory"),
        "RX301": Code("no-timeout", "the rule has no timeout of its own"),
        "RX302": Code("open-root", "a rule that runs as root takes an open value"),
        "RX303": Code("unreachable", "nobody can run the rule"),
        "RX305": Code("environment", "a variable makes programs load or start something"),
        "RX306": Code("missing-directory", "the directory a command starts in is not there"),
        "RX307": Code("open-umask", "new files may be changed by others"),
        "RX308": Code("cut-timeout", "the timeout is longer than the settings let any rule run"),
        "RX309": Code("little-memory", "the limit of memory is lower than most programs need to start"),
        "RX310": Code(
            "sandbox-write", "a sandbox lets a command write to its program, or to rexecd's own files"
        ),
        "RX311": Code("sandbox-closed", "a sandbox keeps a command from what the rule itself names"),
        "RX312": Code("sandbox-missing", "a path that a sandbox opens is not there"),
        "RX401": Code("unheld-role", "nobody holds the role"),
        "RX402": Code("no-token", "the principal has no valid token"),
        "RX403": Code("no-principal", "a token is valid for a principal that the policy does not have"),
        "RX404": Code("alike", "two commands have names that are easily taken for one another"),
        "RX406": Code("idle-term", "a term of a role grants or takes nothing"),
        "RX501": Code("open-ended", "a policy file does not say where it ends"),
        "RX901": Code("idle-silence", "a silenced code finds nothing at this rule"),
        "RX902": Code("unknown-silence", "a silenced code does not exist"),
    }
)

_ENDLESS: Final = "begin the file with '---' and end it with '...', so that one cut short cannot load"


def lint(policy: Policy, facts: Facts) -> tuple[Finding, ...]:
    """Return what is unwise, sorted by place, without what its rule silences."""
    found = {Finding(place, "RX501", _ENDLESS) for place in facts.open_ended}
    found |= {Finding(*placed) for placed in about_roles(policy)}
    if facts.token_principals is not None:
        found |= {Finding(*placed) for placed in about_tokens(policy, facts.token_principals)}
    names = alike(policy)
    for rule in policy.rules.values():
        remarks = {
            *about_calls(rule, facts.programs),
            *about_characters(rule),
            *about_paths(rule, facts.missing, facts.shared),
            *about_texts(rule),
            *_about_secrets(rule),
            *_about_order(rule),
            *_about_options(rule),
            *about_environment(rule, facts.shared),
            *_about_settings(rule, facts),
            *about_limits(rule, facts.missing),
            *about_reach(rule, policy),
            *names[rule.name],
        }
        found |= {Finding(rule.place, *remark) for remark in _unsilenced(rule, remarks)}
    return tuple(sorted(found))


def programs_of(policy: Policy) -> frozenset[str]:
    """Return the programs rules start, themselves or through another one, as far as they are absolute."""
    return frozenset(call.path for call in _calls(policy) if call.here and call.path.startswith("/"))


def scripts_of(policy: Policy) -> frozenset[str]:
    """Return the files that programs are told to run, as far as they are absolute and no programs."""
    named = frozenset[str]().union(*(call.files for call in _calls(policy) if call.here))
    return named - programs_of(policy)


def _calls(policy: Policy) -> Iterator[Call]:
    return (call for rule in policy.rules.values() for call in calls(rule.template, rule.parameters))


def directories_of(policy: Policy) -> frozenset[str]:
    """Return what rules name besides programs.

    That is where they start, their paths' roots, what sandboxes open, and where variables lead programs.
    """
    kinds = [parameter.kind for rule in policy.rules.values() for parameter in rule.parameters.values()]
    roots = frozenset(root for kind in kinds if isinstance(kind, Path) for root in kind.roots)
    sandboxes = [rule.sandbox for rule in policy.rules.values() if rule.sandbox is not None]
    opened = frozenset(path for sandbox in sandboxes for path in reached(sandbox))
    named = frozenset[str]().union(*map(searched, policy.rules.values()))
    return roots.union(opened, named, (rule.working_directory for rule in policy.rules.values()))


def _unsilenced(rule: Rule, remarks: set[Remark]) -> Iterator[Remark]:
    yield from (remark for remark in remarks if remark[0] not in rule.silenced)
    for code in rule.silenced:
        if code not in CODES:
            yield "RX902", f"{code!r} is no code of lint{suggest(code, CODES)}; correct it in 'silence'"
        elif not any(code == found for found, _ in remarks):
            yield "RX901", f"{code!r} is silenced and finds nothing here; remove it from 'silence'"


# RX2xx: parameters. RX201, RX203, RX206 and RX208 are in `paths_lint.py`, RX202 and RX1xx in
# `programs_lint.py`.


def _about_secrets(rule: Rule) -> Iterator[Remark]:
    for parameter in rule.parameters.values():
        if parameter.is_secret and parameter.passed is Pass.ENVIRONMENT:
            text = f"secret {parameter.name!r} is in the environment, which programs hand on and /proc shows"
            yield "RX205", f"{text}; use 'pass: stdin' or 'pass: descriptor'"


def _about_order(rule: Rule) -> Iterator[Remark]:
    earlier = ""
    for parameter in rule.parameters.values():
        if parameter.is_required and earlier:
            text = f"parameter {parameter.name!r} is required, and a first value goes to {earlier!r}"
            yield "RX207", f"{text}, which is not; declare {parameter.name!r} before it"
        elif not parameter.is_required and not parameter.is_flag:
            earlier = earlier or parameter.name


def _about_options(rule: Rule) -> Iterator[Remark]:
    elements = rule.template.elements
    for before, pieces, after in zip(elements, elements[1:], (*elements[2:], ("",)), strict=False):
        option, inside = literal(before) or "", [rule.parameters[hole.name] for hole in holes(pieces)]
        if len(pieces) == 1 and inside and option.strip("-") and option.startswith("-") and "=" not in option:
            name = inside[0].name
            # Whether an option takes a value shows in its name, or in another option behind it.
            is_its = option.lstrip("-").replace("-", "_") == name or head(after).startswith("-")
            may_vanish = inside[0].default is None and not inside[0].is_required and not inside[0].is_flag
            if is_its and may_vanish:
                text = f"without parameter {name!r} the option {option!r} takes what comes next"
                yield "RX204", f"{text}; write '{option}={{{name}}}' as one argument, or give it a default"


# RX3xx: rules. RX303 and RX4xx are in `grants_lint.py`, RX305 in `environment_lint.py`, RX308 to RX312 in
# `limits_lint.py`, RX111 in `shell_lint.py`.

#: Writing for group and others.
_WRITING: Final = 0o022


def _about_settings(rule: Rule, facts: Facts) -> Iterator[Remark]:
    if "timeout" not in rule.written:
        limit = spell_duration(rule.timeout)
        yield "RX301", f"no 'timeout', so it is ended after {limit}; write how long it may take"
    if rule.working_directory in facts.missing or "*" in rule.working_directory:
        text = f"it starts in {rule.working_directory!r}, {absent(rule.working_directory)}"
        yield "RX306", f"{text} or correct 'working_directory'"
    if rule.umask & _WRITING != _WRITING:
        text = f"with umask {rule.umask:03o} group or others can change its new files"
        yield "RX307", f"{text}; write '022', or '027' to let nobody else read them"
    if rule.identity is not None and rule.identity.uid == 0:
        for parameter in filter(is_open, rule.parameters.values()):
            text = f"runs as root, and parameter {parameter.name!r} takes nearly anything"
            yield "RX302", f"{text}; use a choice, a narrower pattern or another user"
