"""What becomes of the schema in an entry: the server's text is not to be trusted."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rexecd.client.listing import as_object, read_schema
from rexecd.client.report import dump
from rexecd.limits import MAX_SCHEMA
from tests.unit.client.fake_server import DISK

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
@settings(max_examples=100, deadline=None)
def test_an_object_is_passed_on_as_it_is(schema: dict[str, object]) -> None:
    """What a program reads is what the server wrote."""
    assert schema == read_schema(json.dumps(schema))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"{}"',
        "{",
        "{} {}",
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": [-Infinity]}',
        '{"a": {"b": 1e999}}',
        '{"a": ' + "9" * 5_000 + "}",
        '{"a": ' + "[" * 40 + "]" * 40 + "}",
        '{"a":' * 40 + "1" + "}" * 40,
        "[" * MAX_SCHEMA,
        '{"a":' * (MAX_SCHEMA // 5),
        '{"a":' * 2_700 + "1" + "}" * 2_700,
        "\ufeff{}",
        "\x00",
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode() + f"-{len(text)}",
)
def test_what_is_no_object_or_cannot_be_written_again_is_none(text: str) -> None:
    """Broken, deep, not finite: the command is listed without a schema."""
    assert read_schema(text) is None


@given(st.text() | st.text(alphabet='{}[]":,0e9- \\ud\x1b'))
@example('{"\\ud800": "\\udfff\\u001b\\u202e"}')
@settings(max_examples=300, deadline=None)
def test_whatever_the_server_sends_becomes_one_line_of_strict_json(text: str) -> None:
    """ASCII, and without the words for numbers that are none."""
    line = dump([as_object(DISK._replace(schema=text))])

    def refuse(word: str) -> None:
        raise AssertionError(word)

    (told,) = json.loads(line, parse_constant=refuse)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert told["schema"] is None or isinstance(told["schema"], dict)


@pytest.mark.parametrize(("depth", "expected"), [(31, True), (32, False)])
def test_nesting_is_bounded(depth: int, expected: bool) -> None:
    """The outermost object counts too."""
    text = '{"a": ' + "[" * depth + "]" * depth + "}"

    assert expected == (read_schema(text) is not None)
