"""A command whose output is taken piece by piece, as it comes.

Rule 1: nothing is read before it is asked for: a slow reader stops the command, and memory stays bounded.
Rule 2: a command that is left before its end costs the session (session.py, rule 2); output that was cut
is never taken for all of it.
"""

import codecs
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rexecd.client.captured import Text, make_result, make_source, make_text, not_text, offer_of
from rexecd.client.completed import Result
from rexecd.client.errors import CallerError, TooMuchOutput, UsageError
from rexecd.client.exchange import Exchange
from rexecd.client.results import Outcome, Stream

if TYPE_CHECKING:
    from rexecd.client.signatures import Readable

#: Characters of a line, at most: one without an end would fill our memory.
MAX_LINE_LENGTH: Final = 1024 * 1024

Pieces = deque[tuple[Stream, bytes]]


def begin(
    ask: Callable[..., AbstractContextManager[Exchange]],
    line: str,
    *,
    given: "tuple[bytes | str | None, Readable | None]",
    check: bool,
    reason: str,
    timeout: float | None,
    guard: Callable[[], None],
    signal: Callable[[str], None],
) -> "RunningCommand":
    """Return a command that has begun; raise CallerError."""
    data, stdin = given
    source = make_source(data, stdin, Text("utf-8", "strict") if isinstance(data, str) else None)
    pieces: Pieces = deque()
    begun = ask(
        line,
        offer=offer_of(source),
        source=source,
        sink=lambda stream, data: pieces.append((stream, data)),
        reason=reason,
        timeout=timeout,
    )
    return RunningCommand(begun, pieces, line, check=check, guard=guard, signal=signal)


class RunningCommand:
    r"""A command under way: an iterator over its output, and a context manager. Made by `Session.stream`.

    Each piece is a `Stream` and at most 64 KiB, in the order of its stream; a character may be cut at the
    end. Input and signals move while output is waited for, so a reader who rests delays them too; who takes
    nothing for as long as the server's `write_timeout` loses the session. It belongs to the thread of its
    session, but for `signal`.

    >>> with session.stream("both") as running:
    ...     pieces = list(running)
    >>> sorted(pieces)
    [(<Stream.STDOUT: 1>, b'out\n'), (<Stream.STDERR: 2>, b'err\n')]
    >>> running.returncode
    3
    """

    def __init__(
        self,
        begun: AbstractContextManager[Exchange],
        pieces: Pieces,
        line: str,
        *,
        check: bool,
        guard: Callable[[], None],
        signal: Callable[[str], None],
    ) -> None:
        self._begun = begun
        self._pieces = pieces
        self._line = line
        self._check = check
        self._guard = guard
        self._signal = signal
        self._result: Result[None] | None = None
        self._is_over = False
        self._exchange = begun.__enter__()
        while not (self._exchange.has_started or self._is_over):
            self._step()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Stream, bytes]:
        """Return the next piece, waiting for it.

        Raise StopIteration at the end of the command; CommandFailed instead, once, with `check`, where its
        exit status is not 0. Raise CallerError, which ends the session, where the end cannot be seen.
        """
        while not self._pieces:
            if self._is_over:
                self._stop()
            self._step()
        return self._pieces.popleft()

    @property
    def request_id(self) -> str:
        """Return what to quote to the operator."""
        return self._exchange.request_id

    @property
    def returncode(self) -> int | None:
        """Return the exit status as in `Result`, None while the command is under way or was left."""
        return None if self._result is None else self._result.returncode

    @property
    def result(self) -> Result[None]:
        """Return how the command ended, without its output; raise UsageError before all of that was taken."""
        if self._result is None:
            raise self._not_over()
        return self._result

    def signal(self, name: str) -> None:
        """Send a signal, as `Session.signal`: also from another thread, or from a signal handler."""
        self._signal(name)

    def lines(self, encoding: str = "utf-8", errors: str = "strict") -> Iterator[tuple[Stream, str]]:
        """Return an iterator over the output in lines of text, each with its line feed but perhaps the last.

        The lines of each stream are in order. Raise what iterating raises; UsageError for a codec that is
        none; NotText; TooMuchOutput for a line of more than 1 Mi characters.

        >>> with session.stream(["echo", "hello"]) as running:
        ...     for stream, line in running.lines():
        ...         print(stream.name, line.rstrip())
        STDOUT hello
        """
        text = make_text((True, encoding, errors))
        return self._lines(text or Text(encoding, errors))

    def close(self) -> None:
        """Leave the command: if it has not ended, it is ended, with the session. May be called twice."""
        if not self._is_over:
            self._end()

    def _step(self) -> None:
        """Let the command go on by a message; whatever is raised ends it."""
        try:
            self._guard()
            outcome = self._exchange.step()
        except BaseException as error:
            if isinstance(error, CallerError) and self._exchange.has_started:
                error.may_have_run = True
            self._end(error)
            raise
        if outcome is not None:
            self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        self._end()
        self._result = make_result(self._line, outcome, None, None)

    def _end(self, error: BaseException | None = None) -> None:
        self._is_over = True
        if error is None:
            self._begun.__exit__(None, None, None)
        else:
            self._begun.__exit__(type(error), error, error.__traceback__)

    def _stop(self) -> None:
        """Raise what is to be raised when there is no more."""
        result = self.result
        if self._check:
            self._check = False
            result.check_returncode()
        raise StopIteration

    def _not_over(self) -> CallerError:
        if not self._is_over:
            return UsageError("the command has not ended yet", hint="take its output to the end")
        error = UsageError("the command was left before its end")
        error.may_have_run = True
        return error

    def _lines(self, text: Text) -> Iterator[tuple[Stream, str]]:
        cutters = {stream: _Cutter(text, stream) for stream in Stream}
        for stream, data in self:
            for line in cutters[stream].cut(data):
                yield stream, line
        for stream, cutter in cutters.items():
            for line in cutter.cut(b"", is_last=True):
                yield stream, line


class _Cutter:
    """Cuts one stream into lines."""

    def __init__(self, text: Text, stream: Stream) -> None:
        self._text = text
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(text.encoding)(text.errors)
        self._taken = 0  # bytes that became text
        self._held: list[str] = []
        self._size = 0

    def cut(self, data: bytes, *, is_last: bool = False) -> list[str]:
        """Return the lines that end in these bytes, and at the end what is left."""
        *whole, rest = self._decode(data, is_last=is_last).split("\n")
        found = []
        for part in whole:
            found.append("".join([*self._held, part, "\n"]))
            self._held, self._size = [], 0
        if rest:
            self._held.append(rest)
            self._size += len(rest)
        if self._size > MAX_LINE_LENGTH:
            raise TooMuchOutput(f"the command wrote a line of more than {MAX_LINE_LENGTH} characters")
        if is_last and self._held:
            found.append("".join(self._held))
        return found

    def _decode(self, data: bytes, *, is_last: bool) -> str:
        held = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(data, is_last)
        except UnicodeError as error:
            raise not_text(self._text, self._stream, self._taken + getattr(error, "start", 0)) from None
        # What the decoder still holds stands in front of the next piece.
        self._taken += held + len(data) - len(self._decoder.getstate()[0])
        return text
