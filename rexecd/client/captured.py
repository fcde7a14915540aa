"""What becomes of input and output when a command is run to its end at once: bytes, text, or passed on."""

import codecs
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from rexecd.client.completed import NotText, Result
from rexecd.client.errors import UsageError
from rexecd.client.results import Collector, Outcome, Stream
from rexecd.portable import write
from rexecd.wire.messages import Offer

if TYPE_CHECKING:
    from rexecd.client.signatures import Readable

#: `text`, `encoding` and `errors`, as they were given.
Codec = tuple[bool | None, str | None, str | None]


class Text(NamedTuple):
    """How bytes and text become each other."""

    encoding: str
    errors: str

    def encode(self, text: str) -> bytes:
        """Return the bytes of an input; raise UsageError."""
        try:
            return text.encode(self.encoding, self.errors)
        except UnicodeError as error:
            where = getattr(error, "start", 0) + 1
            raise UsageError(f"the input cannot be written in {self.encoding} at character {where}") from None

    def decode(self, data: bytes, stream: Stream) -> str:
        """Return the text of an output, every line end as one line feed; raise NotText."""
        try:
            text = data.decode(self.encoding, self.errors)
        except UnicodeError as error:
            # Not from it: it holds all that was written.
            raise not_text(self, stream, getattr(error, "start", 0)) from None
        return text.replace("\r\n", "\n").replace("\r", "\n")


def make_text(codec: Codec) -> Text | None:
    """Return how to make text, None where bytes are wanted; raise UsageError for a codec that is none."""
    text, encoding, errors = codec
    if not (text or encoding or errors):
        return None
    made = Text(encoding or "utf-8", errors or "strict")
    try:
        # Not of nothing: that would not look the codec up.
        b"x".decode(made.encoding, made.errors)
        codecs.lookup_error(made.errors)
    except UnicodeError:
        pass  # one byte is no text in it
    except (LookupError, ValueError):
        raise UsageError(f"encoding {made.encoding!r} with errors {made.errors!r}: not known") from None
    return made


def not_text(text: Text, stream: Stream, start: int) -> NotText:
    """Return what to raise where bytes are no text; `start` is how many are good."""
    return NotText(f"the command's {stream.name.lower()} is not {text.encoding} at byte {start + 1}")


def make_source(given: object, stdin: "Readable | None", text: Text | None) -> int | bytes | None:
    """Return a command's input as bytes or a descriptor, None where it has none; raise UsageError."""
    if stdin is not None:
        if given is not None:
            raise UsageError("input and stdin are two inputs", hint="give one of them")
        return _descriptor(stdin)
    if given is None:
        return None
    if isinstance(given, str):
        if text is None:
            raise UsageError("the input is text", hint="give bytes, or text=True")
        return text.encode(given)
    if text is not None:
        raise UsageError("the input is bytes, and text was asked for", hint="give a str")
    if isinstance(given, bytes):
        return given
    try:
        return bytes(memoryview(given))  # type: ignore[arg-type]  # where it is none we hear of it
    except TypeError:
        raise UsageError(f"the input is {type(given).__name__}", hint="give bytes") from None


def offer_of(source: int | bytes | None) -> Offer:
    """Return what to say of an input: one that was given has to be taken."""
    return Offer.NONE if source is None else Offer.ESSENTIAL


def perform(
    execute: Callable[..., Outcome],
    line: str,
    *,
    given: object,
    stdin: "Readable | None",
    is_captured: bool,
    codec: Codec,
    check: bool,
    reason: str,
    timeout: float | None,
    max_output: int,
) -> Result[Any]:
    """Return the result of a line; everything that can be wrong here is found before it is sent."""
    text = make_text(codec)
    source = make_source(given, stdin, text)
    collector = Collector(max_output)
    sink = collector.take if is_captured else write
    outcome = execute(line, offer=offer_of(source), source=source, sink=sink, reason=reason, timeout=timeout)
    if not is_captured:
        result: Result[Any] = make_result(line, outcome, None, None)
    else:
        result = make_result(line, outcome, collector.stdout, collector.stderr)
        if text is not None:
            result = _as_text(result, text)
    if check:
        result.check_returncode()
    return result


def make_result(line: str, outcome: Outcome, stdout: Any, stderr: Any) -> Result[Any]:  # noqa: ANN401
    """Return an outcome as a result, with what was written."""
    return Result(
        args=line,
        returncode=outcome.returncode,
        stdout=stdout,
        stderr=stderr,
        outcome=outcome.outcome,
        signal=outcome.signal,
        truncated=outcome.truncated,
        duration=outcome.duration,
        request_id=outcome.request_id,
    )


def _as_text(result: Result[bytes], text: Text) -> Result[str]:
    try:
        out, err = (
            text.decode(result.stdout, Stream.STDOUT),
            text.decode(result.stderr, Stream.STDERR),
        )
    except NotText as error:
        error.result, error.request_id = result, result.request_id
        raise
    return Result(result.args, result.returncode, out, err, *result[4:])


def _descriptor(stdin: "Readable") -> int:
    try:
        number = stdin if isinstance(stdin, int) else stdin.fileno()
        os.fstat(number)
    except (AttributeError, ValueError, OSError):  # io.UnsupportedOperation is both of the latter
        raise UsageError("stdin is no open file", hint="give bytes as input") from None
    return number
