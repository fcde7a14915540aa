"""How a command ended, in the caller's words."""

import enum
import signal

from rexecd.client.errors import ProtocolBroken, TooMuchOutput
from rexecd.typed import Final, NamedTuple
from rexecd.wire.messages import Ending, Exit

#: What `timeout(1)` ends with, and what we do for a command whose deadline passed.
TIMED_OUT_STATUS: Final = 124
#: What a shell adds to the number of the signal that ended a command.
SIGNAL_BASE: Final = 128
_LAST_SIGNAL: Final = 127
_MICROSECONDS: Final = 1_000_000
TIMED_OUT: Final = "timed_out"

_WORDS: Final = {Ending.EXITED: "exited", Ending.SIGNALLED: "signalled", Ending.TIMED_OUT: TIMED_OUT}


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
        if self.outcome != TIMED_OUT:
            return None
        from rexecd.client.times import spell_seconds  # noqa: PLC0415 - not for what goes well

        return f"timed out after {spell_seconds(self.duration)}"


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
