"""What configuration files may hold: forms that read a node and say the same as JSON Schema and words.

Rule 1: a file is checked, its schema printed and its manual written from one table of forms.
Rule 2: what a form accepts its schema accepts. What JSON Schema cannot say (whether a duration is
in bounds, whether a name is taken) only the form checks.
Rule 3: a form adds every fault it finds and then returns None; `Entries` tells a key with a fault
from one that is not there, so that nobody takes a default for what the operator got wrong.
"""

import json
from collections.abc import Callable, Collection, Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from decimal import Decimal as Exact
from typing import Any, Final, NamedTuple, Protocol

from rexecd import yamltext

# Whoever writes a table needs this module only, so what is imported as itself can be had from here.
# ruff: noqa: PLC0414
from rexecd.scalars import Choice as Choice
from rexecd.scalars import Decimal as Decimal
from rexecd.scalars import Duration as Duration
from rexecd.scalars import Flag as Flag
from rexecd.scalars import Integer as Integer
from rexecd.scalars import Line as Line
from rexecd.scalars import Schema as Schema
from rexecd.scalars import Size as Size
from rexecd.scalars import Text as Text
from rexecd.scalars import is_printable as is_printable
from rexecd.scalars import quote as quote
from rexecd.scalars import value_of as value_of
from rexecd.yamltext import Faults, Keys, Mapping, Node, Place, Scalar, Sequence, shown

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
#: Characters of a value that stand in a hint.
_HINTED: Final = 64


class Form(Protocol):
    """What a value may look like."""

    @property
    def words(self) -> str:
        """Say for people what fits: `a duration, such as 30s, from 1ms to 1d`."""

    def read(self, node: Node, faults: Faults) -> Any:  # noqa: ANN401 - each form has its own
        """Return the value, or None with a fault added."""

    def schema(self) -> Schema:
        """Return the same as JSON Schema 2020-12."""


class Key(NamedTuple):
    """One key of a table."""

    form: Form
    about: str
    #: The value where the file does not have the key.
    default: Any = None
    required: bool = False
    #: The default as YAML, where `written` cannot say it.
    shown: str | None = None


@dataclass(frozen=True, slots=True)
class Entries:
    """What was read of one mapping."""

    #: Of the keys that stand in the file, are known and had no fault.
    values: Map[str, Any]
    node: Mapping
    defaults: Map[str, Any]

    def get(self, key: str) -> Any:  # noqa: ANN401 - each form has its own
        """Return the value; its default when the key is not there, None when it has a fault."""
        if key in self.values:
            return self.values[key]
        return None if self.has(key) else self.defaults.get(key)

    def has(self, key: str) -> bool:
        """Return whether the key stands in the file, with or without a fault."""
        return key in self.node.entries

    def is_faulty(self, key: str) -> bool:
        """Return whether the key stands in the file and had a fault."""
        return self.has(key) and key not in self.values

    def place(self, key: str) -> Place:
        """Return where the value stands; the mapping's place when it is not there."""
        return self.node.entries[key].place if self.has(key) else self.node.place

    def key_place(self, key: str) -> Place:
        """Return where the key stands; the mapping's place when it is not there."""
        return self.node.keys.get(key, self.node.place)

    def items(self, key: str) -> Iterator[tuple[Any, Place]]:
        """Yield every item of a list and its place; nothing when it is not there or had a fault."""
        node = self.node.entries.get(key)
        if isinstance(node, Sequence) and key in self.values:
            for value, item in zip(self.values[key], node.items, strict=True):
                yield value, item.place


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of values of one form."""

    item: Form
    unique: bool = field(default=True, kw_only=True)
    least: int = field(default=1, kw_only=True)
    most: int | None = field(default=None, kw_only=True)

    @property
    def words(self) -> str:
        """Say what the items are."""
        return f"a list, each item {self.item.words}"

    def read(self, node: Node, faults: Faults) -> tuple[Any, ...] | None:
        """Return the values in their order."""
        items = node.items if isinstance(node, Sequence) else ()
        if not isinstance(node, Sequence):
            yamltext.expected(node, "a list", faults, hint=self._hint(node))
        values = [self.item.read(item, faults) for item in items]
        good = isinstance(node, Sequence) and self._is_long_enough(node, faults)
        if self.unique and _has_repeated(items, values, faults):
            good = False
        return tuple(values) if good and None not in values else None

    def _hint(self, node: Node) -> str:
        """Return how a list of what stands here is written, if it would do as an item."""
        if not isinstance(node, Scalar) or len(node.text) > _HINTED or self.item.read(node, Faults()) is None:
            return ""
        match yamltext.parse(f"[{node.text}]", "list", Faults()):
            case Sequence(items=(Scalar(text=node.text, kind=node.kind),)) if node.plain:
                return f"; write [{node.text}]"
        return f"; write [{quote(node.text)}]"

    def _is_long_enough(self, node: Sequence, faults: Faults) -> bool:
        if len(node.items) < self.least:
            few = f"fewer than {self.least} items in the list"
            faults.add(node.place, few if node.items else "the list is empty")
            return False
        if self.most is not None and len(node.items) > self.most:
            faults.add(node.place, f"more than {self.most} items in the list")
            return False
        return True

    def schema(self) -> Schema:
        """Say what the items are and how many there may be."""
        schema: Schema = {"type": "array", "items": self.item.schema(), "minItems": self.least}
        if self.most is not None:
            schema["maxItems"] = self.most
        return {**schema, "uniqueItems": True} if self.unique else schema


def _has_repeated(items: Collection[Node], values: Collection[Any], faults: Faults) -> bool:
    """Return whether something stands twice; the fault stands at its last place."""
    last: dict[Any, Node] = {}
    again: list[Any] = []
    for item, value in zip(items, values, strict=True):
        same = value if isinstance(item, Scalar) else json.dumps(value_of(item), sort_keys=True)
        again += [same] if same in last else []
        last[same] = item
    repeated = [last[same] for same in again if same is not None]
    for item in repeated:
        what = shown(item.text) if isinstance(item, Scalar) else "the same entry"
        faults.add(item.place, f"{what} stands twice in the list")
    return bool(repeated)


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping of free names to values of one form."""

    value: Form
    #: Return what is wrong with a name, as it stands in the message at the key.
    check: Callable[[str], str | None] = field(kw_only=True)
    #: A name's form for the schema, anchored; never stricter than `check`.
    pattern: str = field(kw_only=True)
    words: str = field(kw_only=True)
    most: int | None = field(default=None, kw_only=True)

    def read(self, node: Node, faults: Faults) -> Entries | None:
        """Return the values by name; a name with a fault counts as a key with one."""
        if not isinstance(node, Mapping):
            yamltext.mapping(node, faults)
            return None
        if self.most is not None and len(node.entries) > self.most:
            faults.add(node.place, f"more than {self.most} names")
        values = {}
        for name, entry in node.entries.items():
            complaint = self.check(name)
            if complaint is not None:
                faults.add(node.keys[name], complaint)
            value = self.value.read(entry, faults)
            if complaint is None and value is not None:
                values[name] = value
        return Entries(values, node, {})

    def schema(self) -> Schema:
        """Say what names look like and what they stand for."""
        most = {} if self.most is None else {"maxProperties": self.most}
        names = {"pattern": self.pattern}
        return {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": self.value.schema(),
            **most,
        }


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with certain keys."""

    keys: Map[str, Key]
    about: str = ""
    words: str = field(default="a mapping", kw_only=True)

    def read(self, node: Node, faults: Faults) -> Entries | None:
        """Return the values by key; None when it is no mapping."""
        required = [name for name, key in self.keys.items() if key.required]
        found = yamltext.keyed(node, faults, keys=Keys(self.keys, required))
        if found is None:
            return None
        known = {name: entry for name, entry in found.entries.items() if name in self.keys}
        values = {name: self.keys[name].form.read(entry, faults) for name, entry in known.items()}
        return Entries(
            {name: value for name, value in values.items() if value is not None},
            found,
            {name: key.default for name, key in self.keys.items()},
        )

    def schema(self) -> Schema:
        """Say which keys there are, and that there are no others."""
        schema: Schema = {"description": self.about} if self.about else {}
        required = [name for name, key in self.keys.items() if key.required]
        properties = {name: _property(key) for name, key in self.keys.items()}
        schema |= {"type": "object", "properties": properties, "additionalProperties": False}
        return {**schema, "required": required} if required else schema


@dataclass(frozen=True, slots=True)
class Variant:
    """A table chosen by the text of one key, which the tables themselves do not name."""

    by: str
    tables: Map[str, Table]
    #: What stands behind the message for words that people write instead.
    hints: Map[str, str] = field(default_factory=dict, kw_only=True)
    words: str = field(default="a mapping", kw_only=True)

    def read(self, node: Node, faults: Faults) -> tuple[str, Entries] | None:
        """Return the chosen word and what was read; None when no table is chosen."""
        found = yamltext.mapping(node, faults)
        if self.by not in found.entries:
            if isinstance(node, Mapping):
                faults.add(node.place, f"missing key {self.by!r}")
            return None
        chosen = found.entries[self.by]
        word = Choice(self.tables, hints=self.hints).read(chosen, faults)
        entries = None if word is None else self._whole(word).read(node, faults)
        return None if word is None or entries is None else (word, entries)

    def _whole(self, word: str) -> Table:
        """Return a table with the key that chose it."""
        table = self.tables[word]
        chooser = Key(Choice((word,)), "", required=True)
        return Table({self.by: chooser, **table.keys}, table.about)

    def schema(self) -> Schema:
        """Say which words there are, and for each its table."""
        chosen = {self.by: {"enum": list(self.tables)}}
        branches = [
            {
                "if": {"properties": {self.by: {"const": word}}, "required": [self.by]},
                "then": self._whole(word).schema(),
            }
            for word in self.tables
        ]
        return {"type": "object", "properties": chosen, "required": [self.by], "allOf": branches}


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """A value that may be written as one thing or another; None stands for what it may not be."""

    words: str
    scalar: Form | None = None
    sequence: Form | None = None
    mapping: Form | None = None

    def read(self, node: Node, faults: Faults) -> Any:  # noqa: ANN401 - each form has its own
        """Return the value as the form of what stands there reads it."""
        kinds = {Scalar: self.scalar, Sequence: self.sequence, Mapping: self.mapping}
        form = kinds.get(type(node))
        if form is None:
            yamltext.expected(node, self.words, faults)
            return None
        return form.read(node, faults)

    def schema(self) -> Schema:
        """Say each of them."""
        forms = [form.schema() for form in (self.scalar, self.sequence, self.mapping) if form is not None]
        return forms[0] if len(forms) == 1 else {"anyOf": forms}


@dataclass(frozen=True, slots=True)
class Own:
    """A form that is needed once: what `Form` asks for, as values."""

    words: str
    read: Callable[[Node, Faults], Any]
    schema: Callable[[], Schema]


# Defaults and the whole document


def written(form: Form, value: Any) -> str:  # noqa: ANN401 - each form has its own
    """Return YAML that `form` reads as `value`; only of the forms of single values, and lists of them."""
    match form:
        case Duration():
            return yamltext.spell_duration(value)
        case Size():
            return yamltext.spell_size(value)
        case Flag():
            return "true" if value else "false"
        case Integer() | Decimal():
            return f"{Exact(value):f}"  # never an exponent
        case Listed(item=item):
            return f"[{', '.join(written(item, each) for each in value)}]"
    return quote(str(value))


def default_of(key: Key) -> str | None:
    """Return a key's default as YAML; None when it has none."""
    if key.shown is not None or key.default is None:
        return key.shown
    return written(key.form, key.default)


def _property(key: Key) -> Schema:
    schema = key.form.schema()
    if key.about:
        schema["description"] = key.about
    default = default_of(key)
    if default is not None:
        schema["default"] = value_of(yamltext.parse(default, "default", Faults()))
    return schema


def document_schema(table: Table, *, uri: str, title: str) -> Schema:
    """Return the schema of a whole file."""
    return {"$schema": _DIALECT, "$id": uri, "title": title, **table.schema()}
