"""Times as messages carry them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.errors import Code, Refused
from rexecd.wire.messages import CATALOGUE, MAX_MILLISECONDS, milliseconds
from rexecd.wire.messages import Refused as Answer


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, 0),
        (0.0, 0),
        (0.001, 1),
        (0.0001, 1),
        (16.1, 16_100),
        (64.1, 64_100),
        (11.0005, 11_001),
        (-3.0, 0),
        (1e9, MAX_MILLISECONDS),
        (math.inf, MAX_MILLISECONDS),
    ],
)
def test_seconds_become_whole_milliseconds(seconds: float, expected: int) -> None:
    """Rounded up, so that nobody asks again too early; what does not fit is the most that does."""
    assert expected == milliseconds(seconds)


@given(st.integers(0, MAX_MILLISECONDS))
def test_milliseconds_survive_being_seconds(number: int) -> None:
    """Nothing is added or lost on the way from one message to another."""
    assert number == milliseconds(number / 1000)


@given(st.floats(min_value=0))
def test_any_time_can_be_sent(seconds: float) -> None:
    """Whatever a limit computes, its answer has an encoding."""
    refused = Refused(Code.BUSY, "no", retry_after=seconds)
    answer = Answer("r", refused.code, refused.text, milliseconds(refused.retry_after))

    assert answer == CATALOGUE.decode(CATALOGUE.encode(answer))


def test_without_a_time_a_refusal_says_nothing_of_it() -> None:
    """Most refusals have none, and need not speak of it."""
    assert Refused(Code.BUSY, "no").retry_after == 0
    assert Answer("r", Code.BUSY, "no") == Answer("r", Code.BUSY, "no", 0)
