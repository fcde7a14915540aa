"""Finding: what bytes rule out is what reading every record would leave out, and damage hides nothing."""

import ipaddress
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.audit.events import Action, compose
from rexecd.audit.find import Sieve, Wanted, action_of, is_framed, select
from rexecd.audit.lines import Line
from rexecd.audit.seal import Chain
from rexecd.audit.search import Record, parse

PRINCIPALS = ["ci", "ann", "c", 'a"b', "é", "a\\b", "\x7f"]
RULES = ["disk", "service.restart", "ci"]
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "::ffff:10.0.0.1", "2001:db8::1", "none"]
TIMES = [f"2026-11-28T10:{minute:02}:00.000000Z" for minute in range(5)] + ["2026", "", "soon"]
TEXTS = ["disk /srv", "disk /srv principal=ci", "/srv", "ci", "é", 'say "hi"', "\x7f\n"]
NETWORKS = [ipaddress.ip_network(text) for text in ("10.0.0.0/24", "10.0.0.1", "2001:db8::/32")]
ANY = st.none() | st.integers() | st.lists(st.text(max_size=3), max_size=2)


def group(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return objects with some of these keys, or something else."""
    return st.fixed_dictionaries({}, optional=values) | ANY


RECORDS = st.fixed_dictionaries(
    {"@timestamp": st.sampled_from(TIMES) | ANY},
    optional={
        "event": group(action=st.sampled_from(["command-exited", "ci"]) | ANY, reason=st.sampled_from(TEXTS)),
        "user": group(name=st.sampled_from(PRINCIPALS) | ANY),
        "rule": group(name=st.sampled_from(RULES) | ANY),
        "source": group(ip=st.sampled_from(ADDRESSES) | ANY),
        "process": group(args=st.lists(st.sampled_from(TEXTS), max_size=3)),
        "rexec": group(line=st.sampled_from(TEXTS) | ANY, seal=st.just("ab" * 32)),
    },
)
WANTED = st.builds(
    Wanted,
    values=st.fixed_dictionaries(
        {},
        optional={
            "principal": st.frozensets(st.sampled_from(PRINCIPALS), max_size=2),
            "rule": st.frozensets(st.sampled_from(RULES), max_size=2),
            "action": st.frozensets(st.sampled_from(["command-exited", "ci", "none"]), max_size=2),
        },
    ),
    networks=st.lists(st.sampled_from(NETWORKS), max_size=2).map(tuple),
    texts=st.lists(st.sampled_from(["/srv", "ci", "é", '"', "\x7f"]), max_size=2).map(tuple),
    since=st.none() | st.sampled_from(TIMES[:5]),
    until=st.none() | st.sampled_from(TIMES[:5]),
)


def get(record: Record, *path: str) -> Any:
    """Return what stands there, or None."""
    at: Any = record
    for name in path:
        at = at.get(name) if isinstance(at, dict) else None
    return at


def is_wanted(wanted: Wanted, record: Record) -> bool:
    """Return the same as `holds`, as simply as it can be said."""
    places = {"principal": ("user", "name"), "rule": ("rule", "name"), "action": ("event", "action")}
    chosen = [values for values in wanted.values.items() if values[1]]
    found = [get(record, *places[name]) for name, _ in chosen]
    texts = [get(record, "rexec", "line"), get(record, "event", "reason")]
    arguments = get(record, "process", "args")
    texts += arguments if isinstance(arguments, list) else []
    address: Any = get(record, "source", "ip")
    if isinstance(address, str) and address != "none":
        address = ipaddress.ip_address(address.removeprefix("::ffff:"))
    time = record["@timestamp"]
    answers = [isinstance(value, str) and value in each[1] for value, each in zip(found, chosen, strict=True)]
    if wanted.networks:
        answers.append(hasattr(address, "version") and any(address in each for each in wanted.networks))
    if wanted.texts:
        answers.append(any(text in each for text in wanted.texts for each in texts if isinstance(each, str)))
    if wanted.since is not None:
        answers.append(isinstance(time, str) and time >= wanted.since)
    if wanted.until is not None:
        answers.append(isinstance(time, str) and time < wanted.until)
    return all(answers)


@given(st.lists(RECORDS, max_size=6), WANTED, st.booleans(), st.booleans())
def test_what_is_found_is_what_reading_all_would_find(
    records: list[Record], wanted: Wanted, ascii_only: bool, tight: bool
) -> None:
    """Whatever the values are, and also as others would write the same JSON."""
    separators = (",", ":") if tight else (", ", ": ")
    texts = [json.dumps(record, ensure_ascii=ascii_only, separators=separators) for record in records]
    lines = [Line(Path("trail"), at, f"{text}\n".encode()) for at, text in enumerate(texts)]

    found = list(select(lines, Sieve(wanted)))

    assert [record for record in records if is_wanted(wanted, record)] == found
    assert found[-2:] == list(select(lines, Sieve(wanted), last=2))


def test_a_value_spelled_in_another_way_is_found() -> None:
    """A backslash can spell anything."""
    line = (
        rb'{"@timestamp":"2026-11-28T10:00:00.000000Z","user":{"n\u0061me":"\u0063i"},"rexec":{"seal":"x"}}'
    )
    sieve = Sieve(Wanted(values={"principal": frozenset({"ci"})}))

    assert sieve.takes(Line(Path("trail"), 1, line + b"\n"))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"noise\n", b"\xff\n", b"[1]\n", b'{"@timestamp":"2026', b"{" * 20_000,
        b'{"@timestamp":"x" "ci"}}\n',
    ],
)  # fmt: skip
def test_what_is_no_record_is_always_given(data: bytes) -> None:
    """Whoever looks for something has to see what may have been it, and what stands behind it."""
    record = b'{"@timestamp":"2026-11-28T10:00:00.000000Z","user":{"name":"ci"},"rexec":{"seal":"x"}}\n'
    lines = [Line(Path("trail"), 1, data), Line(Path("trail"), 2, record)]
    wanted = Wanted(values={"principal": frozenset({"ci"})}, since="2026-11-28T10:00:00.000000Z")

    for each in (Wanted(), Wanted(values=wanted.values), wanted):
        assert [parse(line) for line in lines] == list(select(lines, Sieve(each)))


@pytest.mark.parametrize("action", Action)
def test_the_action_of_a_line_is_known_without_parsing(action: Action) -> None:
    """Whatever a caller wrote: a quote of theirs has a backslash."""
    fields = {"principal": "ci", "line": '"action":"command-exited"', "argv": ['"action":"x"']}
    line, _ = Chain.begin(bytes(32)).seal(compose(action, fields, now=datetime.now(UTC)))

    assert action.value == action_of(line).decode()
    assert not is_framed(line)
    assert is_framed(line.replace(b"\\", b""))


def test_the_last_ones_are_held_and_no_more() -> None:
    """`--limit` over any number of lines."""
    lines = (Line(Path("trail"), at, b'{"a":%d}\n' % at) for at in range(10_000))

    assert [{"a": 9998}, {"a": 9999}] == list(select(lines, Sieve(Wanted()), last=2))
