"""Everything that can go wrong for a caller, by whose fault it is, each with `rexec`'s exit status.

Rule 1: bases are never raised: `CallerError`, and one for each whose fault it can be: `RequestError`,
`NetworkError`, `ServerError`, `CommandError`. A server that does not prove itself is `Untrusted`.
Rule 2: a text that came from the server is foreign; whoever prints it escapes it.
Rule 3: no text holds what a command wrote, nor a token, nor an argument of a command.
Rule 4: `may_have_run` is False only where it is certain that the command was not started.
"""

from collections.abc import Mapping

from rexecd.errors import Code, RexecError
from rexecd.typed import Final
from rexecd.wire import messages

#: Everything that is rexec's own: usage, network, TLS, authentication, protocol.
OWN_FAULT: Final = 255
#: Try later.
TRY_LATER: Final = 125


class CallerError(RexecError):
    """Base of what the client raises: one line, perhaps a remedy, an exit status; never raised itself.

    `hint` is what may help, or None. `may_have_run` is whether the command can have been started: where it is
    False the same can be asked again, and nothing runs twice. `code` is the word the server gave
    (`not-permitted`, PROTOCOL 6), empty where it gave none. `request_id` is what to quote to the operator,
    empty where no request was numbered. `retry_after` is in how many seconds the same may succeed, None where
    nobody knows; nothing here waits. `outcome` is the word `rexec --json` uses, `exit_status` what `rexec`
    ends with.
    """

    exit_status: int = OWN_FAULT
    outcome: str = "failed"
    may_have_run: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


class RequestError(CallerError):
    """Base of what is the caller's own fault; never raised itself."""


class NetworkError(CallerError):
    """Base of what lies between the two sides; never raised itself."""


class ServerError(CallerError):
    """Base of what is the server's fault, or its operator's; never raised itself."""


class CommandError(CallerError):
    """Base of what the command did: it ran; never raised itself."""

    may_have_run = True


class UsageError(RequestError):
    """What was asked cannot be sent: a wrong option, token, host or line.

    Nothing was sent, unless it was the command's input that could not be read: then the command may have run.
    """


class Refused(RequestError):
    """The command is unknown, not permitted, or its line, arguments, input or reason do not fit.

    It was not started; the session goes on.
    """

    exit_status = 126
    outcome = "refused"


class AuthenticationFailed(RequestError):
    """The server does not accept the token, or the client certificate. Nothing was started."""


class PoolTimeout(RequestError):
    """No connection of a `Pool` became free in time. Nothing was sent."""

    exit_status = TRY_LATER
    outcome = "busy"


class Untrusted(CallerError):
    """The server could not prove that it is the one that was meant. The token was not sent.

    Nothing was started.
    `fingerprint` is the key it showed, as a pin (`sha256:HEX`), where it was the key that did not fit.
    """

    def __init__(self, message: str, *, hint: str | None = None, fingerprint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fingerprint = fingerprint


class UnknownHost(Untrusted):
    """The known hosts do not name the server: somebody has to say whether its key is the right one."""


class ChangedKey(Untrusted):
    """The server has another key than the one that is known of it."""


class ConnectFailed(NetworkError):
    """The server could not be reached in time. Nothing was started."""


class ConnectionLost(NetworkError):
    """The connection ended without a word, or the first answer did not come in time.

    A running command ends, unless its rule says otherwise. Before it was asked for, nothing was started;
    afterwards it may have run, and for how long nobody knows.
    """


class Busy(ServerError):
    """Over a limit, or the server cannot serve just now: the same may succeed later. Nothing was started."""

    exit_status = TRY_LATER
    outcome = "busy"


class NotStarted(ServerError):
    """The command is allowed, and its program could not be started. The session goes on."""

    exit_status = 127


class SessionClosed(ServerError):
    """The server ended the session and said why; 125 where trying later may help, else 255.

    Between two commands, or for having been idle (`code`), it started nothing; else the command may have run.
    """


class ProtocolBroken(ServerError):
    """The server sent what the protocol forbids. A command that had been asked for may have run."""


class TooMuchOutput(CommandError):
    """More output than was to be held in memory; the session is over, as with a lost connection."""


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
        from rexecd.client.times import spell_wait  # noqa: PLC0415 - not for what goes well

        hint = f"try again in {spell_wait(retry_after)}"
    return kind(
        _sentence(answer.code, answer.text),
        hint=hint,
        code=answer.code.word,
        request_id=answer.request_id,
        retry_after=retry_after,
    )


def closing(last: messages.Closed) -> CallerError:
    """Return what to raise when the server ended the session."""
    kind, hint = _MEANINGS[last.code]
    if kind is AuthenticationFailed:
        return AuthenticationFailed(_sentence(last.code, last.text), hint=hint, code=last.code.word)
    sentence = f"the server ended the session: {_sentence(last.code, last.text)}"
    error = SessionClosed(sentence, hint=hint, code=last.code.word)
    error.exit_status = kind.exit_status if kind is Busy else OWN_FAULT
    return error


def _sentence(code: Code, text: str) -> str:
    return f"{code.word}: {text}" if text else code.word
