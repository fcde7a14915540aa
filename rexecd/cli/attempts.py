"""Trying again, where nothing can have run twice.

Rule 1: what is tried again is known not to have been started (`CallerError.may_have_run`), and can end
differently next time: the network, a server that is busy or starts anew. A refusal is no such thing.
Rule 2: who waits says so, on standard error.
"""

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from rexecd.cli import say
from rexecd.client.errors import TRY_LATER, CallerError, NetworkError
from rexecd.client.times import spell_wait

_Answer = TypeVar("_Answer")

#: Seconds before the first try again where the server says nothing; twice as many before each one after it.
_FIRST: Final = 1.0
_MOST: Final = 30.0
#: Longest a server's own word is believed.
_MOST_TOLD: Final = 300.0


def attempt(
    once: Callable[[], _Answer],
    *,
    retries: int,
    tell: Callable[[CallerError, float], None],
    is_given_up: Callable[[], bool],
) -> _Answer:
    """Return what `once` returns, tried again up to `retries` times; raise what its last one raised.

    `tell` hears of each failure, and how many seconds pass before the next try. There is none where
    `is_given_up` says so.
    """
    for number in range(retries):
        try:
            return once()
        except CallerError as error:
            if is_given_up() or not is_worth_it(error):
                raise
            seconds = pause(number, error.retry_after)
            tell(error, seconds)
        time.sleep(seconds)
    return once()


def is_worth_it(error: CallerError) -> bool:
    """Return whether the same can end differently, and nothing of it can have run."""
    return not error.may_have_run and (isinstance(error, NetworkError) or error.exit_status == TRY_LATER)


def pause(number: int, told: float | None) -> float:
    """Return how many seconds pass before a try, counted from 0.

    Never less than the server asked for, and not the same for all who were sent away at once.
    """
    if told is not None:
        return min(told, _MOST_TOLD) * random.uniform(1.0, 1.1)  # noqa: S311 - to spread, not to keep a secret
    return min(_FIRST * 2.0 ** min(number, 16), _MOST) * random.uniform(0.75, 1.0)  # noqa: S311 - as above


def tell_person(error: CallerError, seconds: float) -> None:
    """Say on standard error that the same is asked again."""
    say.warning("rexec", f"{error}; trying again in {spell_wait(seconds)}")
