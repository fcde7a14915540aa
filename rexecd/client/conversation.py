"""The protocol over a link: messages in, messages out, and one place to wait."""

import math
from collections.abc import Mapping

from rexecd.client.deadline import Deadline
from rexecd.client.errors import ConnectionLost, ProtocolBroken, closing
from rexecd.client.link import Link
from rexecd.errors import RemoteProtocolError
from rexecd.portable import wait
from rexecd.typed import Final
from rexecd.wire.connection import Connection, Role
from rexecd.wire.frames import RECORD
from rexecd.wire.messages import Closed, Message
from rexecd.wire.states import NEXT, State

#: Most reads in one turn: enough to keep up with a fast server, few enough that a signal
#: or input never waits long.
_READS: Final = 16
_NOTHING: Final[Mapping[int, int]] = {}


class Conversation:
    """One caller's end of the protocol; everything the server does wrong becomes a CallerError."""

    __slots__ = ("_connection", "_has_ended", "_link", "_place")

    def __init__(self, link: Link, place: str) -> None:
        self._link = link
        self._place = place
        self._connection = Connection(Role.CLIENT)
        self._has_ended = False

    @property
    def state(self) -> State:
        """Return where the conversation is."""
        return self._connection.state

    @property
    def backlog(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._link.backlog

    def may_say(self, message_type: type) -> bool:
        """Return whether a message of this type may be sent now."""
        return (self.state, message_type) in NEXT

    def say(self, message: Message, *, is_urgent: bool = False) -> None:
        """Queue a message and send what goes at once; raise LocalProtocolError (a bug here)."""
        self._link.push(self._connection.send(message), is_urgent=is_urgent)
        self._link.flush()

    def next(self) -> Message | None:
        """Return the next message that has arrived whole, None if there is none.

        Raise ProtocolBroken, ConnectionLost, or what the server's Closed means.
        """
        try:
            message = self._connection.next_message()
        except RemoteProtocolError as error:
            raise ProtocolBroken(f"{self._place}: the server broke the protocol: {error}") from None
        if message is None and self._has_ended:
            from rexecd.client.identity import refusal  # noqa: PLC0415 - not for what goes well

            raise refusal(self._link.alert, self._place) or ConnectionLost(
                f"{self._place}: the connection was lost; the server ends a running command, "
                "unless its rule lets it finish"
            )
        if isinstance(message, Closed):
            raise closing(message)
        return message

    def wait(self, deadline: Deadline | None) -> Message:
        """Return the next message; raise TimeoutError and what `next` raises."""
        while (message := self.next()) is None:
            self.turn(deadline=deadline)
        return message

    def settle(self, also: Mapping[int, int]) -> set[int]:
        """Take notice of what came unasked since the last request; return as `turn`, raise as `next`."""
        ready = self.turn(also, at_once=True)
        self.next()
        return ready

    def turn(
        self, also: Mapping[int, int] = _NOTHING, *, deadline: Deadline | None = None, at_once: bool = False
    ) -> set[int]:
        """Send, wait until something can move, take what arrived; return which of `also` are ready.

        `also` maps descriptors to what to poll them for. Raise TimeoutError.
        """
        timeout = None if deadline is None else math.ceil(deadline.remaining() * 1000)
        link = self._link.fileno()
        ready = wait({link: self._link.interest, **also}, 0 if at_once else timeout)
        # Not before: `also` was chosen by what waits to be sent, and the wait has to end when that leaves.
        self._link.flush()
        if link in ready:
            self._take()
        return ready

    def close(self) -> None:
        """Give the link back, without a word."""
        self._link.close()

    def _take(self) -> None:
        for _ in range(_READS):
            data = self._link.read()
            if data is None:
                return
            if not data:
                self._has_ended = True
                return
            self._connection.receive(data)
            if len(data) < RECORD:  # what comes next was not here yet, or the next poll says so
                return
