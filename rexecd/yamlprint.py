"""Nodes as YAML text that is read again as the same nodes: every entry on its own line, no guessing."""

import re
from typing import Final

from rexecd.scalars import quote
from rexecd.yamltext import Broken, Mapping, Node, Scalar, Sequence

_INDENT: Final = "  "
#: What stands for itself as a key; words YAML would guess at are not among it.
_PLAIN_KEY: Final = re.compile(
    r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z_][A-Za-z0-9_.@-]*", re.IGNORECASE
)


def render(node: Node, depth: int = 0) -> str:
    """Return a mapping or list as lines at a depth, or a text as it stands behind its key."""
    match node:
        case Mapping(entries=entries) if entries:
            return "".join(
                f"{_INDENT * depth}{_key(name)}:{_behind(entry, depth)}" for name, entry in entries.items()
            )
        case Sequence(items=items) if items:
            return "".join(f"{_INDENT * depth}-{_behind(item, depth)}" for item in items)
        case Mapping():
            return "{}"
        case Sequence():
            return "[]"
        case Scalar(text=text, plain=plain):
            return text if plain and text.isascii() and text.isprintable() else quote(text)
        case Broken():
            raise ValueError("a node with a fault cannot be printed")


def _behind(node: Node, depth: int) -> str:
    """Return what stands behind a key or a dash, to the end of its last line."""
    text = render(node, depth + 1)
    return f"\n{text}" if text.endswith("\n") else f" {text}\n"


def _key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) else quote(name)
