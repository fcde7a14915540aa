"""How a policy and the settings write whom a command runs as. Who that is `policy.identity` looks up."""

import re
from typing import Final

from rexecd import yamltext
from rexecd.forms import Either, Entries, Key, Listed, Own, Schema, Table, quote
from rexecd.yamltext import Faults, Node, Scalar

#: The highest number of 32 bits is -1 to the kernel: "leave it as it is" (setresuid(2)).
HIGHEST_ID: Final = 2**32 - 2
ROOT: Final = "root"
MEANT: Final = f"write '{ROOT}' if that is meant"
_NUMBER: Final = re.compile(r"-?[0-9]+")


def _read_id(node: Node, faults: Faults) -> str | int | None:
    """Return a name, or a number above 0."""
    if not (isinstance(node, Scalar) and node.plain and _NUMBER.fullmatch(node.text)):
        return yamltext.text(node, faults)
    if not node.text.strip("-0"):
        faults.add(node.place, f"0 is root; {MEANT}")
        return None
    return yamltext.integer(node, faults, least=1, most=HIGHEST_ID)


def _id_schema() -> Schema:
    return {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 1, "maximum": HIGHEST_ID}]}


_ID: Final = Own("a name, or a number above 0", _read_id, _id_schema)
_KEYS: Final = ("user", "group", "groups")
RUN_AS: Final = Either(
    words="a user's name, or a mapping with 'user', 'group' and 'groups'",
    scalar=_ID,
    mapping=Table(
        {
            "user": Key(_ID, "The user, by name or number.", required=True),
            "group": Key(_ID, "The primary group; needed with a number. Otherwise the account's own."),
            "groups": Key(
                Listed(_ID, least=0), "The supplementary groups, and no others. Otherwise the account's own."
            ),
        },
        "Who the command runs as.",
    ),
)


#: What RUN_AS reads: a name, a number, or a mapping.
Asked = str | int | Entries


def spell_run_as(asked: Asked | tuple[str | int, ...]) -> str:
    """Return what RUN_AS has read as YAML on one line."""
    match asked:
        case int():
            return str(asked)
        case str():
            return quote(asked)
        case tuple():
            return f"[{', '.join(map(spell_run_as, asked))}]"
    parts = (f"{name}: {spell_run_as(asked.values[name])}" for name in _KEYS if name in asked.values)
    return f"{{{', '.join(parts)}}}"
