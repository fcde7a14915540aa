"""Trying again, where nothing can have run twice."""

import time
from collections.abc import Callable

import pytest

from rexecd.cli.attempts import attempt, is_worth_it, pause
from rexecd.client.errors import (
    AuthenticationFailed,
    Busy,
    CallerError,
    ConnectFailed,
    ConnectionLost,
    NotStarted,
    ProtocolBroken,
    Refused,
    SessionClosed,
    UnknownHost,
    UsageError,
)


def closed(status: int) -> SessionClosed:
    """Return what a server says that ends a session."""
    error = SessionClosed("bye")
    error.exit_status = status
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    {
        "no answer": (ConnectFailed("x"), True),
        "lost before anything was asked": (ConnectionLost("x"), True),
        "over a limit": (Busy("x"), True),
        "the server stops": (closed(125), True),
        "revoked": (closed(255), False),
        "refused": (Refused("x"), False),
        "a wrong token": (AuthenticationFailed("x"), False),
        "an unknown server": (UnknownHost("x"), False),
        "a wrong option": (UsageError("x"), False),
        "a program that is not there": (NotStarted("x"), False),
        "a server that talks nonsense": (ProtocolBroken("x"), False),
    }.values(),
    ids=str,
)
def test_only_what_can_end_differently_is_tried_again(error: CallerError, *, expected: bool) -> None:
    """And nothing of it that may have run."""
    assert expected is is_worth_it(error)

    error.may_have_run = True

    assert is_worth_it(error) is False


@pytest.mark.parametrize("number", [0, 1, 4, 5, 10, 1000])
def test_pauses_grow_to_half_a_minute(number: int) -> None:
    """And are not the same for all."""
    most = min(2.0**number, 30.0) if number < 20 else 30.0

    assert 0.75 * most <= pause(number, None) <= most


@pytest.mark.parametrize(("told", "least"), [(0.0, 0.0), (12.0, 12.0), (1e9, 300.0)])
def test_a_servers_word_on_when_is_kept(told: float, least: float) -> None:
    """As long as it is not absurd."""
    assert least <= pause(3, told) <= 1.1 * least


def never() -> bool:
    """Return False."""
    return False


class Script:
    """Fail a number of times, and then answer."""

    def __init__(self, *failures: CallerError) -> None:
        self.failures = list(failures)
        self.count = 0

    def __call__(self) -> str:
        """Try once."""
        self.count += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long was slept each time; nobody does."""
    done: list[float] = []
    sleep: Callable[[float], None] = done.append
    monkeypatch.setattr(time, "sleep", sleep)
    return done


def test_it_is_tried_until_it_works(slept: list[float]) -> None:
    """With a word each time before the wait."""
    told: list[tuple[str, float]] = []
    script = Script(ConnectFailed("one"), Busy("two", retry_after=7))

    assert "done" == attempt(
        script, retries=5, tell=lambda error, wait: told.append((str(error), wait)), is_given_up=never
    )
    assert ["one", "two"] == [what for what, _ in told]
    assert slept == [wait for _, wait in told]


def test_it_is_tried_as_often_as_was_said(slept: list[float]) -> None:
    """The last failure is the one that is raised."""
    script = Script(ConnectFailed("one"), ConnectFailed("two"), ConnectFailed("three"))

    with pytest.raises(ConnectFailed, match="three"):
        attempt(script, retries=2, tell=lambda _error, _wait: None, is_given_up=never)

    assert (3, 2) == (script.count, len(slept))


def test_a_no_is_not_asked_again(slept: list[float]) -> None:
    """At once."""
    script = Script(ConnectFailed("one"), Refused("two"))

    with pytest.raises(Refused):
        attempt(script, retries=9, tell=lambda _error, _wait: None, is_given_up=never)

    assert (2, 1) == (script.count, len(slept))


def test_who_gave_up_waits_for_no_other_try(slept: list[float]) -> None:
    """The interrupt that was meant for the command may never have reached one."""
    script = Script(Busy("one"), Busy("two"))

    with pytest.raises(Busy, match="one"):
        attempt(script, retries=9, tell=lambda _error, _wait: None, is_given_up=lambda: script.count > 0)

    assert (1, 0) == (script.count, len(slept))
