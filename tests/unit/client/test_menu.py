"""What a session greets with."""

import pytest

from rexecd.client.menu import columns, make_menu
from rexecd.printable import printable
from rexecd.wire.messages import Entry


def entry(name: str, summary: str = "", usage: str = "") -> Entry:
    """Return one command of a listing."""
    return Entry(name, usage, summary, "", (), "")


def test_a_few_commands_stand_with_what_they_do() -> None:
    """In a table."""
    assert make_menu([entry("disk", "Free space", "disk [place]"), entry("uptime")], printable, 80) == (
        "You may run:\n  disk [place]  Free space\n  uptime\n'help NAME' shows one command, 'exit' leaves.\n"
    )


def test_many_commands_stand_with_their_names() -> None:
    """In columns, in order downwards."""
    assert make_menu([entry(f"c{number:02}", "long" * 20) for number in range(22)], printable, 24) == (
        "You may run:\n"
        "  c00  c06  c12  c18\n"
        "  c01  c07  c13  c19\n"
        "  c02  c08  c14  c20\n"
        "  c03  c09  c15  c21\n"
        "  c04  c10  c16\n"
        "  c05  c11  c17\n"
        "22 commands: 'help' says what each does; 'help NAME' shows one command, 'exit' leaves.\n"
    )


def test_very_many_are_counted() -> None:
    """The screen is not the listing."""
    menu = make_menu([entry(f"command{number}") for number in range(1999)], printable, 80)

    assert "1999 commands (1799 more are not shown): 'help' says" in menu
    assert menu.count("\n") < 60


def test_who_may_run_nothing_is_told_so() -> None:
    """And whom to ask."""
    assert "You may run nothing here: ask the operator. 'exit' leaves.\n" == make_menu([], printable, 80)


@pytest.mark.parametrize("number", [1, 20, 21])
@pytest.mark.parametrize("width", [0, 24, 80, 300])
def test_nothing_hostile_breaks_out_of_its_line(number: int, width: int) -> None:
    """Escapes, line ends, marks and texts of any length."""
    texts = [
        "\x1b[2J\x1b]0;x\x07" * 300,
        "a\nb\r\n" * 300,
        "\u202e" * 4000,
        "日" * 4000,
        "e" + "\u0301" * 4000,
    ]
    for text in texts:
        menu = make_menu([entry(text, text, text)] * number, printable, width)
        lines = menu.split("\n")

        assert all(line.isprintable() for line in lines)
        assert all(columns(line) <= max(width, 24) for line in lines[:-2])
        assert len(lines) <= 3 + 2 * number
        assert len(menu) < 50_000
