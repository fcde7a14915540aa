"""Every vector of tests/vectors: whole, byte by byte, and with another frame behind it."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from rexecd.errors import RemoteProtocolError
from rexecd.wire.connection import Connection, Role
from rexecd.wire.frames import pack
from rexecd.wire.messages import CATALOGUE, FROM_CLIENT, FROM_SERVER
from rexecd.wire.states import NEXT, State
from tests.catalogues import sample

_VECTORS = Path(__file__).parents[2] / "vectors"


class Vector(NamedTuple):
    """A vector as its file has it: what another implementation would read, and nothing else."""

    headers: dict[str, str]
    data: bytes

    def connection(self) -> Connection:
        """Return the side under test in the state the vector wants."""
        connection = Connection(Role[self.headers["side"].upper()])
        connection._state = State[self.headers["state"].upper()]
        return connection


def parse(text: str) -> Vector:
    """Return the vector in a file's text (PROTOCOL 11)."""
    head, _, body = text.partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    data = bytearray()
    for word in body.split():
        byte, _, count = word.partition("*")
        data += bytes.fromhex(byte) * int(count or 1)
    return Vector(headers, bytes(data))


ALL = {path.stem: parse(path.read_text(encoding="ascii")) for path in sorted(_VECTORS.glob("*.txt"))}
GOOD = {name: vector for name, vector in ALL.items() if vector.headers["expect"] == "ok"}
BAD = {name: vector for name, vector in ALL.items() if vector.headers["expect"].startswith("bad-")}


def verdict(connection: Connection, *pieces: bytes) -> tuple[str, list[Any]]:
    """Return what came of the pieces, and the messages before it."""
    found: list[Any] = []
    try:
        for piece in pieces:
            connection.receive(piece)
            while (message := connection.next_message()) is not None:
                found.append(message)
    except RemoteProtocolError as error:
        if str(error).startswith("frame of"):
            return "bad-frame", found
        return ("bad-order" if "is not allowed in state" in str(error) else "bad-message"), found
    return ("need-more" if connection.held or not found else "ok"), found


def bytewise(data: bytes) -> list[bytes]:
    """Return the data in pieces of one byte; the middle of long data in one, for time's sake."""
    if len(data) < 4096:
        return [data[at : at + 1] for at in range(len(data))]
    return [*bytewise(data[:100]), data[100:-100], *bytewise(data[-100:])]


def legal_frame(connection: Connection) -> bytes | None:
    """Return a frame the connection's peer may send just now, if there is any."""
    rows = FROM_CLIENT if connection._role is Role.SERVER else FROM_SERVER
    for row in rows:
        if (connection.state, row.type) in NEXT:
            return pack(CATALOGUE.encode(sample(CATALOGUE, row.type)))
    return None


def builder() -> ModuleType:
    """Return tests/vectors/build.py as a module."""
    spec = importlib.util.spec_from_file_location("vectors_build", _VECTORS / "build.py")
    if spec is None or spec.loader is None:
        raise ImportError("tests/vectors/build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ALL)
def test_a_vector_fed_whole_gives_what_it_expects(name: str) -> None:
    """All bytes at once give exactly the expected kind of result."""
    vector = ALL[name]

    assert vector.headers["expect"] == verdict(vector.connection(), *filter(None, [vector.data]))[0]


@pytest.mark.parametrize("name", ALL)
def test_a_vector_fed_byte_by_byte_gives_the_same(name: str) -> None:
    """How the bytes are cut changes neither result nor messages."""
    vector = ALL[name]
    whole = verdict(vector.connection(), *filter(None, [vector.data]))

    assert whole == verdict(vector.connection(), *bytewise(vector.data))


@pytest.mark.parametrize("name", GOOD)
def test_a_frame_behind_a_good_vector_is_read_too(name: str) -> None:
    """A good vector takes exactly its own bytes, so that what follows is understood."""
    vector = GOOD[name]
    plain = vector.connection()
    _, messages = verdict(plain, vector.data)
    behind = legal_frame(plain)
    expected = ("ok", len(messages) + 1) if behind else ("bad-order", len(messages))
    result, found = verdict(
        vector.connection(), vector.data + (behind or pack(CATALOGUE.encode(messages[0])))
    )

    assert expected == (result, len(found))
    assert messages == found[: len(messages)]


@pytest.mark.parametrize("name", BAD)
def test_nothing_behind_a_bad_vector_is_read(name: str) -> None:
    """After the violation a good frame is not parsed, however often one asks."""
    vector = BAD[name]
    connection = vector.connection()
    verdict(connection, vector.data)
    held = connection.held
    connection.receive(pack(bytes([6])))

    assert held == connection.held
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="already failed"):
            connection.next_message()


@pytest.mark.parametrize("name", GOOD)
def test_a_good_vector_encodes_to_the_same_bytes(name: str) -> None:
    """There is one spelling of every message, so nobody can hide anything in another."""
    vector = GOOD[name]
    _, messages = verdict(vector.connection(), vector.data)

    assert vector.data == b"".join(pack(CATALOGUE.encode(message)) for message in messages)


def test_the_files_are_what_the_builder_makes() -> None:
    """Nobody edited a vector by hand, and none is missing or surplus."""
    build = builder()

    assert build.differences(build.all_files()) == []


def test_every_message_has_a_good_vector_and_one_in_the_wrong_place() -> None:
    """A message added to the catalogue needs its vectors."""
    names = {re.sub(r"(?<!^)(?=[A-Z])", "-", row.type.__name__).lower() for row in CATALOGUE.rows}

    assert names == {name for name in names if f"{name}-ok" in GOOD and f"direction-{name}" in BAD}


def test_every_vector_names_a_section_of_the_specification() -> None:
    """The section a vector cites is there."""
    text = (_VECTORS.parents[1] / "docs" / "PROTOCOL.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^#+ ([0-9.]*[0-9])\.? ", text, flags=re.MULTILINE))

    assert set() == {vector.headers["section"] for vector in ALL.values()} - sections
