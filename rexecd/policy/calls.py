"""How the arguments of a rule are read: which programs it starts, and what they take for scripts.

Rule: reading a command line stops short of knowing every option of every program. What is not in
the table of `programs.py` is taken as an option without a value.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from rexecd.policy.kinds import Flag
from rexecd.policy.parameters import Parameter
from rexecd.policy.programs import Program, Sort, find
from rexecd.policy.template import Element, Template, holes

#: They run what a script says.
_READERS: Final = (Sort.SHELL, Sort.INTERPRETER)
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


class Call(NamedTuple):
    """One program of a rule, and the arguments it reads itself, without those of a program it starts."""

    #: As it stands in the rule.
    path: str
    #: None: nothing is known of it.
    program: Program | None
    arguments: tuple[Element, ...]
    #: Among them, what it takes as a script, or as the name of a script or program.
    scripts: tuple[Element, ...]
    #: Whether it is told neither a script nor a file: then its standard input is the script.
    bare: bool


def literal(element: Element) -> str | None:
    """Return an element without holes as a text, None for any other."""
    return element[0] if len(element) == 1 and isinstance(element[0], str) else None


def head(element: Element) -> str:
    """Return the literal text an element begins with."""
    return element[0] if isinstance(element[0], str) else ""


def calls(template: Template, parameters: Mapping[str, Parameter]) -> Iterator[Call]:
    """Yield the program of a rule, the program that it starts, and so on, as if every flag had been given."""
    rest = tuple(_given(template, parameters))
    while rest and (path := literal(rest[0])) is not None:
        program, arguments = find(path), rest[1:]
        parts = _NOTHING if program is None else _split(program, arguments)
        scripts, rest = parts.scripts, parts.started
        if rest and literal(rest[0]) is None:
            scripts, rest = (*scripts, rest[0]), ()
        own = arguments[: len(arguments) - len(rest)]
        yield Call(path, program, own, scripts, bare=_is_bare(program, scripts, own))


def _given(template: Template, parameters: Mapping[str, Parameter]) -> Iterator[Element]:
    for pieces in template.elements:
        inside = holes(pieces)
        kind = parameters[inside[0].name].kind if inside else None
        yield from [(text,) for text in kind.adds] if isinstance(kind, Flag) else [pieces]


class _Parts(NamedTuple):
    """How a program reads its arguments; what it starts is what stands last in them."""

    scripts: tuple[Element, ...] = ()
    started: tuple[Element, ...] = ()


_NOTHING: Final = _Parts()


def _split(program: Program, arguments: tuple[Element, ...]) -> _Parts:
    scripts, operands = _options(program, arguments)
    if program.sort in _READERS:
        # Without an option that says so, the first operand is the script, or the file with it.
        return _Parts(scripts or operands[:1])
    if program.joined:
        return _Parts((*scripts, *operands))
    if marked := _behind_mark(program, arguments):
        return _Parts(scripts, marked)
    if program.skips is None:
        return _Parts(scripts)
    # `su ann -c TEXT`: options may stand behind the operand, too.
    more, started = _options(program, operands[program.skips :]) if program.skips else ((), operands)
    return _Parts((*scripts, *more), started)


def _behind_mark(program: Program, arguments: tuple[Element, ...]) -> tuple[Element, ...]:
    marks = [at for at, element in enumerate(arguments) if literal(element) in program.marks]
    return arguments[marks[0] + 1 :] if marks else ()


def _is_bare(program: Program | None, scripts: tuple[Element, ...], own: tuple[Element, ...]) -> bool:
    if program is None or program.sort not in _READERS:
        return False
    says_so = program.sort is Sort.SHELL and ("-s",) in own
    return says_so or not scripts or scripts == (("-",),)


def _options(
    program: Program, arguments: tuple[Element, ...]
) -> tuple[tuple[Element, ...], tuple[Element, ...]]:
    """Return the values of options that hold scripts, and what stands from the first operand on."""
    scripts: list[Element] = []
    rest = arguments
    while rest and _is_option(program, rest[0]):
        value, rest = rest[0], rest[1:]
        if literal(value) == "--":
            break
        option, is_inside = _valued(program, value)
        if option and not is_inside and rest:
            value, rest = rest[0], rest[1:]
        if option in program.scripts:
            scripts.append(value)
    return tuple(scripts), rest


def _is_option(program: Program, element: Element) -> bool:
    text = head(element)
    if program.assigns and _ASSIGNMENT.match(text):
        return True
    if text == "-":  # `su -`, `env -`; to a shell it is a file, its standard input
        return program.sort not in _READERS
    return text.startswith("-")


def _valued(program: Program, element: Element) -> tuple[str, bool]:
    """Return the option of an element that takes a value, if any does, and whether its value is in there."""
    text, known = head(element), program.scripts | program.valued
    name, equals, _ = text.partition("=")
    if name in known:
        return name, bool(equals) or len(element) > 1
    if text.startswith("--"):
        return "", False
    # `-lc TEXT`, `-eTEXT`: the first letter that takes a value ends the cluster, but not a shell's.
    for at, letter in enumerate(text[1:], start=2):
        if f"-{letter}" in known:
            return f"-{letter}", len(element) > 1 or (at < len(text) and program.sort is not Sort.SHELL)
    return "", False
