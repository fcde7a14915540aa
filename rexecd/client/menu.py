"""What a session greets with: what may be run, on one screen."""

import unicodedata
from collections.abc import Sequence
from typing import Final

from rexecd.client.listing import Clean, make_table
from rexecd.wire.messages import Entry

HELP: Final = "'help NAME' shows one command, 'exit' leaves.\n"
_HEAD: Final = "You may run:\n"
#: More commands stand with their names only.
_MOST_ROWS: Final = 20
#: More names are counted.
_MOST_NAMES: Final = 200
#: No terminal is narrower, as far as we care.
_LEAST_WIDTH: Final = 20
_GAP: Final = "  "
_ELLIPSIS: Final = "..."


def make_menu(entries: Sequence[Entry], clean: Clean, width: int) -> str:
    """Return what may be run, in lines of at most `width` columns, and how to go on."""
    width = max(width, _LEAST_WIDTH)
    if not entries:
        return "You may run nothing here: ask the operator. 'exit' leaves.\n"
    if len(entries) <= _MOST_ROWS:
        rows = make_table(entries, clean).split("\n")[:-1]
        return _HEAD + "".join(f"  {_cut(row, width - 2)}\n" for row in rows) + HELP
    names = [_cut(clean(entry.name), width - 2) for entry in entries[:_MOST_NAMES]]
    more = len(entries) - len(names)
    rest = f" ({more} more are not shown)" if more else ""
    return (
        _HEAD
        + "".join(f"  {row}\n" for row in _columns(names, width - 2))
        + f"{len(entries)} commands{rest}: 'help' says what each does; {HELP}"
    )


def columns(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    return sum(map(_size, text))


def _size(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, width: int) -> str:
    """Return a text that takes no more columns than there are."""
    if len(text) <= 2 * width and columns(text) <= width:  # marks above letters take none, and can be many
        return text
    text = text[: 2 * width]
    room = width - len(_ELLIPSIS)
    kept = 0
    while kept < len(text) and (room := room - _size(text[kept])) >= 0:
        kept += 1
    return text[:kept].rstrip() + _ELLIPSIS


def _columns(names: Sequence[str], width: int) -> list[str]:
    """Return rows of names, in order from top to bottom and then to the right."""
    wide = max(map(columns, names)) + len(_GAP)
    across = max(1, (width + len(_GAP)) // wide)
    down = -(-len(names) // across)
    return [
        "".join(name + " " * (wide - columns(name)) for name in names[row::down]).rstrip()
        for row in range(down)
    ]
