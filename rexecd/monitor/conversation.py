"""The monitor's end of one channel: which question is open, and how a session ends.

Rule: a question that is not open (seam/messages.py, PERMITS) ends the channel.
"""

import select
from typing import Final

from rexecd.errors import Code, Refused, Unavailable
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.seam.messages import Permits, Stage
from rexecd.serving import Stop
from rexecd.wire import messages as wire

_STOPPING: Final = "the service is stopping; try later"


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
        self._permits = Permits()

    def enter(self, stage: Stage) -> None:
        """Go on to a stage, by what this side did itself."""
        self._permits.stage = stage

    def next(self) -> seam.Message:
        """Return the next permitted question.

        Raise SessionOver at end-of-file or when the service stops, RemoteProtocolError for a
        question that is not open.
        """
        poller = select.poll()
        poller.register(self.channel, select.POLLIN)
        poller.register(self.stop, select.POLLIN)
        ready = {number for number, _ in poller.poll()}
        if self.stop.fileno() in ready:
            raise self.stopping()
        message = self.channel.receive()
        if message is None:
            raise SessionOver("connection-lost")
        self._permits.check(message)
        return message

    def stopping(self) -> ServiceStopped:
        """Tell the caller that the service stops, and return that as the reason."""
        self.close(Code.UNAVAILABLE, _STOPPING)
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
