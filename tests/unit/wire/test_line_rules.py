"""PROTOCOL 7 says how a line becomes words; here its rules are followed to the letter."""

import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.catalogues import document_tables

_SEPARATORS = " \t\r\n"
_CHARACTERS = " \t\r\n'\"\\a#$|;&*-=~`\v\f\xa0\u20ac"


def split(line: str) -> list[str] | None:
    """Return the words by the rules of PROTOCOL 7.1, None for a line that cannot be split."""
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(line):
        character = line[at]
        if character in _SEPARATORS:  # rule 1
            words += [] if word is None else [word]
            word, at = None, at + 1
            continue
        taken = _piece(line, at)
        if taken is None:
            return None
        piece, at = taken
        word = (word or "") + piece
    return words if word is None else [*words, word]


def _piece(line: str, at: int) -> tuple[str, int] | None:
    """Return one piece of a word and where it ends."""
    character = line[at]
    if character == "'":  # rule 3
        end = line.find("'", at + 1)
        return None if end < 0 else (line[at + 1 : end], end + 1)
    if character == '"':  # rule 4
        return _double_quoted(line, at + 1)
    if character == "\\":  # rule 2
        return None if at + 1 == len(line) else (line[at + 1], at + 2)
    return character, at + 1  # rule 5


def _double_quoted(line: str, at: int) -> tuple[str, int] | None:
    piece = ""
    while at < len(line):
        if line[at] == '"':
            return piece, at + 1
        if line[at] == "\\" and line[at + 1 : at + 2] in {"\\", '"'}:
            at += 1
        piece += line[at]
        at += 1
    return None


def shlex_split(line: str) -> list[str] | None:
    """Return what the server's splitter makes of a line."""
    try:
        return shlex.split(line)
    except ValueError:
        return None


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=_CHARACTERS, max_size=14))
def test_the_rules_are_those_of_the_splitter(line: str) -> None:
    """Whoever follows the document splits as the server does, quirk by quirk."""
    assert split(line) == shlex_split(line)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet=_CHARACTERS, max_size=8), min_size=1, max_size=5))
def test_words_quoted_as_the_document_says_come_back(words: list[str]) -> None:
    """The recipe for callers in 7.2 loses nothing, not even an empty last word."""
    line = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)

    assert words == shlex_split(line)


EXAMPLES = document_tables("PROTOCOL.md", "7.3 Examples")[0]


@pytest.mark.parametrize(("line", "words"), EXAMPLES)
def test_the_documents_examples_are_true(line: str, words: str) -> None:
    """Each example of 7.3 is what happens."""
    expected = None if words == "bad-line" else json.loads(words)

    assert expected == shlex_split(json.loads(line))
