"""Rows for spreadsheets: what goes in comes out, on one line, and is no formula."""

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.audit.cells import HEADER, cell, of_record, row
from rexecd.audit.lines import Line
from rexecd.audit.search import parse

VALUES = st.none() | st.integers() | st.booleans() | st.floats() | st.text() | st.lists(st.text(), max_size=2)


@given(st.lists(VALUES, min_size=2, max_size=8))
def test_a_row_is_read_as_it_was_written(values: list[Any]) -> None:
    """By any reader of CSV, and in one line that a terminal can show."""
    line = row(values)

    assert [[cell(value) for value in values]] == list(csv.reader([line]))
    assert 1 == len(line.splitlines())
    assert all(character.isprintable() or character in "\xa0\u202f\u3000" for character in line)


@given(st.sampled_from("=+-@\t\r\n\uff1d"), st.text())
def test_no_cell_begins_a_formula(first: str, rest: str) -> None:
    """A spreadsheet takes a cell that begins with an apostrophe for text."""
    assert cell(first + rest).startswith("'")


def test_what_a_reader_gets_is_what_was_recorded() -> None:
    """Plain texts as they are, numbers as numbers, nothing for what is not there."""
    record = {
        "@timestamp": "2026-11-28T10:00:00.000000Z",
        "event": {"action": "command-exited", "duration": 250_000_000},
        "process": {"exit_code": 3},
        "rexec": {"sequence": 7, "line": "=HYPERLINK(1),\u202e"},
    }
    found = dict(zip(HEADER, next(csv.reader([row(of_record(record))])), strict=True))

    assert ("2026-11-28T10:00:00.000000Z", "7", "command-exited") == tuple(found.values())[:3]
    assert ("0.250", "3", "", "'=HYPERLINK(1),\\u202e") == (
        found["duration"], found["exit"], found["principal"], found["line"],
    )  # fmt: skip


@pytest.mark.parametrize("text", ["noise", "[1]"])
def test_what_is_no_record_is_a_row_too(text: str) -> None:
    """It says so, and where."""
    found = dict(zip(HEADER, of_record(parse(Line(Path("trail"), 3, text.encode()))), strict=True))

    assert ("not-a-record", "trail:3", text) == (found["action"], found["reason"], found["line"])
