"""The caller's side, with the standard library only.

with rexecd.client.connect("web1", token=..., ca="ca.pem") as session:
    print(session.run(["disk", "/srv"]).stdout.decode())
"""

import os
from collections.abc import Sequence

from rexecd.client.errors import (
    AuthenticationFailed,
    Busy,
    CallerError,
    ChangedKey,
    CommandError,
    ConnectFailed,
    ConnectionLost,
    NetworkError,
    NotStarted,
    ProtocolBroken,
    Refused,
    RequestError,
    ServerError,
    SessionClosed,
    TooMuchOutput,
    UnknownHost,
    Untrusted,
    UsageError,
)
from rexecd.client.results import MAX_OUTPUT, Outcome, Result, Stream
from rexecd.client.session import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Session, connect
from rexecd.wire.messages import Entry, Offer

__all__ = [
    "AuthenticationFailed",
    "Busy",
    "CallerError",
    "ChangedKey",
    "CommandError",
    "ConnectFailed",
    "ConnectionLost",
    "Entry",
    "NetworkError",
    "NotStarted",
    "Offer",
    "Outcome",
    "ProtocolBroken",
    "Refused",
    "RequestError",
    "Result",
    "ServerError",
    "Session",
    "SessionClosed",
    "Stream",
    "TooMuchOutput",
    "UnknownHost",
    "Untrusted",
    "UsageError",
    "connect",
    "run",
]


def run(
    host: str,
    command: str | Sequence[str],
    *,
    token: str,
    ca: str | os.PathLike[str] | None = None,
    pin: str | None = None,
    known_hosts: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    input: bytes | None = None,  # noqa: A002 - the name subprocess.run gave it
    reason: str = "",
    timeout: float | None = None,
    max_output: int = MAX_OUTPUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    answer_timeout: float = ANSWER_TIMEOUT,
) -> Result:
    """Connect, run one command to its end, disconnect; all as in `Session.run`. Raise CallerError."""
    with connect(
        host,
        token=token,
        ca=ca,
        pin=pin,
        known_hosts=known_hosts,
        cert=cert,
        key=key,
        connect_timeout=connect_timeout,
        answer_timeout=answer_timeout,
    ) as session:
        return session.run(command, input=input, reason=reason, timeout=timeout, max_output=max_output)
