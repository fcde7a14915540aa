"""YAML as text and places: what is read, what is refused, and where it says the fault is."""

from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd import yamlevents, yamltext
from rexecd.errors import ConfigError
from rexecd.limits import MAX_CONFIG, MAX_DEPTH
from rexecd.yamltext import Broken, Faults, Keys, Mapping, Node, Place, Scalar, Sequence


def _parse(text: str) -> Node:
    faults = Faults()
    node = yamltext.parse(text, "f.yaml", faults)
    faults.check()
    return node


def _value(text: str) -> Node:
    """Return the node of `text` as the value of a key."""
    root = _parse(f"key: {text}\n")
    assert isinstance(root, Mapping)
    return root.entries["key"]


def _faults(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        _parse(text)
    return caught.value.faults


def test_nodes_know_their_place() -> None:
    """Every node carries file, line and column, counted from one."""
    root = _parse("a: 'x'\nb:\n  - y\n")

    assert isinstance(root, Mapping)
    assert {"a": Place("f.yaml", 1, 1), "b": Place("f.yaml", 2, 1)} == root.keys
    assert Scalar("x", yamltext.TEXT, plain=False, place=Place("f.yaml", 1, 4)) == root.entries["a"]
    items = root.entries["b"]
    assert isinstance(items, Sequence)
    assert "f.yaml:3:5" == str(items.items[0].place)


def test_faults_come_in_order_of_place_and_once() -> None:
    """Faults are sorted by line and column, as numbers, and told once."""
    faults = Faults()
    for line in (10, 9, 9):
        faults.add(Place("f", line, 1), "wrong")

    with pytest.raises(ConfigError) as caught:
        faults.check()

    assert ("f:9:1: wrong", "f:10:1: wrong") == caught.value.faults


def test_no_fault_raises_nothing() -> None:
    """A file without faults passes."""
    Faults().check()


def test_a_file_that_cannot_be_read_is_complained_about_once() -> None:
    """Readers pass over a Broken node in silence."""
    faults = Faults()
    node = yamltext.parse("a: [", "f", faults)

    assert isinstance(node, Broken)
    assert yamltext.text(node, faults) is None
    assert yamltext.integer(node, faults, least=0, most=1) is None
    assert yamltext.duration(node, faults) is None
    assert yamltext.keyed(node, faults, keys=Keys(("a",), ("b",))) is None
    with pytest.raises(ConfigError) as caught:
        faults.check()
    assert 1 == len(caught.value.faults)


SYNTAX = {
    "a file above the ceiling": ("#" * (MAX_CONFIG + 1), "f.yaml:1:1: larger than 1048576 bytes"),
    "a tab behind spaces": ("a:\n  \tb: 1", "f.yaml:2:3: a tab in the indentation; use spaces"),
    "half a surrogate pair": ("a: \ud800", "f.yaml:1:4: control character '\\ud800'; remove it"),
    "a huge version": (
        f"%YAML 1.{'1' * 5000}\n---\na: b",
        "f.yaml:1:9: a number out of range",
    ),
    "an undefined alias": ("a: *b", "f.yaml:1:4: alias '*b' is not supported; write the value out"),
    "a default key": ("=: a", "f.yaml:1:1: '=' is read as a special word by YAML; quote it"),
    "an empty key": ("? \n: a", "f.yaml:1:2: expected a text, found nothing; an empty text is written ''"),
}


#: What an operator writes, and the end of the message.
REMEDIES = {
    "allow: [*]": "found ']'; a text that begins with '*' has to be quoted",
    "allow:\n- *.x": "found '.'; a text that begins with '*' has to be quoted",
    "summary: Free: x": "here; a text that holds ': ' has to be quoted",
    "a: {summary: Free: x}": "got ':'; a text that holds ': ' has to be quoted",
    "summary: x\n run: y": "here; the keys of a mapping begin in the same column",
    "within: [a, ::1]": "found ':'; an address that begins with ':' has to be quoted",
    'matches: "[a-z]\\d+"': "found unknown escape character 'd'; write patterns in single quotes",
    "allow: [x": "but got '<stream end>'",
}


@pytest.mark.parametrize("text", REMEDIES)
def test_what_is_often_meant_is_told(text: str) -> None:
    """The parser's words alone say nothing to somebody who wrote a star, an address or a pattern."""
    (message,) = _faults(text)

    assert ": not valid YAML: " in message
    assert REMEDIES[text] == message[-len(REMEDIES[text]) :]


@pytest.mark.parametrize("case", SYNTAX)
def test_what_cannot_be_read_is_a_fault_with_its_place(case: str) -> None:
    """Text YAML would choke on, or read in its own way, is one fault."""
    text, message = SYNTAX[case]

    assert (message,) == _faults(text)


def test_the_deepest_nesting_is_read_and_one_more_is_not() -> None:
    """The depth ceiling is exact."""
    _parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)

    assert "nested deeper" in _faults("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))[0]


def test_bottomless_nesting_is_refused_quickly() -> None:
    """Nesting is refused as it is met, before the rest is read."""
    assert "nested deeper" in _faults("[" * 500_000)[0]


def test_an_alias_bomb_is_refused() -> None:
    """Aliases are never followed."""
    bomb = "a: &a [x, x]\n" + "\n".join(f"{c}: &{c} [*a, *a]" for c in "bcdef")

    assert any("alias '*a'" in line for line in _faults(bomb))


def test_a_byte_order_mark_is_accepted() -> None:
    """Editors write it, and it changes nothing."""
    assert isinstance(_parse("\ufeffa: b"), Mapping)


TEXTS = {"abc": "abc", "'no'": "no", '"1"': "1", "1e3": "1e3", "a b": "a b", "''": "", "08": "08"}


@pytest.mark.parametrize("written", TEXTS)
def test_a_text_is_what_stands_there(written: str) -> None:
    """Texts come as written; quoted ones are never guessed."""
    faults = Faults()

    assert TEXTS[written] == yamltext.text(_value(written), faults)
    faults.check()


GUESSED = ["no", "Yes", "on", "1", "0755", "1_000", "22:22", "1.10", ".nan", "~", "", "2026-01-03", "0x1F"]


@pytest.mark.parametrize("written", GUESSED)
def test_what_yaml_would_guess_is_no_text(written: str) -> None:
    """Plain words with another meaning in YAML have to be quoted."""
    faults = Faults()

    assert yamltext.text(_value(written), faults) is None
    with pytest.raises(ConfigError, match=r"quote it|is written ''"):
        faults.check()


@pytest.mark.parametrize(("written", "value"), [("0", 0), ("10", 10), ("-3", -3)])
def test_an_integer_is_plain_decimal(written: str, value: int) -> None:
    """The one spelling of an integer is read."""
    assert value == yamltext.integer(_value(written), Faults(), least=-3, most=10)


@pytest.mark.parametrize(
    "written",
    ["0755", "1_000", "22:22", "0x1F", "1e3", "true", "+1", "1.0", "'1'", "~", "[1]", "11", "-4", "9" * 5000],
)
def test_other_spellings_and_other_sizes_are_no_integer(written: str) -> None:
    """What YAML or Python would also take for a number is a fault."""
    faults = Faults()

    assert yamltext.integer(_value(written), faults, least=-3, most=10) is None
    with pytest.raises(ConfigError, match=r"plain decimal|is not between -3 and 10"):
        faults.check()


DURATIONS = {"250ms": 0.25, "30s": 30.0, "5m": 300.0, "2h": 7200.0, "1d": 86400.0, "'1s'": 1.0}


@pytest.mark.parametrize("written", DURATIONS)
def test_a_duration_is_seconds(written: str) -> None:
    """Every unit comes out in seconds."""
    assert DURATIONS[written] == yamltext.duration(_value(written), Faults())


@pytest.mark.parametrize(
    "written", ["30", "0s", "1.5s", "-1s", "01s", "5min", "1D", "~", "2d", "s", "9" * 99 + "s"]
)
def test_a_duration_needs_its_unit_and_bounds(written: str) -> None:
    """Without unit, with another, or out of bounds it is a fault."""
    faults = Faults()

    assert yamltext.duration(_value(written), faults, most=86400) is None
    with pytest.raises(ConfigError, match=r"a duration with a unit|between 1ms and 1d"):
        faults.check()


SIZES = {"512B": 512, "64KiB": 65536, "1MiB": 1048576, "2GiB": 2147483648}


@pytest.mark.parametrize("written", SIZES)
def test_a_size_is_bytes(written: str) -> None:
    """Every unit comes out in bytes."""
    assert SIZES[written] == yamltext.size(_value(written), Faults())


@pytest.mark.parametrize("written", ["512", "1KB", "1kib", "0B", "3GiB", "0x1B", "{}"])
def test_a_size_needs_its_unit_and_bounds(written: str) -> None:
    """Without unit, with another, or out of bounds it is a fault."""
    faults = Faults()

    assert yamltext.size(_value(written), faults, most=2**31) is None
    with pytest.raises(ConfigError, match=r"a size with a unit|between 1B and 2GiB"):
        faults.check()


def test_the_keys_of_a_mapping_are_checked_against_a_table() -> None:
    """Unknown and missing keys are told apart, and the known one is still read."""
    faults = Faults()
    node = yamltext.keyed(
        _parse("comand: x\nother: z"),
        faults,
        keys=Keys(("command", "other"), ("command",)),
    )

    assert node is not None
    assert "z" == yamltext.text(node.entries["other"], faults)
    with pytest.raises(ConfigError) as caught:
        faults.check()
    assert (
        "f.yaml:1:1: unknown key 'comand' (did you mean 'command'?)",
        "f.yaml:1:1: missing key 'command'",
    ) == caught.value.faults


def test_long_values_are_cut_in_messages() -> None:
    """A message stays short whatever the file holds."""
    assert 300 > len(_faults(f"{'k' * 1000}: a\n{'k' * 1000}: b")[0])


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%#?,\n\t \\x0<=~@`\ud800\0é\u2028"), max_size=60))
def test_any_text_gives_a_node_or_a_configuration_error(text: str) -> None:
    """No text raises anything but ConfigError."""
    try:
        node = _parse(text)
    except ConfigError as error:
        node = Scalar(str(error), "a fault", plain=False, place=Place("f.yaml", 1, 1))

    assert not isinstance(node, Broken)


CUT = "the file begins with '---' and has no '...' at its end: it may have been cut short"


@pytest.mark.parametrize(
    "text", ["---\na: b\n...\n", "# x\n---\na: b\n...", "---\na: b\n... # the end\n# really\n\n"]
)
def test_a_file_with_both_marks_is_read(text: str) -> None:
    """Comments may stand around them."""
    assert isinstance(_parse(text), Mapping)
    assert yamltext.is_closed(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [("---\na: b\n", 2), ("---\na: b", 2), ("---\na: b\n# ...\n", 3), ("# x\n--- {a: b}\n\n\n", 2)],
)
def test_a_file_that_begins_with_a_mark_ends_with_one(text: str, line: int) -> None:
    """The fault stands at the last line, where the rest may be missing."""
    assert (f"f.yaml:{line}:1: {CUT}",) == _faults(text)
    assert not yamltext.is_closed(text)


@pytest.mark.parametrize("text", ["a: b\n", "a: b\n# ...\n", "a: '...'\n", "# only\n"])
def test_a_file_without_a_mark_at_its_end_is_not_closed(text: str) -> None:
    """It is read all the same."""
    assert not yamltext.is_closed(text)


def test_an_end_without_a_beginning_is_read() -> None:
    """Only the mark at the beginning asks for the other."""
    assert isinstance(_parse("a: b\n...\n"), Mapping)
    assert yamltext.is_closed("a: b\n...\n")


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.25, 1.0, 1.5, 61.0, 3600.0, 90000.0, 1e9])
def test_a_duration_is_spelled_as_it_is_read(seconds: float) -> None:
    """Whatever its unit."""
    assert seconds == yamltext.duration(_value(yamltext.spell_duration(seconds)), Faults(), least=0)


@given(st.integers(1, 10**11))
def test_equal_durations_are_equal_in_every_unit(milliseconds: int) -> None:
    """Nothing is lost between milliseconds and a larger unit."""
    written = _value(f"{milliseconds}ms")
    spelled = _value(yamltext.spell_duration(milliseconds / 1000))

    assert yamltext.duration(written, Faults()) == yamltext.duration(spelled, Faults())


@given(st.integers(1, 2**62))
def test_a_size_is_spelled_as_it_is_read(amount: int) -> None:
    """As far as twelve digits go."""
    spelled = yamltext.spell_size(amount)
    faults = Faults()

    assert (amount if len(spelled.rstrip("BKMGi")) <= 12 else None) == yamltext.size(_value(spelled), faults)


def _both_ways(text: str) -> None:
    """Fail unless the parser in C, where it is asked at all, gives what the other gives."""
    quick, slow = Faults(), Faults()
    node = yamltext.parse(text, "f.yaml", quick)
    with mock.patch.object(yamlevents, "is_quick", return_value=False):
        other = yamltext.parse(text, "f.yaml", slow)

    assert (other, slow.in_order()) == (node, quick.in_order())


@pytest.mark.parametrize(
    "character", ["\r", "\x85", "\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069"]
)
@pytest.mark.parametrize("rest", ["# seen as a comment", "'in quotes", "|\n  block"])
def test_what_hides_text_from_people_is_refused(character: str, rest: str) -> None:
    """YAML 1.1 ends lines where no editor does, and a terminal turns what stands behind the others."""
    faults = Faults()
    node = yamltext.parse(f"a: b\nc: {rest}{character}d: e\n", "f.yaml", faults)
    line = 2 + rest.count("\n")
    column = len(f"c: {rest}".rpartition("\n")[2]) + 1

    assert isinstance(node, Broken)
    with pytest.raises(ConfigError) as caught:
        faults.check()
    assert f"f.yaml:{line}:{column}: {character!r} lets people read" in str(caught.value)


def test_lines_may_end_as_on_windows() -> None:
    """It is the same text, at the same places, and as quick to read."""
    text = "a: 'b\n  c'\nd:\n  - e\nf: |\n  g\n  h\n"

    assert _parse(text) == _parse(text.replace("\n", "\r\n"))


@pytest.mark.parametrize("character", ["\u2013", "\u2026", "€", "→", "“", "\u2027", "\u2030", "\u200d"])
def test_ordinary_characters_are_read_quickly(character: str) -> None:
    """One dash in a comment must not make a large policy slow."""
    assert yamlevents.is_quick(f"a: b  # {character}\n")
    _both_ways(f"a: 'x{character}'  # {character}\nb: {{c{character}: [d{character}]}}\n")


POLICIES = sorted((Path(__file__).parents[1] / "data/policies").glob("*.yaml"))


@pytest.mark.parametrize("path", POLICIES, ids=[path.stem for path in POLICIES])
def test_both_parsers_read_the_same(path: Path) -> None:
    """Nodes, styles, places and messages."""
    _both_ways(path.read_bytes().decode(errors="replace"))


_PIECES = (
    *(
        "a",
        "b c",
        "ü",
        "1",
        "true",
        "",
        "~",
        "<<",
        "=",
        "what?",
        "'x'",
        "''",
        '"\\n"',
        '"\\x41"',
        "😀",
        "x\ny",
    ),
    *(": ", ":", ", ", "[", "]", "{", "}", "? ", "- ", "#", " # c", "|\n", "|2-\n", ">\n", "'", '"', "\\"),
    *("\n", "\n  ", "\n    ", "---\n", "\n...\n", "&x ", "*x", "!t ", "%", "-", "\t", "\r", "\ufeff", "\x85"),
)


@settings(max_examples=700, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=16).map("".join))
def test_both_parsers_read_the_same_of_anything(text: str) -> None:
    """Whoever has no libyaml sees no difference but the time."""
    _both_ways(text)


@pytest.mark.parametrize("text", ["a: {b?: c}\n", "a: [b ?c]\n", "a: {b: what? no}\n", "a: what? this\n"])
def test_question_marks_in_brackets_are_left_to_one_parser(text: str) -> None:
    """The other takes what this one does not."""
    _both_ways(text)


def test_without_libyaml_everything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only a matter of time."""
    monkeypatch.setattr(yamlevents, "_QUICK", None)

    assert not yamlevents.is_quick("a: b")
    assert isinstance(_parse("a: b"), Mapping)


@pytest.mark.skipif(yamlevents._QUICK is None, reason="PyYAML without libyaml")
def test_the_shipped_files_are_read_quickly() -> None:
    """No character in them asks for the slow parser, and it gives no fault."""
    shipped = Path(__file__).parents[2] / "config"

    assert all(yamlevents.is_quick(path.read_text()) for path in shipped.glob("*.yaml"))
