"""Parameter types: a caller's text in, a checked text out.

Rule 1: a type says what is allowed, never what is forbidden (ATTACKS rule 12).
Rule 2: what `takes` and `schema` say goes to callers, so they name no path and no pattern.
Rule 3: why a value does not fit is for the trail, and does not repeat the value.
Rule 4: what is checked is what is passed on, character for character; only a path is resolved.
To add a type: a class like the ones below, its keys in `tables.py` and its row in `declare.py`.
What names hosts and files is in `places.py`.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol

from rexecd.forms import is_printable
from rexecd.limits import MAX_PATTERN_VALUE
from rexecd.policy.pattern import Pattern

#: Turn a path into one without links and `..`: `files.Resolver`, handed in.
Resolve = Callable[[str], str]
#: A piece of JSON Schema (2020-12).
Schema = Mapping[str, object]

#: Bounds of an integer without bounds: what 64 bits hold.
LOWEST: Final = -(2**63)
HIGHEST: Final = 2**63 - 1
#: Longest secret. It travels through a pipe before its reader exists, so it fits one (pipe(7)).
MAX_SECRET: Final = 1024

#: Characters of alternatives that stand in one message.
_LISTED: Final = 300
#: An integer has one spelling; `int` is never given more digits than 64 bits have.
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")
#: A number has no exponent, no sign but '-', and few enough digits to be exact.
FRACTION: Final = 9
LARGEST: Final = 10**15 - 1
_NUMBER: Final = re.compile(rf"-?(?:0|[1-9][0-9]{{0,14}})(?:\.[0-9]{{1,{FRACTION}}})?")
_WORD: Final = re.compile(r"[A-Za-z0-9._@:+-]{1,256}")
_DURATION: Final = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h|d)")
_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_CLOCK: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
#: RFC 3339, with a blank for the T if one likes, and without what one leaves out. `datetime`
#: alone would take an offset of 99 minutes, and from Python 3.13 on an hour 24.
_TIME: Final = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[T ]{_CLOCK}(?::[0-5][0-9])?(?:Z|[+-]{_CLOCK})?)?"
)


class Unfit(ValueError):
    """A value does not fit its type; the text says why, without the value."""


def listed(words: Iterable[str]) -> str:
    """Return `a, b, c`, cut after some hundred characters."""
    whole = ", ".join(words)
    return whole if len(whole) <= _LISTED else whole[:_LISTED] + "..."


class Kind(Protocol):
    """One type of parameter, with what a declaration says about it."""

    @property
    def takes(self) -> str:
        """Say to a caller what fits: `one of nginx, postgresql`."""

    @property
    def schema(self) -> Schema:
        """Say the same to a program."""

    def check(self, value: str, resolve: Resolve) -> str:
        """Return the text to put into the argument; raise Unfit."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    @property
    def takes(self) -> str:
        """Say which words."""
        return f"one of {listed(self.options)}"

    @property
    def schema(self) -> Schema:
        """List them."""
        return {"enum": list(self.options)}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002 - as in Kind
        """Return one of the options; raise Unfit."""
        if value not in self.options:
            raise Unfit("not one of the options")
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer in plain decimal, within bounds; `noun` is what it counts."""

    least: int
    most: int
    noun: str = "an integer"

    @property
    def takes(self) -> str:
        """Say the bounds, as far as there are any."""
        if self.most < HIGHEST:
            low = f" from {self.least} to" if self.least > LOWEST else " of at most"
            return f"{self.noun}{low} {self.most}"
        return f"{self.noun} of at least {self.least}" if self.least > LOWEST else self.noun

    @property
    def schema(self) -> Schema:
        """Say the bounds."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the digits as they came; raise Unfit."""
        if not _INTEGER.fullmatch(value):
            raise Unfit("not an integer in plain decimal")
        if not self.least <= int(value) <= self.most:
            raise Unfit("out of bounds")
        return value


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal number without an exponent, within bounds if there are any."""

    least: Decimal | None
    most: Decimal | None

    @property
    def takes(self) -> str:
        """Say the bounds, as far as there are any."""
        if self.least is not None and self.most is not None:
            return f"a number from {self.least:f} to {self.most:f}"
        if self.least is not None:
            return f"a number of at least {self.least:f}"
        return "a number" if self.most is None else f"a number of at most {self.most:f}"

    @property
    def schema(self) -> Schema:
        """Say the bounds."""
        bounds = {"minimum": self.least, "maximum": self.most}
        return {"type": "number"} | {key: float(bound) for key, bound in bounds.items() if bound is not None}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the number as it was written; raise Unfit."""
        if not _NUMBER.fullmatch(value):
            raise Unfit("not a number in plain decimal")
        number = Decimal(value)
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            raise Unfit("out of bounds")
        return value


@dataclass(frozen=True, slots=True)
class Word:
    """A word of harmless characters."""

    takes: str = "a word of at most 256 letters, digits and . _ @ : + -"

    @property
    def schema(self) -> Schema:
        """Say the length."""
        return {"type": "string", "minLength": 1, "maxLength": 256}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the word; raise Unfit."""
        if not _WORD.fullmatch(value) or value in (".", ".."):  # inside a path they lead elsewhere
            raise Unfit("empty, too long, or with a character no word has")
        return value


@dataclass(frozen=True, slots=True)
class Matching:
    """A text that matches a pattern as a whole."""

    pattern: Pattern
    ascii_only: bool
    takes: str = "a text of the form this command asks for"

    @property
    def schema(self) -> Schema:
        """Say the length; the pattern is the operator's own."""
        return {"type": "string", "minLength": 1, "maxLength": MAX_PATTERN_VALUE}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the value; raise Unfit. An empty one never fits."""
        if not value or len(value) > MAX_PATTERN_VALUE:
            raise Unfit("empty or too long")
        if not is_printable(value) or (self.ascii_only and not value.isascii()):
            raise Unfit("with a character that is not allowed")
        if not self.pattern.is_match(value):
            raise Unfit("does not match the pattern")
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """Any printable text."""

    most: int

    @property
    def takes(self) -> str:
        """Say how long it may be."""
        return f"a text of at most {self.most} characters, without control characters"

    @property
    def schema(self) -> Schema:
        """Say how long it may be."""
        return {"type": "string", "maxLength": self.most}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the text; raise Unfit. It may be empty."""
        if len(value) > self.most or not is_printable(value):
            raise Unfit("too long or with a control character")
        return value


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time with its unit, within bounds in seconds."""

    least: Decimal
    most: Decimal

    @property
    def takes(self) -> str:
        """Say the units and the bounds."""
        least, most = _spelled(self.least), _spelled(self.most)
        return f"a duration such as 250ms, 30s, 5m, 2h or 1d, from {least} to {most}"

    @property
    def schema(self) -> Schema:
        """Say the form."""
        return {"type": "string", "pattern": f"^(?:{_DURATION.pattern})$"}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the duration as it was written; raise Unfit."""
        found = _DURATION.fullmatch(value)
        if found is None:
            raise Unfit("not a duration with a unit")
        if not self.least <= int(found[1]) * _SECONDS[found[2]] <= self.most:
            raise Unfit("out of bounds")
        return value


def _spelled(seconds: Decimal) -> str:
    """Return seconds in the largest unit that needs no fraction."""
    if not seconds:
        return "0s"
    whole = [unit for unit, size in _SECONDS.items() if seconds >= size and seconds % size == 0]
    unit = whole[-1] if whole else "ms"
    return f"{int(seconds / _SECONDS[unit])}{unit}"


@dataclass(frozen=True, slots=True)
class Time:
    """A date, or a date and a time of day, that exists."""

    takes: str = "a date such as 2026-01-31, with a time such as 2026-01-31T12:30:00Z if you like"

    @property
    def schema(self) -> Schema:
        """Say the form."""
        return {"type": "string", "pattern": f"^(?:{_TIME.pattern})$"}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the time as it was written; raise Unfit."""
        if not _TIME.fullmatch(value):
            raise Unfit("not a date, with or without a time of day")
        with contextlib.suppress(ValueError):
            datetime.fromisoformat(value)
            return value
        raise Unfit("no such day or time of day")


@dataclass(frozen=True, slots=True)
class Flag:
    """Given or not; given, it adds fixed arguments."""

    adds: tuple[str, ...]
    takes: str = "no value"

    @property
    def schema(self) -> Schema:
        """Say it is given or not."""
        return {"type": "boolean"}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Raise Unfit: there is no value to check."""
        raise Unfit("a flag was given a value")


@dataclass(frozen=True, slots=True)
class Secret:
    """A printable text that no argument, record or listing ever holds."""

    takes: str = f"a secret of 1 to {MAX_SECRET} bytes, without control characters"

    @property
    def schema(self) -> Schema:
        """Say that it goes one way."""
        return {"type": "string", "minLength": 1, "maxLength": MAX_SECRET, "writeOnly": True}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the secret; raise Unfit."""
        if not is_printable(value) or not 0 < len(value.encode()) <= MAX_SECRET:
            raise Unfit("empty, too long or with a control character")
        return value
