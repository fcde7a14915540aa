"""Turn typed fields into bytes and back, one encoding per value.

Rule 1: a decoder checks length before it takes, and nothing may be left behind a message.
Rule 2: what a decoder accepts is exactly what its encoder writes; there is no second spelling.
Integers are big-endian. Both the wire and the seam are tables over this file.
"""

import enum

from rexecd.errors import LocalProtocolError, RemoteProtocolError
from rexecd.typed import Any, Final, NamedTuple, Protocol

_CUT: Final = "message ends inside a field"


class Field(Protocol):
    """How one field of a message is written and read."""

    def encode(self, value: Any) -> bytes:
        """Return the bytes of `value`; raise ValueError if it cannot be sent."""

    def decode(self, data: bytes, at: int) -> tuple[Any, int]:
        """Return the value that stands there, and where the next one does; raise RemoteProtocolError."""


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

    def decode(self, data: bytes, at: int) -> tuple[int, int]:
        """Return an int of the full range."""
        end = at + self.size
        if end > len(data):
            raise RemoteProtocolError(_CUT)
        return int.from_bytes(data[at:end], "big"), end


class Flag:
    """True or false: one byte, 1 or 0."""

    __slots__ = ()

    def encode(self, value: bool) -> bytes:  # noqa: FBT001 - a value, not an option
        """Return one byte."""
        return b"\x01" if value else b"\x00"

    def decode(self, data: bytes, at: int) -> tuple[bool, int]:
        """Raise RemoteProtocolError for any other byte."""
        byte = _byte(data, at)
        if byte > 1:
            raise RemoteProtocolError(f"flag byte is {byte}, not 0 or 1")
        return byte == 1, at + 1


class Choice:
    """One member of an enumeration of small integers: one byte."""

    __slots__ = ("_by_number", "members")

    def __init__(self, members: type[enum.IntEnum]) -> None:
        self.members = members
        self._by_number = {int(member): member for member in members}

    def encode(self, value: enum.IntEnum) -> bytes:
        """Raise ValueError for a number that is no member."""
        if value not in self._by_number:
            raise ValueError(f"{value!r} is not a valid {self.members.__name__}")
        return bytes((value,))

    def decode(self, data: bytes, at: int) -> tuple[enum.IntEnum, int]:
        """Raise RemoteProtocolError for a byte that is no member."""
        byte = _byte(data, at)
        member = self._by_number.get(byte)
        if member is None:
            raise RemoteProtocolError(f"{byte} is no {self.members.__name__}")
        return member, at + 1


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

    def decode(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Raise RemoteProtocolError for a length over `most`, before taking anything."""
        start = at + 2
        if start > len(data):
            raise RemoteProtocolError(_CUT)
        size = int.from_bytes(data[at:start], "big")
        if size > self.most:
            raise RemoteProtocolError(f"field of {size} bytes exceeds {self.most}")
        end = start + size
        if end > len(data):
            raise RemoteProtocolError(_CUT)
        return data[start:end], end


class Text:
    """UTF-8 behind its length in bytes (two bytes), at most `most` bytes."""

    __slots__ = ("_blob",)

    def __init__(self, most: int) -> None:
        self._blob = Blob(most)

    def encode(self, value: str) -> bytes:
        """Raise ValueError for lone surrogates and for too much."""
        return self._blob.encode(value.encode())

    def decode(self, data: bytes, at: int) -> tuple[str, int]:
        """Raise RemoteProtocolError for what is not UTF-8."""
        raw, end = self._blob.decode(data, at)
        try:
            return raw.decode(), end
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

    def decode(self, data: bytes, at: int) -> tuple[tuple[str, ...], int]:
        """Return a tuple of the texts."""
        number = _byte(data, at)
        if number > self.most:
            raise RemoteProtocolError(f"{number} texts exceed {self.most}")
        at += 1
        texts: list[str] = []
        for _ in range(number):
            text, at = self._text.decode(data, at)
            texts.append(text)
        return tuple(texts), at


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

    def decode(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Raise RemoteProtocolError for an empty rest: it would say nothing and cost a turn."""
        size = len(data) - at
        if not 0 < size <= self.most:
            raise RemoteProtocolError(f"{size} bytes of data where 1 to {self.most} are allowed")
        return data[at:], len(data)


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise RemoteProtocolError(_CUT)
    return data[at]


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
        pieces = [bytes((row.kind,))]
        try:
            for field, value in zip(row.fields, message, strict=True):
                pieces.append(field.encode(value))
        except ValueError as error:
            raise LocalProtocolError(f"{type(message).__name__}: {error}") from None
        return b"".join(pieces)

    def decode(self, data: bytes) -> Any:
        """Return the message in `data` (kind byte first); raise RemoteProtocolError."""
        kind = _byte(data, 0)
        row = self._by_kind.get(kind)
        if row is None:
            raise RemoteProtocolError(f"unknown message kind {kind}")
        values = []
        at = 1
        for field in row.fields:
            value, at = field.decode(data, at)
            values.append(value)
        if at < len(data):  # they are never padding
            raise RemoteProtocolError(f"{len(data) - at} bytes left over behind a message")
        return row.type(*values)
