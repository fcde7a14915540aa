"""`run` in the manner of `subprocess.run`, for whatever can carry a command to its end.

Rule: what `rexec` itself does not need is imported where it is used.
"""

from collections.abc import Sequence

from rexecd.client.request import line_of
from rexecd.client.results import MAX_OUTPUT, Outcome
from rexecd.typed import TYPE_CHECKING, Any
from rexecd.wire.messages import Offer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Literal, Unpack, overload

    from rexecd.client.completed import Result
    from rexecd.client.exchange import Exchange, Sink
    from rexecd.client.signatures import Asking, Readable
    from rexecd.client.streaming import RunningCommand


class Runner:
    r"""Base of `Session` and `Pool`: `run` and `execute` carry a command to its end.

    A text is the line itself, a sequence is words, each of which arrives as one:

    >>> session.run("echo hello").stdout
    b'hello\n'
    >>> session.run(["echo", "two words; $HOME"], text=True).stdout
    'two words; $HOME\n'

    Input is given, never inherited; a command that takes none is then refused:

    >>> session.run("count", input=b"12345").stdout
    b'5\n'

    The server keeps the time, and what was written until then is in the result:

    >>> session.run("brief", timeout=0.2, text=True).outcome
    'timed_out'

    With `check` every end but exit status 0 is an error:

    >>> session.run("both", check=True)
    Traceback (most recent call last):
    rexecd.client.completed.CommandFailed: 'both' ended with exit status 3
    """

    if TYPE_CHECKING:  # a start can do without them

        @overload
        def run(
            self,
            command: str | Sequence[str],
            *,
            input: bytes | None = ...,
            capture_output: Literal[True] = ...,
            text: Literal[False] | None = ...,
            encoding: None = ...,
            errors: None = ...,
            **asking: "Unpack[Asking]",
        ) -> "Result[bytes]": ...
        @overload
        def run(
            self,
            command: str | Sequence[str],
            *,
            input: str | None = ...,
            capture_output: Literal[True] = ...,
            text: Literal[True],
            encoding: str | None = ...,
            errors: str | None = ...,
            **asking: "Unpack[Asking]",
        ) -> "Result[str]": ...
        @overload
        def run(
            self,
            command: str | Sequence[str],
            *,
            input: str | None = ...,
            capture_output: Literal[True] = ...,
            text: bool | None = ...,
            encoding: str,
            errors: str | None = ...,
            **asking: "Unpack[Asking]",
        ) -> "Result[str]": ...
        @overload
        def run(
            self,
            command: str | Sequence[str],
            *,
            input: bytes | str | None = ...,
            capture_output: Literal[False],
            text: bool | None = ...,
            encoding: str | None = ...,
            errors: str | None = ...,
            **asking: "Unpack[Asking]",
        ) -> "Result[None]": ...
        @overload
        def run(
            self,
            command: str | Sequence[str],
            *,
            input: None = ...,
            capture_output: bool = ...,
            text: bool | None,
            encoding: str | None = ...,
            errors: str | None = ...,
            **asking: "Unpack[Asking]",
        ) -> "Result[Any]": ...

    def run(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | str | None = None,  # noqa: A002 - as subprocess.run calls it
        stdin: "Readable | None" = None,
        capture_output: bool = True,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        check: bool = False,
        reason: str = "",
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
    ) -> "Result[Any]":
        """Run a command to its end and return how it ended and what it wrote.

        A text is the line itself; each word of a sequence arrives as one. `input` goes to its standard
        input, or what can be read from `stdin`, a file or descriptor; else it has none. `text`, `encoding`
        (UTF-8) or `errors` make text of output and of `input`. `capture_output=False` passes output on to
        descriptors 1 and 2; more than `max_output` bytes (64 MiB) to hold end the session and the command.
        `timeout` is the most seconds the command may run, from 0.001: one that is ended for it has the
        outcome `timed_out`. `check` makes an error of every end but exit status 0. `reason` is why, for the
        server's audit trail.

        Raise CallerError: UsageError; Refused, NotStarted or Busy where the server says no; ConnectionLost,
        SessionClosed or ProtocolBroken where the session ended; CommandFailed or CommandTimedOut with
        `check`; NotText; TooMuchOutput. Raise OSError where output cannot be passed on, which ends the
        session too.
        """
        from rexecd.client.captured import perform  # noqa: PLC0415 - the rule

        return perform(
            self.execute,
            line_of(command),
            given=input,
            stdin=stdin,
            is_captured=capture_output,
            codec=(text, encoding, errors),
            check=check,
            reason=reason,
            timeout=timeout,
            max_output=max_output,
        )

    def execute(
        self,
        line: str,
        *,
        offer: Offer,
        source: int | bytes | None = None,
        sink: "Sink",
        reason: str = "",
        timeout: float | None = None,
    ) -> Outcome:
        """Run a command, giving `sink` its output as it comes, and return how it ended."""
        raise NotImplementedError


class Streamer(Runner):
    """Base of `Session`, which can also give the output as it comes."""

    def stream(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | str | None = None,  # noqa: A002 - as subprocess.run calls it
        stdin: "Readable | None" = None,
        check: bool = False,
        reason: str = "",
        timeout: float | None = None,
    ) -> "RunningCommand":
        """Begin a command and return it, to iterate over its output as it comes; the rest is as for `run`.

        `input` as a text is UTF-8. What a server says instead of beginning is raised here. No other request
        can be made until the command was seen to its end, and leaving it earlier ends both it and the
        session. Raise CallerError.

        >>> with session.stream(["zeros", "--bytes=1000000"]) as running:
        ...     sum(len(data) for stream, data in running)
        1000000
        """
        from rexecd.client.streaming import begin  # noqa: PLC0415 - rexec has its sinks

        return begin(
            self._begin,
            line_of(command),
            given=(input, stdin),
            check=check,
            reason=reason,
            timeout=timeout,
            guard=self._check_usable,
            signal=self.signal,
        )

    def _begin(
        self,
        line: str,
        *,
        offer: Offer,
        source: int | bytes | None,
        sink: "Sink",
        reason: str,
        timeout: float | None,
    ) -> "AbstractContextManager[Exchange]":
        """Ask for a command and give its exchange."""
        raise NotImplementedError

    def _check_usable(self) -> None:
        """Raise CallerError where nothing can be asked."""
        raise NotImplementedError

    def signal(self, name: str) -> None:
        """Send a signal to the running command."""
        raise NotImplementedError
