"""The line that says how far a long transfer has come."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rexecd.cli import progress
from rexecd.cli.progress import Progress, make_line, spell_size
from rexecd.client.results import Stream

Made = Callable[..., Progress]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (4_300_000, "4.1 MiB"), (2**60, "1048576.0 TiB")],
)
def test_sizes_are_spelled_in_their_unit(size: int, expected: str) -> None:
    """For people."""
    assert expected == spell_size(size)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0, 3 * 2**20, None, 3.0), "rexec: 3.0 MiB received, 1.0 MiB/s, 0:03"),
        ((2**20, 0, None, 64.0), "rexec: 1.0 MiB sent, 16.0 KiB/s, 1:04"),
        ((2**20, 0, 2**22, 2.0), "rexec: 1.0 MiB of 4.0 MiB (25 %) sent, 512.0 KiB/s, 0:02"),
        ((9, 9, 3, 1.0), "rexec: 9 B of 3 B (100 %) sent, 9 B received, 18 B/s, 0:01"),
        ((0, 0, 0, 0.0), "rexec: 0 B/s, 0:00"),
    ],
)
def test_the_line_says_how_much_of_how_much_and_how_fast(
    given: tuple[int, int, int | None, float], expected: str
) -> None:
    """What is not known is left out."""
    assert expected == make_line(*given)


class Screen:
    """What a terminal shows in its last line, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.drawn: list[str] = []
        self.passed: list[tuple[Stream, bytes]] = []

    def make(self, monkeypatch: pytest.MonkeyPatch, *terminals: int) -> Progress:
        """Return a progress where these descriptors are terminals."""
        monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor in terminals)
        sink = lambda stream, data: self.passed.append((stream, data))  # noqa: E731 - a double
        return Progress(sink, self.drawn.append, lambda: self.now)

    @property
    def shown(self) -> str:
        """Return the line that stands there, without the blanks behind it."""
        return "".join(self.drawn).rpartition("\r")[2].rstrip()


def test_a_short_transfer_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds are none to wait for."""
    screen = Screen()
    with screen.make(monkeypatch, 2) as made:
        for screen.now in (0.5, 1.0, 1.9):
            made.take(Stream.STDOUT, b"x" * 1000)

    assert [] == screen.drawn


def test_a_long_one_is_counted_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is taken away at the end, whatever the end was."""
    screen = Screen()
    with pytest.raises(KeyboardInterrupt), screen.make(monkeypatch, 2) as made:
        for screen.now in (1.0, 2.5, 2.6, 4.0):
            made.take(Stream.STDOUT, b"x" * 2**20)
        assert "rexec: 4.0 MiB received, 1.0 MiB/s, 0:04" == screen.shown
        raise KeyboardInterrupt

    assert "" == screen.shown
    assert 3 == len(screen.drawn)


def test_what_the_command_says_has_the_line_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is taken away before, and comes back when that line has ended."""
    screen = Screen()
    made = screen.make(monkeypatch, 2)
    screen.now = 3.0
    made.take(Stream.STDOUT, b"x")
    made.take(Stream.STDERR, b"half a ")
    screen.now = 4.0
    made.take(Stream.STDOUT, b"x")
    assert "" == screen.shown

    made.take(Stream.STDERR, b"line\n")
    screen.now = 5.0
    made.take(Stream.STDOUT, b"x")

    assert screen.shown.startswith("rexec: ")
    assert [b"x", b"half a ", b"x", b"line\n", b"x"] == [data for _, data in screen.passed]


@pytest.mark.parametrize(("columns", "expected"), [(32, 31), (200, 56), (0, 56)])
def test_the_line_fits_the_terminal_it_is_on(
    monkeypatch: pytest.MonkeyPatch, columns: int, expected: int
) -> None:
    """Standard error's: output goes elsewhere, and a line that wraps cannot be taken away again."""
    screen = Screen()
    made = screen.make(monkeypatch, 2)

    def measure(descriptor: int) -> os.terminal_size:
        if descriptor != 2:
            raise OSError
        return os.terminal_size((columns, 24))

    monkeypatch.setattr(os, "get_terminal_size", measure)
    made.send(2**20)
    screen.now = 3.0
    made.take(Stream.STDOUT, b"x" * 2**20)

    assert expected == len(screen.shown)


def test_output_that_is_seen_itself_needs_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal only the input's way is shown."""
    screen = Screen()
    made = screen.make(monkeypatch, 1, 2)
    screen.now = 3.0
    made.take(Stream.STDOUT, b"text")
    made.send(5)

    assert [] == screen.drawn


def test_who_types_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment the command takes input."""
    screen = Screen()
    made = screen.make(monkeypatch, 0, 2)
    screen.now = 3.0
    made.take(Stream.STDOUT, b"x")
    assert screen.shown

    assert 0 == made.source().descriptor
    screen.now = 9.0
    made.take(Stream.STDOUT, b"x")

    assert "" == screen.shown


def test_a_file_says_how_much_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From where it is read on."""
    (tmp_path / "file").write_bytes(b"x" * 1000)
    screen = Screen()
    with (tmp_path / "file").open("rb") as file:
        file.seek(200)
        monkeypatch.setattr(progress, "_STDIN", file.fileno())
        made = screen.make(monkeypatch, 2)
        source = made.source()
        screen.now = 3.0

        assert 800 == len(source.read() or b"")

    assert "rexec: 800 B of 800 B (100 %) sent, 267 B/s, 0:03" == screen.shown


@pytest.mark.parametrize(
    ("size", "most"), [((20, 5), 19), ((1, 1), 0), ((0, 0), 79), (OSError(), 79)], ids=str
)
def test_the_line_is_as_long_as_the_terminal_it_stands_on(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] | OSError, most: int
) -> None:
    """That is standard error's; a longer line would be wrapped, and could not be taken away."""
    asked: list[int] = []

    def get_size(descriptor: int) -> os.terminal_size:
        asked.append(descriptor)
        if isinstance(size, OSError):
            raise size
        return os.terminal_size(size)

    monkeypatch.setattr(os, "get_terminal_size", get_size)
    monkeypatch.setenv("COLUMNS", "200")
    screen = Screen()
    made = screen.make(monkeypatch, 2)
    screen.now = 3.0
    made.send(2**40)
    made.take(Stream.STDOUT, b"x" * 1000)

    assert most >= len(screen.shown)
    assert {2} == set(asked)
