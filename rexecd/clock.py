"""The time, as an argument: tests pass another."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple


def utc_now() -> datetime:
    """Return the wall-clock time in UTC."""
    return datetime.now(UTC)


class Clock(NamedTuple):
    """Wall time for records, monotonic seconds for durations and deadlines."""

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
