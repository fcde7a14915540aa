"""One command, from Run to Exit: output to the sink, input from the source, signals between.

Rule 1: a blocked direction never stops the other: nothing here waits but `Conversation.turn`.
Rule 2: input is read only after the server asked for it, and no faster than it leaves.
Rule 3: what is raised says whether the command can have run (`CallerError.may_have_run`).
"""

import os
import socket
from collections.abc import Callable

from rexecd import portable
from rexecd.client.conversation import Conversation
from rexecd.client.deadline import Deadline
from rexecd.client.errors import TRY_LATER, CallerError, ConnectionLost, UsageError, refusal
from rexecd.client.results import Outcome, Stream, read_exit
from rexecd.errors import Code
from rexecd.typed import Final
from rexecd.wire.frames import PIECE
from rexecd.wire.messages import (
    ErrorOutput,
    Exit,
    Input,
    InputEnd,
    InputWanted,
    Message,
    Output,
    Refused,
    Signal,
    SignalName,
    Started,
)

#: Takes what the command wrote, in order, as it comes.
Sink = Callable[[Stream, bytes], None]

#: No more input is read while this much waits to be sent.
_MAX_BACKLOG: Final = 2 * PIECE
_MAX_SIGNALS: Final = 64
#: This bit tells a signal for the command from the bytes of `signal.set_wakeup_fd`, which only wake.
WANTED_SIGNAL: Final = 0x80


class Descriptor:
    """Input from a file descriptor. Nothing is read of it before somebody asks what to wait for."""

    __slots__ = ("_descriptor", "_pumped")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pumped: portable.Pumped | None = None

    @property
    def descriptor(self) -> int | None:
        """Return what to wait for."""
        if portable.ONLY_SOCKETS and self._pumped is None:
            self._pumped = portable.Pumped(self._descriptor, PIECE)
        return self._descriptor if self._pumped is None else self._pumped.fileno()

    def read(self) -> bytes | None:
        """Return bytes, `b""` at the end, None for not yet; raise UsageError."""
        try:
            return os.read(self._descriptor, PIECE) if self._pumped is None else self._pumped.read()
        except BlockingIOError:
            return None
        except OSError as error:
            raise UsageError(f"the input cannot be read: {error.strerror}") from None

    def close(self) -> None:
        """Let go of what reads ahead; the descriptor is its owner's."""
        if self._pumped is not None:
            self._pumped.close()


class Memory:
    """Input that is already here."""

    __slots__ = ("_at", "_data", "descriptor")

    def __init__(self, data: bytes) -> None:
        self.descriptor: int | None = None
        self._data = data
        self._at = 0

    def read(self) -> bytes | None:
        """Return the next bytes, `b""` at the end."""
        piece = self._data[self._at : self._at + PIECE]
        self._at += len(piece)
        return piece

    def close(self) -> None:
        """Do nothing: it is as `Descriptor`."""


class Exchange:
    """The caller's side of one command that has been asked for."""

    def __init__(
        self,
        conversation: Conversation,
        *,
        wake: socket.socket,
        source: Descriptor | Memory,
        sink: Sink,
        deadline: Deadline,
        started: Callable[[str], None] | None = None,
    ) -> None:
        self._conversation = conversation
        self._wake = wake
        self._source = source
        self._sink = sink
        self._started = started
        self._has_input = True
        self._is_wanted = False
        #: Whether the server has said that it began.
        self.has_started = False
        self._is_refused = False
        #: Empty before.
        self.request_id = ""
        self._outcome: Outcome | None = None
        self._signals: list[int] = []
        self._deadline: Deadline | None = deadline  # for the first answer

    def run(self) -> Outcome:
        """Return how the command ended; raise as `step`."""
        while (outcome := self.step()) is None:
            pass
        return outcome

    def step(self) -> Outcome | None:
        """Handle one message, or wait until there may be one; return how the command ended once it has.

        Raise ConnectionLost where the first answer does not come in time, what the server's refusal means,
        what `Conversation.next` raises, and whatever the sink raises.
        """
        try:
            message = self._conversation.next()
            if message is not None:
                self._handle(message)
            else:
                self._move_in_time()
        except CallerError as error:
            self._complete(error)
            raise
        return self._outcome

    def _complete(self, error: CallerError) -> None:
        """Add what is known here: whether the command can have run, and by what number it is found."""
        error.request_id = error.request_id or self.request_id
        error.may_have_run = self._may_have_run(error)
        if error.may_have_run and error.exit_status == TRY_LATER:
            error.hint = "the command may have run: find out how far it came before you run it again"

    def _may_have_run(self, error: CallerError) -> bool:
        """Return False where the server cannot have taken the request, or says that it has not."""
        if self.has_started:
            return True
        # Nothing is sent behind a request before its answer: what is left here of it has not arrived there.
        is_unsent = self._conversation.backlog > 0
        # A server that had nothing to do for too long has taken none (PROTOCOL 8).
        return not (self._is_refused or is_unsent or error.code == Code.IDLE.word)

    def _handle(self, message: Message) -> None:
        match message:
            case Output(data):
                self._sink(Stream.STDOUT, data)
            case ErrorOutput(data):
                self._sink(Stream.STDERR, data)
            case Started(request_id):
                self.request_id = request_id
                self.has_started = True
                self._deadline = None  # from here on the rule's own deadline counts
                if self._started is not None:
                    self._started(request_id)
            case InputWanted():
                self._is_wanted = True
            case Exit():
                self._outcome = read_exit(message, self.request_id)
            case Refused():
                self._is_refused = True
                raise refusal(message)

    def _move_in_time(self) -> None:
        try:
            self._move()
        except TimeoutError as error:
            raise ConnectionLost(f"the server gave {error}") from None

    def _move(self) -> None:
        self._send_signals()  # those that waited for the start
        wake = self._wake.fileno()
        also = {wake: portable.READING}
        is_hungry = self._is_hungry()
        descriptor = self._source.descriptor if is_hungry else None
        if descriptor is not None:
            also[descriptor] = portable.READING
        is_here = is_hungry and descriptor is None
        ready = self._conversation.turn(also, deadline=self._deadline, at_once=is_here)
        if wake in ready:
            self._signals.extend(
                byte ^ WANTED_SIGNAL for byte in self._wake.recv(_MAX_SIGNALS) if byte & WANTED_SIGNAL
            )
        self._send_signals()
        if is_here or (is_hungry and descriptor in ready):
            self._feed()

    def _is_hungry(self) -> bool:
        return self._is_wanted and self._has_input and self._conversation.backlog < _MAX_BACKLOG

    def _feed(self) -> None:
        data = self._source.read()
        if data is None:
            return
        if data:
            self._conversation.say(Input(data))
        else:
            self._conversation.say(InputEnd())
            self._has_input = False

    def _send_signals(self) -> None:
        """Send what was asked for, or keep it until the command has been started."""
        while self._signals and self._conversation.may_say(Signal):
            self._conversation.say(Signal(SignalName(self._signals.pop(0))), is_urgent=True)
