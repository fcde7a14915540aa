"""The operator's own door: one question, one answer, over a socket only the daemon's user can open.

The same functions serve a running monitor and, when none runs, the operator's command that
holds the state directory's lock in its place: there is one writer of the trail, always.
"""

import json
import select
from collections.abc import Callable, Mapping
from typing import Any, Final

from rexecd.errors import ConfigError, RemoteProtocolError, TrailError, Unavailable
from rexecd.monitor import tokens
from rexecd.monitor.asker import NOBODY, Asker, peer
from rexecd.monitor.exposition import Form
from rexecd.monitor.measure import metrics
from rexecd.monitor.service import Service
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel

#: An operator's command asks at once and goes.
_SILENCE: Final = 5.0
#: Characters of one part of the metrics. They are ASCII, and JSON makes at most two bytes of one.
_PART: Final = 30_000

_DEEDS: Final[Mapping[type, Callable[[Service, Any, Asker], dict[str, object]]]] = {
    seam.CreateToken: tokens.create,
    seam.ImportToken: tokens.take,
    seam.RotateToken: tokens.rotate,
    seam.RevokeTokens: tokens.revoke,
    seam.PurgeTokens: tokens.purge,
    seam.RevokeCertificate: tokens.revoke_certificate,
    seam.Reload: lambda service, _, asker: _reload(service, asker),
    seam.Status: lambda service, _, __: service.status(),
}


def do(service: Service, question: seam.Message, asker: Asker = NOBODY) -> dict[str, object]:
    """Do what an operator asks for and return the answer; raise ConfigError, TrailError or Unavailable.

    `asker` stands in the record of what is changed.
    """
    deed = _DEEDS.get(type(question))
    if deed is None:
        raise ConfigError(f"{type(question).__name__} is not a question")
    return deed(service, question, asker)


def _reload(service: Service, asker: Asker) -> dict[str, object]:
    policy = service.reload(asker)
    return {"policy_digest": policy.digest, "rules": len(policy.rules)}


class AdminSession:
    """One operator's connection."""

    def __init__(self, channel: Channel, service: Service) -> None:
        self._channel = channel
        self._service = service
        self._metrics = ""

    def run(self) -> None:
        """Answer until the operator's command closes its end.

        A malformed question ends it too, and so does silence: there are few places at this door.
        """
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        try:
            while poller.poll(_SILENCE * 1000) and (message := self._channel.receive()) is not None:
                self._channel.send(self._answer(message))
        except (RemoteProtocolError, Unavailable):
            return

    def _answer(self, message: seam.Message) -> seam.Answer:
        try:
            if isinstance(message, seam.Metrics):
                return seam.Answer(good=True, body=json.dumps(self._part_of_metrics(message.part)))
            # Looking up names for a question that changes nothing would be for nothing.
            asker = NOBODY if isinstance(message, seam.Status) else peer(self._channel)
            return seam.Answer(good=True, body=json.dumps(do(self._service, message, asker)))
        except (ConfigError, TrailError, Unavailable) as error:
            whole = str(error).encode(errors="backslashreplace")
            return seam.Answer(good=False, body=whole[: seam.MAX_ANSWER].decode(errors="ignore"))

    def _part_of_metrics(self, part: int) -> dict[str, object]:
        if part == 0:
            self._metrics = metrics(self._service, Form.OPENMETRICS)
        text = self._metrics[part * _PART : (part + 1) * _PART]
        if not text:
            raise ConfigError(f"the metrics have no part {part}: ask for part 0 first")
        return {"text": text, "parts": -(-len(self._metrics) // _PART)}
