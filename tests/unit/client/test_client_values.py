"""Values from files, and where they stand in the line."""

import os
import shlex
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.client.errors import UsageError
from rexecd.client.request import line_of_words
from rexecd.client.values import ValueFile, make_line, parse_value_file
from rexecd.limits import MAX_LINE

SECRET = "hunter2-of-the-tests"
NO_CONTROL = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


def keep(directory: Path, data: bytes, name: str = "password") -> ValueFile:
    """Write a value and return which file has it."""
    path = directory / name
    path.write_bytes(data)
    return ValueFile(name, str(path))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("login",), ["login", "--password=a b'c"]),
        (("login", "my ann"), ["login", "--password=a b'c", "my ann"]),
        (("login 'my ann' x",), ["login", "--password=a b'c", "my ann", "x"]),
        (("login", "--", "ann"), ["login", "--password=a b'c", "--", "ann"]),
        (("login -- ann",), ["login", "--password=a b'c", "--", "ann"]),
        (("login", "--name"), ["login", "--password=a b'c", "--name"]),
    ],
)
def test_a_value_stands_right_behind_the_name(
    tmp_path: Path, command: tuple[str, ...], words: list[str]
) -> None:
    """There nothing can take it for a positional value or for that of another parameter."""
    assert words == shlex.split(make_line(command, [keep(tmp_path, b"a b'c\n")]))


def test_several_values_keep_their_order(tmp_path: Path) -> None:
    """One word each, also where one is empty."""
    files = [keep(tmp_path, b"1", "one"), keep(tmp_path, b"", "two"), keep(tmp_path, b"\n", "three")]

    assert ["x", "--one=1", "--two=", "--three=", "y"] == shlex.split(make_line(["x", "y"], files))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"v", "v"),
        (b"v\n", "v"),
        (b"v\n\n", "v\n"),
        (b"v\r\n", "v\r"),
        (b" v ", " v "),
        ("\u20ac".encode(), "\u20ac"),
    ],
)
def test_one_newline_at_the_end_is_no_part_of_a_value(tmp_path: Path, data: bytes, value: str) -> None:
    """Editors put it there; everything else is meant."""
    assert ["x", f"--password={value}"] == shlex.split(make_line(["x"], [keep(tmp_path, data)]))


@given(value=NO_CONTROL, words=st.lists(NO_CONTROL, min_size=2, max_size=4))
@settings(max_examples=100, deadline=None)
def test_no_value_becomes_two_words(
    tmp_path_factory: pytest.TempPathFactory, value: str, words: list[str]
) -> None:
    """Whatever quotes, blanks and dashes are in it, and in the words around it."""
    file = keep(tmp_path_factory.getbasetemp(), value.encode() + b"\n")
    name, *rest = words

    assert [name, f"--password={value}", *rest] == shlex.split(make_line(words, [file]))


def test_without_files_a_single_word_is_sent_as_it_is() -> None:
    """The server is the one to judge it."""
    assert line_of_words(["open 'quote"]) == "open 'quote"
    assert line_of_words(["a", "b c"]) == "a 'b c'"
    assert line_of_words([]) == ""


def test_a_value_can_come_from_a_pipe(tmp_path: Path) -> None:
    """In as many pieces as its writer likes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(b"in ")
            pipe.write(b"pieces\n")

    writer = threading.Thread(target=write)
    writer.start()
    line = make_line(["x"], [ValueFile("password", str(path))])
    writer.join()

    assert line == "x '--password=in pieces'"


def test_the_longest_value_makes_the_longest_line(tmp_path: Path) -> None:
    """To the byte; and one more is one too many."""
    size = MAX_LINE - len("x --password=")

    assert MAX_LINE == len(make_line(["x"], [keep(tmp_path, b"v" * size + b"\n")]))
    with pytest.raises(UsageError, match=f"the command has {MAX_LINE + 1} bytes, allowed are {MAX_LINE}"):
        make_line(["x"], [keep(tmp_path, b"v" * (size + 1))])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (SECRET.encode() * 1_000, f"more than {MAX_LINE} bytes"),
        (SECRET.encode() + b"\n" * MAX_LINE, f"more than {MAX_LINE} bytes"),
        (b"'" * 4_000 + SECRET.encode(), f"the command has 200.. bytes, allowed are {MAX_LINE}"),
        (SECRET.encode() + b"\xff", f"not valid UTF-8 at byte {len(SECRET) + 1}"),
    ],
)
def test_a_value_that_cannot_be_sent_is_not_shown(tmp_path: Path, data: bytes, said: str) -> None:
    """The message goes to a terminal or the log of a CI job."""
    with pytest.raises(UsageError, match=said) as caught:
        make_line(["x"], [keep(tmp_path, data)])

    assert SECRET not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nowhere/at all", "value file '/nowhere/at all': No such file or directory"),
        ("/", "value file '/': neither a file nor a pipe"),
        ("/dev/zero", "value file '/dev/zero': neither a file nor a pipe"),
        ("nul\0", r"value file 'nul\\x00': embedded null byte"),
        ("-", "value file '-': No such file or directory"),
    ],
)
def test_what_is_no_file_is_named(path: str, said: str) -> None:
    """A device could be read without an end."""
    with pytest.raises(UsageError, match=f"^{said}$"):
        make_line(["x"], [ValueFile("password", path)])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("open 'quote", "the command cannot be split: no closing quotation"),
        ("end\\", "the command cannot be split: no escaped character"),
        ("", "the command is empty"),
        (" \t", "the command is empty"),
    ],
)
def test_a_value_is_put_only_into_a_line_that_can_be_split(tmp_path: Path, line: str, said: str) -> None:
    """A value behind an open quote would be part of another word."""
    with pytest.raises(UsageError, match=f"^{said}$"):
        make_line([line], [keep(tmp_path, SECRET.encode())])


def test_a_line_that_is_too_long_reads_no_file() -> None:
    """Splitting takes time in the square of the length."""
    with pytest.raises(UsageError, match=f"allowed are {MAX_LINE}"):
        make_line(["x" * (MAX_LINE + 1)], [ValueFile("password", "/nowhere")])


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "a=b": ("a", "b"),
        "a==": ("a", "="),
        "_1=/dev/fd/3": ("_1", "/dev/fd/3"),
        "a=b=c": ("a", "b=c"),
    }.items(),
)
def test_name_and_file_stand_apart_at_the_first_sign(text: str, expected: tuple[str, str]) -> None:
    """A file may have the sign in its name, a parameter cannot."""
    assert expected == parse_value_file(text)
