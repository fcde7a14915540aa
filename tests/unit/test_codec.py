"""Fields and catalogues."""

import enum
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.codec import (
    FLAG,
    U8,
    U16,
    Blob,
    Catalogue,
    Choice,
    Data,
    Field,
    Integer,
    Row,
    Text,
    Texts,
)
from rexecd.errors import LocalProtocolError, RemoteProtocolError
from rexecd.seam.messages import ADMIN, SEAM
from rexecd.wire.messages import CATALOGUE
from tests.catalogues import messages, sample


class Colour(enum.IntEnum):
    """Something to choose from."""

    RED = 1
    BLUE = 7


class Nothing(NamedTuple):
    """A message without fields."""


class Pair(NamedTuple):
    """A message with two."""

    first: int
    second: str


SMALL = Catalogue(Row(1, Nothing), Row(2, Pair, (U8, Text(4))))
ALL = {"wire": CATALOGUE, "seam": SEAM, "admin": ADMIN}
ROWS = [(catalogue, row) for catalogue in ALL.values() for row in catalogue.rows]
ROW_IDS = [f"{name}-{row.type.__name__}" for name, catalogue in ALL.items() for row in catalogue.rows]

ENCODED = {
    "u8": (U8, 255, b"\xff"),
    "u16": (U16, 258, b"\x01\x02"),
    "u64": (Integer(8), 2**64 - 1, b"\xff" * 8),
    "true": (FLAG, True, b"\x01"),
    "false": (FLAG, False, b"\x00"),
    "member": (Choice(Colour), Colour.BLUE, b"\x07"),
    "blob": (Blob(3), b"abc", b"\x00\x03abc"),
    "empty blob": (Blob(3), b"", b"\x00\x00"),
    "text counts bytes": (Text(3), "\u20ac", b"\x00\x03\xe2\x82\xac"),
    "texts": (Texts(2, 3), ("a", ""), b"\x02\x00\x01a\x00\x00"),
    "no texts": (Texts(2, 3), (), b"\x00"),
    "data": (Data(3), b"abc", b"abc"),
}
UNSENDABLE = {
    "negative": (U8, -1, "not an unsigned integer"),
    "too large": (U8, 256, "not an unsigned integer"),
    "a bool is no number": (U8, True, "not an unsigned integer"),
    "a float is no number": (U8, 1.0, "not an unsigned integer"),
    "no member": (Choice(Colour), 2, "2 is not a valid Colour"),
    "long blob": (Blob(3), b"abcd", "4 bytes where 3 are allowed"),
    "long text": (Text(3), "\u20aca", "4 bytes where 3 are allowed"),
    "surrogate": (Text(9), "\ud800", "surrogates not allowed"),
    "many texts": (Texts(1, 3), ("a", "b"), "2 texts where 1 are allowed"),
    "long text among texts": (Texts(2, 3), ("abcd",), "4 bytes where 3 are allowed"),
    "no data": (Data(3), b"", "0 bytes of data"),
    "much data": (Data(3), b"abcd", "4 bytes of data"),
}
UNREADABLE = {
    "cut number": (U16, b"\x01", "ends inside a field"),
    "flag 2": (FLAG, b"\x02", "flag byte is 2"),
    "no member": (Choice(Colour), b"\x02", "2 is no Colour"),
    "long blob, from its length alone": (Blob(3), b"\x00\x04", "field of 4 bytes exceeds 3"),
    "cut blob": (Blob(3), b"\x00\x03ab", "ends inside a field"),
    "not utf-8": (Text(3), b"\x00\x01\xff", "text is not UTF-8"),
    "overlong utf-8": (Text(3), b"\x00\x02\xc0\x80", "text is not UTF-8"),
    "many texts, from their number alone": (Texts(1, 3), b"\x02", "2 texts exceed 1"),
    "no data": (Data(3), b"", "0 bytes of data"),
    "much data": (Data(3), b"abcd", "4 bytes of data"),
}


@pytest.mark.parametrize(("field", "value", "data"), ENCODED.values(), ids=ENCODED)
def test_a_field_has_one_spelling(field: Field, value: Any, data: bytes) -> None:
    """A value becomes these bytes, and these bytes that value."""
    assert data == field.encode(value)
    assert (value, len(data)) == field.decode(data, 0)


@pytest.mark.parametrize(("field", "value", "why"), UNSENDABLE.values(), ids=UNSENDABLE)
def test_what_cannot_be_sent_is_refused(field: Field, value: Any, why: str) -> None:
    """An encoder never writes what its decoder would not take."""
    with pytest.raises(ValueError, match=why):
        field.encode(value)


@pytest.mark.parametrize(("field", "data", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_no_encoder_writes_is_refused(field: Field, data: bytes, why: str) -> None:
    """A decoder names what is wrong and takes nothing else for it."""
    with pytest.raises(RemoteProtocolError, match=why):
        field.decode(data, 0)


@pytest.mark.parametrize(("catalogue", "row"), ROWS, ids=ROW_IDS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_encoding_and_decoding_is_the_identity(catalogue: Catalogue, row: Row, data: st.DataObject) -> None:
    """Every message of every catalogue comes back as it was, and of the same type."""
    message = data.draw(messages(row))
    back = catalogue.decode(catalogue.encode(message))

    assert message == back
    assert type(message) is type(back)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(ALL)), st.binary(max_size=60))
def test_no_bytes_decode_to_what_encodes_otherwise(name: str, data: bytes) -> None:
    """Bytes are one message's only spelling, or the peer's fault; there is no third thing."""
    try:
        message = ALL[name].decode(data)
    except RemoteProtocolError:
        return

    assert data == ALL[name].encode(message)


@pytest.mark.parametrize(("catalogue", "row"), ROWS, ids=ROW_IDS)
def test_every_proper_beginning_of_a_message_is_refused(catalogue: Catalogue, row: Row) -> None:
    """A message cannot be cut short and still mean something."""
    whole = catalogue.encode(sample(catalogue, row.type))

    for size in range(len(whole)):
        with pytest.raises(RemoteProtocolError):
            catalogue.decode(whole[:size])


def test_left_over_bytes_are_no_padding() -> None:
    """Nothing can be smuggled behind a message."""
    with pytest.raises(RemoteProtocolError, match="3 bytes left over"):
        SMALL.decode(b"\x01abc")


def test_an_unknown_number_is_refused() -> None:
    """A kind that is not in the catalogue is no message."""
    with pytest.raises(RemoteProtocolError, match="unknown message kind 3"):
        SMALL.decode(b"\x03")


def test_a_message_of_another_catalogue_cannot_be_sent() -> None:
    """A type that is not in the catalogue is a bug here."""
    with pytest.raises(LocalProtocolError, match="Colour is not in the catalogue"):
        SMALL.encode(Colour.RED)


def test_a_value_that_cannot_be_sent_names_its_message() -> None:
    """The error says where the value stood."""
    with pytest.raises(LocalProtocolError, match="Pair: 5 bytes where 4 are allowed"):
        SMALL.encode(Pair(1, "12345"))


@pytest.mark.parametrize("rows", [(Row(1, Nothing), Row(1, Pair)), (Row(1, Nothing), Row(2, Nothing))])
def test_a_catalogue_has_no_two_of_a_kind(rows: tuple[Row, ...]) -> None:
    """Two rows with one number, or with one type, would make a message ambiguous."""
    with pytest.raises(ValueError, match="stands twice"):
        Catalogue(*rows)


def test_a_catalogue_knows_the_number_of_a_type() -> None:
    """The relay writes headers itself."""
    assert SMALL.kind(Pair) == len(SMALL.rows)
