"""Words and parameters: positions, names, repetitions, and what may be left out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import Code, Refused
from rexecd.limits import MAX_WORDS
from rexecd.policy.bind import bind
from rexecd.policy.kinds import Flag, Integer, Secret, Word
from rexecd.policy.parameters import Parameter, Repeat
from tests.unit.policy.worlds import resolve


def declared(*parameters: Parameter) -> dict[str, Parameter]:
    """Return parameters by name, in their order."""
    return {parameter.name: parameter for parameter in parameters}


UNIT = Parameter("unit", Word())
LINES = Parameter("lines", Integer(1, 99), default="50")
NOTE = Parameter("note", Word(), optional=True)
FLAG = Parameter("v", Flag(("-v",)))
FILES = declared(FLAG, UNIT, Parameter("files", Word(), repeat=Repeat(1, 3)))
ANY = declared(Parameter("files", Word(), repeat=Repeat(0, 2)), FLAG)
TWO = declared(Parameter("files", Word(), repeat=Repeat(2, 2)))
DASHED = declared(Parameter("words", Word(), repeat=Repeat(1, 3), leading_dash=True))
OPTIONAL = declared(UNIT, NOTE, LINES)
SECRET = declared(UNIT, Parameter("key", Secret(), leading_dash=True, optional=True))

Table = dict[str, Parameter]
BOUND: dict[str, tuple[Table, str, dict[str, tuple[str, ...]]]] = {
    "a repetition takes the rest": (FILES, "u a b c", {"unit": ("u",), "files": ("a", "b", "c")}),
    "a flag stands anywhere": (FILES, "u a --v b", {"v": ("",), "unit": ("u",), "files": ("a", "b")}),
    "by name": (FILES, "--files a --files=b u", {"unit": ("u",), "files": ("a", "b")}),
    "others by name": (FILES, "a b --unit=u", {"unit": ("u",), "files": ("a", "b")}),
    "none": (ANY, "", {}),
    "none but a flag": (ANY, "--v", {"v": ("",)}),
    "none behind --": (ANY, "--", {}),
    "flags behind -- are values": (DASHED, "a -- --v -x", {"words": ("a", "--v", "-x")}),
    "values that look like names": (DASHED, "--words=--words --words -x", {"words": ("--words", "-x")}),
    "-- as a value": (DASHED, "-- -- a", {"words": ("--", "a")}),
    "exactly two": (TWO, "a b", {"files": ("a", "b")}),
    "optional left out": (OPTIONAL, "u", {"unit": ("u",), "lines": ("50",)}),
    "optional given": (OPTIONAL, "u n", {"unit": ("u",), "note": ("n",), "lines": ("50",)}),
    "optional skipped": (OPTIONAL, "u --lines 3", {"unit": ("u",), "lines": ("3",)}),
    "all three": (OPTIONAL, "u n 3", {"unit": ("u",), "note": ("n",), "lines": ("3",)}),
    "a secret with a dash": (SECRET, "u --key=-x", {"unit": ("u",), "key": ("-x",)}),
    "a secret by position": (SECRET, "u k", {"unit": ("u",), "key": ("k",)}),
}


@pytest.mark.parametrize("case", BOUND)
def test_words_are_given_to_parameters(case: str) -> None:
    """What has no value has no entry."""
    parameters, line, expected = BOUND[case]

    assert expected == bind(parameters, line.split(), resolve=resolve)


WORD = "a word of at most 256 letters, digits and . _ @ : + -"
REFUSED: dict[str, tuple[Table, str, str]] = {
    "too few": (FILES, "u", f"parameter 'files' has 0 values; it takes {WORD}, 1 to 3 times"),
    "too many": (FILES, "u a b c d", f"parameter 'files' has 4 values; it takes {WORD}, 1 to 3 times"),
    "not two": (TWO, "a", f"parameter 'files' has 1 values; it takes {WORD}, 2 times"),
    "position and name": (ANY, "a --files=b", "too many arguments: this command takes files, v"),
    "no value": (ANY, "--files", f"parameter 'files' has no value; it takes {WORD}, 0 to 2 times"),
    "a name in place of a value": (
        SECRET,
        "--unit --key=a",
        f"parameter 'unit' has no value; it takes {WORD}",
    ),
    "one is bad": (ANY, "a b/c", f"parameter 'files' takes {WORD}"),
    "one begins with a dash": (ANY, "a -b", f"parameter 'files' takes {WORD}, and none that begins with '-'"),
    "two dots": (ANY, "a ..", f"parameter 'files' takes {WORD}"),
    "one is empty": (ANY, "--files a --files=", f"parameter 'files' takes {WORD}"),
    "an optional one is bad": (OPTIONAL, "u a/b", f"parameter 'note' takes {WORD}"),
    "an optional one is empty": (OPTIONAL, "u --note=", f"parameter 'note' takes {WORD}"),
    "an optional one twice": (OPTIONAL, "u --note=a --note=b", "parameter 'note' is given more than once"),
    "a flag twice": (ANY, "--v --v", "parameter 'v' is given more than once"),
    "a flag with a value": (ANY, "--v=1", "parameter 'v' takes no value"),
    "a flag with an empty value": (ANY, "--v=", "parameter 'v' takes no value"),
    "surplus": (OPTIONAL, "u n 3 x", "too many arguments: this command takes unit, note, lines"),
    "an undeclared name": (OPTIONAL, "u --not=n", "no such parameter: this command takes unit, note, lines"),
    "a name cut short": (OPTIONAL, "u --n=n", "no such parameter: this command takes unit, note, lines"),
    "a secret twice": (SECRET, "u --key=a --key=a", "parameter 'key' is given more than once"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(case: str) -> None:
    """The caller hears which parameter, and what it takes."""
    parameters, line, text = REFUSED[case]
    with pytest.raises(Refused) as caught:
        bind(parameters, line.split(), resolve=resolve)

    assert (Code.BAD_ARGUMENT, text) == (caught.value.code, caught.value.text)


def test_a_repetition_takes_as_many_words_as_a_line_has() -> None:
    """Its highest ceiling is exact."""
    parameters = declared(Parameter("files", Word(), repeat=Repeat(0, MAX_WORDS)))
    words = ["x"] * MAX_WORDS

    assert {"files": tuple(words)} == bind(parameters, words, resolve=resolve)


@settings(max_examples=300, deadline=None)
@given(
    st.permutations(["--v", "--lines=3", "--note n", "a", "b", "--files x"]).flatmap(
        lambda words: st.integers(0, len(words)).map(lambda end: words[:end])
    )
)
def test_the_order_of_names_means_nothing(words: list[str]) -> None:
    """Named values may stand anywhere; only positions have an order."""
    table = declared(UNIT, FLAG, NOTE, LINES, Parameter("files", Word(), repeat=Repeat(0, 3)))
    named = sorted(word for word in words if word.startswith("--"))
    positional = [word for word in words if not word.startswith("--")]

    def outcome(line: list[str]) -> object:
        try:
            return bind(table, " ".join(line).split(), resolve=resolve)
        except Refused as refused:
            return refused.text

    assert outcome([*named, *positional]) == outcome(words) == outcome([*positional, *named])
