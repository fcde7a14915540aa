"""Cut a byte stream into frames (PROTOCOL 3): four bytes of length, then kind and body.

The length counts the kind byte and the body. It is judged before anything is held for it.
"""

from rexecd.errors import RemoteProtocolError
from rexecd.typed import Final

#: Bytes of the length, and of length and kind together.
LENGTH_SIZE: Final = 4
HEADER_SIZE: Final = 5
#: A TLS record holds at most this much, and a read returns no more than one. What reads so much takes a whole
#: one, and leaves nothing decrypted behind that no poll can see.
RECORD: Final = 16 * 1024
#: Bytes of data that are sent at once where there are many: with their header they fill whole records of TLS.
PIECE: Final = 4 * RECORD - HEADER_SIZE


def pack(content: bytes) -> bytes:
    """Return the frame that holds `content`, a kind byte and a body."""
    return len(content).to_bytes(LENGTH_SIZE, "big") + content


def header(kind: int, size: int) -> bytes:
    """Return the first five bytes of a frame whose body has `size` bytes."""
    return (size + 1).to_bytes(LENGTH_SIZE, "big") + bytes([kind])


class FrameBuffer:
    """Bytes that have arrived and are not yet cut into frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        """Return how many bytes are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Hold `data` behind what is there."""
        self._buffer += data

    def next_frame(self, most: int) -> tuple[int, bytes] | None:
        """Return kind and body of the next whole frame, or None until it is there.

        Raise RemoteProtocolError if its length is zero or above `most`, which is known from
        the first four bytes.
        """
        if len(self._buffer) < LENGTH_SIZE:
            return None
        size = int.from_bytes(self._buffer[:LENGTH_SIZE], "big")
        if not 0 < size <= most:
            raise RemoteProtocolError(f"frame of {size} bytes, allowed are 1 to {most}")
        end = LENGTH_SIZE + size
        if len(self._buffer) < end:
            return None
        kind = self._buffer[LENGTH_SIZE]
        with memoryview(self._buffer) as view:
            body = bytes(view[HEADER_SIZE:end])
        del self._buffer[:end]
        return kind, body
