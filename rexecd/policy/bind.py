"""The words of a line, given to the parameters of a rule: by position, `--name value` or `--name=value`.

Rule 1: what is undeclared, surplus, missing or given twice is refused.
Rule 2: after `--` every word counts by position.
Rule 3: positions are filled in declared order; a repetition is the last and takes all that is left.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from rexecd.errors import Code, Refused
from rexecd.policy.kinds import Resolve, listed
from rexecd.policy.parameters import Parameter
from rexecd.policy.template import Values

#: What was given, before it is checked.
_Given = dict[str, list[str]]


class Trace(Protocol):
    """Who listens to a decision: each check is begun, and then passed unless Refused is raised."""

    def begin(self, check: str) -> None:
        """Hear which check comes now."""

    def passed(self, found: Callable[[], str]) -> None:
        """Hear that it passed; `found` says what was found."""


class _Unheard:
    """Nobody listens: the monitor's own decisions cost nothing more."""

    def begin(self, check: str) -> None:
        """Do nothing."""

    def passed(self, found: Callable[[], str]) -> None:
        """Do nothing."""


UNHEARD: Final = _Unheard()


def bind(
    parameters: Mapping[str, Parameter], words: Sequence[str], *, resolve: Resolve, trace: Trace = UNHEARD
) -> Values:
    """Return the checked texts of every parameter that has any; raise Refused."""
    trace.begin("words")
    given, positional = _named(parameters, words)
    _place(parameters, positional, given)
    trace.passed(lambda: f"given: {listed(given) or 'none'}")
    values: dict[str, tuple[str, ...]] = {}
    for name, parameter in parameters.items():
        trace.begin(f"parameter {name!r}")
        texts = _texts(parameter, given)
        if parameter.is_flag:
            checked = tuple(texts)
        else:
            checked = tuple(parameter.check(text, resolve) for text in texts)
        if checked:
            values[name] = checked
        trace.passed(lambda: _found(parameter, checked))  # noqa: B023 - asked at once or never
    return values


def _named(parameters: Mapping[str, Parameter], words: Sequence[str]) -> tuple[_Given, list[str]]:
    """Return the values given as `--name value` or `--name=value`, and the other words."""
    given: _Given = {}
    positional: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            positional.extend(rest)
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            parameter = _declared(parameters, name)
            if name in given and parameter.repeat is None:
                raise Refused(Code.BAD_ARGUMENT, f"parameter {name!r} is given more than once")
            if parameter.is_flag and equals:
                raise Refused(Code.BAD_ARGUMENT, f"parameter {name!r} takes {parameter.kind.takes}")
            is_whole = equals or parameter.is_flag
            given.setdefault(name, []).append(value if is_whole else _following(rest, parameter, parameters))
        else:
            positional.append(word)
    return given, positional


def _place(parameters: Mapping[str, Parameter], positional: list[str], given: _Given) -> None:
    """Give positional words to the parameters that have none yet; raise Refused if some are left."""
    for parameter in parameters.values():
        if not positional:
            return
        if parameter.is_flag or parameter.name in given:
            continue
        taken = 1 if parameter.repeat is None else len(positional)
        given[parameter.name], positional[:taken] = positional[:taken], []
    if positional:
        raise Refused(Code.BAD_ARGUMENT, f"too many arguments: this command takes {_all(parameters)}")


def _declared(parameters: Mapping[str, Parameter], name: str) -> Parameter:
    try:
        return parameters[name]
    except KeyError:
        text = f"no such parameter: this command takes {_all(parameters)}"
        raise Refused(Code.BAD_ARGUMENT, text, reason="an undeclared parameter") from None


def _following(rest: Iterator[str], parameter: Parameter, parameters: Mapping[str, Parameter]) -> str:
    """Return the next word, unless it names a parameter: `--user --password=x` is a user left out."""
    value = next(rest, None)
    if value is None or (value.startswith("--") and value[2:].partition("=")[0] in parameters):
        raise _missing(parameter, "has no value")
    return value


def _texts(parameter: Parameter, given: _Given) -> Sequence[str]:
    """Return what is to be checked: given, or the default; nothing for what may be left out."""
    texts = given.get(parameter.name, ())
    if parameter.repeat is not None:
        if not parameter.repeat.least <= len(texts) <= parameter.repeat.most:
            raise _missing(parameter, f"has {len(texts)} values")
        return texts
    if texts:
        return texts
    if parameter.is_required:
        raise _missing(parameter, "is missing")
    return () if parameter.default is None else (parameter.default,)


def _missing(parameter: Parameter, what: str) -> Refused:
    return Refused(Code.BAD_ARGUMENT, f"parameter {parameter.name!r} {what}; it takes {parameter.takes}")


def _all(parameters: Mapping[str, Parameter]) -> str:
    return listed(parameters) or "no arguments"


def _found(parameter: Parameter, checked: tuple[str, ...]) -> str:
    if not checked:
        return "left out"
    if parameter.is_flag:
        return "given"
    return f"{'[secret]' if parameter.is_secret else ' '.join(map(repr, checked))}: {parameter.takes}"
