"""Turn typed fields into bytes and back, one encoding per value.

Rule 1: a decoder checks length before it takes, and every message ends with `finish()`.
Rule 2: what a decoder accepts is exactly what its encoder writes; there is no second spelling.
Integers are big-endian. Both the wire and the seam are tables over this file.
"""

import enum

from rexecd.errors import LocalProtocolError, RemoteProtocolError
from rexecd.typed import Any, Final, NamedTuple, Protocol


class Reader:
    """Take fields off the front of one message's body."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes; raise RemoteProtocolError if fewer are left."""
        end = self._at + size
        if end > len(self._data):
            raise RemoteProtocolError("message ends inside a field")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(len(self._data) - self._at)

    def finish(self) -> None:
        """Raise RemoteProtocolError if bytes are left over: they are never padding."""
        left = len(self._data) - self._at
        if left:
            raise RemoteProtocolError(f"{left} bytes left over behind a message")


class Field(Protocol):
    """How one field of a message is written and read."""

    def encode(self, value: Any) -> bytes:
        """Return the bytes of `value`; raise ValueError if it cannot be sent."""

    def decode(self, reader: Reader) -> Any:
        """Return the value at the front of `reader`; raise RemoteProtocolError."""


class Integer:
    """An unsigned integer of `size` bytes."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def encode(self, value: int) -> bytes:
        """Raise ValueError for what is negative, too large, or not an int."""
        if type(value) is not int or not 0 <= value < 1 << 8 * self.size:
            raise ValueError(f"{value!r} is not an unsigned integer of {self.size} bytes")
        return value.to_bytes(self.size, "big")

    def decode(self, reader: Reader) -> int:
        """Return an int of the full range."""
        return int.from_bytes(reader.take(self.size), "big")


class Flag:
    """True or false: one byte, 1 or 0."""

    __slots__ = ()

    def encode(self, value: bool) -> bytes:  # noqa: FBT001 - a value, not an option
        """Return one byte."""
        return b"\x01" if value else b"\x00"

    def decode(self, reader: Reader) -> bool:
        """Raise RemoteProtocolError for any other byte."""
        byte = reader.take(1)
        if byte not in (b"\x00", b"\x01"):
            raise RemoteProtocolError(f"flag byte is {byte[0]}, not 0 or 1")
        return byte == b"\x01"


class Choice:
    """One member of an enumeration of small integers: one byte."""

    __slots__ = ("members",)

    def __init__(self, members: type[enum.IntEnum]) -> None:
        self.members = members

    def encode(self, value: enum.IntEnum) -> bytes:
        """Raise ValueError for a number that is no member."""
        return bytes([self.members(value)])

    def decode(self, reader: Reader) -> enum.IntEnum:
        """Raise RemoteProtocolError for a byte that is no member."""
        byte = reader.take(1)[0]
        try:
            return self.members(byte)
        except ValueError:
            raise RemoteProtocolError(f"{byte} is no {self.members.__name__}") from None


class Blob:
    """Bytes behind their length (two bytes), at most `most`."""

    __slots__ = ("most",)

    def __init__(self, most: int) -> None:
        self.most = most

    def encode(self, value: bytes) -> bytes:
        """Raise ValueError for more than `most` bytes."""
        if len(value) > self.most:
            raise ValueError(f"{len(value)} bytes where {self.most} are allowed")
        return len(value).to_bytes(2, "big") + value

    def decode(self, reader: Reader) -> bytes:
        """Raise RemoteProtocolError for a length over `most`, before taking anything."""
        size = int.from_bytes(reader.take(2), "big")
        if size > self.most:
            raise RemoteProtocolError(f"field of {size} bytes exceeds {self.most}")
        return reader.take(size)


class Text:
    """UTF-8 behind its length in bytes (two bytes), at most `most` bytes."""

    __slots__ = ("_blob",)

    def __init__(self, most: int) -> None:
        self._blob = Blob(most)

    def encode(self, value: str) -> bytes:
        """Raise ValueError for lone surrogates and for too much."""
        return self._blob.encode(value.encode())

    def decode(self, reader: Reader) -> str:
        """Raise RemoteProtocolError for what is not UTF-8."""
        try:
            return self._blob.decode(reader).decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("text is not UTF-8") from None


class Texts:
    """A list of texts behind their number (one byte), at most `most` of `each` bytes."""

    __slots__ = ("_text", "most")

    def __init__(self, most: int, each: int) -> None:
        self.most = most
        self._text = Text(each)

    def encode(self, value: tuple[str, ...]) -> bytes:
        """Raise ValueError for more than `most` texts."""
        if len(value) > self.most:
            raise ValueError(f"{len(value)} texts where {self.most} are allowed")
        return bytes([len(value)]) + b"".join(map(self._text.encode, value))

    def decode(self, reader: Reader) -> tuple[str, ...]:
        """Return a tuple of the texts."""
        number = reader.take(1)[0]
        if number > self.most:
            raise RemoteProtocolError(f"{number} texts exceed {self.most}")
        return tuple(self._text.decode(reader) for _ in range(number))


class Data:
    """All the rest of the message: at least one byte, at most `most`."""

    __slots__ = ("most",)

    def __init__(self, most: int) -> None:
        self.most = most

    def encode(self, value: bytes) -> bytes:
        """Raise ValueError for nothing and for too much."""
        if not 0 < len(value) <= self.most:
            raise ValueError(f"{len(value)} bytes of data where 1 to {self.most} are allowed")
        return bytes(value)

    def decode(self, reader: Reader) -> bytes:
        """Raise RemoteProtocolError for an empty rest: it would say nothing and cost a turn."""
        data = reader.rest()
        if not 0 < len(data) <= self.most:
            raise RemoteProtocolError(f"{len(data)} bytes of data where 1 to {self.most} are allowed")
        return data


U8: Final = Integer(1)
U16: Final = Integer(2)
U32: Final = Integer(4)
U64: Final = Integer(8)
FLAG: Final = Flag()


class Row(NamedTuple):
    """One kind of message: its number, its type (a NamedTuple) and its fields in order."""

    kind: int
    type: Any
    fields: tuple[Field, ...] = ()


class Catalogue:
    """All messages of one conversation, by number and by type."""

    def __init__(self, *rows: Row) -> None:
        self.rows = rows
        self._by_kind = {row.kind: row for row in rows}
        self._by_type = {row.type: row for row in rows}
        if not len(rows) == len(self._by_kind) == len(self._by_type):
            raise ValueError("a number or a type stands twice in the catalogue")

    def kind(self, message_type: type) -> int:
        """Return the number of a type of message."""
        return self._by_type[message_type].kind

    def encode(self, message: Any) -> bytes:
        """Return the kind byte and the fields; raise LocalProtocolError if that cannot be sent."""
        row = self._by_type.get(type(message))
        if row is None:
            raise LocalProtocolError(f"{type(message).__name__} is not in the catalogue")
        try:
            fields = (field.encode(value) for field, value in zip(row.fields, message, strict=True))
            return bytes([row.kind]) + b"".join(fields)
        except ValueError as error:
            raise LocalProtocolError(f"{type(message).__name__}: {error}") from None

    def decode(self, data: bytes) -> Any:
        """Return the message in `data` (kind byte first); raise RemoteProtocolError."""
        reader = Reader(data)
        kind = reader.take(1)[0]
        row = self._by_kind.get(kind)
        if row is None:
            raise RemoteProtocolError(f"unknown message kind {kind}")
        message = row.type(*(field.decode(reader) for field in row.fields))
        reader.finish()
        return message
