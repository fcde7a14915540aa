"""Make the tables of docs/AUDIT.md from the code; with --check, compare them."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from rexecd.audit.fields import FIELDS, TABLE
from rexecd.audit.vocabulary import EVENTS, EVERY, GROUPS

HERE: Final = Path(__file__).parent
DOCUMENT: Final = HERE / "AUDIT.md"
#: A table stands between these, and is made anew as a whole.
_BEGIN: Final = "<!-- {}: made by `make docs` -->\n"
_END: Final = "<!-- end of {} -->\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _table(heads: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    return _row(heads) + _row("---" for _ in heads) + "".join(map(_row, rows))


def events() -> str:
    """Return the table of every action."""
    heads = (
        "`event.action`",
        "`rexec.kind`",
        "`event.category`",
        "`event.type`",
        "`event.outcome`",
        "when",
        "has always",
    )
    return _table(
        heads,
        (
            (
                f"`{action.value}`",
                event.kind.value,
                ", ".join(event.category),
                ", ".join(event.type),
                event.outcome,
                event.about,
                _always(event.always),
            )
            for action, event in EVENTS.items()
        ),
    )


def _always(names: tuple[str, ...]) -> str:
    """Return what a record always has, the largest group first and by its name."""
    group = next((name for name, group in GROUPS.items() if names[: len(group)] == group), None)
    rest = names[len(GROUPS[group]) :] if group else names
    return ", ".join([*([f"*{group}*"] if group else []), *map(_path, rest)])


def groups() -> str:
    """Return what the groups of fields are."""
    lines = []
    smaller: dict[str, tuple[str, ...]] = {}
    for name, group in reversed(GROUPS.items()):
        base = next(
            (each for each in reversed(smaller) if group[: len(smaller[each])] == smaller[each]), None
        )
        own = group[len(smaller[base]) :] if base else group
        lines.append(f"* *{name}*: {', '.join([*([f'*{base}*'] if base else []), *map(_path, own)])}")
        smaller[name] = group
    return "\n".join([*lines, f"* every record: {', '.join(map(_path, EVERY))}"]) + "\n"


def fields() -> str:
    """Return the table of every field."""
    return _table(
        ("field", "name in our code", "type", "what it is"),
        ((_path(name), f"`{name}`", field.form.value, field.about) for name, field in TABLE.items()),
    )


def _path(name: str) -> str:
    return f"`{'.'.join(FIELDS[name])}`"


PARTS: Final[dict[str, Callable[[], str]]] = {"events": events, "groups": groups, "fields": fields}


def render(text: str) -> str:
    """Return the document with every table as the code has it; raise ValueError where one has no place."""
    for name, part in PARTS.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        before, found, rest = text.partition(begin)
        _, closed, behind = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"AUDIT.md: no place for the table of {name}")
        text = f"{before}{begin}\n{part()}\n{end}{behind}"
    return text


def main(arguments: list[str]) -> int:
    """Write the document, or only compare it; return the exit status."""
    old = DOCUMENT.read_text(encoding="utf-8")
    new = render(old)
    if arguments == ["--check"]:
        print("" if new == old else "docs/AUDIT.md: not as build_audit.py makes it\n", end="")
        return int(new != old)
    DOCUMENT.write_text(new, encoding="utf-8")
    print(f"docs/AUDIT.md {'unchanged' if new == old else 'changed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
