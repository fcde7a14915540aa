"""Printing nodes: what is read again is what was printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.printable import printable
from rexecd.scalars import quote, value_of
from rexecd.yamlprint import render
from rexecd.yamltext import Faults, Node, Place, Scalar, parse


def read(text: str) -> Node:
    """Return the node of a text without faults."""
    faults = Faults()
    node = parse(text, "x", faults)
    faults.check()
    return node


@pytest.mark.parametrize(
    "text",
    [
        "a: b\n",
        'a: "no"\n"yes": [1, "2", [x, {}], []]\n',
        "a: x\u00ady\n",
        "a: x\ue000y\nb: 'é'\n",
        "a: |\n  one\n\n  two\n",
        "a: one\n  two\n",
        '"on": {"a b": c}\n',
        "a:\n- - x\n  - y\n- {k: v}\n",
    ],
)
def test_what_is_printed_is_read_again_as_the_same(text: str) -> None:
    """Also as a terminal is given it, which escapes what could control it."""
    node = read(text)
    shown = "\n".join(printable(line) for line in render(node).split("\n"))

    assert value_of(node) == value_of(read(shown))


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_any_text_survives(texts: dict[str, str]) -> None:
    """Quoted where it has to be."""
    usable = {
        key: value
        for key, value in texts.items()
        if not any(ord(c) == 0 or 0xD800 <= ord(c) < 0xE000 for c in key + value)
    }
    node = read("{" + ", ".join(f"{quote(key)}: {quote(value)}" for key, value in usable.items()) + "}")

    assert usable == value_of(read(render(node) if usable else "{}"))


def test_a_plain_text_of_plain_letters_stays_plain() -> None:
    """Nobody wants to read quotes around every word."""
    assert "a b/c" == render(Scalar("a b/c", "a text", plain=True, place=Place("x", 1, 1)))
