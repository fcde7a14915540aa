"""What is legal in a policy and still unwise: warnings with codes that stay what they are.

Rule 1: this is pure. What the machine says (files, tokens) is handed in as facts.
Rule 2: a code is never used for anything else, and a code that goes is not given away again.
Rule 3: a finding says what to do. What cannot be put right in the policy is not reported.
To add one: a row in CODES, a function that yields it, a row in docs/LINT.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd.policy.grants_lint import Remark, about_reach, about_roles, about_tokens, alike
from rexecd.policy.kinds import Matching, Text, Word
from rexecd.policy.limits_lint import about_limits, reached
from rexecd.policy.model import Policy, Rule, Stdin
from rexecd.policy.parameters import Parameter, Pass
from rexecd.policy.places import Path
from rexecd.policy.programs import VARIABLES, Call, Program, Sort, calls, head, literal
from rexecd.policy.shell_lint import about_characters
from rexecd.policy.template import Element, Hole, holes
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
    """What the machine says. `programs_of` and `directories_of` name what to ask about."""

    #: What is wrong with each program, by path; None for nothing.
    programs: Mapping[str, str | None]
    #: Principals that have a valid token; None if that is not known.
    token_principals: frozenset[str] | None
    #: The last line of each file that may have been cut short without anybody noticing.
    open_ended: tuple[Place, ...]
    #: Directories, and paths of sandboxes, that are not there.
    missing: frozenset[str]


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
            *_about_calls(rule, facts),
            *about_characters(rule),
            *_about_parameters(rule, facts),
            *_about_order(rule),
            *_about_options(rule),
            *_about_environment(rule),
            *_about_settings(rule, facts),
            *about_limits(rule, facts.missing),
            *about_reach(rule, policy),
            *names[rule.name],
        }
        found |= {Finding(rule.place, *remark) for remark in _unsilenced(rule, remarks)}
    return tuple(sorted(found))


def programs_of(policy: Policy) -> frozenset[str]:
    """Return the programs rules start, themselves or through another one, as far as they are absolute."""
    called = (call.path for rule in policy.rules.values() for call in calls(rule.template, rule.parameters))
    return frozenset(path for path in called if path.startswith("/"))


def directories_of(policy: Policy) -> frozenset[str]:
    """Return what rules name besides programs: where they start, their paths' roots, what sandboxes open."""
    kinds = [parameter.kind for rule in policy.rules.values() for parameter in rule.parameters.values()]
    roots = frozenset(root for kind in kinds if isinstance(kind, Path) for root in kind.roots)
    sandboxes = [rule.sandbox for rule in policy.rules.values() if rule.sandbox is not None]
    opened = frozenset(path for sandbox in sandboxes for path in reached(sandbox))
    return roots.union(opened, (rule.working_directory for rule in policy.rules.values()))


def _unsilenced(rule: Rule, remarks: set[Remark]) -> Iterator[Remark]:
    yield from (remark for remark in remarks if remark[0] not in rule.silenced)
    for code in rule.silenced:
        if code not in CODES:
            yield "RX902", f"{code!r} is no code of lint{suggest(code, CODES)}; correct it in 'silence'"
        elif not any(code == found for found, _ in remarks):
            yield "RX901", f"{code!r} is silenced and finds nothing here; remove it from 'silence'"


# Types that take more than the operator can have thought of.

#: Odd enough that no pattern with a purpose matches one of them.
_ODD: Final = ("~", "; ~#", "; ~/# $(x) `y` & | * ?")
_OPTIONS: Final = ("-x", "-oX", "--exec", "--output=x", "-oProxyCommand=x")


def _is_free(parameter: Parameter) -> bool:
    """Return whether it takes any text: a text, or a pattern that matches everything."""
    kind = parameter.kind
    return isinstance(kind, Text) or (isinstance(kind, Matching) and any(map(kind.pattern.is_match, _ODD)))


def _is_open(parameter: Parameter) -> bool:
    """Return whether it takes any text or any word."""
    return isinstance(parameter.kind, Word) or _is_free(parameter)


def _is_dashed(parameter: Parameter) -> bool:
    """Return whether a value can be an option nobody thought of."""
    kind = parameter.kind
    is_narrow = isinstance(kind, Matching) and not any(map(kind.pattern.is_match, _OPTIONS))
    return parameter.leading_dash and isinstance(kind, Text | Word | Matching) and not is_narrow


# RX1xx: programs.

_SORTS: Final = {
    Sort.SHELL: ("RX101", "name the program it is for, or a script with its own '#!' line"),
    Sort.INTERPRETER: ("RX102", "name a script with its own '#!' line that only root can change"),
    Sort.EDITOR: ("RX103", "name a program that shows or changes one thing, such as cat"),
    Sort.WRAPPER: ("RX104", "name that program; 'timeout', 'limits' and 'environment' are keys of a rule"),
    Sort.PRIVILEGE: ("RX109", "name that program, and say 'run_as'"),
}


def _parameters(element: Element, rule: Rule) -> list[Parameter]:
    return [rule.parameters[hole.name] for hole in holes(element)]


def _about_calls(rule: Rule, facts: Facts) -> Iterator[Remark]:
    for call in calls(rule.template, rule.parameters):
        if complaint := facts.programs.get(call.path):
            yield "RX107", complaint
        if call.program is not None and call.program.sort in _SORTS:
            code, remedy = _SORTS[call.program.sort]
            yield code, f"{call.path!r} {call.program.why}; {remedy}"
        yield from _about_scripts(rule, call)
        yield from _about_arguments(rule, call)


def _about_scripts(rule: Rule, call: Call) -> Iterator[Remark]:
    if call.bare and rule.stdin is not Stdin.REFUSE:
        yield "RX100", f"{call.path!r} runs what callers send as standard input; name a script"
    for parameter in (parameter for element in call.scripts for parameter in _parameters(element, rule)):
        # What a choice or a number can say in a script the operator can foresee; a path holds quotes.
        if isinstance(parameter.kind, Text | Matching | Word | Path):
            text = f"parameter {parameter.name!r} is a program for {call.path!r}, or part of one"
            yield "RX100", f"{text}; write the program yourself, and put the hole behind it as an argument"


def _about_arguments(rule: Rule, call: Call) -> Iterator[Remark]:
    is_ended, before = False, ""
    for element in call.arguments:
        option = head(element).partition("=")[0] or before
        is_first = isinstance(element[0], Hole)
        for parameter in _parameters(element, rule):
            if is_first and not is_ended and _is_dashed(parameter):
                known = f", which {call.program.why}" if call.program else ""
                text = f"parameter {parameter.name!r} may become any option of {call.path!r}{known}"
                remedy = "put '--' in front of it, or list what is meant as a choice"
                yield "RX106" if call.program else "RX202", f"{text}; {remedy}"
            elif call.program and element not in call.scripts:
                is_loose = is_first or not option.startswith("-")
                yield from _about_value(call.path, call.program, parameter, option, is_loose=is_loose)
        before = literal(element) or ""
        is_ended = is_ended or before == "--"


def _about_value(
    path: str, program: Program, parameter: Parameter, option: str, *, is_loose: bool
) -> Iterator[Remark]:
    """Yield what is to be said of a value that is no option: it stands alone or behind one."""
    is_manager = program.sort is Sort.MANAGER
    is_wide = _is_open(parameter) if is_manager or option in program.risky else _is_free(parameter)
    if is_wide and (is_loose or option in program.risky) and program.sort in (Sort.TOOL, Sort.MANAGER):
        text = f"{path!r} {program.why}, and parameter {parameter.name!r} may say nearly anything to it"
        remedy = f"use a choice, or tie it to a harmless option: '--option={{{parameter.name}}}'"
        yield "RX110" if is_manager else "RX105", f"{text}; {remedy}"


# RX2xx: parameters.

#: Directories of the system. With '/' behind them, also what lies below.
_OWN: Final = MappingProxyType(
    {
        "/etc": "the settings of the system",
        "/dev": "devices",
        "/run": "sockets and secrets of services",
        "/root/": "what is root's",
        "/proc/": "the memory and environment of processes",
        "/sys/": "the kernel's switches",
        "/etc/ssh/": "keys",
        "/etc/ssl/private/": "keys",
        "/etc/rexecd/": "the policy itself",
        "/var/lib/rexecd/": "rexecd's own tokens and keys",
    }
)
#: Where others can make names.
_SHARED: Final = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/lock/", "/run/user/", "/home")  # noqa: S108


def _covering(root: str, directories: Iterable[str]) -> str:
    """Return which of the directories a root is, or lies below, or an empty text."""
    is_below = f"{root}/".startswith
    return next(
        (known for known in directories if known == root or (known[-1] == "/" and is_below(known))), ""
    )


def _about_parameters(rule: Rule, facts: Facts) -> Iterator[Remark]:
    for parameter in rule.parameters.values():
        if isinstance(parameter.kind, Path):
            for root in parameter.kind.roots:
                yield from _about_root(parameter, root.rstrip("/"))
                if root in facts.missing or "*" in root:
                    text = f"path {parameter.name!r} may be below {root!r}, {_absent(root)}"
                    yield "RX206", f"{text} or correct it"
        if parameter.is_secret and parameter.passed is Pass.ENVIRONMENT:
            text = f"secret {parameter.name!r} is in the environment, which programs hand on and /proc shows"
            yield "RX205", f"{text}; use 'pass: stdin' or 'pass: descriptor'"


def _about_root(parameter: Parameter, root: str) -> Iterator[Remark]:
    text = f"path {parameter.name!r} may be below {root or '/'!r}"
    if not root:
        yield "RX201", f"{text}, which is everywhere; name the directories that are meant"
    elif own := _covering(root, _OWN):
        yield "RX201", f"{text}, which holds {_OWN[own]}; name the directories that are meant"
    if _covering(root, _SHARED) and parameter.passed is Pass.ARGUMENT:
        remedy = "use 'pass: descriptor', or a directory in which only root can write"
        yield "RX203", f"{text}, where others can swap it for a link; {remedy}"


def _absent(directory: str) -> str:
    if "*" in directory:
        return "and '*' is a plain character there; name every directory that is meant,"
    return "which is not there; make it,"


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
        option, inside = literal(before) or "", _parameters(pieces, rule)
        if len(pieces) == 1 and inside and option.strip("-") and option.startswith("-") and "=" not in option:
            name = inside[0].name
            # Whether an option takes a value shows in its name, or in another option behind it.
            is_its = option.lstrip("-").replace("-", "_") == name or head(after).startswith("-")
            may_vanish = inside[0].default is None and not inside[0].is_required and not inside[0].is_flag
            if is_its and may_vanish:
                text = f"without parameter {name!r} the option {option!r} takes what comes next"
                yield "RX204", f"{text}; write '{option}={{{name}}}' as one argument, or give it a default"


# RX3xx: rules. RX303 and RX4xx are in `grants_lint.py`, RX308 to RX312 in `limits_lint.py`, RX111 in
# `shell_lint.py`.

_HARMLESS: Final = frozenset({"", "cat", "/bin/cat", "/usr/bin/cat", "true", "/bin/true", "/usr/bin/true"})


def _about_environment(rule: Rule) -> Iterator[Remark]:
    for name, value in rule.environment.items():
        if name in VARIABLES and value not in _HARMLESS:
            text = f"variable {name!r} {VARIABLES[name]}"
            yield "RX305", f"{text}; remove it, or make sure that only root can change what it names"


#: Writing for group and others.
_WRITING: Final = 0o022


def _about_settings(rule: Rule, facts: Facts) -> Iterator[Remark]:
    if "timeout" not in rule.written:
        limit = spell_duration(rule.timeout)
        yield "RX301", f"no 'timeout', so it is ended after {limit}; write how long it may take"
    if rule.working_directory in facts.missing or "*" in rule.working_directory:
        text = f"it starts in {rule.working_directory!r}, {_absent(rule.working_directory)}"
        yield "RX306", f"{text} or correct 'working_directory'"
    if rule.umask & _WRITING != _WRITING:
        text = f"with umask {rule.umask:03o} group or others can change its new files"
        yield "RX307", f"{text}; write '022', or '027' to let nobody else read them"
    if rule.identity is not None and rule.identity.uid == 0:
        for parameter in filter(_is_open, rule.parameters.values()):
            text = f"runs as root, and parameter {parameter.name!r} takes nearly anything"
            yield "RX302", f"{text}; use a choice, a narrower pattern or another user"
