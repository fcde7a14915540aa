"""The JSON Schemas say what the checker says: the two are held against each other."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal as Exact
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import validators

from rexecd import yamltext
from rexecd.cli.config import settings_schema
from rexecd.forms import (
    Choice,
    Decimal,
    Duration,
    Either,
    Flag,
    Form,
    Integer,
    Key,
    Line,
    Listed,
    Named,
    Own,
    Schema,
    Size,
    Table,
    Text,
    Variant,
    document_schema,
    value_of,
)
from rexecd.policy.tables import POLICY
from rexecd.settingkeys import SETTINGS
from rexecd.yamltext import Faults

CONFIG: Final = Path(__file__).parents[2] / "config"


def shipped(name: str) -> Any:
    """Return one of the shipped files as JSON has it."""
    faults = Faults()
    node = yamltext.parse((CONFIG / name).read_text(), name, faults)
    faults.check()
    return value_of(node)


def _name(name: str) -> str | None:
    return None if re.fullmatch("[a-z]{1,4}", name) else "no name"


UNIT: Final = Text(pattern=re.compile(r"[a-z]+|/[^\x00]*"), check=lambda text: text[3:] or None, most=6)
EVERY_FORM: Final = Table(
    {
        "text": Key(Text(), "Any text.", required=True),
        "unit": Key(UNIT, "A unit.", default="nginx"),
        "line": Key(Line(most=5), "A line."),
        "integer": Key(Integer(-3, 3), "An integer.", default=0),
        "number": Key(Decimal(Exact("0.25"), Exact(5)), "A number."),
        "flag": Key(Flag(), "A flag.", default=False),
        "choice": Key(Choice(("allow", "refuse", "5")), "A choice.", default="refuse"),
        "duration": Key(Duration(1, 60), "A duration.", default=30.0),
        "size": Key(Size(), "A size.", default=1024),
        "units": Key(Listed(UNIT, least=2, most=3), "Some units."),
        "again": Key(Listed(Choice(("a", "b")), unique=False, least=0), "Words."),
        "tables": Key(Listed(Table({"a": Key(Text(), ""), "b": Key(Integer(0, 1), "")})), "Some tables."),
        "named": Key(Named(Integer(0, 9), check=_name, pattern="^[a-z]+$", words="", most=2), "Numbers."),
        "either": Key(
            Either(words="", scalar=Integer(0, 9), sequence=Listed(Text()), mapping=Table({})), "Any kind."
        ),
        "only": Key(Either(words="", sequence=Listed(Text())), "One kind."),
        "own": Key(Own("", yamltext.text, lambda: {"type": "string"}), "Its own."),
    },
    "Every form there is.",
)
CHOSEN: Final = Table(
    {
        "parameters": Key(
            Named(
                Variant(
                    "type",
                    {
                        "choice": Table(
                            {"of": Key(Listed(Text()), "", required=True)}, "One of a few words."
                        ),
                        "text": Table({"max": Key(Integer(1, 9), "", default=5)}),
                    },
                ),
                check=lambda name: None if name.isidentifier() else "no name",
                pattern="^.",
                words="",
            ),
            "",
        )
    }
)

#: A table, and a document that fits it.
DOCUMENTS: Final[dict[str, tuple[Table, Any]]] = {
    "settings": (SETTINGS, shipped("rexecd.yaml")),
    "policy": (POLICY, shipped("policy.yaml")),
    "every form": (EVERY_FORM, {"text": "x", "units": ["a", "b"], "tables": [{"a": "x"}], "named": {"a": 1}}),
    "variants": (CHOSEN, {"parameters": {"a": {"type": "choice", "of": ["x"]}, "b": {"type": "text"}}}),
}
SCHEMAS: Final = {
    name: document_schema(table, uri="urn:x", title=name) for name, (table, _) in DOCUMENTS.items()
}

#: Faults that JSON Schema can say too. A duration or a size out of bounds is not among them.
STRUCTURAL: Final = re.compile(
    r"expected .*, found |is read as .* by YAML|unknown key|missing key"
    r"|is none of|the list is empty|stands twice"
    r"|(?:more|fewer) than \d+ (?:items|characters|names)|'-?[0-9.]+' is not between"
)


def _pattern(_: object, pattern: str, text: object, __: object) -> Iterator[jsonschema.ValidationError]:
    """Match as ECMA 262 does, where `$` is the very end; in Python a line end may follow it."""
    if isinstance(text, str) and not re.search(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), text):
        yield jsonschema.ValidationError(f"{text!r} does not match {pattern!r}")


Validator: Final[Any] = validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _pattern}
)
VALIDATORS: Final = {name: Validator(schema) for name, schema in SCHEMAS.items()}

_WORDS: Final = st.sampled_from(
    ["", "x", "a b", "no", "1", "30s", "1MiB", "5/min", "0/s", ":1", "/a", "a\n", "\t", "ü", "x" * 7]
)
#: Values of every kind. A number such as 1.0 is an integer in JSON Schema, and none here: there is none.
ANYTHING: Final = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -4, 10**30, 0.25, 0.125, -1.5, [], {}, ["x", "x"], {"a": "b"}]),
    _WORDS,
    st.lists(_WORDS, max_size=3),
)


def fitting(form: Form) -> st.SearchStrategy[Any]:
    """Return values that a form may take, and now and then one that it does not."""
    return st.one_of(_fitting(form), _fitting(form), _fitting(form), ANYTHING)


def _fitting(form: Form) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one row for each form
    match form:
        case Table():
            return _table(form)
        case Variant(by=by, tables=tables):
            words = st.sampled_from(sorted(tables))
            return words.flatmap(lambda word: _table(tables[word]).map(lambda found: {by: word, **found}))
        case Named(value=value):
            return st.dictionaries(st.sampled_from("abcA"), fitting(value), max_size=3)
        case Listed(item=item):
            return st.lists(fitting(item), max_size=3)
        case Either(scalar=scalar, sequence=sequence, mapping=mapping):
            return st.one_of([fitting(each) for each in (scalar, sequence, mapping) if each is not None])
        case Choice(options=options):
            return st.sampled_from(list(options))
        case Integer(least=least, most=most):
            return st.integers(least - 1, most + 1)
        case Duration() | Size():
            return st.sampled_from(["30s", "1m", "0s", "2h", "1B", "64KiB", "1kb", "30"])
        case Text(pattern=pattern) if pattern is not None:
            return st.from_regex(pattern, fullmatch=True).filter(str.isprintable)
    return st.one_of(_WORDS, st.booleans(), st.sampled_from([0.25, 1, 5.5]))


def _table(table: Table) -> st.SearchStrategy[dict[str, Any]]:
    """Return mappings with the required keys and some of the others, of either kind."""
    values = {name: fitting(key.form) for name, key in table.keys.items()}
    required = {name: value for name, value in values.items() if table.keys[name].required}
    optional = {name: value for name, value in values.items() if name not in required}
    odd = {name: st.just("x") for name in ("nothing",)}
    some = st.sets(st.sampled_from([*optional, *odd]), max_size=3) if table.keys else st.just(set[str]())
    return some.flatmap(
        lambda names: st.fixed_dictionaries(
            required | {name: value for name, value in (optional | odd).items() if name in names}
        )
    )


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _places(each, (*path, key))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Return a document with something in it replaced, removed or added."""
    made = json.loads(json.dumps(document))
    path = draw(st.sampled_from(list(_places(made))[1:]))
    around = made
    for key in path[:-1]:
        around = around[key]
    match draw(st.sampled_from(["replace", "remove", "add"])), around:
        case "remove", _:
            del around[path[-1]]
        case "add", dict():
            around["nothing"] = draw(ANYTHING)
        case "add", list():
            around.append(draw(st.one_of(ANYTHING, st.just(around[0]))))
        case _:
            around[path[-1]] = draw(ANYTHING)
    return made


def faults_of(table: Table, document: Any) -> list[str]:
    """Return what the checker says of a document; JSON is YAML."""
    faults = Faults()
    table.read(yamltext.parse(json.dumps(document, ensure_ascii=False), "f", faults), faults)
    return [message for _, message in faults.in_order()]


def hold_together(name: str, document: Any) -> None:
    """Fail where checker and schema disagree on a document."""
    faults = faults_of(DOCUMENTS[name][0], document)
    is_valid = VALIDATORS[name].is_valid(document)

    assert is_valid or faults, "the schema is stricter than the checker"
    assert not (is_valid and any(map(STRUCTURAL.search, faults))), "the schema is laxer than it could be"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_sample_fits_both(name: str) -> None:
    """Without this the rest would compare two refusals."""
    table, document = DOCUMENTS[name]

    assert [] == faults_of(table, document)
    VALIDATORS[name].validate(document)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_one_takes_the_other_takes(name: str) -> None:
    """Documents made from the table: whatever the checker takes, and whatever is of a wrong shape."""

    @settings(max_examples=200, deadline=None)
    @given(_table(DOCUMENTS[name][0]))
    def hold(document: Any) -> None:
        hold_together(name, document)

    hold()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_both_refuse_the_same_change(name: str) -> None:
    """A good document with something replaced, removed or added."""

    @settings(max_examples=100, deadline=None)
    @given(changed(DOCUMENTS[name][1]))
    def hold(document: Any) -> None:
        hold_together(name, document)

    hold()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_one(name: str) -> None:
    """As the standard wants it."""
    Validator.check_schema(SCHEMAS[name])


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from _patterns(each)


@pytest.mark.parametrize("name", SCHEMAS)
def test_patterns_mean_the_same_everywhere(name: str) -> None:
    """Nothing in them is Python's own, or reads other letters elsewhere."""
    only_here = re.compile(r"\\[AZdDwWsSbB]|\(\?[^:]|[*+?}]\+")

    assert [] == [pattern for pattern in _patterns(SCHEMAS[name]) if only_here.search(pattern)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_defaults_fit(name: str) -> None:
    """A schema's default is a value that could stand in the file."""

    def check(schema: Any) -> None:
        for each in schema.get("properties", {}).values():
            if "default" in each:
                Validator(each).validate(each["default"])
            check(each)

    check(SCHEMAS[name])


def test_a_schema_says_what_it_is_of() -> None:
    """For editors, which look it up by its name."""
    schema: Schema = settings_schema()

    assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]
    assert ("urn:rexecd:schema:settings:1", "settings of rexecd") == (schema["$id"], schema["title"])
    assert ["version"] == schema["required"]
    assert {
        "type": "integer",
        "minimum": 1,
        "maximum": 100_000,
        "default": 512,
        "description": "Most connections at a time; further ones are closed at once.",
    } == schema["properties"]["max_connections"]
