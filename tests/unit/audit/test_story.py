"""The story of one connection."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.audit.events import Action
from rexecd.audit.story import Story, spell
from tests.trails import shaped

BEGIN = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)
CONNECTION = "c0ffee"


def told(*events: tuple[float, Action, dict[str, Any]]) -> list[str]:
    """Return the lines told of these events, each so many seconds after the first."""
    story = Story(CONNECTION)
    lines: list[str] = []
    for seconds, action, fields in events:
        record: dict[str, Any] = shaped(action, fields, now=BEGIN + timedelta(seconds=seconds))
        lines += story.take(record)
    return [*lines, *story.end()]


def test_a_connection_is_told_from_beginning_to_end() -> None:
    """From where, by whom, what was asked, what came of it, and the time between."""
    one = {"request_id": f"{CONNECTION}-1"}
    counts = {"output_bytes": 5, "error_output_bytes": 0, "input_bytes": 0}
    used = {"cpu_time": 0.25, "peak_memory": 12 << 20}
    two = {"request_id": f"{CONNECTION}-2"}
    allowed = {"line": "disk /srv", "rule": "disk", "rule_place": "p:9:3"}
    lines = told(
        (0, Action.CONNECTION_OPENED, {"address": "10.0.0.1", "port": 4711, "tls": "TLSv1.3"}),
        (0.004, Action.AUTH_ACCEPTED, {"principal": "ci", "token_id": "abc", "certificate": "f00"}),
        (0.010, Action.COMMAND_ALLOWED, {**one, **allowed, "run_as": "nobody", "justification": "ticket 7"}),
        (0.011, Action.COMMAND_STARTED, {**one, "pid": 99}),
        (1.011, Action.COMMAND_EXITED, {**one, "exit_code": 3, "duration": 1.0, **used}),
        (1.012, Action.COMMAND_DRAINED, {**one, **counts}),
        (64.012, Action.COMMAND_REFUSED, {**two, "line": "rm x\n", "reason": "no", "code": "bad"}),
        (64.012, Action.CONNECTION_CLOSED, {"reason": "goodbye"}),
    )  # fmt: skip

    assert lines == [
        "connection c0ffee",
        "2026-11-28T10:00:00.000000Z",
        "  +0.000s  opened from 10.0.0.1 port 4711, TLSv1.3",
        "  +0.004s  accepted as ci by token abc and client certificate f00",
        "  +0.006s  command 1: 'disk /srv', allowed by rule disk at p:9:3 as nobody because 'ticket 7'",
        "  +0.001s    started as process 99",
        "  +1.000s    ended with status 3 after 1.000s, 0.250s of processor time, 12.0 MiB at most",
        "  +0.001s    5 bytes of output, 0 of error output, 0 of input",
        r"   +1m03s  command 2: 'rm x\n', refused: no (the caller was told bad)",
        "  +0.000s  closed: goodbye",
        "2026-11-28T10:01:04.012000Z",
        "in all 1m04s: 1 command started, 1 refused",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("action", "fields", "expected"),
    [
        (Action.COMMAND_EXITED, {"signal": "SEGV", "duration": 2.0}, "ended with signal SEGV after 2.000s"),
        (Action.COMMAND_TIMED_OUT, {"exit_code": 143, "duration": 2.0}, "its time was over after 2.000s, e"),
        (Action.COMMAND_KILLED, {"duration": None, "reason": "gone"}, "was ended: gone"),
        (Action.COMMAND_KILLED, {"cpu_time": None, "peak_memory": None, "reason": "gone"}, "was ended: gone"),
        (Action.COMMAND_EXITED, {"exit_code": 1, "peak_memory": 1 << 19}, "with status 1, 0.5 MiB at most"),
        (Action.COMMAND_EXITED, {"exit_code": 1, "limit": "memory"}, "status 1 at its ceiling of memory"),
        (Action.COMMAND_DRAINED, {"output_bytes": 1, "truncated": True}, "of input, cut at its ceiling"),
        (Action.COMMAND_REFUSED, {"reason": "no file", "code": "not-started"}, "refused: 'no file'"),
    ],
)  # fmt: skip
def test_every_end_of_a_command_is_told(action: Action, fields: dict[str, Any], expected: str) -> None:
    """Also where its beginning is in another file."""
    lines = told((0, action, {"request_id": f"{CONNECTION}-7", **fields}))

    assert "its beginning is not in these files" == lines[2]
    assert expected in lines[3]
    assert "command 7" in lines[3]
    assert "it is open, or its end is not in these files" in lines


def test_a_refused_start_belongs_to_its_command() -> None:
    """What was allowed and could not be started is not told twice."""
    request = {"request_id": f"{CONNECTION}-1"}
    lines = told(
        (0, Action.COMMAND_ALLOWED, {**request, "line": "x", "rule": "x"}),
        (0, Action.COMMAND_REFUSED, {**request, "line": "x", "reason": "gone", "code": "not-started"}),
    )

    assert "  +0.000s    not started: gone (the caller was told not-started)" == lines[4]


def test_those_who_were_not_let_in_are_told() -> None:
    """Why, and what they heard."""
    lines = told(
        (0, Action.AUTH_REFUSED, {"reason": "expired", "token_id": "abc", "code": "unauthenticated"})
    )

    assert "  +0.000s  not let in: expired of token abc (the caller was told unauthenticated)" == lines[3]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0.000s"), (59.9994, "59.999s"), (60, "1m00s"), (3661, "1h01m"), (90000, "1d01h"), (-90, "-1m30s")],
)
def test_times_between_are_short(seconds: float, expected: str) -> None:
    """Two units at most; a clock that was set back is seen."""
    assert expected == spell(seconds)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=3,
)
NAMES = [
    "name",
    "ip",
    "port",
    "reason",
    "line",
    "request_id",
    "pid",
    "exit_code",
    "duration",
    "token_id",
    "code",
]
GROUPS = st.dictionaries(st.sampled_from(NAMES), JSON)
RECORDS = st.fixed_dictionaries(
    {"event": st.fixed_dictionaries({"action": st.sampled_from([each.value for each in Action]) | JSON})},
    optional={
        "@timestamp": JSON | st.just("2026-11-28T10:00:00") | st.just("2026-11-28T10:00:00Z"),
        **dict.fromkeys(("user", "rule", "source", "rexec", "process"), GROUPS | JSON),
    },
)


@given(st.lists(RECORDS, max_size=4), st.text(max_size=10))
def test_telling_is_safe_whatever_a_record_holds(records: list[dict[str, Any]], name: str) -> None:
    """Only printable ASCII reaches a terminal, and nothing raises."""
    story = Story(name)
    lines = [line for record in records for line in story.take(record)]

    assert all(line.isascii() and line.isprintable() for line in [*lines, *story.end()])
    assert story.is_told == bool(records)
