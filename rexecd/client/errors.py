"""Everything that can go wrong for a caller, each with the exit status `rexec` ends with.

Rule 1: `CallerError` itself is never raised.
Rule 2: a text that came from the server is foreign; whoever prints it escapes it.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from rexecd.client.times import spell_wait
from rexecd.errors import Code, RexecError
from rexecd.wire import messages

#: Everything that is rexec's own: usage, network, TLS, authentication, protocol.
OWN_FAULT: Final = 255
#: Try later.
TRY_LATER: Final = 125


class CallerError(RexecError):
    """Base of what the client raises: one line, perhaps a remedy, an exit status.

    `outcome` is the word `rexec --json` uses; `request_id` is empty where no request was numbered.
    `retry_after` is in how many seconds the same may succeed, None where nobody knows. Nothing here waits.
    """

    exit_status: int = OWN_FAULT
    outcome: ClassVar[str] = "failed"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.request_id = request_id
        self.retry_after = retry_after


class UsageError(CallerError):
    """What was asked cannot be sent: a wrong option, token, host or line. Nothing was sent."""


class ConnectFailed(CallerError):
    """The server could not be reached in time."""


class Untrusted(CallerError):
    """The server could not prove that it is the one that was meant. The token was not sent.

    `fingerprint` is the key it showed, as a pin (`sha256:HEX`), where it was the key that did not fit.
    """

    def __init__(self, message: str, *, hint: str | None = None, fingerprint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fingerprint = fingerprint


class UnknownHost(Untrusted):
    """The known hosts do not name the server: somebody has to say whether its key is the right one."""


class ChangedKey(Untrusted):
    """The server has another key than the one that is known of it."""


class AuthenticationFailed(CallerError):
    """The server does not accept the token."""


class ConnectionLost(CallerError):
    """The connection ended without a word. A running command ends, unless its rule says otherwise."""


class ProtocolBroken(CallerError):
    """The server sent what the protocol forbids."""


class TooMuchOutput(CallerError):
    """More output than was to be held in memory; the session is over, as with a lost connection."""


class SessionClosed(CallerError):
    """The server ended the session and said why; 125 where trying later may help, else 255."""


class Refused(CallerError):
    """The command is unknown, not permitted, or its line, arguments, input or reason do not fit."""

    exit_status = 126
    outcome = "refused"


class NotStarted(CallerError):
    """The command is allowed, and its program could not be started."""

    exit_status = 127


class Busy(CallerError):
    """Over a limit, or the server cannot serve just now: the same request may succeed later."""

    exit_status = TRY_LATER
    outcome = "busy"


#: What each code means, and the remedy, as the answer to a request.
_MEANINGS: Final[Mapping[Code, tuple[type[CallerError], str | None]]] = {
    Code.AUTHENTICATION_FAILED: (
        AuthenticationFailed,
        "ask the operator: the token may be over, or good from elsewhere or with a certificate (--cert) only",
    ),
    Code.NOT_PERMITTED: (Refused, "'rexec --list HOST' or 'help' shows what you may run"),
    Code.BAD_LINE: (Refused, "quote the line as for a shell; there is none: no pipes, globs or $NAME"),
    Code.BAD_ARGUMENT: (Refused, "'NAME --help' shows what it takes"),
    Code.BAD_INPUT: (Refused, "'NAME --help' shows what it takes"),
    Code.NOT_STARTED: (NotStarted, "ask the operator: the audit trail says why"),
    Code.BUSY: (Busy, "try again later"),
    Code.UNAVAILABLE: (Busy, "try again later"),
    Code.REVOKED: (SessionClosed, "ask the operator for a new one"),
    Code.PROTOCOL_ERROR: (SessionClosed, None),
    Code.JUSTIFICATION_REQUIRED: (Refused, "give a reason with --reason TEXT"),
    Code.IDLE: (Busy, "connect again"),
}


def refusal(answer: messages.Refused) -> CallerError:
    """Return what to raise when a request was answered with no."""
    kind, hint = _MEANINGS[answer.code]
    retry_after = None
    if kind is Busy and answer.retry_after:
        retry_after = answer.retry_after / 1000
        hint = f"try again in {spell_wait(retry_after)}"
    return kind(
        _sentence(answer.code, answer.text), hint=hint, request_id=answer.request_id, retry_after=retry_after
    )


def closing(last: messages.Closed) -> CallerError:
    """Return what to raise when the server ended the session."""
    kind, hint = _MEANINGS[last.code]
    if kind is AuthenticationFailed:
        return AuthenticationFailed(_sentence(last.code, last.text), hint=hint)
    error = SessionClosed(f"the server ended the session: {_sentence(last.code, last.text)}", hint=hint)
    error.exit_status = kind.exit_status if kind is Busy else OWN_FAULT
    return error


def _sentence(code: Code, text: str) -> str:
    return f"{code.word}: {text}" if text else code.word
