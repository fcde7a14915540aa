"""Every key of a parameter, type by type: what may stand there, what it means, and what holds without it.

A part of the tables of `tables.py`; the rules are the same.
"""

from decimal import Decimal as Exact
from typing import Final

from rexecd.forms import Choice, Decimal, Duration, Flag, Integer, Key, Line, Listed, Table, Text, Variant
from rexecd.limits import MAX_LINE, MAX_WORDS
from rexecd.networks import NETWORK
from rexecd.policy.kinds import HIGHEST, LARGEST, LOWEST
from rexecd.policy.parameters import Pass
from rexecd.policy.places import LAST_PORT
from rexecd.policy.values import DIRECTORY

_YEARS: Final = 3650 * 86400.0
_SWITCH: Final = Choice(("allow", "refuse"))
_SUMMARY: Final = Key(Line(), "What it is, for callers.")
_ONCE: Final = {
    "default": Key(
        Text(),
        "Taken when the caller gives none. It has to fit as any other. Give this or `optional`, not both.",
    ),
    "optional": Key(
        Flag(),
        "Whether it may be left out without a default; its argument is then left out too.",
        default=False,
    ),
}
_SEVERAL: Final = {
    "most": Key(
        Integer(1, MAX_WORDS), "Makes it a repetition of at most so many values; its hole is `{name...}`."
    ),
    "least": Key(Integer(0, MAX_WORDS), "The fewest values of a repetition.", default=1),
}
_DASH: Final = {
    "leading_dash": Key(
        _SWITCH,
        "Whether a value may begin with `-`, and so become an option of the program.",
        default="refuse",
    )
}
_PLAIN: Final = {**_ONCE, **_SEVERAL}
_VALUED: Final = {**_PLAIN, **_DASH}
_UNDER: Final = (
    "Directories that exist, without wildcards; it has to be one of them or in one. It has to be spelled so, "
    "with the directory as it is written here or as it is resolved; `..` takes away what is written before "
    "it, a link too. A directory that is a link is resolved at each decision."
)
_WITHIN: Final = {"within": Key(Listed(NETWORK), "Networks it has to lie in; otherwise any.")}
_EXACT: Final = Decimal(Exact(-LARGEST), Exact(LARGEST))


def _bounds(low: Key, high: Key) -> dict[str, Key]:
    return {"min": low, "max": high}


def _integers(least: int, most: int) -> dict[str, Key]:
    form = Integer(least, most)
    return _bounds(Key(form, "The smallest that fits."), Key(form, "The largest that fits."))


def _kind(about: str, *keys: dict[str, Key]) -> Table:
    own = {"summary": _SUMMARY}
    for more in keys:
        own |= more
    return Table(own, about)


#: A repetition has no default, and an integer's is written without quotes.
_INTEGER_DEFAULT: Final = {"default": Key(Integer(LOWEST, HIGHEST), _ONCE["default"].about)}
_NUMBER_DEFAULT: Final = {"default": Key(_EXACT, _ONCE["default"].about)}

#: What other languages call a type, and what it is called here.
_SYNONYMS: Final = {
    "regex": "pattern",
    "regexp": "pattern",
    "enum": "choice",
    "string": "text",
    "str": "text",
    "int": "integer",
    "float": "number",
    "decimal": "number",
    "bool": "flag",
    "boolean": "flag",
    "ip": "address",
    "cidr": "network",
    "file": "path",
    "directory": "path",
    "host": "hostname",
    "date": "time",
    "password": "secret",
}
_SEVERAL_WORDS: Final = ("list", "array", "repetition")
_HINTS: Final = {word: f" (did you mean {meant!r}?)" for word, meant in _SYNONYMS.items()} | dict.fromkeys(
    _SEVERAL_WORDS, "; a repetition has the type of each value, and 'most'"
)

PARAMETER: Final = Variant(
    "type",
    {
        "choice": _kind(
            "One of a few words.",
            {"of": Key(Listed(Text()), "The words.", required=True)},
            _VALUED,
        ),
        "integer": _kind(
            "An integer in plain decimal.", _integers(LOWEST, HIGHEST), _VALUED, _INTEGER_DEFAULT
        ),
        "number": _kind(
            "A number in plain decimal, with or without a fraction, never an exponent.",
            _bounds(Key(_EXACT, "The smallest that fits."), Key(_EXACT, "The largest that fits.")),
            _VALUED,
            _NUMBER_DEFAULT,
        ),
        "word": _kind("At most 256 letters, digits and `. _ @ : + -`, but not `.` or `..` alone.", _VALUED),
        "pattern": _kind(
            "A text of 1 to 1024 characters that matches a pattern as a whole; see Patterns above.",
            {
                "matches": Key(Text(), "The pattern.", required=True),
                "unicode": Key(_SWITCH, "Whether characters outside ASCII may come.", default="refuse"),
            },
            _VALUED,
        ),
        "path": _kind(
            "An absolute path; links and `..` are resolved when it is decided, and the program is given the "
            "resolved path.",
            {
                "under": Key(Listed(DIRECTORY), _UNDER, required=True),
                "pass": Key(
                    Choice((Pass.ARGUMENT.value, Pass.DESCRIPTOR.value)),
                    "With `descriptor` the file is opened for the program, following no link, and the "
                    "program is given `/dev/fd/N`: nobody can put another file in its place in the "
                    "meantime. The hole stands at the end of its argument.",
                    default=Pass.ARGUMENT.value,
                ),
            },
            _PLAIN,
        ),
        "hostname": _kind("A host's name (RFC 1123); it is not looked up.", _PLAIN),
        "address": _kind(
            "An IPv4 or IPv6 address, passed on as written; `::ffff:10.0.0.1` is 10.0.0.1 to `within`.",
            _WITHIN,
            _PLAIN,
        ),
        "network": _kind("A network as `address/bits`, without bits behind its mask.", _WITHIN, _PLAIN),
        "port": _kind("A port's number.", _integers(1, LAST_PORT), _PLAIN, _INTEGER_DEFAULT),
        "duration": _kind(
            "A length of time with its unit: `250ms`, `30s`, `5m`, `2h`, `1d`; it is passed on as written.",
            _bounds(
                Key(Duration(0.0, _YEARS), "The shortest that fits.", default=0.0),
                Key(Duration(0.001, _YEARS), "The longest that fits.", default=365 * 86400.0),
            ),
            _PLAIN,
        ),
        "time": _kind(
            "A date (`2026-01-31`), with a time of day (`T12:30:00Z`) if the caller likes.", _PLAIN
        ),
        "text": _kind(
            "Any printable text on one line.",
            {"max": Key(Integer(1, MAX_LINE), "The most characters.", default=256)},
            _VALUED,
        ),
        "flag": _kind(
            "Given as `--name`, without a value; it then adds arguments.",
            {"adds": Key(Listed(Text(), unique=False), "The arguments.", required=True)},
        ),
        "secret": _kind(
            "A text that stands in no argument, record or listing.",
            {
                "pass": Key(
                    Choice((Pass.STDIN.value, Pass.DESCRIPTOR.value, Pass.ENVIRONMENT.value)),
                    "How the program gets it: as its standard input, as a file `/dev/fd/N` (the hole "
                    "stands at the end of its argument), or in a variable, which what it starts has too.",
                    required=True,
                ),
                "variable": Key(Text(), "The environment variable, for `pass: environment`."),
                "optional": _ONCE["optional"],
            },
        ),
    },
    hints=_HINTS,
)
