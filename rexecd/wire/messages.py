"""The messages of the wire, one type each, and the table that gives each its number and fields.

NamedTuples and not dataclasses: the caller's program imports this file, and dataclasses would
add a quarter to its start (ADR 0002). PROTOCOL 4 describes the same table in words.
"""

import enum
import math
import signal

from rexecd.codec import FLAG, U8, U32, U64, Blob, Catalogue, Choice, Data, Row, Text, Texts
from rexecd.errors import Code
from rexecd.limits import (
    MAX_DATA,
    MAX_ENTRY_LINES,
    MAX_JUSTIFICATION,
    MAX_LINE,
    MAX_NAME,
    MAX_SCHEMA,
    MAX_TEXT,
    MAX_TOKEN,
)
from rexecd.typed import Any, Final, NamedTuple


class Offer(enum.IntEnum):
    """What a caller says of its input when it asks for a command."""

    #: There is none; a command that requires input is refused.
    NONE = 0
    #: There is some, for a command that takes it.
    OPTIONAL = 1
    #: There is some, and a command that does not take it must be refused.
    ESSENTIAL = 2


class SignalName(enum.IntEnum):
    """The signals a caller may send, numbered by the protocol, not by a kernel."""

    INT = 1
    TERM = 2
    HUP = 3
    QUIT = 4
    USR1 = 5
    USR2 = 6

    @property
    def number(self) -> int:
        """Return this machine's number of the signal."""
        return int(signal.Signals[f"SIG{self.name}"])


class Ending(enum.IntEnum):
    """How a command ended."""

    #: By itself; `status` is its exit status.
    EXITED = 0
    #: By a signal; `status` is the signal's number.
    SIGNALLED = 1
    #: Its deadline passed and it was ended.
    TIMED_OUT = 2


class Authenticate(NamedTuple):
    """The caller's first message."""

    token: bytes


class Run(NamedTuple):
    """Ask for one command: the line names it and its arguments, quoted as for a shell.

    `justification` is why the caller runs it, for the trail; empty if it gives no reason. `timeout` is
    the most milliseconds the caller wants it to run; 0 leaves that to the rule, which no caller can outdo.
    """

    line: str
    offer: Offer
    justification: str
    timeout: int = 0


class Input(NamedTuple):
    """Bytes for the command's standard input."""

    data: bytes


class InputEnd(NamedTuple):
    """The command's standard input ends here."""


class Signal(NamedTuple):
    """Send a signal to the running command."""

    signal: SignalName


class List(NamedTuple):
    """Ask what this caller may run."""


class Goodbye(NamedTuple):
    """The caller ends the session in good order."""


class Accepted(NamedTuple):
    """The token was right. `banner` is the operator's greeting, possibly empty.

    `expires_in` is how many seconds the token is still good for, 0 if it does not expire.
    """

    connection_id: str
    principal: str
    banner: str
    expires_in: int = 0


class Refused(NamedTuple):
    """The answer to Run is no; the session goes on.

    `retry_after` is in milliseconds: before that it makes no sense to ask again; 0 if nobody knows.
    """

    request_id: str
    code: Code
    text: str
    retry_after: int = 0


class Started(NamedTuple):
    """The answer to Run is yes: the program runs."""

    request_id: str


class InputWanted(NamedTuple):
    """The running command takes input: send it, and InputEnd behind it."""


class Output(NamedTuple):
    """Bytes the command wrote to its standard output."""

    data: bytes


class ErrorOutput(NamedTuple):
    """Bytes the command wrote to its standard error."""

    data: bytes


class Exit(NamedTuple):
    """The command is over and all its output has been sent.

    `status` is an exit status or a signal number by `ending` (TIMED_OUT: of how it was ended,
    128 + signal number in the second case); `truncated` says a ceiling cut output or input;
    `duration` is in microseconds.
    """

    ending: Ending
    status: int
    truncated: bool
    duration: int


class Entry(NamedTuple):
    """One command of a listing. `parameters` has one line for people each.

    `schema` is a JSON Schema (2020-12) as a JSON text: of an object with one property for each
    parameter. It is empty if the server has none to give.
    """

    name: str
    usage: str
    summary: str
    description: str
    parameters: tuple[str, ...]
    schema: str


class Listed(NamedTuple):
    """The listing is complete."""


class Closed(NamedTuple):
    """The server's last message: why it ends the session."""

    code: Code
    text: str


Message = Any  # any of the types above; the catalogue refuses everything else

#: The longest time a field of milliseconds holds: 49 days.
MAX_MILLISECONDS: Final = 2**32 - 1


def milliseconds(seconds: float) -> int:
    """Return a time as messages have it: whole milliseconds, rounded up, and no more than fit."""
    exact = round(seconds * 1000, 3)  # 16.1 s are not 16100.000000000002 ms
    return math.ceil(min(max(exact, 0), MAX_MILLISECONDS))


_CODE: Final = Choice(Code)
_NAME: Final = Text(MAX_NAME)
_TEXT: Final = Text(MAX_TEXT)

#: What the caller sends: numbers below 128.
FROM_CLIENT: Final = (
    Row(1, Authenticate, (Blob(MAX_TOKEN),)),
    Row(2, Run, (Text(MAX_LINE), Choice(Offer), Text(MAX_JUSTIFICATION), U32)),
    Row(3, Input, (Data(MAX_DATA),)),
    Row(4, InputEnd),
    Row(5, Signal, (Choice(SignalName),)),
    Row(6, List),
    Row(7, Goodbye),
)
#: What the server sends: numbers from 128.
FROM_SERVER: Final = (
    Row(128, Accepted, (_NAME, _NAME, _TEXT, U32)),
    Row(129, Refused, (_NAME, _CODE, _TEXT, U32)),
    Row(130, Started, (_NAME,)),
    Row(131, InputWanted),
    Row(132, Output, (Data(MAX_DATA),)),
    Row(133, ErrorOutput, (Data(MAX_DATA),)),
    Row(134, Exit, (Choice(Ending), U8, FLAG, U64)),
    Row(135, Entry, (_NAME, _TEXT, _TEXT, _TEXT, Texts(MAX_ENTRY_LINES, 512), Text(MAX_SCHEMA))),
    Row(136, Listed),
    Row(137, Closed, (_CODE, _TEXT)),
)
CATALOGUE: Final = Catalogue(*FROM_CLIENT, *FROM_SERVER)
