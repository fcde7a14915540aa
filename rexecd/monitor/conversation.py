"""The monitor's end of one channel: which question is open, and how a session ends.

Rule: a question that is not open (seam/messages.py, PERMITS) ends the channel.
"""

import select
from collections.abc import Callable
from typing import Final

from rexecd.errors import Code, Refused, Unavailable
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.seam.messages import Permits, Stage
from rexecd.serving import RESTARTING, STOPPING, Flag, Stop
from rexecd.wire import messages as wire

#: How long the counts of a command that is over are waited for when the service stops.
_LAST_COUNTS: Final = 1.0


class SessionOver(Exception):
    """The session ends; `reason` is for the record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ServiceStopped(SessionOver):
    """The session ends because the service does; its caller has been told."""

    def __init__(self) -> None:
        super().__init__("service stopped")


class Conversation:
    """A channel, its stage, and the service's stop; it belongs to one thread."""

    def __init__(self, channel: Channel, stop: Stop) -> None:
        self.channel = channel
        self.stop = stop
        #: Whether the first request has been answered: from then on the session may be ended between two.
        self.has_answered = False
        #: Set when what the session was opened with is good no more, and who says why.
        self.endings: tuple[Flag, ...] = ()
        self.explain_ending: Callable[[], str] = str
        self._permits = Permits()

    def enter(self, stage: Stage) -> None:
        """Go on to a stage, by what this side did itself."""
        self._permits.stage = stage

    def next(self) -> seam.Message:
        """Wait for the next permitted question, and return it.

        Raise SessionOver at end-of-file, when the service stops, when it drains and nothing is
        under way, and when the token or certificate is good no more; RemoteProtocolError for a question
        that is not open.
        """
        poller = select.poll()
        poller.register(self.channel, select.POLLIN)
        for flag in (self.stop, *self.endings):
            poller.register(flag, select.POLLIN)
        if self._is_idle():
            poller.register(self.stop.draining, select.POLLIN)
        ready = {number for number, _ in poller.poll()}
        if self.stop.fileno() in ready and not self._counts_come():
            raise self._leave(STOPPING)
        if self.has_ended(ready):
            raise self.end()
        if ready == {self.stop.draining.fileno()}:
            raise self._leave(RESTARTING)
        return self.hear()

    def has_ended(self, ready: set[int]) -> bool:
        """Return whether one of the endings is among what poll found."""
        return any(flag.fileno() in ready for flag in self.endings)

    def end(self) -> SessionOver:
        """Tell the caller why its session ends now, and return that as the reason."""
        why = self.explain_ending()
        self.close(Code.REVOKED, why)
        return SessionOver(why)

    def hear(self) -> seam.Message:
        """Return the permitted question that is there; raise as `next` does."""
        message = self.channel.receive()
        if message is None:
            raise SessionOver("connection-lost")
        self._permits.check(message)
        return message

    def _is_idle(self) -> bool:
        """Return whether nobody loses anything if it ends here."""
        stage = self._permits.stage
        return stage is Stage.REPORTING or (stage is Stage.AUTHENTICATED and self.has_answered)

    def _counts_come(self) -> bool:
        """Wait a moment, where a command has just ended, for what the gateway has to say of it."""
        if self._permits.stage is not Stage.DRAINING:
            return False
        poller = select.poll()
        poller.register(self.channel, select.POLLIN)
        return bool(poller.poll(_LAST_COUNTS * 1000))

    def _leave(self, text: str) -> ServiceStopped:
        """Tell the caller that the service goes, and return that as the reason."""
        self.close(Code.UNAVAILABLE, text)
        return ServiceStopped()

    def refuse(self, request_id: str, refused: Refused) -> None:
        """Answer a request with no."""
        retry_after = wire.milliseconds(refused.retry_after)
        self.channel.send(wire.Refused(request_id, refused.code, refused.text, retry_after))

    def close(self, code: Code, text: str) -> None:
        """Tell the gateway why the session ends, if it still listens."""
        try:
            self.channel.send(wire.Closed(code, text))
        except Unavailable:
            return


def parting(renounced: seam.Renounce) -> str:
    """Return a parting as the trail writes it."""
    return f"{renounced.parting.word}: {renounced.detail}" if renounced.detail else renounced.parting.word
