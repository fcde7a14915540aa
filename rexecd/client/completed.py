"""How a command ended and what it wrote, after `subprocess`, and what is raised where that was not well."""

from typing import Any, Generic, NamedTuple, TypeVar

from rexecd.client.errors import CommandError
from rexecd.client.results import TIMED_OUT
from rexecd.client.times import spell_seconds

#: What a result holds of the output: bytes, text, or nothing where it went elsewhere.
Written = TypeVar("Written", bound=bytes | str | None)


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
        rexecd.client.completed.CommandFailed: 'both' ended with exit status 3
        """
        if self.returncode or self.outcome != "exited":
            raise (CommandTimedOut if self.outcome == TIMED_OUT else CommandFailed)(self)


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
    if result.outcome == TIMED_OUT:
        return f"was ended by its deadline, after {spell_seconds(result.duration)}"
    if result.signal is not None:
        return f"was ended by signal {result.signal}"
    return f"ended with exit status {result.returncode}"
