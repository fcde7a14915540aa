"""What a loaded policy is: frozen, complete, and independent of the file it came from."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from rexecd.errors import Code, Refused
from rexecd.policy.parameters import Flag, Parameter
from rexecd.yamltext import Place

#: `{{name}}` stands for `{name}` as text, `{name}` is a hole; all other braces are text.
_HOLE: Final = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Hole(NamedTuple):
    """Where the value of a parameter goes."""

    name: str


#: One element of an argument vector before it is filled: literal text and holes.
Element = tuple[str | Hole, ...]


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
        pieces += [literal, Hole(found[2])] if literal else [Hole(found[2])]
        literal = ""
    literal += text[at:]
    return (*pieces, literal) if literal or not pieces else tuple(pieces)


@dataclass(frozen=True, slots=True)
class Template:
    """The argument vector of a rule, its first element the program. It was split when loaded."""

    elements: tuple[Element, ...]

    @property
    def holes(self) -> frozenset[str]:
        """Return the names of all holes."""
        return frozenset(
            piece.name for pieces in self.elements for piece in pieces if isinstance(piece, Hole)
        )

    def fill(self, parameters: Mapping[str, Parameter], values: Mapping[str, str]) -> tuple[str, ...]:
        """Return the argument vector; raise Refused where a value would become an option.

        `values` has a checked text for every parameter that is not a flag, and any text for a
        flag that was given. One element stays one argument; only flags add or leave out some.
        """
        filled: list[str] = []
        for pieces in self.elements:
            first = pieces[0]
            parameter = parameters[first.name] if isinstance(first, Hole) else None
            if parameter is not None and isinstance(parameter.kind, Flag):
                filled.extend(parameter.kind.adds if parameter.name in values else ())
            else:
                filled.append(_join(pieces, parameters, values))
        return tuple(filled)


def _join(pieces: Element, parameters: Mapping[str, Parameter], values: Mapping[str, str]) -> str:
    """Return one argument. An empty value must not bring the '-' behind it to the front (CWE-88)."""
    argument = "".join(values[piece.name] if isinstance(piece, Hole) else piece for piece in pieces)
    holes = [piece.name for piece in pieces if isinstance(piece, Hole)]
    exposed = isinstance(pieces[0], Hole) and argument.startswith("-")
    if exposed and not any(parameters[name].leading_dash for name in holes):
        raise Refused(Code.BAD_ARGUMENT, f"parameter {holes[0]!r} must not be empty")
    return argument


class Stdin(enum.Enum):
    """Whether a rule takes input."""

    REFUSE = "refuse"
    ACCEPT = "accept"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class Rule:
    """One allowed command."""

    name: str
    place: Place
    summary: str
    description: str
    template: Template
    #: In declared order.
    parameters: Mapping[str, Parameter]
    stdin: Stdin
    #: Seconds.
    timeout: float
    environment: Mapping[str, str]
    working_directory: str
    #: Bytes of stdout and stderr together; None means no ceiling.
    output_ceiling: int | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who may run something: the rules its roles permit, by name."""

    name: str
    rules: Mapping[str, Rule]


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole allowlist. What is not in here is not allowed."""

    principals: Mapping[str, Principal]
    rules: Mapping[str, Rule]
    #: SHA-256 of the text it was loaded from, in hex.
    digest: str


@dataclass(frozen=True, slots=True)
class Invocation:
    """A permission: one program with everything it will be started with.

    Only `policy.decide.decide` makes one, and nothing is started without one.
    """

    rule: str
    #: Where the rule stands: `policy.yaml:12:3`.
    place: str
    argv: tuple[str, ...]
    #: Complete: nothing of the daemon's own environment is added.
    environment: Mapping[str, str]
    working_directory: str
    #: Seconds.
    timeout: float
    takes_input: bool
    #: Bytes of stdout and stderr together; None means no ceiling.
    output_ceiling: int | None
