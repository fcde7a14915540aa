"""What `rexec --json` prints: one object when all is over, or one object a line as things happen."""

import base64
import codecs
import json
from collections.abc import Callable, Mapping
from typing import Final

from rexecd.client.errors import CallerError
from rexecd.client.results import Outcome, Stream

_NAMES: Final = {Stream.STDOUT: "stdout", Stream.STDERR: "stderr"}


def report_outcome(outcome: Outcome, stdout: bytes, stderr: bytes) -> Mapping[str, object]:
    """Return the object for a command that was started."""
    return _ended(outcome) | {"stdout": _text(stdout), "stderr": _text(stderr)}


def report_failure(error: CallerError, stdout: bytes = b"", stderr: bytes = b"") -> Mapping[str, object]:
    """Return the object for everything else; what had been written before is kept."""
    written = {"stdout": _text(stdout), "stderr": _text(stderr)}
    return _failed(error, is_cut=bool(stdout or stderr)) | written


class Events:
    """One object a line: `started`, `output`, `retrying`, and last, always and once, `ended`."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")() for stream in Stream}
        self._has_output = False

    def started(self, request_id: str) -> None:
        """Say that the command runs."""
        self._say("started", request_id=request_id)

    def take(self, stream: Stream, data: bytes) -> None:
        """Pass on what the command wrote; a character is never cut in two."""
        self._has_output = True
        decoder = self._decoders[stream]
        held = decoder.getstate()[0]
        try:
            text = decoder.decode(data)
        except UnicodeDecodeError:
            decoder.reset()
            self._output(stream, {"base64": base64.b64encode(held + data).decode("ascii")})
        else:
            if text:
                self._output(stream, text)

    def retrying(self, error: CallerError, seconds: float) -> None:
        """Say that the same is asked again, and after how many seconds."""
        self._say("retrying", reason=_reason(error), wait=seconds)

    def ended(self, outcome: Outcome) -> None:
        """Say how the command ended."""
        self._rest()
        self._say("ended", **_ended(outcome))

    def failed(self, error: CallerError) -> None:
        """Say why there was no end that is known."""
        self._rest()
        self._say("ended", **_failed(error, is_cut=self._has_output))

    def _rest(self) -> None:
        """Pass on the beginning of a character that never came to its end."""
        for stream, decoder in self._decoders.items():
            if held := decoder.getstate()[0]:
                self._output(stream, _text(held))
                decoder.reset()

    def _output(self, stream: Stream, data: str | Mapping[str, str]) -> None:
        self._say("output", stream=_NAMES[stream], data=data)

    def _say(self, event: str, **fields: object) -> None:
        self._write(dump({"event": event, **fields}))


def _ended(outcome: Outcome) -> dict[str, object]:
    return {
        "outcome": outcome.outcome,
        "exit_code": outcome.returncode,
        "signal": outcome.signal,
        "reason": outcome.reason,
        "retry_after": None,
        "truncated": outcome.truncated,
        "duration": outcome.duration,
        "request_id": outcome.request_id,
    }


def _failed(error: CallerError, *, is_cut: bool) -> dict[str, object]:
    return {
        "outcome": error.outcome,
        "exit_code": error.exit_status,
        "signal": None,
        "reason": _reason(error),
        "retry_after": error.retry_after,
        "truncated": is_cut,
        "duration": None,
        "request_id": error.request_id or None,
    }


def _reason(error: CallerError) -> str:
    """Return what an error says; a token that stands where none belongs is not passed on."""
    from rexecd.printable import without_tokens  # noqa: PLC0415 - a command that ends has none

    return without_tokens(str(error))


def dump(value: object) -> bytes:
    """Return one line of JSON, ASCII only: nothing in it can steer a terminal."""
    return json.dumps(value).encode("ascii") + b"\n"


def _text(data: bytes) -> str | Mapping[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}
