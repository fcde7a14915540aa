"""How one command is declared: its keys, and the template it runs."""

import shlex
from collections.abc import Mapping as Map
from types import MappingProxyType
from typing import Final

from rexecd import names, yamltext
from rexecd.limits import MAX_LINE, MAX_PARAMETERS
from rexecd.policy.declare import read_line, read_parameter
from rexecd.policy.model import Element, Hole, Rule, Stdin, Template, element
from rexecd.policy.parameters import Parameter, is_clean_directory, is_clean_path, is_printable
from rexecd.yamltext import Faults, Keys, Mapping, Node, Place, shown, suggest

_KEYS: Final = Keys(
    (
        "summary",
        "description",
        "run",
        "parameters",
        "stdin",
        "timeout",
        "environment",
        "working_directory",
        "limits",
    ),
    ("summary", "run"),
    ("run_as", "umask", "from", "on_disconnect", "sandbox", "justification", "examples", "hidden"),
)
_LIMITS: Final = Keys(
    ("output",),
    (),
    (
        "concurrency",
        "rate",
        "memory",
        "cpu",
        "processes",
        "open_files",
        "file_size",
        "nice",
        "input",
    ),
)
_TIMEOUT: Final = 60.0
_LONGEST: Final = 24 * 3600.0
#: The dynamic loader obeys the first, and the second are ours to say.
_TAKEN: Final = ("LD_", "REXEC_")

#: None stands for a parameter with a fault.
_Declared = Map[str, Parameter | None]


def read_rule(name: str, place: Place, node: Node, faults: Faults) -> Rule | None:
    """Return one command as declared, or None with a fault."""
    found = yamltext.keyed(node, faults, keys=_KEYS)
    if found is None:
        return None
    nodes = found.entries
    parameters = _parameters(nodes.get("parameters"), faults)
    template = _template(nodes["run"], faults) if "run" in nodes else None
    if template is not None and parameters is not None:
        _check_holes(template, found, parameters, faults)
    ceiling = _output(nodes["limits"], faults) if "limits" in nodes else None
    environment = _environment(nodes["environment"], faults) if "environment" in nodes else {}
    summary = read_line(nodes["summary"], faults) if "summary" in nodes else ""
    description = _description(nodes["description"], faults) if "description" in nodes else ""
    stdin = _stdin(nodes["stdin"], faults) if "stdin" in nodes else Stdin.REFUSE
    timeout = yamltext.duration(nodes["timeout"], faults, most=_LONGEST) if "timeout" in nodes else _TIMEOUT
    directory = _directory(nodes["working_directory"], faults) if "working_directory" in nodes else "/"
    if template is None or parameters is None or timeout is None:
        return None
    return Rule(
        name=name,
        place=place,
        summary=summary,
        description=description,
        template=template,
        parameters=MappingProxyType({key: value for key, value in parameters.items() if value is not None}),
        stdin=stdin,
        timeout=timeout,
        environment=MappingProxyType(environment),
        working_directory=directory,
        output_ceiling=ceiling,
    )


def _parameters(node: Node | None, faults: Faults) -> _Declared | None:
    """Return every parameter by name; None for one with a fault, so that its hole is not reported too."""
    if node is None:
        return {}
    if not isinstance(node, Mapping):
        yamltext.mapping(node, faults)
        return None
    if len(node.entries) > MAX_PARAMETERS:
        faults.add(node.place, f"more than {MAX_PARAMETERS} parameters")
    for name, place in node.keys.items():
        if name in names.RESERVED_PARAMETERS:
            faults.add(place, f"'--{name}' shows the usage of a command; choose another name")
        elif not names.is_name(names.PARAMETER, name):
            faults.add(place, f"{shown(name)} cannot name a parameter; use letters, digits and '_'")
    return {name: read_parameter(name, declared, faults) for name, declared in node.entries.items()}


def _template(node: Node, faults: Faults) -> Template | None:
    """Return what is run: a text is split once, here; a list is taken as it stands."""
    words = yamltext.texts(node, faults) if isinstance(node, yamltext.Sequence) else _split(node, faults)
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


def _check_holes(template: Template, found: Mapping, parameters: _Declared, faults: Faults) -> None:
    """Add a fault for holes without a parameter, parameters without a hole, and flags inside words."""
    run = found.entries["run"].place
    for name in sorted(template.holes - parameters.keys()):
        literal = f"as plain text it is written '{{{{{name}}}}}'"
        faults.add(run, f"hole '{{{name}}}' has no parameter{suggest(name, parameters)}; {literal}")
    declared = found.entries.get("parameters")
    if isinstance(declared, Mapping):
        for name in parameters.keys() - template.holes:
            faults.add(declared.keys[name], f"parameter {name!r} is not used in 'run'")
    for pieces in template.elements:
        for name in _flags_inside(pieces, parameters):
            faults.add(run, f"flag '{{{name}}}' has to be a whole argument")


def _flags_inside(pieces: Element, parameters: _Declared) -> list[str]:
    """Return the flags that share their argument with something else."""
    holes = [piece.name for piece in pieces if isinstance(piece, Hole)] if len(pieces) > 1 else []
    return [name for name in holes if (known := parameters.get(name)) is not None and known.is_flag]


def _description(node: Node, faults: Faults) -> str:
    text = yamltext.text(node, faults)
    if text is not None and not all(map(is_printable, text.replace("\t", " ").split("\n"))):
        faults.add(node.place, "a description may hold line ends and no other control characters")
    return (text or "").strip()


def _stdin(node: Node, faults: Faults) -> Stdin:
    word = yamltext.choice(node, faults, options=[mode.value for mode in Stdin])
    return Stdin.REFUSE if word is None else Stdin(word)


def _output(node: Node, faults: Faults) -> int | None:
    found = yamltext.keyed(node, faults, keys=_LIMITS)
    if found is None:
        return None
    if not found.entries:
        faults.add(node.place, "this limits nothing; remove it")
    return yamltext.size(found.entries["output"], faults) if "output" in found.entries else None


def _directory(node: Node, faults: Faults) -> str:
    text = yamltext.text(node, faults)
    if text is not None and not is_clean_directory(text):
        faults.add(node.place, f"{shown(text)} is not an absolute path without '//', '.' and '..' parts")
    return text or "/"


def _environment(node: Node, faults: Faults) -> dict[str, str]:
    found = yamltext.mapping(node, faults)
    variables = {}
    for name, value in found.entries.items():
        if not names.is_name(names.VARIABLE, name):
            faults.add(found.keys[name], f"{shown(name)} cannot name a variable; use letters, digits and '_'")
        elif name.startswith(_TAKEN):
            faults.add(found.keys[name], f"variable {name!r} cannot be set: LD_* and REXEC_* are taken")
        text = yamltext.text(value, faults)
        if name == "PATH" and text is not None and not all(map(is_clean_path, text.split(":"))):
            # An empty or relative part makes the working directory a place for programs (POL-13).
            faults.add(value.place, "every part of PATH has to be an absolute path")
        variables[name] = text or ""
    return variables
