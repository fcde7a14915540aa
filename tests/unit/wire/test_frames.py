"""Cutting a stream into frames."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import RemoteProtocolError
from rexecd.wire.frames import HEADER_SIZE, FrameBuffer, header, pack


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return `data` in pieces."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(0, 500), max_size=12))
def test_any_cut_of_a_stream_gives_the_same_frames(contents: list[bytes], places: list[int]) -> None:
    """The network may cut where it likes."""
    buffer, found = FrameBuffer(), []
    for piece in cut(b"".join(map(pack, contents)), places):
        buffer.feed(piece)
        while (frame := buffer.next_frame(50)) is not None:
            kind, body = frame
            found.append(bytes([kind]) + body)

    assert contents == found
    assert len(buffer) == 0


@pytest.mark.parametrize("size", [0, 11, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_length_outside_the_bounds_is_refused_from_four_bytes(size: int) -> None:
    """Nothing is held for a frame that is not allowed."""
    buffer = FrameBuffer()
    buffer.feed(size.to_bytes(4, "big"))

    with pytest.raises(RemoteProtocolError, match=f"frame of {size} bytes, allowed are 1 to 10"):
        buffer.next_frame(10)


@pytest.mark.parametrize("size", [1, 10])
def test_a_length_at_the_bounds_is_taken(size: int) -> None:
    """The smallest and the largest frame pass."""
    buffer = FrameBuffer()
    buffer.feed(pack(b"x" * size) + b"rest")

    assert (ord("x"), b"x" * (size - 1)) == buffer.next_frame(10)
    assert len(b"rest") == len(buffer)


def test_three_bytes_of_a_length_are_not_judged() -> None:
    """A length is judged when it is complete."""
    buffer = FrameBuffer()
    buffer.feed(b"\xff\xff\xff")

    assert buffer.next_frame(10) is None


def test_a_header_and_its_body_are_the_same_bytes_as_a_packed_frame() -> None:
    """The relay's short cut writes what everybody else writes."""
    assert pack(b"\x84body") == header(0x84, len(b"body")) + b"body"
    assert len(header(0x84, 4)) == HEADER_SIZE
