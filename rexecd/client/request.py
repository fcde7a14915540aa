"""What a request may say: its line, its reason and its longest time, judged before anything is sent."""

import shlex
from collections.abc import Sequence

from rexecd.client.errors import UsageError
from rexecd.limits import MAX_JUSTIFICATION, MAX_LINE
from rexecd.typed import Final
from rexecd.wire.messages import MAX_MILLISECONDS, milliseconds

#: For a command, asked for by its caller: what a request can hold. Zero says there is none.
_LEAST_TIMEOUT: Final = 0.001
_MOST_TIMEOUT: Final = MAX_MILLISECONDS / 1000
#: Spaces people type, and that `str.isprintable` calls unprintable.
_SPACES: Final = str.maketrans(
    dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}", " ")
)


def line_of_words(words: Sequence[str]) -> str:
    """Return the line for the words of a command line: one alone is the line itself. Raise as `line_of`."""
    return line_of(words[0] if len(words) == 1 else words)


def line_of(command: str | Sequence[str]) -> str:
    """Return the line to send: a text as it is, several words quoted as for a shell.

    Raise UsageError for what is not UTF-8 or too long.
    """
    line = command if isinstance(command, str) else shlex.join(command)
    try:
        size = len(line.encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"the command is not valid UTF-8 at character {error.start + 1}") from None
    if size > MAX_LINE:
        raise UsageError(
            f"the command has {size} bytes, allowed are {MAX_LINE}", hint="send what is long as input"
        )
    return line


def check_reason(reason: str) -> None:
    """Raise UsageError for a reason the server would refuse: blank, not printable, too long."""
    if not reason.strip():
        raise UsageError("the reason is empty", hint="say in a few words why the command is run")
    if not reason.translate(_SPACES).isprintable():
        raise UsageError(
            "the reason holds a control character or one that cannot be printed",
            hint="write it as one line of plain text",
        )
    size = len(reason.encode())
    if size > MAX_JUSTIFICATION:
        raise UsageError(
            f"the reason has {size} bytes, allowed are {MAX_JUSTIFICATION}",
            hint="shorten it, or name the ticket that says more",
        )


def check_timeout(timeout: float | None) -> int:
    """Return a caller's own timeout as a request has it, 0 for none; raise UsageError."""
    if timeout is None:
        return 0
    if not _LEAST_TIMEOUT <= timeout <= _MOST_TIMEOUT:
        raise UsageError(
            f"the timeout is {timeout:.12g} s, allowed are {_LEAST_TIMEOUT:g} to {_MOST_TIMEOUT:.12g}",
            hint="leave it out where the command's own will do",
        )
    return milliseconds(timeout)
