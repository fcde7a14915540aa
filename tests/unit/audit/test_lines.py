"""The lines of a trail, read while it is written."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd import limits
from rexecd.audit import lines
from rexecd.audit.lines import Line


class _Growing:
    """A file to which somebody writes between two looks."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def readline(self, _most: int) -> bytes:
        """Return what is there by now."""
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"one\n", b"two\n"], [b"one\n", b"two\n"]),
        ([b"one\n", b"tw", b"o\n", b"three\n"], [b"one\n", b"two\n", b"three\n"]),
        ([b"one\n", b"tw", b"", b"o\n", b"three\n"], [b"one\n", b"tw"]),
        ([b"one\n", b"t", b"w", b"o\n"], [b"one\n", b"tw"]),
    ],
)
def test_the_rest_of_a_line_that_is_being_written_is_no_line(
    monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], expected: list[bytes]
) -> None:
    """Whoever reads on a moment later would take it for one, and for a fault in the trail."""

    @contextlib.contextmanager
    def opened(_path: Path) -> Iterator[_Growing]:
        yield _Growing(*pieces)

    monkeypatch.setattr(lines, "opened", opened)

    assert expected == [line.data for line in lines.lines(Path("trail"))]


def test_a_line_that_is_too_long_does_not_hide_those_behind_it(tmp_path: Path) -> None:
    """It is cut where a record has to end, and said to be none."""
    path = tmp_path / "trail"
    path.write_bytes(b"x" * (limits.MAX_RECORD + 100) + b"\none\n")

    assert Line(path, 3, b"one\n") == list(lines.lines(path))[-1]
