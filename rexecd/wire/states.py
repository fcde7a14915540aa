"""Which message may follow which. Everything about order lives in this file.

Rule 1: this file does not know sockets, and does not know which side we are on: both ends
walk the same table, the sender when it sends and the receiver when it receives.
Rule 2: a pair that is not in NEXT is forbidden; do not test states elsewhere.

Theory of operation: a conversation alternates between READY and one command. The only
messages that can cross each other are Input, InputEnd and Signal (under way to the server)
and Exit (under way to the caller); therefore ENDED, where the command is over, still
takes those three, and the server drops them. The caller's next Run says it has seen Exit.
"""

import enum
from collections.abc import Mapping

from rexecd.typed import Final
from rexecd.wire.messages import (
    Accepted,
    Authenticate,
    Closed,
    Entry,
    ErrorOutput,
    Exit,
    Goodbye,
    Input,
    InputEnd,
    InputWanted,
    List,
    Listed,
    Output,
    Refused,
    Run,
    Signal,
    Started,
)


class State(enum.IntEnum):
    """Where a conversation is (PROTOCOL 5). Numbers, because plain enumerations are hashed by Python code."""

    #: The handshake is done; nothing has been said.
    GREETING = enum.auto()
    #: The token is under examination.
    AUTHENTICATING = enum.auto()
    #: The server waits for a request.
    READY = enum.auto()
    #: A listing is being sent.
    LISTING = enum.auto()
    #: A command was asked for and not yet answered.
    REQUESTED = enum.auto()
    #: A command runs, and takes no (more) input.
    RUNNING = enum.auto()
    #: A command runs and takes input.
    FEEDING = enum.auto()
    #: A command is over; what was under way to it is still taken, and dropped.
    ENDED = enum.auto()
    #: Nothing may follow.
    CLOSED = enum.auto()


NEXT: Final[Mapping[tuple[State, type], State]] = {
    (State.GREETING, Authenticate): State.AUTHENTICATING,
    (State.AUTHENTICATING, Accepted): State.READY,
    (State.READY, Run): State.REQUESTED,
    (State.READY, List): State.LISTING,
    (State.READY, Goodbye): State.CLOSED,
    (State.LISTING, Entry): State.LISTING,
    (State.LISTING, Listed): State.READY,
    (State.REQUESTED, Refused): State.READY,
    (State.REQUESTED, Started): State.RUNNING,
    (State.RUNNING, InputWanted): State.FEEDING,
    (State.RUNNING, Output): State.RUNNING,
    (State.RUNNING, ErrorOutput): State.RUNNING,
    (State.RUNNING, Signal): State.RUNNING,
    (State.RUNNING, Exit): State.ENDED,
    (State.FEEDING, Input): State.FEEDING,
    (State.FEEDING, InputEnd): State.RUNNING,
    (State.FEEDING, Output): State.FEEDING,
    (State.FEEDING, ErrorOutput): State.FEEDING,
    (State.FEEDING, Signal): State.FEEDING,
    (State.FEEDING, Exit): State.ENDED,
    (State.ENDED, Input): State.ENDED,
    (State.ENDED, InputEnd): State.ENDED,
    (State.ENDED, Signal): State.ENDED,
    (State.ENDED, Run): State.REQUESTED,
    (State.ENDED, List): State.LISTING,
    (State.ENDED, Goodbye): State.CLOSED,
    # The server may end the session at any point; it says why, once.
    (State.GREETING, Closed): State.CLOSED,
    (State.AUTHENTICATING, Closed): State.CLOSED,
    (State.READY, Closed): State.CLOSED,
    (State.LISTING, Closed): State.CLOSED,
    (State.REQUESTED, Closed): State.CLOSED,
    (State.RUNNING, Closed): State.CLOSED,
    (State.FEEDING, Closed): State.CLOSED,
    (State.ENDED, Closed): State.CLOSED,
}

#: States in which the peer is a stranger and gets the small frame ceiling.
UNAUTHENTICATED: Final = frozenset({State.GREETING, State.AUTHENTICATING})
