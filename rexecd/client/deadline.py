"""One moment by which several steps have to be over."""

import time
from collections.abc import Callable


class Deadline:
    """The moment `seconds` from now; `remaining()` is asked before each step."""

    __slots__ = ("_at", "_clock", "seconds")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._at = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds left, always more than zero; raise TimeoutError when none are."""
        left = self._at - self._clock()
        if left <= 0:
            raise TimeoutError(f"no answer within {self.seconds:g} s")
        return left

    def elapsed(self) -> float:
        """Return the seconds since the beginning."""
        return self._clock() - (self._at - self.seconds)
