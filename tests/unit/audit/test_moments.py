"""Times as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.audit.moments import beginning, end, in_zone, stamp

NOW = datetime(2026, 11, 28, 0, 30, tzinfo=UTC)
EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("2h", "2026-11-27T22:30:00.000000Z", "2026-11-27T22:30:00.000001Z"),
        ("30m", "2026-11-28T00:00:00.000000Z", "2026-11-28T00:00:00.000001Z"),
        ("3d", "2026-11-25T00:30:00.000000Z", "2026-11-25T00:30:00.000001Z"),
        ("today", "2026-11-27T22:00:00.000000Z", "2026-11-28T22:00:00.000000Z"),
        ("yesterday", "2026-11-26T22:00:00.000000Z", "2026-11-27T22:00:00.000000Z"),
        ("2026-11-01", "2026-10-31T22:00:00.000000Z", "2026-11-01T22:00:00.000000Z"),
        ("2026-11-28T10:30", "2026-11-28T08:30:00.000000Z", "2026-11-28T08:30:00.000001Z"),
        ("2026-11-28T10:30:07", "2026-11-28T08:30:07.000000Z", "2026-11-28T08:30:07.000001Z"),
        ("2026-11-28T10:30Z", "2026-11-28T10:30:00.000000Z", "2026-11-28T10:30:00.000001Z"),
        ("2026-11-28 10:30+01:00", "2026-11-28T09:30:00.000000Z", "2026-11-28T09:30:00.000001Z"),
        ("2026-11-28T10:30:07.123456Z", "2026-11-28T10:30:07.123456Z", "2026-11-28T10:30:07.123457Z"),
    ],
)
def test_a_time_begins_and_ends(text: str, first: str, after: str) -> None:
    """What names no zone is meant in the given one; a day lasts until the next."""
    assert first == stamp(beginning(text, now=NOW, zone=EAST))
    assert after == stamp(end(text, now=NOW, zone=EAST))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no time; write 2h or 3d"),
        ("noon", "is no time; write 2h or 3d"),
        ("2 h", "is no time; write"),
        ("-2h", "is no time; write"),
        ("2026-11-31", "is no day"),
        ("0001-01-01", "is no day of a trail"),
        ("9999-12-31T23:59", "is no time of a trail"),
        ("2026-11-28T25:00", "is no time of a day"),
        ("999999d", "more than a hundred years ago"),
        ("\u0662h", "is no time; write"),
    ],
)
def test_a_wrong_time_is_explained(text: str, complaint: str) -> None:
    """In one line that says what fits."""
    with pytest.raises(ValueError, match=complaint) as caught:
        beginning(text, now=NOW, zone=UTC)

    assert "\n" not in str(caught.value)


@given(
    st.text(max_size=30) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}Z?)?", fullmatch=True)
)
def test_no_text_is_more_than_wrong(text: str) -> None:
    """A time or a ValueError, nothing else, also of this machine's zone."""
    for zone in (UTC, EAST, None):
        try:
            first = beginning(text, now=NOW, zone=zone)
        except ValueError:
            continue
        assert first < end(text, now=NOW, zone=zone)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=36500)))
def test_what_is_shown_can_be_asked_for(later: timedelta) -> None:
    """The time of a record, in any zone, is that record's."""
    written = stamp(NOW + later)

    for zone in (UTC, EAST, None):
        assert written == stamp(beginning(str(in_zone(written, zone)), now=NOW, zone=UTC))


@pytest.mark.parametrize("written", [None, 7, "soon", "2026-13-01T00:00Z", "0001-01-01T00:00:00Z"])
def test_what_is_no_time_is_shown_as_it_is(written: object) -> None:
    """A record may hold anything."""
    assert written == in_zone(written, EAST) or str(written).startswith("0001")
