"""From what the table of a parameter's type has read to a Parameter: one function for each type.

Rule 1: a declaration under which no value fits, or one that lets a value become an option
without saying `leading_dash: allow`, is a fault.
Rule 2: a default is a value like any other and has to fit.
"""

import posixpath
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from rexecd.errors import Refused
from rexecd.forms import Entries, is_printable
from rexecd.networks import networks
from rexecd.policy.decide import BASE_ENVIRONMENT
from rexecd.policy.grammar import PatternError
from rexecd.policy.kinds import (
    FRACTION,
    HIGHEST,
    LOWEST,
    Choice,
    Duration,
    Flag,
    Integer,
    Kind,
    Matching,
    Number,
    Secret,
    Text,
    Time,
    Word,
    listed,
)
from rexecd.policy.parameters import Parameter, Pass, Repeat
from rexecd.policy.pattern import compile_pattern
from rexecd.policy.places import LAST_PORT, HostAddress, Hostname, HostNetwork, Path, port
from rexecd.policy.programs import PREFIXES, VARIABLES
from rexecd.policy.values import variable_complaint
from rexecd.yamltext import TEXT, Faults, Scalar, Sequence, shown

#: Besides those of `programs.py`: a policy may set these to a text of its own.
_EVERYWHERE: Final = frozenset({"LESS", "TERMINFO", "TZ"}).union(BASE_ENVIRONMENT)
_BEGINS: Final = "begins with '-'"
_DASH: Final = "add 'leading_dash: allow' if a value may become an option"


def _has_dash(entries: Entries) -> bool:
    return bool(entries.get("leading_dash") == "allow")


def _choice(entries: Entries, faults: Faults) -> Kind | None:
    listed = entries.node.entries.get("of")
    # As they stand in the file: one that stands twice does not hide what is wrong with the others.
    for item in listed.items if isinstance(listed, Sequence) else ():
        if not isinstance(item, Scalar) or item.kind != TEXT:
            continue
        if not item.text or not is_printable(item.text):
            faults.add(item.place, f"option {shown(item.text)} is empty or holds a control character")
        elif item.text.startswith("-") and not _has_dash(entries):
            faults.add(item.place, f"option {shown(item.text)} begins with '-'; {_DASH}")
    options = entries.get("of")
    return None if options is None else Choice(options)


def _bounds(entries: Entries, least: Any, most: Any) -> tuple[Any, Any] | None:  # noqa: ANN401 - any that compare
    """Return `min` and `max`, or what holds without them; None where one has a fault."""
    if entries.is_faulty("min") or entries.is_faulty("max"):
        return None
    low, high = entries.get("min"), entries.get("max")
    return (least if low is None else low), (most if high is None else high)


def _integer(entries: Entries, faults: Faults) -> Kind | None:
    found = _bounds(entries, LOWEST if _has_dash(entries) else 0, HIGHEST)
    if found is None:
        return None
    least, most = found
    if least < 0 and not _has_dash(entries):
        faults.add(entries.place("min"), f"negative values begin with '-'; {_DASH}")
    elif least > most:
        faults.add(entries.node.place, f"no integer fits between {least} and {most}")
    return Integer(least, most)


def _number(entries: Entries, faults: Faults) -> Kind | None:
    found = _bounds(entries, None if _has_dash(entries) else Decimal(0), None)
    if found is None:
        return None
    least, most = found
    if least is not None and least < 0 and not _has_dash(entries):
        faults.add(entries.place("min"), f"negative values begin with '-'; {_DASH}")
    elif least is not None and most is not None and least > most:
        faults.add(entries.node.place, f"no number fits between {least:f} and {most:f}")
    for key, bound in (("min", least), ("max", most)):
        if bound is not None and bound != round(bound, FRACTION):
            faults.add(
                entries.place(key), f"more than {FRACTION} digits behind the point: no caller can send that"
            )
    return Number(least, most)


def _port(entries: Entries, faults: Faults) -> Kind | None:
    found = _bounds(entries, 1, LAST_PORT)
    if found is None:
        return None
    if found[0] > found[1]:
        faults.add(entries.node.place, f"no port fits between {found[0]} and {found[1]}")
    return port(*found)


def _duration(entries: Entries, faults: Faults) -> Kind | None:
    if entries.is_faulty("min") or entries.is_faulty("max"):
        return None
    least, most = (Decimal(str(entries.get(key))) for key in ("min", "max"))
    if least > most:
        faults.add(entries.node.place, "no duration fits between 'min' and 'max'")
    return Duration(least, most)


def _pattern(entries: Entries, faults: Faults) -> Kind | None:
    text = entries.get("matches")
    if text is None:
        return None
    try:
        return Matching(compile_pattern(text), ascii_only=entries.get("unicode") != "allow")
    except PatternError as error:
        faults.add(entries.place("matches"), str(error))
        return None


def _path(entries: Entries, faults: Faults) -> Kind | None:  # noqa: ARG001 - as in _KINDS
    roots = entries.get("under")
    return None if roots is None else Path(roots)


def _within(kind: Callable[..., Kind]) -> Callable[[Entries, Faults], Kind | None]:
    def build(entries: Entries, _faults: Faults) -> Kind | None:
        return None if entries.is_faulty("within") else kind(networks(entries.get("within")))

    return build


def _text(entries: Entries, faults: Faults) -> Kind | None:  # noqa: ARG001
    most = entries.get("max")
    return None if most is None else Text(most)


def _flag(entries: Entries, faults: Faults) -> Kind | None:  # noqa: ARG001
    adds = entries.get("adds")
    return None if adds is None else Flag(adds)


def _secret(entries: Entries, faults: Faults) -> Kind | None:  # noqa: ARG001
    return Secret() if entries.has("pass") else None


def _always(kind: Kind) -> Callable[[Entries, Faults], Kind | None]:
    return lambda _entries, _faults: kind


_KINDS: Final[dict[str, Callable[[Entries, Faults], Kind | None]]] = {
    "choice": _choice,
    "integer": _integer,
    "number": _number,
    "word": _always(Word()),
    "pattern": _pattern,
    "path": _path,
    "hostname": _always(Hostname()),
    "address": _within(HostAddress),
    "network": _within(HostNetwork),
    "port": _port,
    "duration": _duration,
    "time": _always(Time()),
    "text": _text,
    "flag": _flag,
    "secret": _secret,
}


def build_parameter(name: str, word: str, entries: Entries, faults: Faults) -> Parameter | None:
    """Return the parameter whose table of type `word` has read `entries`, or None with a fault."""
    kind = _KINDS[word](entries, faults)
    repeat = _repeat(entries, faults)
    passed = Pass(entries.get("pass") or Pass.ARGUMENT.value)
    variable = _variable(entries, passed, faults) if isinstance(kind, Secret) else ""
    if kind is None or any(map(entries.is_faulty, entries.node.entries)):
        return None
    parameter = Parameter(
        name=name,
        kind=kind,
        summary=entries.get("summary") or "",
        default=_spelled(entries.get("default")),
        optional=bool(entries.get("optional")),
        # What never becomes an argument cannot become an option.
        leading_dash=_has_dash(entries) or isinstance(kind, Secret),
        repeat=repeat,
        passed=passed,
        variable=variable,
    )
    _check_default(parameter, entries, faults)
    return parameter


def _repeat(entries: Entries, faults: Faults) -> Repeat | None:
    if not entries.has("most"):
        if entries.has("least"):
            faults.add(entries.key_place("least"), "a repetition needs 'most' as well")
        return None
    for key in ("default", "optional"):
        if entries.has(key):
            faults.add(entries.key_place(key), f"a repetition has no {key!r}; 'least: 0' lets it be left out")
    if entries.get("pass") == Pass.DESCRIPTOR.value:
        faults.add(entries.key_place("pass"), "a repetition cannot be passed as descriptors")
    least, most = entries.get("least"), entries.get("most")
    if least is None or most is None:
        return None
    if least > most:
        faults.add(entries.place("least"), f"at least {least} and at most {most}: no number of values fits")
    return Repeat(least, most)


def _variable(entries: Entries, passed: Pass, faults: Faults) -> str:
    """Return the variable of a secret; it stands there if it is passed in one, and only then."""
    variable = entries.get("variable") or ""
    if passed is not Pass.ENVIRONMENT:
        if entries.has("variable"):
            faults.add(entries.key_place("variable"), "only 'pass: environment' has a variable")
    elif not entries.has("variable"):
        faults.add(entries.node.place, "missing key 'variable': the environment variable it is passed in")
    elif variable and (complaint := variable_complaint(variable) or _is_obeyed(variable)):
        faults.add(entries.place("variable"), complaint)
    return variable


def _is_obeyed(variable: str) -> str | None:
    is_obeyed = variable in VARIABLES or variable in _EVERYWHERE or variable.startswith(PREFIXES)
    return f"a caller's value cannot become {variable!r}: programs obey it" if is_obeyed else None


def _spelled(default: object) -> str | None:
    if isinstance(default, Decimal):
        return f"{default:f}"  # no caller could write an exponent either
    return None if default is None else str(default)


def _check_default(parameter: Parameter, entries: Entries, faults: Faults) -> None:
    if parameter.default is None:
        return
    if parameter.optional:
        faults.add(entries.key_place("optional"), "a parameter with a default may be left out already")
    try:
        # Whether a path's links stay inside is seen at each decision; here it is only read.
        parameter.check(parameter.default, posixpath.normpath)
    except Refused as refused:
        why = refused.reason.removeprefix(f"parameter {parameter.name!r}: ")
        what = f"the default {shown(parameter.default)} does not fit: {why}{_remedy(parameter, why)}"
        faults.add(entries.place("default"), what)


def _remedy(parameter: Parameter, why: str) -> str:
    """Return what would fit, for the operator, who may know all of it."""
    match parameter.kind:
        case Choice() | Word() | Matching() | Text() if why == _BEGINS:
            return f"; {_DASH}"
        case Path(roots=roots):
            return f"; it has to be in {listed(roots)}"
        case HostAddress(within=within) | HostNetwork(within=within) if within:
            return f"; it has to be in {listed(map(str, within))}"
        case Matching():
            return ""
    return f"; it takes {parameter.kind.takes}"
