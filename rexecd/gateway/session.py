"""One caller's life, seen from the exposed side: carry its token and lines to the monitor.

Nothing is decided here. The thread that runs this owns the socket from the handshake to the end.
"""

import contextlib
import os
import select
import socket
import time
from typing import Final

from rexecd.errors import Code, RemoteProtocolError, Unavailable
from rexecd.gateway.relay import LAST_WORDS, ConnectionLost, Ended, Relay, WriteTimeout, hear
from rexecd.gateway.stranger import Peer, Stranger, Surroundings
from rexecd.gateway.stream import HANG_UP, DeadlinePassed, Stopping
from rexecd.gateway.throttle import Offence
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel, connect
from rexecd.serving import CUT_SHORT, RESTARTING
from rexecd.wire import messages as wire
from rexecd.wire.connection import Connection, Role

#: How often a monitor that is away is looked for.
_LOOK_AGAIN: Final = 0.05
#: How often a token is presented to one that closes the channel: it was leaving; or it does not want us,
#: and records each attempt.
_ATTEMPTS: Final = 3
_AWAY: Final = "the service is not complete just now; try later"
_IDLE: Final = "nothing was asked for too long"
_VANISHED: Final = "the peer has vanished"


class _Idle(Exception):
    """The caller has not asked for anything for too long."""


class Session:
    """One connection, in a thread of its own."""

    def __init__(self, raw: socket.socket, peer: Peer, surroundings: Surroundings) -> None:
        self._raw = raw
        self._address, self._port, _ = peer
        self._stranger = Stranger(peer, surroundings)
        self._around = surroundings
        self._connection = Connection(Role.SERVER)
        self._channel: Channel | None = None
        #: Between two requests.
        self._idle = select.poll()
        self._relay: Relay | None = None
        #: Whether it had its first answer: from then on it may be ended between two requests.
        self._has_answered = False

    def run(self) -> None:
        """Serve the connection to its end."""
        deadline = time.monotonic() + self._around.settings.grace_time
        stream = self._stranger.greet(self._raw, deadline)
        if stream is None:
            return
        self._stream = stream
        try:
            self._converse(deadline)
        finally:
            with self._around.grace.until(time.monotonic(), self._stream.fileno()):
                self._stream.farewell()
            self._stream.close()

    def _converse(self, deadline: float) -> None:
        """Authenticate and serve; whatever ends it is told to whoever still listens."""
        parting, detail = seam.Parting.CONNECTION_LOST, ""
        try:
            channel = self._introduce(self._token(deadline))
            if channel is not None:
                self._serve(channel)
            parting = seam.Parting.GOODBYE
        except Stopping as stopping:
            parting = seam.Parting.STOPPING
            detail = "" if self._relay is None else CUT_SHORT
            self._say_closed(Code.UNAVAILABLE, detail or str(stopping))
        except RemoteProtocolError as error:
            parting, detail = seam.Parting.PROTOCOL_ERROR, str(error)
            self._say_closed(Code.PROTOCOL_ERROR, detail)
        except _Idle:
            parting = seam.Parting.IDLE
            self._say_closed(Code.IDLE, _IDLE)
        except Ended as error:
            detail = str(error)
            self._say_closed(error.closed.code, detail)
        except Unavailable as error:
            detail = str(error)
            self._say_closed(Code.UNAVAILABLE, _AWAY)
        except (WriteTimeout, DeadlinePassed):
            parting = seam.Parting.WRITE_TIMEOUT
        except (ConnectionLost, OSError):  # there is nobody to tell but the monitor
            detail = _VANISHED if self._stream.has_vanished() else ""
        finally:
            self._part(parting, detail)

    def _part(self, parting: seam.Parting, detail: str) -> None:
        """Tell the monitor how it ended; a closed channel ends a command that still runs."""
        if self._channel is not None:
            with contextlib.suppress(Unavailable):
                self._channel.send(seam.Renounce(parting, detail))
            self._channel.close()
            if self._relay is not None:
                self._relay.close()
        elif parting is not seam.Parting.STOPPING:
            self._stranger.report(seam.Trouble.UNAUTHENTICATED, detail or parting.word)

    def _token(self, deadline: float) -> bytes:
        """Return the caller's token; whoever presents none is penalized."""
        try:
            with self._around.grace.until(deadline, self._stream.fileno()):
                return self._await_token(deadline)
        except DeadlinePassed:
            self._stranger.penalize(Offence.SILENCE)
            raise RemoteProtocolError("no token within the grace time") from None
        except RemoteProtocolError:
            self._stranger.penalize(Offence.PROTOCOL)
            raise
        except ConnectionLost:
            self._stranger.penalize(Offence.UNTRIED)
            raise

    def _await_token(self, deadline: float) -> bytes:
        """Return the token of the caller's first message, under the deadline of the handshake."""
        while True:
            message = self._connection.next_message()
            if isinstance(message, wire.Authenticate):
                return message.token
            data = self._stream.read()
            if data is None:
                self._stream.wait(self._stream.interest, deadline)
            self._take(data)

    def _introduce(self, token: bytes) -> Channel | None:
        """Carry the token over; return the channel on which the monitor accepted it, None if it did not.

        A monitor that is away is waited for, one that is there and does not answer as well: its socket
        may be held by a service manager, so that the channel is open before the monitor is. Raise
        Unavailable when `monitor_wait` is over.
        """
        description, certificate = self._stream.description(), self._stream.peer_certificate()
        facts = seam.Authenticate(self._address, self._port, description, token, certificate)
        deadline = time.monotonic() + self._around.settings.monitor_wait
        attempts = 0
        while True:
            self._channel = channel = self._find_monitor(deadline)
            attempts += 1
            try:
                channel.send(facts)
                # A token counts, also where its caller does not stay to hear what came of it.
                self._await(channel, max(0.0, deadline - time.monotonic()), heeds_caller=False)
                answer, _ = self._receive(channel)
                break
            except Unavailable:
                if attempts == _ATTEMPTS or time.monotonic() >= deadline:
                    raise
            channel.close()
            self._channel = None
            self._rest()
        if isinstance(answer, wire.Accepted):
            self._stranger.accept()
        elif isinstance(answer, wire.Closed) and answer.code is Code.AUTHENTICATION_FAILED:
            self._stranger.penalize(Offence.TOKEN)
        self._say(answer)
        return channel if isinstance(answer, wire.Accepted) else None

    def _find_monitor(self, deadline: float) -> Channel:
        """Return a channel of this connection's own; raise Unavailable if there is none by then."""
        settings = self._around.settings
        while True:
            try:
                return connect(settings.seam_socket, seam.SEAM, timeout=settings.monitor_wait)
            except Unavailable:
                if time.monotonic() >= deadline:
                    raise
            self._rest()

    def _rest(self) -> None:
        """Wait until it is time to look for the monitor again; raise Stopping."""
        if self._around.stop.wait(_LOOK_AGAIN):
            raise Stopping

    def _serve(self, channel: Channel) -> None:
        """Carry requests until the caller says goodbye or the monitor ends the session."""
        for each in (channel, self._around.stop):
            self._idle.register(each, select.POLLIN)
        deadline = self._idle_until()
        while True:
            match self._next_request(channel, deadline):
                case wire.Run() as request:
                    if not self._run(channel, request):
                        return
                case wire.List() as request:
                    self._list(channel, request)
                case wire.Goodbye():
                    return
                case _:
                    continue  # Input, InputEnd or Signal that was under way when the command ended
            if not self._has_answered:
                self._has_answered = True
                self._idle.register(self._around.stop.draining, select.POLLIN)
            deadline = self._idle_until()

    def _idle_until(self) -> float:
        """Return when a caller that asks for nothing from now on is idle; half a request does not count."""
        return time.monotonic() + self._around.settings.idle_timeout

    def _run(self, channel: Channel, request: wire.Run) -> bool:
        """Carry one command; return whether the session goes on."""
        channel.send(request)
        answer, descriptors = self._answer_with_descriptors(channel)
        if not isinstance(answer, seam.Started):
            self._say(answer)
            return not isinstance(answer, wire.Closed)
        self._relay = Relay(
            self._stream,
            self._connection,
            channel,
            self._around.stop,
            started=answer,
            descriptors=descriptors,
            write_timeout=self._around.settings.write_timeout,
        )
        started = wire.Started(answer.request_id)
        if answer.takes_input:
            self._say(started, wire.InputWanted())
        else:
            self._stream.hold(self._connection.send(started))
        exited, drained = self._relay.run()
        self._relay.close()
        self._relay = None
        # With it leaves what is still held of the output: only then all of it has gone out.
        self._say(wire.Exit(exited.ending, exited.status, drained.truncated, exited.duration))
        with contextlib.suppress(Unavailable):  # it has gone: the next request hears of it
            channel.send(drained)
        return True

    def _list(self, channel: Channel, request: wire.List) -> None:
        """Pass a listing on, entry by entry."""
        channel.send(request)
        while True:
            answer = self._answer(channel)
            self._say(answer)
            if not isinstance(answer, wire.Entry):
                return

    def _next_request(self, channel: Channel, deadline: float) -> wire.Message:
        """Wait for the caller's next message, hearing the monitor and the stop meanwhile.

        Who has had an answer is asked to come again when the service drains. Raise _Idle if no message
        is there by then.
        """
        while (message := self._connection.next_message()) is None:
            self._idle.register(self._stream, self._stream.interest)
            ready = dict(self._idle.poll(max(0.0, deadline - time.monotonic()) * 1000))
            events = ready.get(self._stream.fileno(), 0)
            if not events or len(ready) > 1:
                self._leave(channel, ready)
            self._stream.heed(events)
            self._take(self._stream.read())
        return message

    def _leave(self, channel: Channel, ready: dict[int, int]) -> None:
        """Raise what ends a session between two requests, where something does."""
        if not ready:
            raise _Idle
        if self._around.stop.fileno() in ready:
            raise Stopping
        if channel.fileno() in ready:
            misspoken = type(hear(channel)).__name__  # it may only end the session between commands
            raise Unavailable(f"the monitor misspoke: {misspoken} for no request")
        if self._stream.fileno() not in ready:
            raise Stopping(RESTARTING)

    def _take(self, data: bytes | None) -> None:
        """Hold what was read from the caller; raise ConnectionLost at any kind of end."""
        if data is None:
            return
        if not data:
            raise ConnectionLost
        self._connection.receive(data)

    def _answer(self, channel: Channel) -> wire.Message:
        return self._answer_with_descriptors(channel)[0]

    def _answer_with_descriptors(self, channel: Channel) -> tuple[wire.Message, tuple[int, ...]]:
        """Wait for what the monitor says; raise as `_await` and `_receive` do."""
        self._await(channel, self._around.settings.write_timeout)
        return self._receive(channel)

    def _receive(self, channel: Channel) -> tuple[wire.Message, tuple[int, ...]]:
        """Return what the monitor has said, with exactly the descriptors it declares.

        Anything else is the monitor's fault and not the caller's: raise Unavailable.
        """
        try:
            answer, descriptors = channel.receive_with_descriptors()
        except RemoteProtocolError as error:
            raise Unavailable(f"the monitor misspoke: {error}") from None
        if answer is None:
            raise Unavailable("the monitor went away")
        declared = 2 + answer.takes_input if isinstance(answer, seam.Started) else 0
        if len(descriptors) != declared:
            for descriptor in descriptors:
                os.close(descriptor)
            raise Unavailable("the monitor sent other descriptors than it declared")
        return answer, descriptors

    def _await(self, channel: Channel, seconds: float, *, heeds_caller: bool = True) -> None:
        """Wait until the monitor says something.

        Raise ConnectionLost where the caller has gone and that counts, Stopping, or Unavailable for silence.
        """
        monitor, stop = channel.fileno(), self._around.stop.fileno()
        poller = select.poll()
        poller.register(monitor, select.POLLIN)
        poller.register(stop, select.POLLIN)
        if heeds_caller:
            poller.register(self._stream, HANG_UP)
        ready = dict(poller.poll(seconds * 1000))
        if monitor in ready:
            return
        if stop in ready:
            raise Stopping
        if ready:
            raise ConnectionLost
        raise Unavailable("the monitor does not answer")

    def _say(self, *messages: wire.Message) -> None:
        """Send messages of the server's own in one piece."""
        data = b"".join(map(self._connection.send, messages))
        self._stream.put_all(data, time.monotonic() + self._around.settings.write_timeout)

    def _say_closed(self, code: Code, text: str) -> None:
        """Say why the session ends, if that can still be said."""
        with contextlib.suppress(OSError, DeadlinePassed):
            data = self._connection.close_with(wire.Closed(code, text))
            self._stream.put_all(data, time.monotonic() + LAST_WORDS, hear_stop=False)
