"""What people write for a time, and how a record's time is shown to them.

Pure: the time that it is now, and the zone that it is meant in, are arguments.
"""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

FORMS: Final = "2h or 3d (ago), today, yesterday, 2026-11-28 or 2026-11-28T10:30Z"

_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: Also as we show a time ourselves, which can so be pasted.
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}"
    r"(?::[0-9]{2}(?:\.[0-9]{6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)
#: Years whose days can be reckoned with in every zone.
_FIRST: Final = 1900
_LAST: Final = 9000
_LONGEST: Final = timedelta(days=36500)
_LEAST: Final = timedelta(microseconds=1)


def beginning(text: str, *, now: datetime, zone: tzinfo | None) -> datetime:
    """Return the first moment of what `text` says; raise ValueError.

    What names no zone is meant in `zone`, None for this machine's.
    """
    return _span(text, now, zone)[0]


def end(text: str, *, now: datetime, zone: tzinfo | None) -> datetime:
    """Return the first moment after what `text` says, which of a day is midnight; raise ValueError."""
    return _span(text, now, zone)[1]


def stamp(moment: datetime) -> str:
    """Return a moment as records have it; they sort as they follow each other."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def in_zone(written: object, zone: tzinfo | None) -> object:
    """Return a record's time in a zone, None for this machine's; what is no time as it is."""
    if not isinstance(written, str) or _TIME.fullmatch(written) is None:
        return written
    try:
        return datetime.fromisoformat(written).astimezone(zone).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return written


def _span(text: str, now: datetime, zone: tzinfo | None) -> tuple[datetime, datetime]:
    """Return when that begins, and the first moment after it."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        back = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if back > _LONGEST:
            raise ValueError(f"{text!r} is more than a hundred years ago")
        return now - back, now - back + _LEAST
    today = now.astimezone(zone).date()
    day = {"today": today, "yesterday": today - timedelta(days=1)}.get(text) or _date(text)
    if day is not None:
        return _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    moment = _moment(text, zone)
    return moment, moment + _LEAST


def _date(text: str) -> date | None:
    """Return a day that is written as one, None for what is not; raise ValueError."""
    if _DAY.fullmatch(text) is None:
        return None
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day") from None
    if not _FIRST <= found.year <= _LAST:
        raise ValueError(f"{text!r} is no day of a trail")
    return found


def _moment(text: str, zone: tzinfo | None) -> datetime:
    if _TIME.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no time; write {FORMS}")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time of a day") from None
    if not _FIRST <= found.year <= _LAST:
        raise ValueError(f"{text!r} is no time of a trail")
    return found if found.tzinfo is not None else _placed(found, zone)


def _midnight(day: date, zone: tzinfo | None) -> datetime:
    return _placed(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - placed at once


def _placed(naive: datetime, zone: tzinfo | None) -> datetime:
    """Return a time of the clock on the wall as one with a zone."""
    return naive.astimezone() if zone is None else naive.replace(tzinfo=zone)
