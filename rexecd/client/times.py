"""Times as a caller writes them (`30s`, `250ms`) and as it reads them (`12 s`, `6 days`)."""

import math
import re
from collections.abc import Mapping

from rexecd.typed import Final

_DURATION: Final = re.compile(r"(0|[1-9][0-9]{0,11})([a-z]*)")
_UNITS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
#: For people who plan: each unit from two of it on.
_SPANS: Final = ((86400, "days"), (3600, "hours"), (60, "minutes"))
#: From here on nobody wants to read fractions of a second.
_PLAIN: Final = 100


def parse_duration(text: str) -> float:
    """Return the seconds a duration with a unit stands for, as in a policy; raise ValueError."""
    match = _DURATION.fullmatch(text)
    if match is not None and not match[2]:
        raise ValueError(f"{text!r} has no unit: write {text}s for seconds, {text}m for minutes")
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{text!r} is not a duration with a unit, such as 250ms, 30s, 5m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def spell_seconds(seconds: float) -> str:
    """Return seconds for people: `0.25 s`, `30 s`, `3600 s`."""
    return f"{seconds:.3g} s" if seconds < _PLAIN else f"{seconds:.0f} s"


def spell_wait(seconds: float) -> str:
    """Return how long to wait, never less than that: `0.25 s`, `12 s` for 11.2."""
    return spell_seconds(seconds if seconds < 1 else math.ceil(seconds))


def spell_span(seconds: float) -> str:
    """Return a longer time in its largest unit, never more than it is: `6 days`, `47 hours`, `90 seconds`."""
    for size, unit in _SPANS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return "1 second" if 1 <= seconds < 2 else f"{int(seconds)} seconds"  # noqa: PLR2004 - one and more
