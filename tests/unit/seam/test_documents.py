"""PROTOCOL.md and SEAM.md say what the code does: their tables are compared with its own."""

import enum
from typing import Any

import pytest

from rexecd.client.errors import closing, refusal
from rexecd.codec import Row
from rexecd.errors import Code
from rexecd.limits import MAX_FRAME, MAX_FRAME_UNAUTHENTICATED, MAX_LINE, MAX_PACKET, MAX_WORDS
from rexecd.seam.messages import ADMIN, PERMITS, SEAM, Parting, Stage, Trouble
from rexecd.wire import messages as wire
from rexecd.wire.connection import Connection, Role
from rexecd.wire.messages import CATALOGUE, Ending, Offer, SignalName
from rexecd.wire.states import NEXT, State
from tests.catalogues import document_tables, row_cells

CATALOGUES: dict[str, tuple[str, str, tuple[Row, ...]]] = {
    "wire": ("PROTOCOL.md", "4.2 Catalogue", CATALOGUE.rows),
    "seam": ("SEAM.md", "2. Messages", SEAM.rows),
    "admin": ("SEAM.md", "6. The operator's door", ADMIN.rows),
}
ENUMERATIONS: dict[str, tuple[str, str, int, type[enum.IntEnum]]] = {
    "offer": ("PROTOCOL.md", "4.3 Enumerations", 0, Offer),
    "signal": ("PROTOCOL.md", "4.3 Enumerations", 1, SignalName),
    "ending": ("PROTOCOL.md", "4.3 Enumerations", 2, Ending),
    "code": ("PROTOCOL.md", "6. Refusal codes", 0, Code),
    "parting": ("SEAM.md", "2. Messages", 1, Parting),
    "trouble": ("SEAM.md", "2. Messages", 2, Trouble),
}


@pytest.mark.parametrize(("name", "heading", "rows"), CATALOGUES.values(), ids=CATALOGUES)
def test_the_messages_are_those_of_the_document(name: str, heading: str, rows: tuple[Row, ...]) -> None:
    """Number, name and fields of every message, in the document's order."""
    assert document_tables(name, heading)[0] == [row_cells(row) for row in rows]


@pytest.mark.parametrize(("name", "heading", "at", "members"), ENUMERATIONS.values(), ids=ENUMERATIONS)
def test_the_enumerations_are_those_of_the_document(
    name: str, heading: str, at: int, members: type[enum.IntEnum]
) -> None:
    """Every member and its number."""
    found = [(row[0], row[1]) for row in document_tables(name, heading)[at]]

    assert found == [(member.name, str(member.value)) for member in members]


def test_the_states_are_those_of_the_document() -> None:
    """Every row of the table, and no other."""
    expected = [(state.name, kind.__name__, after.name) for (state, kind), after in NEXT.items()]

    assert document_tables("PROTOCOL.md", "5.1 The table")[0] == expected


def test_the_ceilings_are_those_of_the_document() -> None:
    """The three ceilings of section 3, and those a line has."""
    table = document_tables("PROTOCOL.md", "3.2 Ceilings")[0]

    assert [row[2] for row in table] == [str(MAX_FRAME_UNAUTHENTICATED), str(MAX_FRAME), str(MAX_FRAME)]
    assert (MAX_LINE, MAX_WORDS, MAX_PACKET) == (16384, 1024, 65536)


def test_the_permits_are_those_of_the_document() -> None:
    """Every stage and its open questions."""
    found = {row[0]: set(row[1].split(", ")) for row in document_tables("SEAM.md", "3. Permits")[0]}

    assert found == {stage.name: {kind.__name__ for kind in kinds} for stage, kinds in PERMITS.items()}


def test_the_documents_stages_are_those_there_are() -> None:
    """The moves name no stage that does not exist, and leave none unreachable."""
    moves = document_tables("SEAM.md", "3. Permits")[1]
    stages = {stage.name for stage in Stage}

    assert stages == {row[0] for row in moves} | {row[1] for row in moves}
    assert stages - {row[1] for row in moves} == {Stage.FRESH.name}


@pytest.mark.parametrize("code", Code)
def test_the_callers_exit_status_is_that_of_the_document(code: Code) -> None:
    """A script can rely on the table of section 6."""
    rows = {row[0]: row[3:] for row in document_tables("PROTOCOL.md", "6. Refusal codes")[0]}
    in_refused, in_closed = rows[code.name]

    assert in_refused in {"-", str(refusal(wire.Refused("r", code, "")).exit_status)}
    assert in_closed in {"-", str(closing(wire.Closed(code, "")).exit_status)}
    assert (in_refused, in_closed) != ("-", "-")


def test_the_worked_example_is_a_legal_conversation() -> None:
    """Both ends agree with every byte of section 12 and say it the same way."""
    ends = {"caller": Connection(Role.CLIENT), "server": Connection(Role.SERVER)}
    for sender, words, message in document_tables("PROTOCOL.md", "12. A worked example")[0]:
        data = bytes.fromhex(words)
        taker = ends["server" if sender == "caller" else "caller"]
        taker.receive(data)
        taken: Any = taker.next_message()

        assert message.split(":")[0] == type(taken).__name__
        assert data == ends[sender].send(taken)
    assert {State.CLOSED} == {end.state for end in ends.values()}
