"""The words of a line as it is typed, and what only a shell would act on."""

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.client.errors import UsageError
from rexecd.client.interactive import check_plain
from rexecd.client.scanning import Word, scan


@given(st.text(alphabet="ab \t\n'\"\\|$(#é", max_size=14))
def test_words_are_those_of_shlex(line: str) -> None:
    """What shlex cannot split is scanned all the same."""
    found = [word.text for word in scan(line).words]

    with contextlib.suppress(ValueError):
        assert shlex.split(line) == found


def test_words_have_their_places() -> None:
    """Only the last one can be open."""
    assert scan("  say 'a b'").words == (Word(2, "say", is_open=False), Word(6, "a b", is_open=True))
    assert scan("say 'a b ").words[-1] == Word(4, "a b ", is_open=True)
    assert [False] == [word.is_open for word in scan("say ").words]


@pytest.mark.parametrize(
    ("line", "operator"),
    {
        "disk | less": "|",
        "disk|less": "|",
        "disk > file": ">",
        "disk 2>&1": ">",
        "disk < file": "<",
        "disk; ls": ";",
        "disk && ls": "&",
        "disk &": "&",
        "echo $(date)": "$(",
        "echo `date`": "`",
        "echo 'a' | b": "|",
        'echo "a" | "b"': "|",
        "echo \\\\| x": "|",
        "echo $HOME * ? ~ # ( ) { } ! $x": "",
        "echo 'a | b > c < d ; e & f $(g) `h`'": "",
        'echo "a | b > c < d ; e & f $(g) `h`"': "",
        "echo \\| \\> \\< \\; \\& \\`": "",
        "echo 'it'\\''s | one'": "",
        "echo $\\(x": "",
    }.items(),
)
def test_what_only_a_shell_would_act_on_is_found(line: str, operator: str) -> None:
    """The first of it, and nothing that is quoted."""
    assert operator == scan(line).operator


def test_a_line_for_a_shell_is_refused_in_one_line() -> None:
    """Saying what to do; a pasted text of several lines is none."""
    with pytest.raises(
        UsageError, match=r"^no shell here, nothing was sent; quote \| to pass it on as it is$"
    ):
        check_plain("disk | less")
    with pytest.raises(UsageError, match="several lines at once are not taken, nothing was sent"):
        check_plain("disk\nreboot")
    check_plain("echo 'a | b'")
