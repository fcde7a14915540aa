"""How a command ended, in the caller's words, and what is raised where that was not well."""

import enum
import signal
from typing import Any, Final, Generic, NamedTuple, TypeVar

from rexecd.client.errors import CommandError, ProtocolBroken, TooMuchOutput
from rexecd.client.times import spell_seconds
from rexecd.wire.messages import Ending, Exit

#: What `timeout(1)` ends with, and what we do for a command whose deadline passed.
TIMED_OUT_STATUS: Final = 124
#: What a shell adds to the number of the signal that ended a command.
SIGNAL_BASE: Final = 128
_LAST_SIGNAL: Final = 127
_MICROSECONDS: Final = 1_000_000
_TIMED_OUT: Final = "timed_out"

_WORDS: Final = {Ending.EXITED: "exited", Ending.SIGNALLED: "signalled", Ending.TIMED_OUT: _TIMED_OUT}

#: What a result holds of the output: bytes, text, or nothing where it went elsewhere.
Written = TypeVar("Written", bound=bytes | str | None)


class Stream(enum.IntEnum):
    """Which output of the command bytes came from, numbered as descriptors are."""

    STDOUT = 1
    STDERR = 2


class Outcome(NamedTuple):
    """How a command ended; its output went to the sink."""

    #: `exited`, `signalled` or `timed_out`.
    outcome: str
    #: Its exit status, 128 + N for signal N, or 124.
    returncode: int
    #: The signal that ended it, as `TERM`.
    signal: str | None
    #: Whether a ceiling cut its output or input.
    truncated: bool
    #: Seconds.
    duration: float
    request_id: str

    @property
    def reason(self) -> str | None:
        """Return why it was ended before its time, None if it was not."""
        return f"timed out after {spell_seconds(self.duration)}" if self.outcome == _TIMED_OUT else None


class Result(NamedTuple, Generic[Written]):
    r"""How a command ended, and what it wrote; after `subprocess.CompletedProcess`.

    >>> result = session.run(["echo", "hello"])
    >>> result.returncode, result.stdout, result.stderr
    (0, b'hello\n', b'')
    >>> result.args, result.outcome, result.truncated
    ('echo hello', 'exited', False)
    """

    #: The line that was sent.
    args: str
    #: The exit status, 128 + N where signal N ended it, 124 for a deadline. Never negative.
    returncode: int
    stdout: Written
    stderr: Written
    #: `exited`, `signalled` or `timed_out`.
    outcome: str
    #: The signal that ended it, as `TERM`; else None.
    signal: str | None
    #: Whether a ceiling of the server's cut output or input.
    truncated: bool
    #: Seconds, as the server measured.
    duration: float
    #: What to quote to the operator.
    request_id: str

    def check_returncode(self) -> None:
        """Raise CommandFailed unless the exit status is 0; CommandTimedOut where a deadline ended it.

        >>> session.run("both").check_returncode()
        Traceback (most recent call last):
        rexecd.client.results.CommandFailed: 'both' ended with exit status 3
        """
        if self.returncode or self.outcome != "exited":
            raise (CommandTimedOut if self.outcome == _TIMED_OUT else CommandFailed)(self)


class CommandFailed(CommandError):
    """The command ran, and did not end with exit status 0; only where `check=True` asked for this error.

    After `subprocess.CalledProcessError`: `returncode`, `cmd`, `stdout` (also as `output`) and `stderr`;
    all of it, and how it ended, is in `result`. The text of the error has the command's name and how it
    ended, none of its arguments and nothing that it wrote.
    """

    def __init__(self, result: Result[Any]) -> None:
        super().__init__(f"{_name(result.args)!r} {_ending(result)}", request_id=result.request_id)
        self.result = result
        self.exit_status = result.returncode
        self.outcome = result.outcome

    def __reduce__(self) -> tuple[type["CommandFailed"], tuple[Result[Any]]]:
        return type(self), (self.result,)

    @property
    def returncode(self) -> int:
        """Return the exit status, 128 + N for signal N, or 124 for a deadline."""
        return self.result.returncode

    @property
    def cmd(self) -> str:
        """Return the line that was sent."""
        return self.result.args

    @property
    def stdout(self) -> Any:  # noqa: ANN401 - bytes, str or None, as was asked for
        """Return what it wrote to standard output; None where that was not captured."""
        return self.result.stdout

    @property
    def output(self) -> Any:  # noqa: ANN401 - as above
        """Return `stdout`, under the name that `subprocess.CalledProcessError` gives it."""
        return self.result.stdout

    @property
    def stderr(self) -> Any:  # noqa: ANN401 - as above
        """Return what it wrote to standard error; None where that was not captured."""
        return self.result.stderr


class CommandTimedOut(CommandFailed):
    """A deadline ended the command: its rule's, or the caller's own `timeout`. It wrote what `result` has."""


class NotText(CommandError):
    """The command ran, and what it wrote is not text in the encoding that was asked for.

    `result` has the output as bytes; it is None where the output was taken as a stream.
    """

    def __init__(self, message: str, *, result: Result[bytes] | None = None) -> None:
        hint = "take it as bytes, or with errors='replace'"
        super().__init__(message, hint=hint, request_id=result.request_id if result else "")
        self.result = result


def _name(line: str) -> str:
    """Return the first word: the name of a command that was started, and so nobody's secret."""
    return (line.split(maxsplit=1) or [""])[0]


def _ending(result: Result[Any]) -> str:
    if result.outcome == _TIMED_OUT:
        return f"was ended by its deadline, after {spell_seconds(result.duration)}"
    if result.signal is not None:
        return f"was ended by signal {result.signal}"
    return f"ended with exit status {result.returncode}"


#: Most output held in memory when all of it is asked for at once.
MAX_OUTPUT: Final = 64 * 1024 * 1024


class Collector:
    """Holds what a command wrote, up to a ceiling."""

    def __init__(self, most: int) -> None:
        self._written = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self._most = most
        self._left = most

    def take(self, stream: Stream, data: bytes) -> None:
        """Hold a piece; raise TooMuchOutput, which ends the session and the command."""
        self._left -= len(data)
        if self._left < 0:
            raise TooMuchOutput(
                f"the command wrote more than {self._most} bytes, and all of it was to be held at once",
                hint="take it as a stream: without --json, or by Session.stream",
            )
        self._written[stream] += data

    @property
    def stdout(self) -> bytes:
        """Return what went to standard output so far."""
        return bytes(self._written[Stream.STDOUT])

    @property
    def stderr(self) -> bytes:
        """Return what went to standard error so far."""
        return bytes(self._written[Stream.STDERR])


def read_exit(message: Exit, request_id: str) -> Outcome:
    """Return what the server's last message of a command says; raise ProtocolBroken."""
    status, name = message.status, None
    if message.ending is Ending.SIGNALLED:
        if not 0 < status <= _LAST_SIGNAL:
            raise ProtocolBroken(f"the server named a signal {status}")
        name, status = signal_name(status), SIGNAL_BASE + status
    elif message.ending is Ending.TIMED_OUT:
        status = TIMED_OUT_STATUS
    duration = message.duration / _MICROSECONDS
    return Outcome(_WORDS[message.ending], status, name, message.truncated, duration, request_id)


def signal_name(number: int) -> str:
    """Return `TERM` for 15, and the number itself for one without a name here."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
