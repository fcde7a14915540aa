"""Every kind of record: as its table says, as the document says, and as the Elastic Common Schema has it."""

import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rexecd.audit import seal
from rexecd.audit.events import ECS_VERSION, compose
from rexecd.audit.fields import FIELDS, TABLE, Form
from rexecd.audit.vocabulary import END, EVENTS, EVERY, GROUPS, Action, Kind
from tests.records import faults, schema, schema_faults, schema_version

DOCS = Path(__file__).parents[3] / "docs"
NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
VALUES: dict[Form, Any] = {
    Form.TEXT: "x",
    Form.INTEGER: 7,
    Form.NUMBER: 0.5,
    Form.TRUTH: True,
    Form.TEXTS: ["/bin/df", "-h"],
}
#: What has to be something in particular.
SPECIAL = {"address": "2001:db8::1", "outcome": "unknown"}


def record_of(action: Action, names: set[str], **changes: object) -> dict[str, Any]:
    """Return the record of one event as it stands in the trail, with these fields."""
    # What a caller sends comes behind what identifies it, as in the trail.
    own = sorted(names - changes.keys())
    values = {name: SPECIAL.get(name, VALUES[TABLE[name].form]) for name in own} | changes
    line, _ = seal.Chain.begin(bytes(32)).seal(compose(action, values, now=NOW))
    found: dict[str, Any] = json.loads(line)
    return found


def builder() -> ModuleType:
    """Return docs/build_audit.py as a module."""
    spec = importlib.util.spec_from_file_location("audit_build", DOCS / "build_audit.py")
    if spec is None or spec.loader is None:
        raise ImportError("docs/build_audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_action_has_a_meaning_and_a_place() -> None:
    """Nothing is recorded of which the table does not say when, and what it has."""
    assert set(EVENTS) == set(Action)
    for event in EVENTS.values():
        assert event.about
        assert set(event.always) <= FIELDS.keys()
        assert len(set(event.always)) == len(event.always)
        assert (event.kind is Kind.REJECT) <= (event.outcome == "failure")


def test_every_field_has_a_place_of_its_own() -> None:
    """No two names for one, and ours are one level below `rexec`."""
    assert len(TABLE) == len(set(FIELDS.values()))
    assert all(len(path) == 2 for path in FIELDS.values() if path[0] == "rexec")
    assert all(field.about for field in TABLE.values())


def test_a_connection_is_known_in_every_record_of_it() -> None:
    """Connection, source, and once it is let in principal and token; of a command its request and rule."""
    commands = [event.always for action, event in EVENTS.items() if action.value.startswith("command-")]

    assert all(set(GROUPS["caller"]) <= set(always) for always in commands)
    for action in (Action.COMMAND_EXITED, Action.COMMAND_TIMED_OUT):
        assert {*GROUPS["command"], *END} <= set(EVENTS[action].always)


@pytest.mark.parametrize("action", Action)
def test_a_record_with_what_it_always_has_is_as_the_schema_says(action: Action) -> None:
    """Names, JSON types, lists, and the values of categorization."""
    record = record_of(action, {*EVENTS[action].always, *EVERY, "thread"})

    assert [] == faults(record)
    assert [] == schema_faults(record)


@pytest.mark.parametrize("action", Action)
def test_a_record_with_every_field_is_as_the_schema_says(action: Action) -> None:
    """Whatever a kind of record may come to hold."""
    record = record_of(action, set(TABLE))

    assert [] == faults(record)
    assert [] == schema_faults(record)


@pytest.mark.parametrize("action", Action)
def test_a_record_of_unknown_values_is_as_the_schema_says(action: Action) -> None:
    """Null is no value of another type; and what is cut keeps its type."""
    without = record_of(action, set(), **dict.fromkeys(TABLE.keys() - {"argv", "outcome"}))
    texts = dict.fromkeys(["reason", "line", "rule"], "\u202e" * 20_000)
    cut = record_of(action, set(TABLE), **texts, argv=["y" * 5000] * 100)

    assert [] == schema_faults(without)
    assert [] == faults(cut) + schema_faults(cut)


def test_the_version_is_that_of_the_copy() -> None:
    """Who moves to a newer schema brings its list."""
    assert schema_version() == ECS_VERSION


@pytest.mark.parametrize("form", Form)
def test_our_types_are_the_schemas(form: Form) -> None:
    """A field of the schema has the one type of ours that fits it."""
    wanted = {
        Form.TEXT: {"keyword", "ip"},
        Form.INTEGER: {"long"},
        Form.NUMBER: {"float"},
        Form.TRUTH: {"boolean"},
        Form.TEXTS: {"keyword"},
    }
    theirs = {
        name: schema()[".".join(field.path)]
        for name, field in TABLE.items()
        if field.form is form and field.path[0] != "rexec"
    }

    assert {name for name, (kind, _) in theirs.items() if kind not in wanted[form]} == set()
    assert {is_list for _, is_list in theirs.values()} <= {form is Form.TEXTS}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"user": {"nickname": "x"}}, "the schema has no field user.nickname"),
        ({"process": {"exit_code": "0"}}, "process.exit_code is '0' and no long"),
        ({"process": {"args": "df"}}, "process.args is a list in the schema"),
        ({"rule": {"name": ["x"]}}, "rule.name is no list in the schema"),
        ({"source": {"port": True}}, "source.port is True and no long"),
    ],
)
def test_what_is_not_as_the_schema_says_is_found(change: dict[str, Any], fault: str) -> None:
    """The examiner is examined."""
    record = record_of(Action.POLICY_LOADED, {*EVERY, "thread"}) | change

    assert f"policy-loaded: {fault}" in schema_faults(record)


def test_values_that_the_schema_does_not_have_are_found() -> None:
    """Of categories, and types that their category does not expect."""
    record = record_of(Action.POLICY_LOADED, set(EVERY))
    record["event"] |= {"category": ["process"], "type": ["denied"], "kind": "thing"}

    assert schema_faults(record) == [
        "policy-loaded: 'thing' is no event.kind of the schema",
        "policy-loaded: type 'denied' is expected of none of its categories",
    ]


def test_a_record_that_lacks_something_or_has_too_much_is_found() -> None:
    """What is always there, of which type, and nothing that the table does not know."""
    record = record_of(Action.TLS_FAILED, {"count", "policy_digest", "thread"}, reason=None)
    record["rexec"] |= {"count": "7", "detail": "x", "line_length": 4}
    del record["event"]["reason"]

    assert faults(record) == [
        "tls-failed: event.reason is missing",
        "tls-failed: rexec.count is '7' and no integer",
        "tls-failed: rexec.detail is no field",
    ]


def test_the_document_is_made_of_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """`make docs` would change nothing in docs/AUDIT.md."""
    assert 0 == builder().main(["--check"]), capsys.readouterr().out


def test_a_document_that_is_not_made_of_the_tables_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And made so again; one that has lost its place for a table is an error."""
    made = builder()
    good = (DOCS / "AUDIT.md").read_text()
    document = tmp_path / "AUDIT.md"
    monkeypatch.setattr(made, "DOCUMENT", document)
    document.write_text(good.replace("| the program runs |", "| the program ran |"))
    found = made.main(["--check"])
    mended = made.main([])

    assert (1, 0, good) == (found, mended, document.read_text())
    assert "docs/AUDIT.md: not as build_audit.py makes it\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no place for the table of fields"):
        made.render(good.replace("<!-- end of fields -->", ""))
