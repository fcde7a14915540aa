"""The caller's side, with the standard library only, in the manner of `subprocess`.

with rexecd.client.connect("web1", token=..., ca="ca.pem") as session:
    print(session.run(["disk", "/srv"], text=True, check=True).stdout)

docs/LIBRARY.md says how it compares. What is used is loaded when it is first named: `rexec` starts fast.
"""

from rexecd.typed import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rexecd.client.calls import connect, run
    from rexecd.client.completed import CommandFailed, CommandTimedOut, NotText, Result
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
        PoolTimeout,
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
    from rexecd.client.pool import Pool
    from rexecd.client.results import Outcome, Stream
    from rexecd.client.session import Session
    from rexecd.client.streaming import RunningCommand
    from rexecd.wire.messages import Entry, Offer

__all__ = [
    "AuthenticationFailed",
    "Busy",
    "CallerError",
    "ChangedKey",
    "CommandError",
    "CommandFailed",
    "CommandTimedOut",
    "ConnectFailed",
    "ConnectionLost",
    "Entry",
    "NetworkError",
    "NotStarted",
    "NotText",
    "Offer",
    "Outcome",
    "Pool",
    "PoolTimeout",
    "ProtocolBroken",
    "Refused",
    "RequestError",
    "Result",
    "RunningCommand",
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

#: Where each name is; errors are in `rexecd.client.errors`.
_HOMES: Final = {
    "CommandFailed": "rexecd.client.completed",
    "CommandTimedOut": "rexecd.client.completed",
    "Entry": "rexecd.wire.messages",
    "NotText": "rexecd.client.completed",
    "Offer": "rexecd.wire.messages",
    "Outcome": "rexecd.client.results",
    "Pool": "rexecd.client.pool",
    "Result": "rexecd.client.completed",
    "RunningCommand": "rexecd.client.streaming",
    "Session": "rexecd.client.session",
    "Stream": "rexecd.client.results",
    "connect": "rexecd.client.calls",
    "run": "rexecd.client.calls",
}

if not TYPE_CHECKING:  # whoever checks types sees the imports above, and no name that is not there

    def __getattr__(name: str) -> object:
        """Load what is named for the first time (PEP 562); raise AttributeError."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib  # noqa: PLC0415 - rexec names its modules

        value = getattr(importlib.import_module(_HOMES.get(name, "rexecd.client.errors")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
