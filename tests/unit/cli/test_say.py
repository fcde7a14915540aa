"""How our programs speak, and what never gets through."""

import io
import os
import sys
import threading
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rexecd.cli import say
from rexecd.printable import printable

#: Controls, format characters, surrogates, line and paragraph separators.
STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text())
@example("\x1b]0;title\x07")
@settings(max_examples=300, deadline=None)
def test_nothing_that_steers_is_left(text: str) -> None:
    """Whatever the text."""
    assert not any(unicodedata.category(character) in STEERING for character in printable(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "\x1b[2J": "\\x1b[2J",
        "a\nb\r\tc": "a\\x0ab\\x0d\\x09c",
        "\x00\x7f\x9b": "\\x00\\x7f\\x9b",
        "\u202egnp.exe": "\\u202egnp.exe",
        "a\u2028b\u2029c": "a\\u2028b\\u2029c",
        "\u200b\ufeff\u2066": "\\u200b\\ufeff\\u2066",
        "\udcff\ud800": "\\udcff\\ud800",
        "\U000e0041": "\\U000e0041",
    }.items(),
)
def test_a_steering_character_is_shown_by_its_number(text: str, expected: str) -> None:
    """As Python would write it."""
    assert expected == printable(text)


@pytest.mark.parametrize(
    "text", ["", "plain", "Grüße", "日本語", "שלום", "سلام", "नमस्ते", "a\xa0b", "C:\\x", "🙂"]
)
def test_letters_of_every_script_stay(text: str) -> None:
    """Only what could deceive is written differently."""
    assert text == printable(text)


def test_an_error_is_a_prefix_a_message_and_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, escaped."""
    say.error("rexec", "no\x1b", "try \u202e")
    say.error("rexecd", "no")
    say.note("rexecd", "well")
    say.aside("[well]")

    assert (
        "",
        "rexec: error: no\\x1b\nrexec: hint: try \\u202e\nrexecd: error: no\nrexecd: well\n[well]\n",
    ) == (capsys.readouterr())


@pytest.mark.parametrize("token", ["rxt_Unit0001_" + "s" * 49, "rxt_Unit0001_sss", "rxt_Unit"])
def test_a_token_is_never_part_of_a_complaint(capsys: pytest.CaptureFixture[str], token: str) -> None:
    """Not even a mistyped one in a mistyped option."""
    say.error("rexec", f"unrecognized arguments: --tokn={token}", f"not {token}")

    assert capsys.readouterr().err == (
        "rexec: error: unrecognized arguments: --tokn=rxt_...\nrexec: hint: not rxt_...\n"
    )


def test_complaining_to_nobody_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit status still tells."""
    monkeypatch.setattr(sys, "stderr", None)
    say.error("rexec", "no")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    say.error("rexec", "no")


def test_an_answer_keeps_its_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """Foreign text in it is escaped."""
    say.out("one\ntwo\x1b")

    assert capsys.readouterr().out == "one\ntwo\\x1b\n"


def test_an_answer_fits_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its encoding lacks is escaped, not an error."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    say.out("Grüße")

    assert narrow.buffer.getvalue() == b"Gr\\xfc\\xdfe\n"


def test_everything_is_written_where_the_descriptor_does_not_block() -> None:
    """A terminal shared with a program that made it non-blocking loses nothing."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    got = bytearray()

    def drain() -> None:
        while data := os.read(read, 65536):
            got.extend(data)

    thread = threading.Thread(target=drain)
    data = bytes(range(256)) * 4000
    thread.start()
    say.write(write, data)
    os.close(write)
    thread.join()
    os.close(read)

    assert data == got


@pytest.mark.parametrize(("number", "said"), [(0, "0 rules"), (1, "1 rule"), (2, "2 rules")])
def test_one_of_a_thing_is_no_many(number: int, said: str) -> None:
    """Whatever is counted."""
    assert said == say.count(number, "rule")
