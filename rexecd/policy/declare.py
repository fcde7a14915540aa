"""How parameters are declared: one function and one row for each type.

Rule 1: a declaration under which no value fits, or one that lets a value become an option
without saying `leading_dash: allow`, is a fault.
Rule 2: a default is a value like any other and has to fit.
"""

import posixpath
from collections.abc import Callable
from typing import Final, NamedTuple

from rexecd import yamltext
from rexecd.errors import Refused
from rexecd.limits import MAX_LINE
from rexecd.policy.grammar import PatternError
from rexecd.policy.parameters import (
    HIGHEST,
    LOWEST,
    Choice,
    Flag,
    Integer,
    Kind,
    Matching,
    Parameter,
    Path,
    Text,
    Word,
    is_clean_directory,
    is_printable,
)
from rexecd.policy.pattern import compile_pattern
from rexecd.yamltext import Faults, Keys, Mapping, Node, shown

_SWITCH: Final = ("allow", "refuse")
_DASH: Final = "add 'leading_dash: allow' if a value may become an option"


def read_line(node: Node, faults: Faults) -> str:
    """Return a text for people on one line; an empty one with a fault."""
    text = yamltext.text(node, faults)
    if text is not None and not (text.strip() and is_printable(text)):
        faults.add(node.place, "expected one line of text without control characters")
    return text or ""


def _is_allowed(node: Mapping, key: str, faults: Faults) -> bool:
    """Return whether `key` says `allow`; without the key it is `refuse`."""
    found = node.entries.get(key)
    return found is not None and yamltext.choice(found, faults, options=_SWITCH) == "allow"


def _choice(node: Mapping, faults: Faults, *, dash: bool) -> Kind | None:
    of = node.entries["of"]
    options = yamltext.texts(of, faults, unique=True)
    if options is None:
        return None
    for option, item in zip(options, yamltext.sequence(of, faults), strict=True):
        if not option or not is_printable(option):
            faults.add(item.place, f"option {shown(option)} is empty or holds a control character")
        elif option.startswith("-") and not dash:
            faults.add(item.place, f"option {shown(option)} begins with '-'; {_DASH}")
    return Choice(options)


def _integer(node: Mapping, faults: Faults, *, dash: bool) -> Kind | None:
    bounds: dict[str, int | None] = {"min": LOWEST if dash else 0, "max": HIGHEST}
    for key in bounds:
        if key in node.entries:
            bounds[key] = yamltext.integer(node.entries[key], faults, least=LOWEST, most=HIGHEST)
    least, most = bounds.values()
    if least is None or most is None:
        return None
    if least < 0 and not dash:
        faults.add(node.entries["min"].place, f"negative values begin with '-'; {_DASH}")
    elif least > most:
        faults.add(node.place, f"no integer fits between {least} and {most}")
    return Integer(least, most)


def _word(node: Mapping, faults: Faults, *, dash: bool) -> Kind:  # noqa: ARG001 - as in _Row.read
    return Word()


def _pattern(node: Mapping, faults: Faults, *, dash: bool) -> Kind | None:  # noqa: ARG001
    matches = node.entries["matches"]
    text = yamltext.text(matches, faults)
    unicode = _is_allowed(node, "unicode", faults)
    if text is None:
        return None
    try:
        return Matching(compile_pattern(text), ascii_only=not unicode)
    except PatternError as error:
        faults.add(matches.place, str(error))
        return None


def _path(node: Mapping, faults: Faults, *, dash: bool) -> Kind | None:  # noqa: ARG001
    under = node.entries["under"]
    roots = yamltext.texts(under, faults, unique=True)
    if roots is None:
        return None
    for root, item in zip(roots, yamltext.sequence(under, faults), strict=True):
        if not is_clean_directory(root):
            faults.add(item.place, f"{shown(root)} is not an absolute path without '//', '.' and '..' parts")
    return Path(roots)


def _text(node: Mapping, faults: Faults, *, dash: bool) -> Kind | None:  # noqa: ARG001
    most: int | None = 256
    if "max" in node.entries:
        most = yamltext.integer(node.entries["max"], faults, least=1, most=MAX_LINE)
    return None if most is None else Text(most)


def _flag(node: Mapping, faults: Faults, *, dash: bool) -> Kind | None:  # noqa: ARG001
    adds = yamltext.texts(node.entries["adds"], faults)
    return None if adds is None else Flag(adds)


class _Row(NamedTuple):
    """How one type is read, and the keys it has besides `type` and `summary`."""

    read: Callable[..., Kind | None]
    keys: tuple[str, ...]
    required: tuple[str, ...] = ()


_VALUED: Final = ("default", "leading_dash")
_KINDS: Final = {
    "choice": _Row(_choice, ("of", *_VALUED), ("of",)),
    "integer": _Row(_integer, ("min", "max", *_VALUED)),
    "word": _Row(_word, _VALUED),
    "pattern": _Row(_pattern, ("matches", "unicode", *_VALUED), ("matches",)),
    "path": _Row(_path, ("under", *_VALUED), ("under",)),
    "flag": _Row(_flag, ("adds",), ("adds",)),
    "text": _Row(_text, ("max", *_VALUED)),
}
_LATER: Final = frozenset(
    {"number", "hostname", "address", "network", "port", "duration", "time", "secret", "repetition"}
)


def read_parameter(name: str, node: Node, faults: Faults) -> Parameter | None:
    """Return the declared parameter, or None with a fault."""
    found = yamltext.mapping(node, faults)
    kind = found.entries.get("type")
    if kind is None:
        if isinstance(node, Mapping):
            faults.add(node.place, "missing key 'type'")
        return None
    if isinstance(kind, yamltext.Scalar) and kind.text in _LATER:
        faults.add(kind.place, f"type {kind.text!r} is not supported by this version")
        return None
    word = yamltext.choice(kind, faults, options=_KINDS)
    return None if word is None else _read_kind(name, found, _KINDS[word], faults)


def _read_kind(name: str, node: Mapping, row: _Row, faults: Faults) -> Parameter | None:
    yamltext.keyed(node, faults, keys=Keys(("type", "summary", *row.keys), row.required))
    if any(key not in node.entries for key in row.required):
        return None
    # A flag's leading_dash is an unknown key, and has been complained about.
    dash = _is_allowed(node, "leading_dash", faults)
    kind = row.read(node, faults, dash=dash)
    summary = read_line(node.entries["summary"], faults) if "summary" in node.entries else ""
    if kind is None:
        return None
    parameter = Parameter(name, kind, default=None, leading_dash=dash, summary=summary)
    if "default" not in node.entries or parameter.is_flag:
        return parameter
    return _with_default(parameter, node.entries["default"], faults)


def _with_default(parameter: Parameter, node: Node, faults: Faults) -> Parameter | None:
    if isinstance(parameter.kind, Integer):
        number = yamltext.integer(node, faults, least=LOWEST, most=HIGHEST)
        default = None if number is None else str(number)
    else:
        default = yamltext.text(node, faults)
    if default is None:
        return None
    try:
        # Whether a path's links stay inside is seen at each decision; here it is only read.
        parameter.check(default, posixpath.normpath)
    except Refused as refused:
        faults.add(node.place, f"the default {shown(default)} does not fit: {refused.text}")
    return Parameter(parameter.name, parameter.kind, default, parameter.leading_dash, parameter.summary)
