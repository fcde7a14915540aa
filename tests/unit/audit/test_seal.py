"""The chain: every changed byte and every moved line is found, and nothing else is."""

import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.audit.seal import NOTHING, Broken, Chain, Change, evolve, number
from tests.trails import encoded

KEY = bytes(range(32))


def made(count: int, key: bytes = KEY) -> list[bytes]:
    """Return the lines of a small trail."""
    chain, lines = Chain.begin(key), []
    for index in range(count):
        line, chain = chain.seal(encoded({"rexec": {"count": index}}))
        lines.append(line)
    return lines


def follow(lines: list[bytes], key: bytes = KEY) -> Chain:
    """Return the chain behind all lines; raise Broken."""
    chain = Chain.begin(key)
    for line in lines:
        chain = chain.check(line)
    return chain


def test_a_line_is_what_the_document_says() -> None:
    """docs/AUDIT.md 3 in other words: anybody could write the verifier."""
    first, second = made(2)
    body = b'{"rexec":{"count":0,"sequence":1'
    seal = hmac.new(KEY, NOTHING + body, hashlib.sha256).digest()

    assert first == body + b',"seal":"' + seal.hex().encode() + b'"}}\n'
    key = hashlib.sha256(b"rexecd trail key step\x00" + KEY).digest()
    body = b'{"rexec":{"count":1,"sequence":2'
    digest = hashlib.sha256(NOTHING + first).digest()
    following = hmac.new(key, digest + body, hashlib.sha256).hexdigest()
    assert second == body + b',"seal":"' + following.encode() + b'"}}\n'


def test_a_whole_trail_is_followed_to_its_end() -> None:
    """The verifier ends where the writer stands."""
    chain = follow(made(20))

    assert chain.sequence == 21
    key = KEY
    for _ in range(20):
        key = evolve(key)
    assert chain.key == key


def test_sealing_moves_nothing() -> None:
    """A chain is a value: what was not written was not sealed."""
    chain = Chain.begin(KEY)
    chain.seal(b'{"rexec":{"x":1')

    assert chain == Chain.begin(KEY)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 4), st.data())
def test_any_changed_byte_is_found(at: int, data: st.DataObject) -> None:
    """Every byte of every line is covered, newline and quotes too."""
    lines = made(5)
    place = data.draw(st.integers(0, len(lines[at]) - 1))
    changed = bytearray(lines[at])
    changed[place] ^= data.draw(st.integers(1, 255))
    lines[at] = bytes(changed)
    with pytest.raises(Broken):
        follow(lines)


def test_an_upper_case_seal_is_another_seal() -> None:
    """One record has one spelling."""
    lines = made(1)
    lines[0] = lines[0][:-68] + lines[0][-68:-4].upper() + lines[0][-4:]
    with pytest.raises(Broken):
        follow(lines)


L = made(4)
CHANGES = {
    "deleted": ([L[0], L[2]], Change.MISSING, "record 2 missing before record 3"),
    "two deleted": ([L[0], L[3]], Change.MISSING, "records 2 to 3 missing before record 4"),
    "repeated": ([L[0], L[0]], Change.OUT_OF_ORDER, "record 1 where record 2 belongs"),
    "swapped": ([L[1], L[0]], Change.MISSING, "record 1 missing before record 2"),
    "edited": ([L[0].replace(b":0,", b":9,")], Change.EDITED, "record 1 does not fit its seal"),
    "of another trail": ([L[0], made(2, bytes(32))[1]], Change.EDITED, "record 2 does not fit"),
    "torn": ([L[0][:-1]], Change.TORN, "the line has no end"),
    "empty line": ([b"\n"], Change.NOT_A_RECORD, "not a record"),
    "other JSON": ([b'{"rexec":{"sequence":1}}\n'], Change.NOT_A_RECORD, "not a record"),
    "number with zeros": ([L[0].replace(b":1,", b":01,")], Change.NOT_A_RECORD, "not a record"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_kind_of_change_is_named(case: str) -> None:
    """An auditor reads what was done, not that something was."""
    lines, change, text = CHANGES[case]
    with pytest.raises(Broken) as broken:
        follow(lines)

    assert broken.value.change is change
    assert text in broken.value.text


def test_the_key_is_not_shown_by_repr() -> None:
    """A chain may end up in a traceback."""
    assert repr(Chain.begin(KEY)) == "Chain(sequence=1)"


def test_the_end_of_the_last_line_is_known() -> None:
    """It is how a trail is found again in its file."""
    lines = made(3)

    assert lines[2].endswith(follow(lines).last_end())
    assert follow(lines[:2]).is_next(lines[2])
    assert not follow(lines[:1]).is_next(lines[2])
    assert not follow(lines[:1]).is_next(b"noise")


def test_a_number_is_read_without_its_seal() -> None:
    """The number of the last `sequence`, not of one inside a text."""
    line, _ = Chain(77, KEY, NOTHING).seal(encoded({"rexec": {"line": ',"sequence":5'}}))

    assert number(line) == 77
