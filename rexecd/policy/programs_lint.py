"""Lint's RX100 to RX110 and RX202: what a rule's programs are, and what callers can tell them.

The rules are those of `lint.py`, which gives the findings their places.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from rexecd.policy.calls import Call, Reading, calls, head, literal, read
from rexecd.policy.grants_lint import Remark
from rexecd.policy.kinds import Matching, Secret, Text, Word
from rexecd.policy.model import Rule, Stdin
from rexecd.policy.openness import is_dashed, is_free, is_lettered, is_open, is_special
from rexecd.policy.parameters import Parameter, Pass
from rexecd.policy.places import Path
from rexecd.policy.programs import Program, Sort
from rexecd.policy.template import Element, Hole, holes

_SORTS: Final = {
    Sort.SHELL: ("RX101", "name the program it is for, or a script with its own '#!' line"),
    Sort.INTERPRETER: ("RX102", "name a script with its own '#!' line that only root can change"),
    Sort.EDITOR: ("RX103", "name a program that shows or changes one thing, such as cat"),
    Sort.WRAPPER: ("RX104", "name that program; 'timeout', 'limits' and 'environment' are keys of a rule"),
    Sort.PRIVILEGE: ("RX109", "name that program, and say 'run_as'"),
}


def _parameters(element: Element, rule: Rule) -> list[Parameter]:
    return [rule.parameters[hole.name] for hole in holes(element)]


def about_calls(rule: Rule, complaints: Mapping[str, str | None]) -> Iterator[Remark]:
    """Yield what is to be said of the programs of a rule, with what is wrong with some files, by path."""
    for call in calls(rule.template, rule.parameters):
        named = {call.path, *call.files} if call.here else ()
        yield from (("RX107", complaint) for path in named if (complaint := complaints.get(path)))
        if call.program is not None and call.program.sort in _SORTS:
            code, remedy = _SORTS[call.program.sort]
            yield code, f"{call.path!r} {call.program.why}; {remedy}"
        yield from _about_scripts(rule, call)
        yield from _about_arguments(rule, call)


def _is_sent(rule: Rule) -> bool:
    """Return whether callers say what stands in standard input, openly or as a secret."""
    is_secret = any(parameter.passed is Pass.STDIN for parameter in rule.parameters.values())
    return is_secret or rule.stdin is not Stdin.REFUSE


def _about_scripts(rule: Rule, call: Call) -> Iterator[Remark]:
    if call.bare and _is_sent(rule):
        text = f"{call.path!r} takes what callers send as standard input for what it has to do"
        yield "RX100", f"{text}; name a script, or do not let them send any"
    is_joined = call.program is not None and call.program.joined
    for number, element in enumerate(call.scripts):
        for piece in holes(element):
            parameter = rule.parameters[piece.name]
            is_first = not number and piece is element[0]
            if _is_in_words(parameter, is_first=is_first) if is_joined else _is_in_script(parameter):
                text = f"parameter {parameter.name!r} is a program for {call.path!r}, or part of one"
                remedy = "write the program yourself, and put the hole behind it as an argument"
                yield "RX100", f"{text}; {_ELSEWHERE if is_joined else remedy}"


_ELSEWHERE: Final = "a shell reads it again, so that only a choice, a number or a word is one argument there"


def _is_in_script(parameter: Parameter) -> bool:
    # What a choice or a number can say in a script the operator can foresee; a path holds quotes.
    return isinstance(parameter.kind, Text | Matching | Word | Path | Secret)


def _is_in_words(parameter: Parameter, *, is_first: bool) -> bool:
    """Return whether a value can be more than one word of those a shell reads, or is the command."""
    return is_special(parameter) or (is_first and _is_in_script(parameter))


def _about_arguments(rule: Rule, call: Call) -> Iterator[Remark]:
    is_ended = False
    for reading in read(call.program, call.arguments):
        for parameter in _parameters(reading.element, rule):
            if not is_ended and _is_option(call.program, reading, parameter):
                known = f", which {call.program.why}" if call.program else ""
                text = f"parameter {parameter.name!r} may become any option of {call.path!r}{known}"
                remedy = "put '--' and nothing else in front of it, or list what is meant as a choice"
                yield "RX106" if call.program else "RX202", f"{text}; {remedy}"
            elif call.program and reading.element not in call.scripts:
                yield from _about_value(call.path, call.program, parameter, reading)
        is_ended = is_ended or literal(reading.element) == "--"


def _is_option(program: Program | None, reading: Reading, parameter: Parameter) -> bool:
    """Return whether a value may be an option: it begins its argument, or stands behind dashes or letters."""
    text = head(reading.element)
    if not text:
        return is_dashed(parameter)
    if reading.at is not None or not text.startswith("-") or holes(reading.element)[0].name != parameter.name:
        return False
    if not text.strip("-"):
        return is_dashed(parameter, text)
    # Only where the table has every letter with a value the others are known to have none.
    if program is None or program.sort is not Sort.TOOL or not program.valued:
        return False
    return text[1:].isalnum() and is_lettered(parameter, program.risky | program.scripts)


def _about_value(path: str, program: Program, parameter: Parameter, reading: Reading) -> Iterator[Remark]:
    """Yield what is to be said of a value that is no option: it stands alone or behind one."""
    is_manager = program.sort is Sort.MANAGER
    is_risky = reading.option in program.risky and _key(reading) not in program.plain
    is_wide = is_open(parameter) if is_manager or is_risky else is_free(parameter)
    is_loose = not reading.option or isinstance(reading.element[0], Hole)
    if is_wide and (is_loose or is_risky) and program.sort in (Sort.TOOL, Sort.MANAGER):
        text = f"{path!r} {program.why}, and parameter {parameter.name!r} may say nearly anything to it"
        remedy = f"use a choice, or tie it to a harmless option: '--option={{{parameter.name}}}'"
        yield "RX110" if is_manager else "RX105", f"{text}; {remedy}"


def _key(reading: Reading) -> str:
    """Return the name of a value that is written NAME=value, in small letters; otherwise an empty text."""
    name, equals, _ = head(reading.element)[reading.at or 0 :].partition("=")
    return name.lower() if equals else ""
