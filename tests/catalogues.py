"""What tests know of any catalogue of messages: how to write its rows down and how to fill them."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from rexecd.codec import Blob, Catalogue, Choice, Data, Field, Flag, Integer, Row, Text, Texts

_ROOT = Path(__file__).parent.parent


class _Form(NamedTuple):
    """What is to be known of one kind of field."""

    notation: Callable[[Any], str]
    values: Callable[[Any], st.SearchStrategy[Any]]
    simplest: Callable[[Any], Any]


#: Long values are left out on purpose: the vectors have them, and here they would cost time.
_FORMS: dict[type[Field], _Form] = {
    Integer: _Form(
        lambda field: f"u{8 * field.size}",
        lambda field: st.integers(0, 256**field.size - 1),
        lambda _: 0,
    ),
    Flag: _Form(lambda _: "flag", lambda _: st.booleans(), lambda _: False),
    Choice: _Form(
        lambda field: f"enum({field.members.__name__})",
        lambda field: st.sampled_from(list(field.members)),
        lambda field: next(iter(field.members)),
    ),
    Blob: _Form(lambda field: f"blob({field.most})", lambda _: st.binary(max_size=60), lambda _: b""),
    Text: _Form(lambda field: f"text({field._blob.most})", lambda _: st.text(max_size=16), lambda _: ""),
    Texts: _Form(
        lambda field: f"texts({field.most}, {field._text._blob.most})",
        lambda _: st.lists(st.text(max_size=8), max_size=4).map(tuple),
        lambda _: (),
    ),
    Data: _Form(
        lambda field: f"data({field.most})", lambda _: st.binary(min_size=1, max_size=60), lambda _: b"x"
    ),
}


def row_cells(row: Row) -> tuple[str, str, str]:
    """Return kind, name and fields of a row as the specifications write them."""
    pairs = zip(row.type._fields, row.fields, strict=True)
    fields = ", ".join(f"{name}: {_FORMS[type(field)].notation(field)}" for name, field in pairs)
    return str(row.kind), row.type.__name__, fields or "none"


def document_tables(name: str, heading: str) -> list[list[tuple[str, ...]]]:
    """Return the Markdown tables below one heading, each a list of rows without its head."""
    text = (_ROOT / "docs" / name).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"# {heading}\n")
    if not found:
        raise ValueError(f"docs/{name} has no heading {heading!r}")
    section = re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    groups = itertools.groupby(section.splitlines(), key=lambda line: line.startswith("|"))
    return [[_cells(line) for line in lines][2:] for is_table, lines in groups if is_table]


def _cells(line: str) -> tuple[str, ...]:
    cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    return tuple(cell.strip().replace("`", "").replace("\\|", "|") for cell in cells)


def messages(*rows: Row) -> st.SearchStrategy[Any]:
    """Return a strategy for messages of the given rows."""
    return st.one_of([_of(row) for row in rows])


def _of(row: Row) -> st.SearchStrategy[Any]:
    return st.tuples(*(_FORMS[type(field)].values(field) for field in row.fields)).map(
        lambda filled: row.type(*filled)
    )


def sample(catalogue: Catalogue, message_type: type) -> Any:
    """Return some message of the given type: all zero, empty, or the first member."""
    (row,) = [row for row in catalogue.rows if row.type is message_type]
    return row.type(*(_FORMS[type(field)].simplest(field) for field in row.fields))
