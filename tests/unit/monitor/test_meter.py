"""What is counted of which record, and that the number of labels has a bound."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.audit.events import FIELDS, Action
from rexecd.errors import Code
from rexecd.monitor import meter as counted
from rexecd.monitor.meter import MOST_RULES, NONE, OTHER, OUTCOMES, Meter


def _metered(action: Action, **fields: object) -> Meter:
    meter = Meter()
    meter.count(action, fields, b"")
    return meter


@pytest.mark.parametrize(
    ("action", "fields", "rule", "outcome"),
    [
        (Action.COMMAND_EXITED, {"rule": "disk", "exit_code": 0}, "disk", "succeeded"),
        (Action.COMMAND_EXITED, {"rule": "disk", "exit_code": 3}, "disk", "failed"),
        (Action.COMMAND_EXITED, {"rule": "disk", "signal": 11}, "disk", "signalled"),
        (Action.COMMAND_TIMED_OUT, {"rule": "disk", "exit_code": 143}, "disk", "timed-out"),
        (Action.COMMAND_KILLED, {"rule": "disk", "signal": 15}, "disk", "killed"),
        (Action.COMMAND_KILLED, {"rule": "disk", "duration": None}, "disk", "killed"),
        (Action.COMMAND_REFUSED, {"code": "not-permitted"}, NONE, "refused"),
        (Action.COMMAND_REFUSED, {"rule": "disk", "code": "busy"}, "disk", "refused"),
        (Action.COMMAND_REFUSED, {"rule": "disk", "code": "not-started"}, "disk", "not-started"),
    ],
)
def test_a_command_counts_by_rule_and_outcome(
    action: Action, fields: Mapping[str, Any], rule: str, outcome: str
) -> None:
    """Once, when it is over or refused."""
    meter = _metered(action, **fields)

    assert outcome in OUTCOMES
    assert {(rule, outcome): 1} == meter.commands
    assert 1 == meter.records[action] == sum(meter.records.values())


@pytest.mark.parametrize("action", [Action.COMMAND_ALLOWED, Action.COMMAND_STARTED, Action.COMMAND_DRAINED])
def test_what_is_no_end_counts_no_command(action: Action) -> None:
    """A command has four records."""
    assert {} == _metered(action, rule="disk").commands


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.005, 0), (0.0051, 1), (7200.0, 15), (7201.0, 16)]
)
def test_a_duration_falls_into_its_bucket(seconds: float, bucket: int) -> None:
    """Bounds belong to the bucket below; there is one without a bound."""
    meter = _metered(Action.COMMAND_EXITED, duration=seconds, exit_code=0)

    assert [int(at == bucket) for at in range(len(counted.BUCKETS) + 1)] == meter.durations
    assert seconds == meter.duration_sum


def test_a_duration_that_nobody_knows_is_not_counted() -> None:
    """That of a command whose monitor was killed."""
    assert 0 == sum(_metered(Action.COMMAND_KILLED, duration=None).durations)


def test_rules_beyond_the_bound_are_counted_together() -> None:
    """Those that came first keep their names, whatever policies come."""
    meter = Meter()
    for number in range(MOST_RULES + 50):
        for _ in range(2):
            meter.count(Action.COMMAND_EXITED, {"rule": f"rule{number}", "exit_code": 0}, b"")

    assert MOST_RULES + 1 == len(meter.commands)
    assert 2 == meter.commands["rule0", "succeeded"] == meter.commands[f"rule{MOST_RULES - 1}", "succeeded"]
    assert 100 == meter.commands[OTHER, "succeeded"]


@pytest.mark.parametrize("action", [Action.COMMAND_REFUSED, Action.AUTH_REFUSED, Action.LIMIT_REACHED])
@pytest.mark.parametrize("code", Code)
def test_refusals_count_by_what_the_caller_was_told(action: Action, code: Code) -> None:
    """A closed list."""
    meter = _metered(action, code=code.word, reason="free text")

    assert {code.word: 1} == {name: count for name, count in meter.refusals.items() if count}
    assert (0, 0) == (meter.shed, meter.unauthenticated)


@pytest.mark.parametrize(
    ("action", "fields", "what"),
    [
        (Action.TLS_FAILED, {"count": 7}, "tls_failures"),
        (Action.AUTH_REFUSED, {"count": 7}, "unauthenticated"),
        (Action.LIMIT_REACHED, {"count": 7}, "shed"),
        (Action.SOURCE_PENALIZED, {"count": 7}, "penalties"),
    ],
)
def test_a_record_of_strangers_stands_for_several(
    action: Action, fields: Mapping[str, Any], what: str
) -> None:
    """As its `count` says."""
    assert 7 == getattr(_metered(action, **fields), what)


def test_wrong_secrets_of_a_token_are_no_shed_connections() -> None:
    """The same action, for another limit."""
    assert 0 == _metered(Action.LIMIT_REACHED, token_id="abc", address="10.0.0.1", count=10).shed


def test_bytes_and_ceilings_are_summed_up() -> None:
    """What went through, what was cut, and what a rule's ceiling ended."""
    meter = Meter()
    for _ in range(2):
        meter.count(
            Action.COMMAND_DRAINED,
            {"output_bytes": 10, "error_output_bytes": 2, "input_bytes": 1, "truncated": True},
        )
        meter.count(Action.COMMAND_EXITED, {"limit": "memory", "signal": 9})

    assert {"stdout": 20, "stderr": 4, "stdin": 2} == meter.bytes
    assert (2, 2) == (meter.truncated, meter.limits["memory"])


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("sha256:ab, until 2026-11-28T10:00:00Z", datetime(2026, 11, 28, 10, tzinfo=UTC).timestamp()),
        ("sha256:ab, until 2026-13-28T10:00:00Z", None),
        ("something else", None),
        (None, None),
    ],
)
def test_the_gateway_says_when_its_certificate_ends(reason: str | None, expected: float | None) -> None:
    """What it says in another form is not known."""
    assert expected == _metered(Action.CERTIFICATE_LOADED, reason=reason).certificate_expires


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.text(max_size=2))
)


@given(st.sampled_from(Action), st.dictionaries(st.sampled_from(sorted(FIELDS)), _VALUES, max_size=6))
def test_counting_never_raises(action: Action, fields: dict[str, Any]) -> None:
    """It is done under the trail's lock, of a record that stands there already."""
    assert 1 == _metered(action, **fields).records[action]
