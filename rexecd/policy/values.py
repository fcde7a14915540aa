"""The forms of a policy's values: programs, directories, texts for people."""

import re
import shlex
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from rexecd import names, yamltext
from rexecd.forms import Listed, Own, Schema, Text, is_printable
from rexecd.limits import MAX_LINE, MAX_TEXT
from rexecd.policy.bounds import Rate
from rexecd.policy.places import is_clean_directory, is_clean_path
from rexecd.policy.template import Hole, Template, element
from rexecd.yamltext import Faults, Node, Scalar, shown

#: The dynamic loader obeys the first, and the second are ours to say.
_TAKEN: Final = ("LD_", "REXEC_")
_WORDS: Final = Listed(Text(), unique=False)
_IN_A_COMMAND: Final = "use lower-case letters, digits, '-', '_' and dots between words"
_IN_A_PRINCIPAL: Final = "use letters, digits and . _ @ -, and begin with a letter or digit"


def _template(node: Node, faults: Faults) -> Template | None:
    """Return what is run: a text is split once, here; a list is taken as it stands."""
    words = _WORDS.read(node, faults) if isinstance(node, yamltext.Sequence) else _split(node, faults)
    if words is None:
        return None
    template = Template(tuple(map(element, words)))
    program = template.elements[0][0]
    if len(template.elements[0]) > 1 or isinstance(program, Hole):
        faults.add(node.place, "the program itself cannot be a parameter")
    elif program == "/" or not is_clean_path(program):
        hint = "write its absolute path, without '//', '.' and '..' parts"
        faults.add(node.place, f"{shown(program)} is not a program; {hint}")
    return template


def _split(node: Node, faults: Faults) -> tuple[str, ...] | None:
    text = yamltext.text(node, faults)
    if text is None:
        return None
    if len(text) > MAX_LINE:
        faults.add(node.place, f"more than {MAX_LINE} characters; write a list")
        return None
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        faults.add(node.place, f"cannot be split into words: {str(error).lower()}")
        return None
    if not words:
        faults.add(node.place, "there is nothing to run")
    return words or None


def _run_schema() -> Schema:
    words = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MAX_LINE}, words]}


RUN: Final = Own("a text, which is split into words once, or a list of them", _template, _run_schema)


def _description(text: str) -> str | None:
    if all(map(is_printable, text.replace("\t", " ").split("\n"))):
        return None
    return "a description may hold line ends and no other control characters"


DESCRIPTION: Final = Text("a text, of several lines if needed", check=_description, most=MAX_TEXT)


def _directory(text: str) -> str | None:
    if is_clean_directory(text):
        return None
    return f"{shown(text)} is not an absolute path without '//', '.' and '..' parts"


DIRECTORY: Final = Text(
    "an absolute path",
    pattern=re.compile(r"/[^\x00]*"),
    check=_directory,
    complaint=("{shown} is not an absolute path without '//', '.' and '..' parts"),
)


def _reached(text: str) -> str | None:
    if "*" in text or "?" in text:
        return f"{shown(text)} holds a wildcard, which stands for nothing here; name each path"
    return _directory(text)


#: A file or a directory; it need not be there when the policy is loaded.
REACHED: Final = Text(
    "the absolute path of a file or directory",
    pattern=DIRECTORY.pattern,
    check=_reached,
    complaint=DIRECTORY.complaint,
)
UMASK: Final = Text(
    'an octal number in quotes, such as "027"',
    pattern=re.compile(r"0?[0-7]{3}"),
    complaint='{shown} is not a umask such as "027"',
)


_RATE: Final = re.compile("([1-9][0-9]{0,4})/(s|min|h|d)")
_RATE_WORDS: Final = "a rate such as 5/min: 1 to 99999 in one s, min, h or d"
#: Seconds.
_PERIODS: Final = MappingProxyType({"s": 1, "min": 60, "h": 3600, "d": 86400})


def _rate(node: Node, faults: Faults) -> Rate | None:
    found = _RATE.fullmatch(node.text) if isinstance(node, Scalar) else None
    if found is None:
        yamltext.expected(node, _RATE_WORDS, faults)
        return None
    return Rate(int(found[1]), _PERIODS[found[2]])


def _rate_schema() -> Schema:
    return {"type": "string", "pattern": f"^(?:{_RATE.pattern})$"}


RATE: Final = Own(_RATE_WORDS, _rate, _rate_schema)


def spell_rate(rate: Rate) -> str:
    """Return a rate as RATE reads it."""
    unit = next(unit for unit, seconds in _PERIODS.items() if seconds == rate.seconds)
    return f"{rate.count}/{unit}"


def command_complaint(name: str) -> str | None:
    """Return what is wrong with the name of a command."""
    if name in names.RESERVED_COMMANDS:
        return f"{name!r} is a word of the interactive session; choose another name"
    if not names.is_name(names.COMMAND, name):
        return f"{shown(name)} cannot name a command; {_IN_A_COMMAND}"
    return None


def holder_complaint(what: str) -> Callable[[str], str | None]:
    """Return the check of names of principals, and of roles, which look the same."""

    def complaint(name: str) -> str | None:
        if names.is_name(names.PRINCIPAL, name):
            return None
        return f"{shown(name)} cannot name a {what}; {_IN_A_PRINCIPAL}"

    return complaint


def code_complaint(code: str) -> str | None:
    """Return what is wrong with a code of lint; whether there is such a one lint says."""
    if names.is_name(names.LINT_CODE, code):
        return None
    return f"{shown(code)} is no code of lint; docs/LINT.md has them"


def parameter_complaint(name: str) -> str | None:
    """Return what is wrong with the name of a parameter."""
    if name in names.RESERVED_PARAMETERS:
        return f"'--{name}' shows the usage of a command; choose another name"
    if not names.is_name(names.PARAMETER, name):
        return f"{shown(name)} cannot name a parameter; use letters, digits and '_'"
    return None


def variable_complaint(name: str) -> str | None:
    """Return what is wrong with the name of an environment variable."""
    if not names.is_name(names.VARIABLE, name):
        return f"{shown(name)} cannot name a variable; use letters, digits and '_'"
    if name.startswith(_TAKEN):
        return f"variable {name!r} cannot be set: LD_* and REXEC_* are taken"
    return None
