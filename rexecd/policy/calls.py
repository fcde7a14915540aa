"""How the arguments of a rule are read: which programs it starts, and what they take for scripts.

Rule: reading a command line stops short of knowing every option of every program. What is not in
the table of `programs.py` is taken as an option without a value.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from rexecd.policy.kinds import Flag
from rexecd.policy.parameters import Parameter
from rexecd.policy.programs import First, Program, Sort, find
from rexecd.policy.template import Element, Template, holes

#: Names of standard input, where a file is asked for.
_INPUTS: Final = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
#: Options whose value is the name of a file with a script, where it is a script at all.
_FILED: Final = frozenset(
    {"-f", "--file", "-File", "-file", "--makefile", "--load", "-jar", "-x", "-K", "--config", "-init", "-b"}
)
#: They start what their operands name, or hand it to a shell elsewhere.
_STARTERS: Final = (Sort.WRAPPER, Sort.PRIVILEGE)
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
    #: The absolute paths of files with scripts that are named there.
    files: frozenset[str]
    #: Whether its standard input is a program to it: it is told so, or told nothing else.
    bare: bool
    #: Whether it runs on this machine as it is, and not in a container.
    here: bool


class Reading(NamedTuple):
    """One argument, as its program reads it."""

    element: Element
    #: The option that it is, or whose value it is; empty for an operand.
    option: str
    #: Where in it a value begins; None: it has none.
    at: int | None

    @property
    def text(self) -> str | None:
        """Return its value; None if there is a hole in it, or no value."""
        whole = literal(self.element)
        return None if whole is None or self.at is None else whole[self.at :]


def literal(element: Element) -> str | None:
    """Return an element without holes as a text, None for any other."""
    return element[0] if len(element) == 1 and isinstance(element[0], str) else None


def head(element: Element) -> str:
    """Return the literal text an element begins with."""
    return element[0] if isinstance(element[0], str) else ""


def calls(template: Template, parameters: Mapping[str, Parameter]) -> Iterator[Call]:
    """Yield the program of a rule, the program that it starts, and so on, as if every flag had been given."""
    rest, here = tuple(_given(template, parameters)), True
    while rest and (path := literal(rest[0])) is not None:
        program, arguments = find(path), rest[1:]
        parts = _NOTHING if program is None else _split(program, arguments)
        scripts, rest = tuple(script.element for script in parts.scripts), parts.started
        rest = rest or _told_shell(program, arguments, scripts)
        if rest and literal(rest[0]) is None:
            scripts, rest = (*scripts, rest[0]), ()
        own = arguments[: len(arguments) - len(rest)]
        files = frozenset[str]() if program is None else _files(program, parts.scripts)
        bare = program is not None and _is_bare(program, parts.scripts, arguments, own)
        yield Call(path, program, own, scripts, files, bare, here)
        here = here and (program is None or program.sort is not Sort.MANAGER)


def _given(template: Template, parameters: Mapping[str, Parameter]) -> Iterator[Element]:
    for pieces in template.elements:
        inside = holes(pieces)
        kind = parameters[inside[0].name].kind if inside else None
        yield from [(text,) for text in kind.adds] if isinstance(kind, Flag) else [pieces]


# What a program takes for scripts, and what it starts.


class _Parts(NamedTuple):
    """How a program reads its arguments; what it starts is what stands last in them."""

    scripts: tuple[Reading, ...] = ()
    started: tuple[Element, ...] = ()


_NOTHING: Final = _Parts()


def _split(program: Program, arguments: tuple[Element, ...]) -> _Parts:
    scripts, operands = _options(program, arguments)
    if program.first is not First.OTHER:
        # Without an option that says so, the first operand is the script, or the file with it.
        return _Parts(scripts or tuple(_operand(element) for element in operands[:1]))
    if marked := _behind_mark(program, arguments):
        return _Parts(scripts, marked)
    if program.skips is None:
        # Options may stand anywhere: no other program's are among them.
        found = read(program, arguments)
        return _Parts(tuple(reading for reading in found if _is_script(program, reading)))
    # `su ann -c TEXT`: options may stand behind the operand, too.
    more, started = _options(program, operands[program.skips :]) if program.skips else ((), operands)
    if program.joined:
        return _Parts((*scripts, *more, *map(_operand, started)))
    return _Parts((*scripts, *more), started)


def _operand(element: Element) -> Reading:
    return Reading(element, "", 0)


def _behind_mark(program: Program, arguments: tuple[Element, ...]) -> tuple[Element, ...]:
    marks = [at for at, element in enumerate(arguments) if literal(element) in program.marks]
    return arguments[marks[0] + 1 :] if marks else ()


def _told_shell(
    program: Program | None, arguments: tuple[Element, ...], scripts: tuple[Element, ...]
) -> tuple[Element, ...]:
    """Return what stands from the first shell on that is told a script, whatever program it is told to.

    `tini -- sh -c TEXT`: what starts programs does not have to be in the table.
    """
    if program is not None and program.joined:
        return ()
    behind = max((at for at, element in enumerate(arguments) if element in scripts), default=-1)
    for at, reading in enumerate(read(program, arguments)):
        if at > behind and not reading.option and _is_told(reading.element, arguments[at + 1 :]):
            return arguments[at:]
    return ()


def _is_told(element: Element, arguments: tuple[Element, ...]) -> bool:
    """Return whether it is a shell with `-c` behind it, or an interpreter with a hole in such a script."""
    program = find(literal(element) or "")
    if program is None or program.first is First.OTHER:
        return False
    scripts = [script for script in _options(program, arguments)[0] if script.option not in _FILED]
    return any(program.sort is Sort.SHELL or holes(script.element) for script in scripts)


def _files(program: Program, scripts: tuple[Reading, ...]) -> frozenset[str]:
    named = {
        script.text or ""
        for script in scripts
        if script.option in _FILED or (program.first is First.FILE and not script.option)
    }
    return frozenset(path for path in named - _INPUTS if path.startswith("/"))


# Whether its standard input is a program.


def _is_bare(
    program: Program, scripts: tuple[Reading, ...], arguments: tuple[Element, ...], own: tuple[Element, ...]
) -> bool:
    if not program.joined and any(script.text in _INPUTS for script in scripts):
        return True
    readings = tuple(read(program, own))
    if program.dash and any({reading.text, literal(reading.element)} & _INPUTS for reading in readings):
        return True
    options = itertools.takewhile(lambda reading: reading.option, readings)
    if program.sort is Sort.SHELL and any(reading.option == "-s" for reading in options):
        return True
    return _ends_in_shell(program, readings) or _is_fed(program, scripts, arguments)


def _ends_in_shell(program: Program, readings: tuple[Reading, ...]) -> bool:
    """Return whether the last program it is told to start is a shell without a script: `docker exec c sh`."""
    last = [reading.text for reading in readings if not reading.option][-1:]
    shell = find(last[0] or "") if last else None
    is_starter = program.dash or program.joined or program.sort in _STARTERS
    return is_starter and shell is not None and shell.sort is Sort.SHELL


def _is_fed(program: Program, scripts: tuple[Reading, ...], arguments: tuple[Element, ...]) -> bool:
    """Return whether nothing tells it what to do, so that it reads that from its standard input."""
    if program.fed is None or (scripts and not program.joined):
        return False
    readings = tuple(read(program, arguments))
    words = {reading.option for reading in readings}.union(map(literal, arguments))
    return not words & program.told and sum(not reading.option for reading in readings) <= program.fed


# Options and operands.


def read(program: Program | None, arguments: tuple[Element, ...]) -> Iterator[Reading]:
    """Yield how each argument is read if options may stand anywhere in front of '--'."""
    waiting, is_ended = "", False
    for element in arguments:
        if waiting:
            yield Reading(element, waiting, 0)
            waiting = ""
        elif is_ended or not _is_option(program, element):
            yield _operand(element)
        else:
            reading, is_known = _as_option(program, element)
            yield reading
            waiting = reading.option if is_known and reading.at is None else ""
            is_ended = literal(element) == "--"


def _options(
    program: Program, arguments: tuple[Element, ...]
) -> tuple[tuple[Reading, ...], tuple[Element, ...]]:
    """Return the values of options that hold scripts, and what stands from the first operand on."""
    scripts: list[Reading] = []
    for at, reading in enumerate(read(program, arguments)):
        if literal(reading.element) == "--" and reading.option == "--":
            return tuple(scripts), arguments[at + 1 :]
        if not reading.option:
            return tuple(scripts), arguments[at:]
        if _is_script(program, reading):
            scripts.append(reading)
    return tuple(scripts), ()


def _is_script(program: Program, reading: Reading) -> bool:
    return reading.option in program.scripts and reading.at is not None


def _is_option(program: Program | None, element: Element) -> bool:
    text = head(element)
    if program is not None and program.assigns and _ASSIGNMENT.match(text):
        return True
    if text == "-" and len(element) == 1:  # `su -`, `env -`; where a script is asked for it is a file
        return program is None or program.first is First.OTHER
    return text.startswith("-")


def _as_option(program: Program | None, element: Element) -> tuple[Reading, bool]:
    """Return how an option is read, and whether it is one that takes a value, there or behind it."""
    text = head(element)
    name, equals, _ = text.partition("=")
    at = len(name) + 1 if equals else None
    known = frozenset[str]() if program is None else program.scripts | program.valued | program.risky
    if name in known:
        return Reading(element, name, len(name) if len(element) > 1 and at is None else at), True
    if text.startswith("--") or program is None:
        return Reading(element, name, at), False
    # `-lc TEXT`, `-eTEXT`: the first letter that takes a value ends the cluster, but not a shell's.
    for at_letter, letter in enumerate(text[1:], start=2):
        if f"-{letter}" in known:
            is_inside = len(element) > 1 or (at_letter < len(text) and program.sort is not Sort.SHELL)
            return Reading(element, f"-{letter}", at_letter if is_inside else None), True
    return Reading(element, name, at), False
