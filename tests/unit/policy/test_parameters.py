"""Parameter types: which values fit, and what a caller hears of those that do not."""

import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import Code, Refused
from rexecd.limits import MAX_PATTERN_VALUE
from rexecd.policy.parameters import (
    HIGHEST,
    LOWEST,
    Choice,
    Flag,
    Integer,
    Kind,
    Matching,
    Parameter,
    Path,
    Text,
    Word,
)
from rexecd.policy.pattern import compile_pattern

#: The links of a small world: where they stand, and where they lead.
LINKS = {"/srv/inside": "/srv/www", "/srv/out": "/etc", "/data": "/mnt/data"}


def resolve(path: str) -> str:
    """Return a path without `..` and without the links above."""
    path = posixpath.normpath(path)
    for link, target in LINKS.items():
        if path == link or path.startswith(link + "/"):
            return target + path[len(link) :]
    return path


def make(kind: Kind, *, leading_dash: bool = False) -> Parameter:
    """Return a required parameter of a type."""
    return Parameter("p", kind, default=None, leading_dash=leading_dash, summary="")


def pattern(text: str, *, ascii_only: bool = True) -> Matching:
    """Return the type of a pattern."""
    return Matching(compile_pattern(text), ascii_only=ascii_only)


ANY = pattern(".*", ascii_only=False)
FITS: list[tuple[Kind, list[str]]] = [
    (Choice(("nginx", "a b", "ä")), ["nginx", "a b", "ä"]),
    (Integer(LOWEST, HIGHEST), ["0", "7", str(HIGHEST)]),
    (Integer(1, 10), ["1", "10"]),
    (Word(), ["a", "a.b_c@d:e+f-0", "x" * 256]),
    (pattern("[a-z]+|"), ["abc"]),
    (ANY, ["é", "a b"]),
    (Path(("/srv",)), ["/srv", "/srv/www", "/srv/a b", "/srv/inside", "/srv//x/./y", "/data/../srv/x"]),
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
    (Word(), ["", "a b", "a/b", "a\n", "é", "x" * 257, "a;b", "$(id)", "*"]),
    (pattern("[a-z]+|"), ["", "A", "abc\n"]),
    (pattern(".*"), ["é", "a\x7f", "a" * (MAX_PATTERN_VALUE + 1)]),
    (ANY, ["", "a\nb", "a\tb", "\u200e", "\u2028", "\ud800"]),
    (
        Path(("/srv",)),
        ["", "srv", ".", "/", "/etc", "/srv-evil", "/srv/../etc", "/srv/out", "/srv/out/passwd", "//srv/x"],
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
    "kind", [Choice(("-x",)), Integer(-9, 9), Word(), pattern(".+"), Path(("/",)), Text(9)], ids=repr
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
    with pytest.raises(Refused):
        make(Integer(-9, 9), leading_dash=True).check("-0", resolve)


TAKES: list[tuple[Kind, str]] = [
    (Choice(("nginx", "postgresql")), "one of nginx, postgresql"),
    (Integer(1, 10), "an integer from 1 to 10"),
    (Integer(1, HIGHEST), "an integer of at least 1"),
    (Integer(LOWEST, 1), "an integer of at most 1"),
    (Integer(LOWEST, HIGHEST), "an integer"),
]


@pytest.mark.parametrize(("kind", "words"), TAKES)
def test_a_type_says_what_it_takes(kind: Kind, words: str) -> None:
    """A caller who was refused knows what to send instead."""
    assert words == kind.takes


def test_many_options_are_cut_in_messages() -> None:
    """A long list of options does not make a long message."""
    kind = Choice(tuple(f"option-{number}" for number in range(1000)))

    assert 320 > len(kind.takes)
    assert kind.takes.endswith("...")


def test_a_path_that_cannot_be_resolved_is_refused_like_any_other() -> None:
    """What the file system says does not reach the caller."""

    def fail(path: str) -> str:
        raise OSError(path)

    with pytest.raises(Refused) as caught:
        make(Path(("/srv",))).check("/srv/x", fail)

    assert f"parameter 'p' takes {Path(()).takes}" == caught.value.text


@pytest.mark.parametrize("resolved", ["/srv/\udcff", "/srv/a\nb", "srv", "pipe:[1]"])
def test_a_path_that_resolves_to_no_clean_path_is_refused(resolved: str) -> None:
    """A link's target is checked like a value."""
    with pytest.raises(Refused):
        make(Path(("/srv", "/"))).check("/srv/x", lambda path: resolved if path == "/srv/x" else path)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([kind for kind, _ in FITS + UNFIT]),
    st.text(max_size=12) | st.text("-/.srvout\n\0\ud800", max_size=12),
)
def test_any_value_is_taken_as_it_is_or_refused(kind: Kind, value: str) -> None:
    """A check returns the value (a path: resolved), never with a dash in front, or raises Refused."""
    try:
        taken = make(kind).check(value, resolve)
    except Refused:
        return

    assert (resolve(value) if isinstance(kind, Path) else value) == taken
    assert not taken.startswith("-")
