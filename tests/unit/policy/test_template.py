"""Templates: what is a hole and what is text, and how they are filled."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import Code, Refused
from rexecd.policy.model import Hole, Template, element
from rexecd.policy.parameters import Flag, Parameter, Text

ELEMENTS = {
    "text": ("-h", ("-h",)),
    "an empty text": ("", ("",)),
    "a hole alone": ("{a}", (Hole("a"),)),
    "a hole inside a word": ("--since={a}!", ("--since=", Hole("a"), "!")),
    "two holes": ("{a}{b_2}", (Hole("a"), Hole("b_2"))),
    "a hole as text": ("{{a}}", ("{a}",)),
    "both": ("{{a}}{a}", ("{a}", Hole("a"))),
    "three braces": ("{{{a}}}", ("{{a}}",)),
    "braces of other languages": (
        "{ print $1 } {} {1} {a,b} ${HOME } {é}",
        ("{ print $1 } {} {1} {a,b} ${HOME } {é}",),
    ),
    "a brace left open": ("{a", ("{a",)),
    "a format of another kind": ("{a.b}{a!r}{a:>9}{0}", ("{a.b}{a!r}{a:>9}{0}",)),
}


@pytest.mark.parametrize("case", ELEMENTS)
def test_an_element_is_text_and_holes(case: str) -> None:
    """Only `{identifier}` is a hole; every other brace is text."""
    text, pieces = ELEMENTS[case]

    assert pieces == element(text)


def _text(name: str, *, leading_dash: bool = False) -> Parameter:
    return Parameter(name, Text(99), default=None, leading_dash=leading_dash, summary="")


PARAMETERS = {
    "a": _text("a"),
    "b": _text("b"),
    "d": _text("d", leading_dash=True),
    "f": Parameter("f", Flag(("-v", "{a} x")), default=None, leading_dash=False, summary=""),
}


def _fill(*words: str, **values: str) -> tuple[str, ...]:
    return Template(tuple(map(element, words))).fill(PARAMETERS, values)


def test_a_value_is_one_argument_or_a_part_of_one() -> None:
    """Spaces, quotes and braces in a value are text."""
    value = "x y 'z' {b} {{a}} $(id) *"

    assert ("/bin/x", value, f"--a={value},{value}") == _fill("/bin/x", "{a}", "--a={a},{a}", a=value)


def test_an_empty_value_stays_an_argument() -> None:
    """An argument does not vanish because its value is empty."""
    assert ("/bin/x", "", "--a=") == _fill("/bin/x", "{a}", "--a={a}", a="")


def test_a_flag_adds_its_arguments_as_they_are() -> None:
    """What a flag adds is never filled or split, and without the flag there is nothing."""
    assert ("/bin/x", "-v", "{a} x", "y") == _fill("/bin/x", "{f}", "{a}", f="", a="y")
    assert ("/bin/x", "y") == _fill("/bin/x", "{f}", "{a}", a="y")


@pytest.mark.parametrize("words", ["{a}-rf", "{a}{b}-x"])
def test_an_empty_value_does_not_bring_a_dash_to_the_front(words: str) -> None:
    """What stands behind an empty value does not become an option."""
    assert 2 == len(_fill("/bin/x", words, a="y", b=""))
    with pytest.raises(Refused, match="must not be empty") as caught:
        _fill("/bin/x", words, a="", b="")
    assert Code.BAD_ARGUMENT == caught.value.code


def test_a_dash_in_front_is_the_operators_or_an_allowed_one() -> None:
    """Literal dashes and those of a parameter with leading_dash stay."""
    filled = _fill("/bin/x", "-{a}", "{d}", "{b}{d}", a="n", b="", d="-y")

    assert ("/bin/x", "-n", "-y", "-y") == filled


@settings(max_examples=200, deadline=None)
@given(st.text("ab{} -", max_size=20), st.text(max_size=10))
def test_no_text_and_no_value_changes_the_number_of_arguments(text: str, value: str) -> None:
    """One element is one argument, whatever it says and whatever fills it."""
    names = [piece.name for piece in element(text) if isinstance(piece, Hole)]
    parameters = {name: _text(name, leading_dash=True) for name in names}

    assert 1 == len(Template((element(text),)).fill(parameters, dict.fromkeys(names, value)))
