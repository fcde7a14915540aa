"""Reading a trail: every record is found whatever stands beside it, and showing it is safe."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.audit.events import Action
from rexecd.audit.keys import KEY_NAME
from rexecd.audit.search import read, render
from rexecd.audit.trail import Trail
from rexecd.clock import Clock
from tests.trails import new_key


def test_reading_goes_on_behind_broken_lines(tmp_path: Path) -> None:
    """Whoever looks for a record finds it whatever stands beside it."""
    new_key(tmp_path)
    with Trail.open(tmp_path / "audit.jsonl", tmp_path / KEY_NAME, clock=Clock()) as trail:
        trail.append(Action.SERVICE_STARTED)
    one, two = (tmp_path / "audit.jsonl").read_bytes().splitlines(keepends=True)
    path = tmp_path / "mixed"
    lines = [b"noise\x1b[2J\n", b"[1]\n", b"[" * 9000 + b"\n", b"\xff\n", b"7\n", b'"', b"x" * 40_000]
    path.write_bytes(b"".join([one, *lines[:5], two, *lines[5:]]))
    records = list(read([path]))

    assert (records[0], records[6]) == (json.loads(one), json.loads(two))
    assert [*range(2, 7), 8, 9, 10] == [
        found["unreadable"]["line"] for found in records if "unreadable" in found
    ]
    assert render(records[1]) == f"{path}:2: not a record: 'noise\\x1b[2J\\n'"


def test_a_record_is_shown_in_one_line(tmp_path: Path) -> None:
    """The fields people look for, in a fixed order, foreign text quoted."""
    key_path = tmp_path / KEY_NAME
    new_key(tmp_path)
    with Trail.open(tmp_path / "audit.jsonl", key_path, clock=Clock()) as trail:
        trail.append(
            Action.COMMAND_EXITED,
            principal="ci",
            rule="disk",
            address="10.0.0.1",
            exit_code=3,
            duration=0.25,
            line="disk /srv principal=root\n\x9b\u202e",
        )
    record = list(read([tmp_path / "audit.jsonl"]))[1]

    assert render(record) == (
        f"{record['@timestamp']} 2 command-exited principal=ci rule=disk outcome=success from=10.0.0.1"
        r" exit=3 duration=0.250s line='disk /srv principal=root\n\x9b\u202e'"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
GROUPS = st.dictionaries(
    st.sampled_from(["@timestamp", "event", "rexec", "user", "process", "source", "rule", "unreadable"]),
    JSON
    | st.dictionaries(
        st.sampled_from(["action", "duration", "sequence", "line", "name", "ip", "reason", "path", "text"]),
        JSON,
    ),
)


@settings(max_examples=300, deadline=None)
@given(GROUPS)
def test_showing_is_safe_whatever_a_record_holds(record: dict[str, object]) -> None:
    """Only printable ASCII reaches a terminal, and nothing raises."""
    shown = render(record)

    assert shown.isascii()
    assert shown.isprintable()


def test_a_duration_out_of_range_is_not_shown_as_one() -> None:
    """A forged number does not end the program."""
    assert render({"event": {"duration": 10**400}}) == "- - - duration=-"
