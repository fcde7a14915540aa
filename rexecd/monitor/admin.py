"""The operator's own door: one question, one answer, over a socket only the daemon's user can open.

The same functions serve a running monitor and, when none runs, the operator's command that
holds the state directory's lock in its place: there is one writer of the trail, always.
"""

import json
import secrets
import select
from typing import Final

from rexecd.errors import ConfigError, RemoteProtocolError, TrailError, Unavailable
from rexecd.identity.tokens import TokenRecord, mint
from rexecd.monitor.service import Service
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel

#: An operator's command asks at once and goes.
_SILENCE: Final = 5.0


def create_token(service: Service, principal: str) -> dict[str, object]:
    """Make a token; return it with its id. This is the only time the token itself is seen.

    Raise ConfigError if the policy has no such principal, TrailError with nothing changed.
    """
    if principal not in service.policy.principals:
        known = ", ".join(sorted(service.policy.principals))
        raise ConfigError(f"the policy has no principal {principal!r}: it has {known}")
    minted = mint(secrets.token_bytes)
    service.add_token(
        TokenRecord(minted.token_id, minted.digest, principal, created=service.clock.now(), revoked=None)
    )
    return {"token": minted.text, "id": minted.token_id, "principal": principal}


def revoke_token(service: Service, token_id: str) -> dict[str, object]:
    """End a token at once, also for connections that are open; raise ConfigError if it is unknown."""
    record = service.revoke_token(token_id)
    return {"id": record.token_id, "principal": record.principal}


class AdminSession:
    """One operator's connection."""

    def __init__(self, channel: Channel, service: Service) -> None:
        self._channel = channel
        self._service = service

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
            return seam.Answer(good=True, body=json.dumps(self._do(message)))
        except (ConfigError, TrailError, Unavailable) as error:
            whole = str(error).encode(errors="backslashreplace")
            return seam.Answer(good=False, body=whole[: seam.MAX_ANSWER].decode(errors="ignore"))

    def _do(self, message: seam.Message) -> dict[str, object]:
        match message:
            case seam.CreateToken(principal):
                return create_token(self._service, principal)
            case seam.RevokeToken(token_id):
                return revoke_token(self._service, token_id)
            case seam.Reload():
                policy = self._service.reload()
                return {"policy_digest": policy.digest, "rules": len(policy.rules)}
            case seam.Status():
                return self._service.status()
            case _:
                raise ConfigError(f"{type(message).__name__} is not a question")
