"""One end of a conversation: bytes in, messages out, messages in, bytes out. No socket.

The same class serves both roles (after h11), so the caller's side is tested against the
server's in memory. After the peer's first error a connection is spent: nothing behind a
violation is ever parsed, and all that can still be said is why (`close_with`).
"""

import enum

from rexecd.errors import LocalProtocolError, RemoteProtocolError
from rexecd.limits import MAX_DATA, MAX_FRAME, MAX_FRAME_UNAUTHENTICATED
from rexecd.typed import Final
from rexecd.wire.frames import FrameBuffer, header, pack
from rexecd.wire.messages import (
    CATALOGUE,
    FROM_CLIENT,
    FROM_SERVER,
    Closed,
    ErrorOutput,
    Input,
    Message,
    Output,
)
from rexecd.wire.states import NEXT, UNAUTHENTICATED, State

_CLIENT_TYPES = frozenset(row.type for row in FROM_CLIENT)
_SERVER_TYPES = frozenset(row.type for row in FROM_SERVER)


#: Messages that are all data, also by number; no frame that is not too long holds too much of it.
_DATA_TYPES: Final = (Input, Output, ErrorOutput)
_OF_DATA: Final = {CATALOGUE.kind(each): each for each in _DATA_TYPES}


def _message(kind: int, body: bytes) -> Message:
    """Return the message of a frame, data without another copy of it; raise RemoteProtocolError."""
    of_data = _OF_DATA.get(kind)
    if of_data is None or not body:
        return CATALOGUE.decode(bytes([kind]) + body)
    return of_data(body)


class Role(enum.Enum):
    """Which end this is."""

    CLIENT = enum.auto()
    SERVER = enum.auto()


class Connection:
    """The protocol's state on one end."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._sends = _CLIENT_TYPES if role is Role.CLIENT else _SERVER_TYPES
        self._state = State.GREETING
        self._buffer = FrameBuffer()
        self._failed = False

    @property
    def state(self) -> State:
        """Return where the conversation is, as this end sees it."""
        return self._state

    @property
    def held(self) -> int:
        """Return how many received bytes wait for the rest of their frame or their turn."""
        return len(self._buffer)

    def send(self, message: Message) -> bytes:
        """Return the bytes of `message` and move on; raise LocalProtocolError if it may not be sent.

        The state moves only if there are bytes to send.
        """
        message_type = type(message)
        if message_type in _DATA_TYPES:  # without the catalogue's copies
            return b"".join((self.send_header(message_type, len(message.data)), message.data))
        frame = pack(CATALOGUE.encode(message))
        self._step_local(message_type)
        return frame

    def send_header(self, data_type: type[Input | Output | ErrorOutput], size: int) -> bytes:
        """Return the header of a data frame whose `size` bytes the caller appends itself.

        It spares the relay a copy of every byte it moves. Raise LocalProtocolError for a size
        that is not in 1..MAX_DATA, and as send() does.
        """
        if not 0 < size <= MAX_DATA:
            raise LocalProtocolError(f"{size} bytes of data where 1 to {MAX_DATA} are allowed")
        self._step_local(data_type)
        return header(CATALOGUE.kind(data_type), size)

    def close_with(self, closed: Closed) -> bytes:
        """Return the bytes of the server's last message; nothing if the conversation is over.

        It is the one message that may follow a violation by the peer. Raise LocalProtocolError
        on the caller's side.
        """
        if Closed not in self._sends:
            raise LocalProtocolError(self._complaint(Closed))
        following = NEXT.get((self._state, Closed))
        if following is None:
            return b""
        frame = pack(CATALOGUE.encode(closed))
        self._state = following
        return frame

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer; `b""` is end-of-file.

        Raise RemoteProtocolError for an end-of-file in a conversation that has not been closed.
        """
        if not data and self._state is not State.CLOSED:
            self._fail("connection ended without a word")
        if not self._failed:
            self._buffer.feed(data)

    def next_message(self) -> Message | None:
        """Return the next message from the peer, or None until more bytes are there.

        Raise RemoteProtocolError for anything the protocol does not allow just here.
        """
        if self._failed:
            raise RemoteProtocolError("the conversation has already failed")
        if not self._buffer:
            return None
        try:
            frame = self._buffer.next_frame(self._ceiling())
            if frame is None:
                return None
            message = _message(*frame)
        except RemoteProtocolError:
            self._failed = True
            raise
        self._step_remote(type(message))
        return message

    def _ceiling(self) -> int:
        """Only a stranger's frames are kept small; a caller has already verified its server."""
        if self._role is Role.SERVER and self._state in UNAUTHENTICATED:
            return MAX_FRAME_UNAUTHENTICATED
        return MAX_FRAME

    def _step_local(self, message_type: type) -> None:
        following = NEXT.get((self._state, message_type))
        if self._failed or following is None or message_type not in self._sends:
            raise LocalProtocolError(self._complaint(message_type))
        self._state = following

    def _step_remote(self, message_type: type) -> None:
        following = NEXT.get((self._state, message_type))
        if following is None or message_type in self._sends:
            self._fail(self._complaint(message_type))
        else:
            self._state = following

    def _complaint(self, message_type: type) -> str:
        return f"{message_type.__name__} is not allowed in state {self._state.name}"

    def _fail(self, why: str) -> None:
        self._failed = True
        raise RemoteProtocolError(why)
