"""The one object `rexec --json` prints when all is over."""

import base64
import json
from collections.abc import Mapping

from rexecd.client.errors import CallerError
from rexecd.client.results import Outcome


def report_outcome(outcome: Outcome, stdout: bytes, stderr: bytes) -> Mapping[str, object]:
    """Return the object for a command that was started."""
    return {
        "outcome": outcome.outcome,
        "exit_code": outcome.returncode,
        "signal": outcome.signal,
        "reason": outcome.reason,
        "retry_after": None,
        "stdout": _text(stdout),
        "stderr": _text(stderr),
        "truncated": outcome.truncated,
        "duration": outcome.duration,
        "request_id": outcome.request_id,
    }


def report_failure(error: CallerError, stdout: bytes = b"", stderr: bytes = b"") -> Mapping[str, object]:
    """Return the object for everything else; what had been written before is kept."""
    return {
        "outcome": error.outcome,
        "exit_code": error.exit_status,
        "signal": None,
        "reason": str(error),
        "retry_after": error.retry_after,
        "stdout": _text(stdout),
        "stderr": _text(stderr),
        "truncated": bool(stdout or stderr),
        "duration": None,
        "request_id": error.request_id or None,
    }


def dump(value: object) -> bytes:
    """Return one line of JSON, ASCII only: nothing in it can steer a terminal."""
    return json.dumps(value).encode("ascii") + b"\n"


def _text(data: bytes) -> str | Mapping[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}
