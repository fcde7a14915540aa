"""Parameter types: which values fit, and what a caller hears of those that do not."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import Code, Refused
from rexecd.limits import MAX_PATTERN_VALUE
from rexecd.policy.kinds import (
    HIGHEST,
    LOWEST,
    MAX_SECRET,
    Choice,
    Duration,
    Flag,
    Integer,
    Kind,
    Matching,
    Number,
    Secret,
    Text,
    Time,
    Word,
)
from rexecd.policy.parameters import Parameter, Repeat
from rexecd.policy.pattern import compile_pattern
from rexecd.policy.places import HostAddress, Hostname, HostNetwork, Path, port
from tests.unit.policy.worlds import resolve


def make(kind: Kind, *, leading_dash: bool = False) -> Parameter:
    """Return a required parameter of a type."""
    return Parameter("p", kind, leading_dash=leading_dash)


def pattern(text: str, *, ascii_only: bool = True) -> Matching:
    """Return the type of a pattern."""
    return Matching(compile_pattern(text), ascii_only=ascii_only)


def number(least: str | None, most: str | None) -> Number:
    """Return the type of a number between two bounds."""
    return Number(None if least is None else Decimal(least), None if most is None else Decimal(most))


def duration(least: str, most: str) -> Duration:
    """Return the type of a duration between two numbers of seconds."""
    return Duration(Decimal(least), Decimal(most))


ANY = pattern(".*", ascii_only=False)
FITS: list[tuple[Kind, list[str]]] = [
    (Choice(("nginx", "a b", "ä")), ["nginx", "a b", "ä"]),
    (Integer(LOWEST, HIGHEST), ["0", "7", str(HIGHEST)]),
    (Integer(1, 10), ["1", "10"]),
    (number(None, None), ["0", "0.0", "0.000000001", "7.50", "9" * 15]),
    (number("0.1", "0.3"), ["0.1", "0.2", "0.3", "0.300000000"]),
    (duration("0", "86400"), ["0ms", "0s", "250ms", "30s", "5m", "2h", "1d"]),
    (duration("0.25", "1"), ["250ms", "1000ms", "1s"]),
    (Time(), ["2026-01-31", "2024-02-29", "2026-01-31T23:59", "2026-01-31 12:30:59"]),
    (Time(), ["2026-01-31T12:30:00Z", "2026-01-31T12:30+05:30", "2026-01-31 12:30:00-23:59"]),
    (Secret(), ["x", "a b", "$(x)'\"", "é" * (MAX_SECRET // 2)]),
    (Word(), ["a", "a.b_c@d:e+f-0", "x" * 256]),
    (pattern("[a-z]+|"), ["abc"]),
    (ANY, ["é", "a b"]),
    (
        Path(("/srv",)),
        [
            "/srv",
            "/srv/www",
            "/srv/a b",
            "/srv/inside",
            "/srv//x/./y",
            "/srv/a/../x",
            "/srv/../srv/x",
        ],
    ),
    (Path(("/data",)), ["/data", "/data/x", "/mnt/data/x"]),
    (Path(("/",)), ["/", "/etc/passwd"]),
    (Text(5), ["", "a b", "$(x)", "é;|&"]),
]
UNFIT: list[tuple[Kind, list[str]]] = [
    (Choice(("nginx",)), ["", "ngin", "nginx ", "NGINX", "nginx\n"]),
    (
        Integer(0, 9),
        ["", "10", "00", "01", "+1", " 1", "1 ", "1.0", "1_0", "0x1", "1e0", "٣", "1\n", "9" * 5000],
    ),
    (Integer(LOWEST, HIGHEST), [str(HIGHEST + 1)]),
    (number(None, None), ["", ".5", "5.", "05", "1e3", "1_0", "0x1", "+1", "1,5", "nan", "inf", "٣"]),
    (number(None, None), [" 1", "1\n", "9" * 16, "0.0000000001", "9" * 5000]),
    (number("0.1", "0.3"), ["0.099999999", "0.300000001", "0", "1"]),
    (duration("0", "86400"), ["", "30", "s", "1.5h", "05m", "5 m", "5M", "+5m", "1h30m", "٣s", "5m\n"]),
    (duration("0.25", "1"), ["249ms", "1001ms", "2s", "0s", "999999999d", "9" * 10 + "s"]),
    (
        Time(),
        ["", "2026-02-30", "2025-02-29", "2026-13-01", "0000-01-01", "20260131", "2026-W05", "26-01-31"],
    ),
    (Time(), ["2026-01-31T", "2026-01-31T24:00", "2026-01-31T12:60", "2026-01-31T12:30:60", "12:30"]),
    (
        Time(),
        ["2026-01-31T12:30:00.5", "2026-01-31T12:30z", "2026-01-31T12:30+00:99", "2026-01-31T12:30+24:00"],
    ),
    (Time(), ["2026-01-31t12:30", "2026-01-31  12:30", "2026-01-31\n", "now", "٢٠٢٦-01-31"]),
    (Secret(), ["", "a\nb", "\x1b[m", "\0", "\ud800", "x" * (MAX_SECRET + 1), "é" * (MAX_SECRET // 2 + 1)]),
    (Word(), ["", "a b", "a/b", "a\n", "é", "x" * 257, "a;b", "$(id)", "*"]),
    (pattern("[a-z]+|"), ["", "A", "abc\n"]),
    (pattern(".*"), ["é", "a\x7f", "a" * (MAX_PATTERN_VALUE + 1)]),
    (ANY, ["", "a\nb", "a\tb", "\u200e", "\u2028", "\ud800"]),
    (
        Path(("/srv",)),
        ["", "srv", ".", "/", "/etc", "/srv-evil", "/srv/../etc", "/srv/out", "/srv/out/passwd"],
    ),
    # As they are written they lie elsewhere, whatever their links say.
    (
        Path(("/srv",)),
        ["/proc/1/root/srv/x", "/etc/srv", "/srv/a/../../etc/srv"],
    ),
    (Path(("/srv",)), ["/srv/\n", "/srv/\0", "/srv/\ud800", "/srv/" + "x" * 4092]),
    (Text(5), ["123456", "a\nb", "\x1b[m", "\u202e", "\0", "\r"]),
    (Flag(("-v",)), ["", "x"]),
]


@pytest.mark.parametrize(("kind", "values"), FITS)
def test_a_value_that_fits_is_taken(kind: Kind, values: list[str]) -> None:
    """Every type takes what it says it takes, byte for byte; a path comes out resolved."""
    expected = [resolve(value) if isinstance(kind, Path) else value for value in values]

    assert expected == [make(kind).check(value, resolve) for value in values]


@pytest.mark.parametrize(("kind", "values"), UNFIT)
def test_a_value_that_does_not_fit_is_refused(kind: Kind, values: list[str]) -> None:
    """Every type refuses all else, in the same words whatever was wrong."""
    for value in values:
        with pytest.raises(Refused) as caught:
            make(kind).check(value, resolve)

        assert Code.BAD_ARGUMENT == caught.value.code
        assert f"parameter 'p' takes {kind.takes}" == caught.value.text


@pytest.mark.parametrize(
    "kind",
    [
        Choice(("-x",)),
        Integer(-9, 9),
        number("-9", "9"),
        Word(),
        pattern(".+"),
        Path(("/",)),
        Hostname(),
        HostAddress(()),
        HostNetwork(()),
        port(1, 9),
        duration("0", "1"),
        Time(),
        Text(9),
    ],
    ids=repr,
)
@pytest.mark.parametrize("value", ["-x", "-1", "-", "--", "--help", "-froot"])
def test_a_leading_dash_is_refused_by_every_type(kind: Kind, value: str) -> None:
    """No value becomes an option of the program unless its parameter says so."""
    with pytest.raises(Refused, match="begins with '-'") as caught:
        make(kind).check(value, resolve)

    assert caught.value.text.endswith("none that begins with '-'")


def test_a_leading_dash_is_taken_where_it_is_allowed() -> None:
    """The type still has to fit."""
    assert "-5" == make(Integer(-9, 9), leading_dash=True).check("-5", resolve)
    assert "-0.5" == make(number("-1", None), leading_dash=True).check("-0.5", resolve)
    for kind, value in ((Integer(-9, 9), "-0"), (number("-1", None), "-1.1"), (Time(), "-001-01-01")):
        with pytest.raises(Refused):
            make(kind, leading_dash=True).check(value, resolve)


TAKES: list[tuple[Kind, str]] = [
    (Choice(("nginx", "postgresql")), "one of nginx, postgresql"),
    (Integer(1, 10), "an integer from 1 to 10"),
    (Integer(1, HIGHEST), "an integer of at least 1"),
    (Integer(LOWEST, 1), "an integer of at most 1"),
    (Integer(LOWEST, HIGHEST), "an integer"),
    (number("0.5", "2"), "a number from 0.5 to 2"),
    (number("0.5", None), "a number of at least 0.5"),
    (number(None, "2"), "a number of at most 2"),
    (number(None, None), "a number"),
    (number("0.0000001", "1E+3"), "a number from 0.0000001 to 1000"),
    (number("1E-7", None), "a number of at least 0.0000001"),
    (number(None, "1E-7"), "a number of at most 0.0000001"),
    (port(1024, 2048), "a port number from 1024 to 2048"),
    (duration("0.0", "31536000.0"), "a duration such as 250ms, 30s, 5m, 2h or 1d, from 0s to 365d"),
    (duration("0.25", "90"), "a duration such as 250ms, 30s, 5m, 2h or 1d, from 250ms to 90s"),
    (HostAddress(()), "an IPv4 or IPv6 address"),
    (HostNetwork(()), "a network such as 10.1.0.0/16"),
]


@pytest.mark.parametrize(("kind", "words"), TAKES)
def test_a_type_says_what_it_takes(kind: Kind, words: str) -> None:
    """A caller who was refused knows what to send instead."""
    assert words == kind.takes


def test_a_repetition_says_how_many_it_takes() -> None:
    """Behind what each of them takes."""
    assert "no value, 2 times" == Parameter("p", Flag(()), repeat=Repeat(2, 2)).takes
    assert "no value, 0 to 3 times" == Parameter("p", Flag(()), repeat=Repeat(0, 3)).takes


def test_many_options_are_cut_in_messages() -> None:
    """A long list of options does not make a long message."""
    kind = Choice(tuple(f"option-{number}" for number in range(1000)))

    assert 320 > len(kind.takes)
    assert kind.takes.endswith("...")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([kind for kind, _ in FITS + UNFIT]),
    st.text(max_size=12)
    | st.text("-/.srvout\n\0\ud800", max_size=12)
    | st.text("0123456789-:.TZsmhd", max_size=20),
)
def test_any_value_is_taken_as_it_is_or_refused(kind: Kind, value: str) -> None:
    """A check returns the value (a path: resolved), never with a dash in front, or raises Refused."""
    try:
        taken = make(kind).check(value, resolve)
    except Refused:
        return

    # Two slashes in front, which POSIX leaves open and normpath keeps, are one here.
    assert (resolve(f"/{value.lstrip('/')}") if isinstance(kind, Path) else value) == taken
    assert not taken.startswith("-")
