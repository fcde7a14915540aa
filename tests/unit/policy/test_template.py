"""Templates: what is a hole and what is text, and how they are filled."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import Code, Refused
from rexecd.policy.kinds import Flag, Secret, Text
from rexecd.policy.parameters import Parameter, Pass, Repeat
from rexecd.policy.places import Path
from rexecd.policy.template import Filled, Hole, Template, element

ELEMENTS = {
    "text": ("-h", ("-h",)),
    "an empty text": ("", ("",)),
    "a hole alone": ("{a}", (Hole("a"),)),
    "a hole inside a word": ("--since={a}!", ("--since=", Hole("a"), "!")),
    "two holes": ("{a}{b_2}", (Hole("a"), Hole("b_2"))),
    "a repetition": ("{a...}", (Hole("a", repeated=True),)),
    "a repetition as text": ("{{a...}} {a..}", ("{a...} {a..}",)),
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


@pytest.mark.parametrize("case", ELEMENTS)
def test_an_element_is_shown_as_it_can_be_written(case: str) -> None:
    """What is text does not look like a hole, to the operator who reads a listing or an explanation."""
    text, _ = ELEMENTS[case]
    (shown,) = shlex.split(str(Template((element(text),))))

    assert element(text) == element(shown)


def _text(name: str, *, leading_dash: bool = False) -> Parameter:
    return Parameter(name, Text(99), leading_dash=leading_dash)


PARAMETERS = {
    "a": _text("a"),
    "b": _text("b"),
    "d": _text("d", leading_dash=True),
    "f": Parameter("f", Flag(("-v", "{a} x"))),
    "o": Parameter("o", Text(99), optional=True),
    "r": Parameter("r", Text(99), repeat=Repeat(0, 3)),
    "p": Parameter("p", Path(("/",)), passed=Pass.DESCRIPTOR),
    "s": Parameter("s", Secret(), optional=True, passed=Pass.DESCRIPTOR, leading_dash=True),
}


def _whole(*words: str, **values: str | tuple[str, ...]) -> Filled:
    """Return a template of some words, filled; a text stands for a tuple of one."""
    given = {name: (value,) if isinstance(value, str) else value for name, value in values.items()}
    return Template(tuple(map(element, words))).fill(PARAMETERS, given)


def _fill(*words: str, **values: str | tuple[str, ...]) -> tuple[str, ...]:
    return _whole(*words, **values).argv


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


def test_a_dash_is_not_brought_to_the_front_for_another_parameter() -> None:
    """That one value of an argument may begin with a dash says nothing about the text between."""
    assert ("/bin/x", "y-rf-d") == _fill("/bin/x", "{a}-rf{d}", a="y", d="-d")
    with pytest.raises(Refused, match="'a' must not be empty"):
        _fill("/bin/x", "{a}-rf{d}", a="", d="-d")
    assert ("/bin/x", "-rf") == _fill("/bin/x", "{d}-rf", d="")


def test_what_is_left_out_takes_its_argument_along() -> None:
    """Text around an optional hole goes with it; an empty value does not."""
    assert ("/bin/x", "y") == _fill("/bin/x", "--o={o}", "{a}", a="y")
    assert ("/bin/x", "--o=", "y") == _fill("/bin/x", "--o={o}", "{a}", a="y", o="")
    assert ("/bin/x", "--o=z", "z") == _fill("/bin/x", "--o={o}", "{o}", o="z")


@pytest.mark.parametrize("values", [(), ("y",), ("y", "", "x y")])
def test_a_repetition_is_an_argument_for_each_value(values: tuple[str, ...]) -> None:
    """None, one or many, as they came."""
    given = {"r": values} if values else {}

    assert ("/bin/x", *values, "end") == _fill("/bin/x", "{r...}", "end", **given)


def test_what_is_passed_as_a_descriptor_leaves_room_for_its_number() -> None:
    """The indexes are those of the arguments as they come out, and the value is in none of them."""
    argv, descriptors = _whole("/bin/x", "{f}", "{o}", "--in={p}", "{s}", f="", p="/srv/x", s="hunter2")

    assert ("/bin/x", "-v", "{a} x", "--in=/dev/fd/", "/dev/fd/") == argv
    assert {3: "p", 4: "s"} == descriptors
    assert {1: "p"} == _whole("/bin/x", "{p}", "{s}", p="/srv/x").descriptors


def test_a_template_is_shown_as_the_policy_writes_it() -> None:
    """For people: holes in braces, and an empty argument in quotes."""
    template = Template(tuple(map(element, ["/bin/x", "", "--a={a}", "{r...}"])))

    assert "/bin/x '' --a={a} {r...}" == str(template)
    assert "/bin/x" == template.program


@settings(max_examples=200, deadline=None)
@given(st.text("ab{} -", max_size=20), st.text(max_size=10))
def test_no_text_and_no_value_changes_the_number_of_arguments(text: str, value: str) -> None:
    """One element is one argument, whatever it says and whatever fills it."""
    names = [piece.name for piece in element(text) if isinstance(piece, Hole)]
    parameters = {name: _text(name, leading_dash=True) for name in names}

    assert 1 == len(Template((element(text),)).fill(parameters, dict.fromkeys(names, (value,))).argv)
