"""Move one command's bytes between TLS and its pipes, with back-pressure and without decisions.

One loop, one thread, over {TLS, channel, pipes, stop}. What is read is written before more of it
is read, so memory stays flat and the slowest reader holds the command:

* output: a pipe is read only when nothing waits for TLS; meanwhile TLS is still read, so a
  Signal passes while output is blocked;
* input: TLS is read only when nothing waits for the command's stdin; meanwhile a hang-up is heard.

When Exited comes, everything the command wrote is in the pipes already. They are read until
end-of-file, or empty, or no more than a pipe holds: a grandchild that keeps one open, or keeps
writing, delays nobody. The same is done when the monitor ends the session or goes away, and when the
service stops: what the command has written so far is the caller's.
"""

import contextlib
import fcntl
import os
import select
import time
from typing import Final

from rexecd.errors import RemoteProtocolError, Unavailable
from rexecd.gateway.stream import HANG_UP, Stopping, Stream
from rexecd.limits import WIDE_PIPE
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.serving import Stop
from rexecd.wire import messages as wire
from rexecd.wire.connection import Connection
from rexecd.wire.frames import HEADER_SIZE, PIECE, RECORD

#: How long what was held, which says that the command has begun, waits for what the command does (ms): the
#: whole of a short one leaves in one piece.
_TOGETHER: Final = 10
#: After the end of a command, pieces that are smaller leave with what follows.
_SMALL: Final = 4 * 1024
#: Most records that are read in one turn: as many as a piece of input fills.
_READS: Final = 4
#: How long the last output, and the reason of an end, may take to reach the caller of a service that stops.
LAST_WORDS: Final = 1.0


class ConnectionLost(Exception):
    """The caller is gone."""


class WriteTimeout(Exception):
    """The caller has not taken a byte for too long."""


class Ended(Unavailable):
    """The monitor ends the session, and `closed` tells the caller why."""

    def __init__(self, closed: wire.Closed) -> None:
        super().__init__(closed.text)
        self.closed = closed


def hear(channel: Channel) -> seam.Message:
    """Return what the monitor says of its own accord; raise Ended, or Unavailable if it is away."""
    try:
        message = channel.receive()
    except RemoteProtocolError as error:
        raise Unavailable(f"the monitor misspoke: {error}") from None
    if isinstance(message, wire.Closed):
        raise Ended(message)
    if message is None:
        raise Unavailable("the monitor went away")
    return message


class Relay:
    """One running command, seen from the gateway."""

    def __init__(
        self,
        stream: Stream,
        connection: Connection,
        channel: Channel,
        stop: Stop,
        *,
        started: seam.Started,
        descriptors: tuple[int, ...],
        write_timeout: float,
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._channel = channel
        # Numbers, and not what has them: each turn asks.
        self._tls, self._monitor, self._halt = stream.fileno(), channel.fileno(), stop.fileno()
        self._write_timeout = write_timeout
        *stdin, stdout, stderr = descriptors
        self._stdin: int | None = stdin[0] if stdin else None
        self._pipes: dict[int, type[wire.Output | wire.ErrorOutput]] = {
            stdout: wire.Output,
            stderr: wire.ErrorOutput,
        }
        self._kept: list[int] = []
        for descriptor in descriptors:
            os.set_blocking(descriptor, False)
        self._output_left = started.output_ceiling
        self._input_left = started.input_ceiling
        self._counts = {wire.Output: 0, wire.ErrorOutput: 0, wire.Input: 0}
        self._truncated = False
        self._widened: set[int] = set()
        self._room = bytearray(HEADER_SIZE + PIECE)
        self._progress = 0.0
        self._in = memoryview(b"")
        #: How it ended, or what is raised in place of that when the output so far has been sent.
        self._over: seam.Exited | Stopping | Unavailable | None = None
        #: Since the service stops: until when anything may be sent.
        self._until: float | None = None
        self._budgets: dict[int, int] = {}

    def run(self) -> tuple[seam.Exited, seam.Drained]:
        """Return how the command ended and what was moved, when all of it has been sent.

        Raise ConnectionLost, WriteTimeout, RemoteProtocolError (the caller's fault), Unavailable
        (the monitor is away, or ended the session) or Stopping.
        """
        self._take_messages()  # what arrived together with the request
        while self._over is None or self._pipes or self._stream.unsent:
            self._turn()
        if not isinstance(self._over, seam.Exited):
            raise self._over
        return self._over, self._drained()

    def close(self) -> None:
        """Close what is left of the pipes.

        After an error this comes when the monitor has been told: a command that sees its pipe
        break first would be recorded as having died of that.
        """
        self._close_stdin()
        for descriptor in [*self._pipes, *self._kept]:
            os.close(descriptor)
        self._pipes.clear()
        self._kept.clear()

    def _turn(self) -> None:
        """Wait once, and do everything that is ready."""
        ready = dict(self._poll())
        if not ready and self._over is None and self._stream.holds:
            self._put(b"")
        if self._halt in ready:
            self._stop_moving()
        events = ready.get(self._tls, 0)
        if events:
            self._stream.heed(events)
        if self._stream.unsent:
            self._flush()
        if self._monitor in ready:
            self._hear_monitor()
        if self._stdin is not None and self._stdin in ready:
            self._feed()
            self._take_messages()
        if events:
            self._hear_caller(events)
        for descriptor in list(self._pipes):
            if not self._stream.unsent and (descriptor in ready or self._over is not None):
                self._pump(descriptor)

    def _poll(self) -> list[tuple[int, int]]:
        """Wait for whatever could be moved now; raise WriteTimeout or Stopping."""
        if self._over is not None and not self._stream.unsent:
            return []  # the pipes are read whatever poll says, and no more than they hold
        poller = select.poll()
        tls = HANG_UP
        if not self._in:
            tls |= self._stream.interest
        if self._stream.unsent:
            tls |= select.POLLOUT
        poller.register(self._tls, tls)
        if self._until is None:
            poller.register(self._halt, select.POLLIN)
        if self._over is None:
            poller.register(self._monitor, select.POLLIN)
        if self._in and self._stdin is not None:
            poller.register(self._stdin, select.POLLOUT)
        if self._stream.unsent:
            return poller.poll(self._time_left() * 1000)
        for descriptor in self._pipes:
            poller.register(descriptor, select.POLLIN)
        return poller.poll(_TOGETHER if self._stream.holds else None)

    def _time_left(self) -> float:
        """Return how long the caller may take for its next byte; raise WriteTimeout or Stopping."""
        now = time.monotonic()
        if self._until is not None and now >= self._until:
            raise Stopping
        left = self._progress + self._write_timeout - now
        if left <= 0:
            raise WriteTimeout
        return left if self._until is None else min(left, self._until - now)

    def _stop_moving(self) -> None:
        """Send what the command has written so far, in the time that is left."""
        self._until = time.monotonic() + LAST_WORDS
        if self._over is None:
            self._finish(Stopping())

    def _finish(self, over: seam.Exited | Stopping | Unavailable) -> None:
        """Take how it ended; from here on no more is read than a pipe holds now."""
        self._over = over
        self._budgets = {pipe: fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) for pipe in self._pipes}

    def _hear_monitor(self) -> None:
        """Take Exited; everything else from the monitor ends the session."""
        try:
            message = hear(self._channel)
            if not isinstance(message, seam.Exited):
                raise Unavailable(f"the monitor misspoke: {type(message).__name__} while a command runs")
            self._finish(message)
        except Unavailable as error:
            self._finish(error)
        self._close_stdin()

    def _hear_caller(self, events: int) -> None:
        """Read from the caller if anything can be taken."""
        if self._in:
            if events & HANG_UP:
                raise ConnectionLost
        elif events & (self._stream.interest | HANG_UP):
            for _ in range(_READS):
                data = self._stream.read()
                if data is None:
                    break
                if not data:
                    raise ConnectionLost
                self._connection.receive(data)
                if len(data) < RECORD:  # what comes next was not here yet, or the next poll says so
                    break
            # Half gone, and what it wants answered it does not read: it would only be polled for.
            if events & HANG_UP and self._stream.interest == select.POLLOUT:
                raise ConnectionLost
            self._take_messages()

    def _take_messages(self) -> None:
        """Act on whole messages until one has to wait for the command's stdin."""
        while not self._in and (message := self._connection.next_message()) is not None:
            match message:
                case wire.Input(data):
                    self._take_input(data)
                case wire.InputEnd():
                    self._close_stdin()
                case wire.Signal():
                    if self._over is None:
                        self._channel.send(message)
                case _:  # the state table lets nothing else through here
                    raise RemoteProtocolError(f"{type(message).__name__} while a command runs")

    def _take_input(self, data: bytes) -> None:
        """Give bytes to the command, up to the ceiling; drop them when it no longer reads."""
        kept = data[: self._input_left]
        self._input_left -= len(kept)
        self._truncated |= len(kept) < len(data)
        if self._stdin is not None:
            self._in = memoryview(kept)
            self._feed()

    def _feed(self) -> None:
        """Write what waits for stdin, as far as the pipe takes it."""
        if self._stdin is None or not self._in:
            return
        try:
            written = os.write(self._stdin, self._in)
        except BlockingIOError:
            self._widen(self._stdin)
            return
        except BrokenPipeError:  # the command does not want it; its output still counts
            self._close_stdin()
            return
        if written < len(self._in):
            self._widen(self._stdin)
        self._counts[wire.Input] += written
        self._in = self._in[written:]

    def _pump(self, descriptor: int) -> None:
        """Move one piece from a pipe to the caller."""
        most = PIECE if self._over is None else min(PIECE, self._budgets[descriptor])
        try:
            size = os.readv(descriptor, [memoryview(self._room)[HEADER_SIZE : HEADER_SIZE + most]])
        except BlockingIOError:
            if self._over is not None:
                self._close_pipe(descriptor)
            return
        if not size:
            self._close_pipe(descriptor)
            return
        if self._over is not None:
            self._budgets[descriptor] -= size
        elif size == PIECE:
            self._widen(descriptor)
        self._send_piece(self._pipes[descriptor], size)

    def _widen(self, pipe: int) -> None:
        """Let a pipe hold more that was found full, so that command and gateway wait less for each other."""
        if pipe not in self._widened:
            self._widened.add(pipe)
            with contextlib.suppress(OSError):  # its user has too many already
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, WIDE_PIPE)

    def _send_piece(self, kind: type[wire.Output | wire.ErrorOutput], size: int) -> None:
        """Send the piece that lies in the room behind its header; past the ceiling only count it."""
        self._counts[kind] += size
        kept = min(size, self._output_left)
        self._output_left -= kept
        self._truncated |= kept < size
        if kept:
            self._room[:HEADER_SIZE] = self._connection.send_header(kind, kept)
            piece = memoryview(self._room)[: HEADER_SIZE + kept]
            self._put(piece, is_last=self._over is not None and kept < _SMALL)

    def _put(self, piece: memoryview | bytes, *, is_last: bool = False) -> None:
        """Send a piece now, or with what follows; raise ConnectionLost."""
        try:
            if is_last:
                self._stream.hold(bytes(piece))
            else:
                self._stream.put(piece)
        except OSError:
            raise ConnectionLost from None
        self._progress = time.monotonic()

    def _flush(self) -> None:
        """Send what waits; raise ConnectionLost."""
        try:
            if self._stream.flush():
                self._progress = time.monotonic()
        except OSError:
            raise ConnectionLost from None

    def _drained(self) -> seam.Drained:
        return seam.Drained(
            self._counts[wire.Output],
            self._counts[wire.ErrorOutput],
            self._counts[wire.Input],
            self._truncated,
        )

    def _close_stdin(self) -> None:
        self._in = memoryview(b"")
        if self._stdin is not None:
            descriptor, self._stdin = self._stdin, None
            os.close(descriptor)

    def _close_pipe(self, descriptor: int) -> None:
        """Be done with a pipe; it stays open where the command still has to be ended (see `close`)."""
        del self._pipes[descriptor]
        if isinstance(self._over, Stopping):
            self._kept.append(descriptor)
        else:
            os.close(descriptor)
