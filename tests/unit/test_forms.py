"""The forms of configuration files: what each takes, what it says of the rest, and where."""

import re
from decimal import Decimal as Exact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd import yamltext
from rexecd.errors import ConfigError
from rexecd.forms import (
    Choice,
    Decimal,
    Duration,
    Either,
    Entries,
    Flag,
    Form,
    Integer,
    Key,
    Line,
    Listed,
    Named,
    Own,
    Size,
    Table,
    Text,
    Variant,
    default_of,
    is_printable,
    quote,
    value_of,
    written,
)
from rexecd.yamltext import Faults, Mapping, Place


def read(form: Form, text: str) -> tuple[object, list[str]]:
    """Return what a form reads of a text, and the faults without the file's name."""
    faults = Faults()
    value = form.read(yamltext.parse(text, "f", faults), faults)
    try:
        faults.check()
    except ConfigError as error:
        return value, [fault.removeprefix("f:") for fault in error.faults]
    return value, []


def entries(form: Form, text: str) -> Entries:
    """Return what a form reads of a text, whatever the faults."""
    value, _ = read(form, text)
    assert isinstance(value, Entries)
    return value


def no_capitals(text: str) -> str | None:
    """Refuse capital letters, as an example."""
    return None if text.islower() else f"{text!r} has a capital letter"


UNIT = Text("a unit", re.compile("[A-Za-z]+"), "{shown} is not a unit", no_capitals, 8)

TAKEN: dict[str, tuple[Form, str, object]] = {
    "a text": (Text(), "a b", "a b"),
    "a text of a form": (UNIT, "nginx", "nginx"),
    "a line": (Line(), "for people, \N{LATIN SMALL LETTER U WITH DIAERESIS}", "for people, ü"),
    "a line of the right length": (Line(most=2), "ab", "ab"),
    "an integer": (Integer(-5, 5), "-5", -5),
    "a number": (Decimal(Exact(0), Exact(1)), "0.10", Exact("0.10")),
    "a whole number": (Decimal(Exact(0), Exact(1)), "1", Exact(1)),
    "a flag": (Flag(), "true", True),
    "a flag that is false": (Flag(), "false", False),
    "a choice": (Choice(("a", "b")), "b", "b"),
    "a duration": (Duration(1, 60), "1m", 60.0),
    "a size": (Size(1, 1024), "1KiB", 1024),
    "a list": (Listed(Integer(0, 9)), "[3, 1]", (3, 1)),
    "a list that may repeat": (Listed(Text(), unique=False), "[a, a]", ("a", "a")),
    "a list that may be empty": (Listed(Text(), least=0), "[]", ()),
    "one of two kinds, as a text": (Either(words="x", scalar=Text(), sequence=Listed(Text())), "a", "a"),
    "one of two kinds, as a list": (Either(words="x", scalar=Text(), sequence=Listed(Text())), "[a]", ("a",)),
    "a form of its own": (Own("x", lambda *_: 7, dict), "a", 7),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_fits_is_read(case: str) -> None:
    """The value comes without a fault."""
    form, text, value = TAKEN[case]

    assert (value, []) == read(form, text)


REFUSED: dict[str, tuple[Form, str, list[str]]] = {
    "a text that YAML guesses": (UNIT, "no", ["1:1: 'no' is read as a boolean by YAML; quote it"]),
    "a text that is too long": (UNIT, "abcdefghi", ["1:1: more than 8 characters"]),
    "a text of another form": (UNIT, "a-b", ["1:1: 'a-b' is not a unit"]),
    "a text with a line end behind it": (UNIT, '"a\\n"', ["1:1: 'a\\n' is not a unit"]),
    "a text the check refuses": (UNIT, "aB", ["1:1: 'aB' has a capital letter"]),
    "a text without words of its own": (
        Text(pattern=re.compile("a")),
        "'{shown}'",
        ["1:1: '{shown}' has the wrong form"],
    ),
    "a blank line": (Line(), "' '", ["1:1: expected one line of text without control characters"]),
    "two lines": (Line(), "|\n  a\n  b", ["1:1: expected one line of text without control characters"]),
    "no line": (Line(), "[]", ["1:1: expected a text, found a list"]),
    "a long line": (Line(most=2), "abc", ["1:1: more than 2 characters"]),
    "an integer out of bounds": (Integer(1, 3), "4", ["1:1: '4' is not between 1 and 3"]),
    "a number out of bounds": (
        Decimal(Exact("0.5"), Exact(3)),
        "0.49",
        ["1:1: '0.49' is not between 0.5 and 3"],
    ),
    "a number below a small bound": (
        Decimal(Exact("1E-8"), Exact(3)),
        "0",
        ["1:1: '0' is not between 0.00000001 and 3"],
    ),
    "a number with an exponent": (
        Decimal(Exact(0), Exact(3)),
        "1e0",
        ["1:1: expected a number in plain decimal, without quotes, such as 0.5, found '1e0'"],
    ),
    "a word that is no choice": (
        Choice(("allow", "refuse")),
        "alow",
        ["1:1: 'alow' is none of allow, refuse (did you mean 'allow'?)"],
    ),
    "a word that YAML guesses and is no choice": (
        Choice(("allow", "refuse")),
        "yes",
        ["1:1: expected one of allow, refuse, found 'yes'"],
    ),
    "a choice that YAML guesses": (Choice(("5",)), "5", ["1:1: '5' is read as an integer by YAML; quote it"]),
    "a list instead of a choice": (Choice(("a", "b")), "[a]", ["1:1: expected one of a, b, found a list"]),
    "a word with a hint": (
        Choice(("allow", "refuse"), hints={"deny": "; write refuse"}),
        "deny",
        ["1:1: 'deny' is none of allow, refuse; write refuse"],
    ),
    "an empty list": (Listed(Text()), "[]", ["1:1: the list is empty"]),
    "a short list": (Listed(Text(), least=2), "[a]", ["1:1: fewer than 2 items in the list"]),
    "a long list": (Listed(Text(), most=1), "[a, b]", ["1:1: more than 1 items in the list"]),
    "no list": (Listed(Text()), "{}", ["1:1: expected a list, found a mapping"]),
    "one item and no list": (Listed(Text()), "a b", ["1:1: expected a list, found 'a b'; write [a b]"]),
    "an item with a comma and no list": (
        Listed(Text()),
        "a, b",
        ["1:1: expected a list, found 'a, b'; write [\"a, b\"]"],
    ),
    "a quoted item and no list": (Listed(Text()), "'1'", ["1:1: expected a list, found '1'; write [\"1\"]"]),
    "an item that needs quotes and no list": (
        Listed(Text()),
        "::1",
        ["1:1: expected a list, found '::1'; write [\"::1\"]"],
    ),
    "neither an item nor a list": (Listed(Integer(0, 9)), "a", ["1:1: expected a list, found 'a'"]),
    "a long item and no list": (
        Listed(Text()),
        "x" * 65,
        [f"1:1: expected a list, found '{'x' * 64}...'"],
    ),
    "a list with faults": (
        Listed(Integer(0, 5)),
        "[1, 9, x, 1]",
        [
            "1:5: '9' is not between 0 and 5",
            "1:8: expected an integer in plain decimal, without quotes, found 'x'",
            "1:11: '1' stands twice in the list",
        ],
    ),
    "a list with a mapping twice": (
        Listed(Table({"a": Key(Text(), "")})),
        "[{a: b}, {a: b}, {a: c}]",
        ["1:10: the same entry stands twice in the list"],
    ),
    "a kind that is not meant": (
        Either(words="a text or a list", scalar=Text(), sequence=Listed(Text())),
        "{a: b}",
        ["1:1: expected a text or a list, found a mapping"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_a_fault_and_no_value(case: str) -> None:
    """Every fault at its place, at once."""
    form, text, faults = REFUSED[case]

    assert (None, faults) == read(form, text)


@pytest.mark.parametrize("written", ["yes", "True", "on", "1", "'true'", "[~]"])
def test_other_truths_are_faults(written: str) -> None:
    """No other spelling of a truth value counts."""
    value, (fault,) = read(Flag(), written)

    assert value is None
    assert fault.startswith("1:1: expected true or false, found ")


def test_what_could_not_be_parsed_is_told_once() -> None:
    """Every form passes over it in silence."""
    form = Listed(Either(words="x", scalar=Named(Text(), check=no_capitals, pattern="", words="x")))

    assert 1 == len(read(form, "[a, ")[1])
    assert 1 == len(read(Either(words="x", scalar=Text()), "[a, ")[1])


TABLE = Table(
    {
        "name": Key(Text(), "", required=True),
        "count": Key(Integer(1, 9), "", default=3),
        "tags": Key(Listed(Text()), "", default=()),
    },
)


def test_a_table_gives_values_and_defaults() -> None:
    """A default only where the file says nothing."""
    found = entries(TABLE, "name: x\ntags: [a, b]\n")

    assert {"name": "x", "tags": ("a", "b")} == found.values
    assert ("x", 3, ("a", "b")) == (found.get("name"), found.get("count"), found.get("tags"))
    assert [("a", Place("f", 2, 8)), ("b", Place("f", 2, 11))] == list(found.items("tags"))


def test_a_faulty_key_is_no_missing_key() -> None:
    """Its default is not taken: what the operator wrote is not known."""
    found = entries(TABLE, "count: 10\ntags: [a, a]\n")

    assert found.get("count") is None
    assert (True, True) == (found.has("count"), found.is_faulty("count"))
    assert (False, False) == (found.has("name"), found.is_faulty("name"))
    assert [] == list(found.items("tags"))
    assert [] == list(found.items("name"))


def test_an_unknown_key_counts_as_a_faulty_one() -> None:
    """Whoever asks for it gets nothing."""
    found = entries(TABLE, "name: x\nnmae: y\n")

    assert found.is_faulty("nmae")
    assert found.get("nmae") is None
    assert found.get("never") is None


def test_entries_know_their_places() -> None:
    """Of a key, of its value, and of the mapping for what is not there."""
    found = entries(TABLE, "\nname:  x\n")

    assert (Place("f", 2, 8), Place("f", 2, 1)) == (found.place("name"), found.key_place("name"))
    assert (Place("f", 2, 1), Place("f", 2, 1)) == (found.place("count"), found.key_place("count"))


def test_every_fault_of_a_table_is_told_at_once() -> None:
    """Unknown, missing, repeated and wrong."""
    value, faults = read(TABLE, "cuont: 1\ncolour: red\ncount: x\ncount: 4\n")

    assert isinstance(value, Entries)
    assert [
        "1:1: unknown key 'cuont' (did you mean 'count'?)",
        "1:1: missing key 'name'",
        "2:1: unknown key 'colour'",
        "3:8: expected an integer in plain decimal, without quotes, found 'x'",
        "4:1: repeated key 'count', first on line 3",
    ] == faults


def test_what_is_no_mapping_is_no_table() -> None:
    """Nor names."""
    named = Named(Text(), check=no_capitals, pattern="", words="x")

    assert (None, ["1:1: expected a mapping, found a list"]) == read(TABLE, "[]")
    assert (None, ["1:1: expected a mapping, found 'a'"]) == read(named, "a")


def test_names_are_checked_where_they_stand() -> None:
    """A value under a wrong name is read all the same, and not given out."""
    named = Named(Integer(1, 9), check=no_capitals, pattern="^[a-z]+$", words="names", most=2)
    value, faults = read(named, "a: 1\nB: x\nc: 10\n")

    assert isinstance(value, Entries)
    assert {"a": 1} == value.values
    assert (True, True, False) == (value.is_faulty("B"), value.is_faulty("c"), value.is_faulty("d"))
    assert [
        "1:1: more than 2 names",
        "2:1: 'B' has a capital letter",
        "2:4: expected an integer in plain decimal, without quotes, found 'x'",
        "3:4: '10' is not between 1 and 9",
    ] == faults


VARIANT = Variant(
    "type",
    {
        "choice": Table({"of": Key(Listed(Text()), "", required=True)}, "One of a few words."),
        "text": Table({"max": Key(Integer(1, 9), "", default=5)}),
    },
    hints={"string": " (did you mean 'text'?)"},
)


def test_a_variant_is_read_by_its_key() -> None:
    """The word comes with what its table says."""
    value, faults = read(VARIANT, "{type: text}")

    assert [] == faults
    assert isinstance(value, tuple)
    assert ("text", 5, "text") == (value[0], value[1].get("max"), value[1].get("type"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{}", "1:1: missing key 'type'"),
        ("[]", "1:1: expected a mapping, found a list"),
        ("{type: txt, of: 1}", "1:8: 'txt' is none of choice, text (did you mean 'text'?)"),
        ("{type: [text]}", "1:8: expected one of choice, text, found a list"),
        ("{type: ~}", "1:8: expected one of choice, text, found nothing"),
        ("{type: no}", "1:8: expected one of choice, text, found 'no'"),
        ("{type: string}", "1:8: 'string' is none of choice, text (did you mean 'text'?)"),
    ],
)
def test_without_a_known_word_no_table_is_chosen(text: str, fault: str) -> None:
    """Nothing else is said of the mapping then."""
    assert (None, [fault]) == read(VARIANT, text)


def test_the_keys_of_one_variant_are_unknown_to_the_other() -> None:
    """And the chosen one's own are required."""
    _, faults = read(VARIANT, "{type: choice, max: 4}")

    assert ["1:1: missing key 'of'", "1:16: unknown key 'max'"] == faults


WORDS: dict[str, Form] = {
    "an integer from 1 to 9": Integer(1, 9),
    "the integer 1": Integer(1, 1),
    "an integer": Integer(-(2**63), 2**63 - 1),
    "a number from 0 to 0.5": Decimal(Exact(0), Exact("0.5")),
    "a number from 0.00000001 to 1000": Decimal(Exact("1E-8"), Exact("1E+3")),
    "true or false": Flag(),
    "one of a, b": Choice(("a", "b")),
    "a duration, such as 30s, from 50ms to 1h": Duration(0.05, 3600.0),
    "a duration, such as 30s": Duration(),
    "a duration, such as 30s, from 0s to 3650d": Duration(0.0, 3650 * 86400.0),
    "a size, such as 64KiB, from 1B to 1MiB": Size(1, 2**20),
    "a size, such as 64KiB": Size(),
    "a list, each item one line of text": Listed(Line()),
}


@pytest.mark.parametrize("words", WORDS)
def test_forms_say_what_they_take(words: str) -> None:
    """For the manual."""
    assert words == WORDS[words].words


DEFAULTS: dict[str, tuple[Key, str | None]] = {
    "none": (Key(Text(), ""), None),
    "a duration": (Key(Duration(), "", default=90.0), "90s"),
    "a size": (Key(Size(), "", default=2048), "2KiB"),
    "a flag": (Key(Flag(), "", default=False), "false"),
    "no duration": (Key(Duration(0.0), "", default=0.0), "0s"),
    "an integer": (Key(Integer(0, 9), "", default=0), "0"),
    "a number": (Key(Decimal(Exact(0), Exact(1)), "", default=Exact("1E-7")), "0.0000001"),
    "a text": (Key(Text(), "", default="certs/a b.pem"), "certs/a b.pem"),
    "a text to quote": (Key(Text(), "", default="027"), '"027"'),
    "a word to quote": (Key(Text(), "", default="no"), '"no"'),
    "an empty text": (Key(Text(), "", default=""), '""'),
    "a list": (Key(Listed(Text()), "", default=("a", "1")), '[a, "1"]'),
    "said by hand": (Key(Text(), "", default=object(), shown="{a: b}"), "{a: b}"),
}


@pytest.mark.parametrize("case", DEFAULTS)
def test_defaults_are_written_as_yaml(case: str) -> None:
    """As the operator would write them."""
    key, text = DEFAULTS[case]

    assert text == default_of(key)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_quoted_text_is_read_as_it_was(text: str) -> None:
    """Whatever is in it, and on one line."""
    line = quote(text)

    assert (text, []) == read(Text(), line)
    assert 1 == len(f"{line}x".splitlines())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_a_written_list_is_read_as_it_was(texts: list[str]) -> None:
    """Its items are quoted where they need it."""
    form = Listed(Text(), unique=False)

    assert (tuple(texts), []) == read(form, written(form, texts))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, -2, 1.5, true, false, ~]", [1, -2, 1.5, True, False, None]),
        ("{a: ['1', x, no, 1e3, 0x1F]}", {"a": ["1", "x", "no", "1e3", "0x1F"]}),
        ("[&a x, *a]", ["x", None]),
    ],
)
def test_a_node_as_json(text: str, value: object) -> None:
    """What JSON has no word for is a text; what was complained about is nothing."""
    node = yamltext.parse(text, "f", Faults())

    assert value == value_of(node)


@given(st.characters())
def test_printable_characters_are_neither_controls_nor_line_ends(character: str) -> None:
    """Whatever Python says of them as a line."""
    if is_printable(character):
        assert [character] == character.splitlines()
        assert character not in "\0\x1b\x7f\x85\u200b\u202e\ufeff"


def test_entries_are_read_of_mappings_only() -> None:
    """What `node` holds is what stood in the file."""
    found = entries(TABLE, "name: x\n")

    assert isinstance(found.node, Mapping)
    assert ["name"] == list(found.node.entries)
