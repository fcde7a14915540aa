"""Sums over a trail."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rexecd.audit import stats
from rexecd.audit.events import Action
from rexecd.audit.stats import Stats, columns


def ended(principal: str, rule: str, seconds: float, status: int = 0, **more: Any) -> dict[str, Any]:
    """Return the record of an end."""
    return {
        "@timestamp": "2026-11-28T10:00:00.000000Z",
        "event": {"action": "command-exited", "duration": round(seconds * 1e9)},
        "user": {"name": principal},
        "rule": {"name": rule},
        "process": {"exit_code": status},
        "rexec": {"request_id": f"{principal}-{rule}-{seconds}"},
    } | more


def refused(line: str, code: str = "not-permitted", **rexec: Any) -> dict[str, Any]:
    """Return the record of a refusal."""
    return {
        "event": {"action": "command-refused"},
        "user": {"name": "ann"},
        "rexec": {"line": line, "code": code} | rexec,
    }


def counted(*records: dict[str, Any], most: int = 3) -> Stats:
    """Return the sums over these records."""
    made = Stats(most)
    for record in records:
        made.take(record)
    return made


def test_who_ran_what_how_often_and_how_long() -> None:
    """The most first; what failed is a part of what ran."""
    killed = ended("ci", "disk", 3, event={"action": "command-killed", "duration": None})
    unknown = {"cpu_time": None, "peak_memory": None}
    made = counted(ended("ann", "disk", 1), ended("ci", "disk", 1), ended("ci", "disk", 2, 5), killed)

    assert [
        {"principal": "ci", "rule": "disk", "runs": 3, "failed": 2, "mean": 1.5, "longest": 2.0} | unknown,
        {"principal": "ann", "rule": "disk", "runs": 1, "failed": 0, "mean": 1.0, "longest": 1.0} | unknown,
    ] == made.tables()["commands"]


def test_what_commands_used_is_added_up() -> None:
    """Processor time of all, memory of the largest; of what nobody knows, or can have used, nothing."""
    used = [(1_500_000_000, 7), (250_000_000, 12 << 20), (None, None), (-1, 2**70), ("x", True)]
    made = counted(
        *(ended("ci", "disk", 1, rexec={"cpu_time": cpu, "peak_memory": memory}) for cpu, memory in used)
    )
    row = made.tables()["commands"][0]

    assert (5, 1.75, 12 << 20) == (row["runs"], row["cpu_time"], row["peak_memory"])
    assert "1.750s" in list(columns([row]))[1]


def test_the_slowest_are_named_one_by_one() -> None:
    """In their order; of equals the first one stays."""
    made = counted(*(ended("ci", f"r{number}", number // 2) for number in range(20)))

    assert ["r18", "r19", "r16"] == [row["rule"] for row in made.tables()["slowest"]]
    assert ["ci-r18-9", "ci-r19-9", "ci-r16-8"] == [row["request"] for row in made.tables()["slowest"]]


def test_refusals_are_counted_by_who_what_and_why() -> None:
    """By the command's name, whatever its arguments; a record may stand for several strangers."""
    stranger = {"event": {"action": "tls-failed"}, "source": {"ip": "10.0.0.9"}, "rexec": {"count": 40}}
    limited = {
        "event": {"action": "limit-reached"},
        "user": {"name": "ci"},
        "rexec": {"count": 4, "token_id": "x"},
    }
    made = counted(refused("rm -rf /"), refused("rm x"), stranger, limited)

    assert [
        {"count": 40, "who": "10.0.0.9", "what": "tls-failed", "code": "tls-failed"},
        {"count": 2, "who": "ann", "what": "rm", "code": "not-permitted"},
        {"count": 1, "who": "ci", "what": "limit-reached", "code": "limit-reached"},
    ] == made.tables()["refused"]  # fmt: skip


def test_memory_has_a_bound() -> None:
    """Whoever makes up names makes no more rows."""
    made = counted(*(refused(f"name{number}") for number in range(stats._MOST_ROWS + 50)))

    assert stats._MOST_ROWS + 1 == len(made.refused)
    assert {"count": 50, "who": "others", "what": "others", "code": "others"} == made.tables()["refused"][0]
    assert {"refused": stats._MOST_ROWS - 2} == made.left_out()


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.text())
GROUP = st.dictionaries(
    st.sampled_from(["action", "duration", "name", "ip", "exit_code", "line", "count"]), VALUES
)
RECORDS = st.fixed_dictionaries(
    {"event": st.fixed_dictionaries({"action": st.sampled_from([each.value for each in Action])}) | GROUP},
    optional=dict.fromkeys(("@timestamp", "user", "rule", "source", "rexec", "process"), GROUP | VALUES),
)


@given(st.lists(RECORDS, max_size=5))
def test_no_record_breaks_the_sums(records: list[dict[str, Any]]) -> None:
    """A trail is taken as hostile: nothing raises, and only printable ASCII comes out."""
    made = counted(*records)

    for rows in made.tables().values():
        assert all(line.isascii() and line.isprintable() for line in columns(rows))
