"""What is wrong with a record: against our own tables, and against the Elastic Common Schema."""

import csv
import functools
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rexecd.audit.fields import FIELDS, TABLE, Form
from rexecd.audit.vocabulary import EVENTS, EVERY, Action

ECS: Final = Path(__file__).parent / "data" / "ecs"
Record = Mapping[str, Any]

#: What `shape` and the seal add to every record.
ADDED: Final = {
    ("@timestamp",): str,
    ("ecs", "version"): str,
    ("event", "action"): str,
    ("event", "kind"): str,
    ("event", "category"): list,
    ("event", "type"): list,
    ("event", "outcome"): str,
    ("event", "dataset"): str,
    ("event", "module"): str,
    ("rexec", "kind"): str,
    ("rexec", "sequence"): int,
    ("rexec", "seal"): str,
}
#: What marks a text that was cut, and how many arguments there were.
MARKS: Final = re.compile(rf"({'|'.join(TABLE)})_(length|sha256)")
_TYPES: Final[dict[Form, tuple[type, ...]]] = {
    Form.TEXT: (str,),
    Form.INTEGER: (int,),
    Form.NUMBER: (int, float),
    Form.TRUTH: (bool,),
    Form.TEXTS: (list,),
}
_PLACES: Final = {path: name for name, path in FIELDS.items()}


def faults(record: Record) -> list[str]:
    """Return what of a record of the trail is not as its kind says, a line each."""
    return [f"{record['event']['action']}: {fault}" for fault in _faults(record)]


def _faults(record: Record) -> Iterator[str]:
    there = dict(leaves(record))
    action = Action(record["event"]["action"])
    always = {*EVENTS[action].always, *EVERY}
    missing = {path for path in ADDED.keys() | {FIELDS[name] for name in always} if path not in there}
    yield from (f"{'.'.join(path)} is missing" for path in sorted(missing))
    for path, value in there.items():
        place = ".".join(path)
        if path in ADDED:
            if type(value) is not ADDED[path]:
                yield f"{place} is {value!r}"
        elif path in _PLACES:
            form = TABLE[_PLACES[path]].form
            if value is not None and type(value) not in _TYPES[form]:
                yield f"{place} is {value!r} and no {form.value}"
        elif place != "process.args_count" and not (path[0] == "rexec" and MARKS.fullmatch(path[-1])):
            yield f"{place} is no field"


def leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value of a record with its place."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


@functools.cache
def schema() -> dict[str, tuple[str, bool]]:
    """Return the type of each field of the schema, and whether it is a list."""
    with (ECS / "fields.csv").open(encoding="utf-8") as file:
        return {row["field"]: (row["type"], row["normalization"] == "array") for row in csv.DictReader(file)}


@functools.cache
def closed() -> dict[str, dict[str, list[str] | None]]:
    """Return the values of the closed fields of the schema, with the types that a category expects."""
    found: dict[str, dict[str, list[str] | None]] = json.loads((ECS / "values.json").read_text())["values"]
    return found


def schema_version() -> str:
    """Return the version of the schema that is here."""
    return str(json.loads((ECS / "values.json").read_text())["version"])


def schema_faults(record: Record) -> list[str]:
    """Return where a record is not as the Elastic Common Schema says."""
    return [f"{record['event']['action']}: {fault}" for fault in _schema_faults(record)]


def _schema_faults(record: Record) -> Iterator[str]:
    for path, value in leaves(record):
        if path[0] != "rexec":
            yield from _faults_of(".".join(path), value)
    expected = [closed()["event.category"][category] for category in record["event"]["category"]]
    for each in record["event"]["type"]:
        if all(types is not None and each not in types for types in expected):
            yield f"type {each!r} is expected of none of its categories"


def _faults_of(name: str, value: object) -> Iterator[str]:
    if name not in schema():
        yield f"the schema has no field {name}"
        return
    kind, is_list = schema()[name]
    if value is None:
        return
    if isinstance(value, list) is not is_list:
        yield f"{name} is {'a' if is_list else 'no'} list in the schema"
        return
    for each in value if isinstance(value, list) else [value]:
        if not _TYPES_OF_THE_SCHEMA[kind](each):
            yield f"{name} is {each!r} and no {kind}"
        elif name in closed() and each not in closed()[name]:
            yield f"{each!r} is no {name} of the schema"


def _is_long(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_address(value: object) -> bool:
    return isinstance(value, str) and bool(ipaddress.ip_address(value))


def _is_date(value: object) -> bool:
    return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


#: What JSON has for the types of the schema that we use.
_TYPES_OF_THE_SCHEMA: Final[dict[str, Callable[[object], bool]]] = {
    "keyword": _is_text,
    "long": _is_long,
    "ip": _is_address,
    "date": _is_date,
}
