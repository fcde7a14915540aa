"""The argument vector of a rule before its holes are filled, and how they are filled.

Rule: one element is one argument. A flag, a repetition and an optional parameter have an element
to themselves (or, the last, the only hole in it), and only they change how many arguments there are.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from rexecd.errors import Code, Refused
from rexecd.policy.kinds import Flag
from rexecd.policy.parameters import Parameter, Pass

#: `{{name}}` stands for `{name}` as text, `{name}` and `{name...}` are holes; all other braces are text.
_NAME: Final = r"([A-Za-z_][A-Za-z0-9_]*(?:\.\.\.)?)"
_HOLE: Final = re.compile(rf"\{{\{{{_NAME}\}}\}}|\{{{_NAME}\}}")
_SPLITS: Final = re.compile(r"[\s'\"\\]")
#: Where the descriptors of a process have names; the number follows when it is known.
_DESCRIPTORS: Final = "/dev/fd/"


class Hole(NamedTuple):
    """Where the value of a parameter goes; with `repeated` all its values, one argument each."""

    name: str
    repeated: bool = False

    def __str__(self) -> str:
        return f"{{{self.name}{'...' if self.repeated else ''}}}"


#: One element of an argument vector before it is filled: literal text and holes.
Element = tuple[str | Hole, ...]
#: The checked texts of each parameter that has any; a flag that was given has an empty one.
Values = Mapping[str, tuple[str, ...]]


class Filled(NamedTuple):
    """An argument vector, and which of its arguments end with a descriptor of which parameter."""

    argv: tuple[str, ...]
    #: By index: the argument ends in `/dev/fd/`, and the number is put behind it.
    descriptors: Mapping[int, str]


def element(text: str) -> Element:
    """Return the pieces of one element of `run`."""
    pieces: list[str | Hole] = []
    literal, at = "", 0
    for found in _HOLE.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        if found[1]:
            literal += "{" + found[1] + "}"
            continue
        name = found[2].removesuffix("...")
        hole = Hole(name, repeated=name != found[2])
        pieces += [literal, hole] if literal else [hole]
        literal = ""
    literal += text[at:]
    return (*pieces, literal) if literal or not pieces else tuple(pieces)


def holes(pieces: Element) -> list[Hole]:
    """Return the holes of one element, in order."""
    return [piece for piece in pieces if isinstance(piece, Hole)]


def _shown(pieces: Element) -> str:
    """Return one element as a line would hold it: quoted where a blank would split it."""
    text = "".join(
        str(piece) if isinstance(piece, Hole) else _HOLE.sub(r"{\g<0>}", piece) for piece in pieces
    )
    return shlex.quote(text) if not text or _SPLITS.search(text) else text


@dataclass(frozen=True, slots=True)
class Template:
    """The argument vector of a rule, its first element the program. It was split when loaded."""

    elements: tuple[Element, ...]

    @property
    def holes(self) -> Iterator[Hole]:
        """Yield all holes."""
        return (hole for pieces in self.elements for hole in holes(pieces))

    @property
    def program(self) -> str:
        """Return the program: it has no holes."""
        return str(self.elements[0][0])

    def __str__(self) -> str:
        """Return it as the policy would write it, for people."""
        return " ".join(map(_shown, self.elements))

    def fill(self, parameters: Mapping[str, Parameter], values: Values) -> Filled:
        """Return the argument vector; raise Refused where a value would become an option."""
        argv: list[str] = []
        descriptors: dict[int, str] = {}
        for pieces in self.elements:
            names = [hole.name for hole in holes(pieces)]
            if any(name not in values for name in names):
                continue  # a flag that was not given, an optional value that was left out
            parameter = parameters[names[0]] if names else None
            if parameter is not None and parameter.passed is Pass.DESCRIPTOR:
                descriptors[len(argv)] = parameter.name
                argv.append("".join(map(str, pieces[:-1])) + _DESCRIPTORS)
            elif parameter is not None and isinstance(parameter.kind, Flag):
                argv.extend(parameter.kind.adds)
            elif parameter is not None and parameter.repeat is not None:
                argv.extend(
                    _join(pieces, parameters, {parameter.name: one}) for one in values[parameter.name]
                )
            else:
                argv.append(_join(pieces, parameters, {name: values[name][0] for name in names}))
        return Filled(tuple(argv), descriptors)


def _join(pieces: Element, parameters: Mapping[str, Parameter], values: Mapping[str, str]) -> str:
    """Return one argument. An empty value must not bring the '-' behind it to the front (CWE-88)."""
    texts = [values[piece.name] if isinstance(piece, Hole) else piece for piece in pieces]
    first = next((index for index, text in enumerate(texts) if text), 0)
    empty = holes(pieces[:first])
    exposed = bool(empty) and isinstance(pieces[first], str) and texts[first].startswith("-")
    if exposed and not any(parameters[hole.name].leading_dash for hole in empty):
        raise Refused(Code.BAD_ARGUMENT, f"parameter {empty[0].name!r} must not be empty")
    return "".join(texts)
