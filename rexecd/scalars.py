"""Forms of single values in configuration files: texts, numbers, words, durations, sizes.

Each reads a node as `yamltext` does, and says the same in words and as JSON Schema. The rules and
what holds several values are in `forms`.
"""

import re
import unicodedata
from collections.abc import Callable, Collection
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from decimal import Decimal as Exact
from typing import Any, Final

from rexecd import yamltext
from rexecd.yamltext import TEXT, Faults, Mapping, Node, Scalar, Sequence, shown, suggest

Schema = dict[str, Any]

#: Bounds that are there for the machine only, and so are not worth a word.
_AGES: Final = 1e9
_HUGE: Final = 2**62
_WORD: Final = 2**63 - 1
#: Patterns for a schema keep to what ECMA 262 and Python read alike.
_DURATION: Final = "^(0|[1-9][0-9]{0,11})(ms|s|m|h|d)$"
_SIZE: Final = "^(0|[1-9][0-9]{0,11})(B|KiB|MiB|GiB)$"
_ONE_LINE: Final = r"^[^\u0000-\u001f\u007f]*[^\u0000-\u0020\u007f][^\u0000-\u001f\u007f]*$"
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
#: Of these no text needs quotes, unless YAML would guess.
_SIMPLE: Final = re.compile("[A-Za-z/](?:[A-Za-z0-9 ./_-]*[A-Za-z0-9/])?")
_EXACT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?")


def is_printable(text: str) -> bool:
    """Return whether no character controls a terminal, hides, or ends a line."""
    if text.isascii():
        return text.isprintable()
    return not any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in text)


def value_of(node: Node) -> Any:  # noqa: ANN401 - that is what JSON is
    """Return a node as JSON has it: text, number, truth value, None, list or dictionary."""
    match node:
        case Sequence(items=items):
            return [value_of(item) for item in items]
        case Mapping(entries=entries):
            return {name: value_of(entry) for name, entry in entries.items()}
        case Scalar(plain=True):
            return _plain_value(node)
        case Scalar():
            return node.text
    return None


def _plain_value(node: Scalar) -> str | float | None:
    if node.text in ("true", "false"):
        return node.text == "true"
    if _EXACT.fullmatch(node.text):
        return float(node.text) if "." in node.text else int(node.text)
    return None if node.kind == yamltext.NOTHING else node.text


def quote(text: str) -> str:
    """Return a text as YAML on one line, in quotes where it needs them."""
    node = yamltext.parse(text, text, Faults()) if _SIMPLE.fullmatch(text) else None
    if isinstance(node, Scalar) and node.kind == TEXT:
        return text
    return f'"{"".join(map(_escape, text))}"'


def _escape(character: str) -> str:
    known = _ESCAPES.get(character)
    if known is not None:
        return known
    return character if character.isprintable() else f"\\U{ord(character):08x}"


@dataclass(frozen=True, slots=True)
class Text:
    """A text. `{shown}` in `complaint` stands for the value in a message."""

    words: str = "a text"
    #: For the whole value, in what ECMA 262 and Python read alike.
    pattern: re.Pattern[str] | None = None
    complaint: str = "{shown} has the wrong form"
    #: Return what is wrong with a value the pattern takes, as it stands in the message.
    check: Callable[[str], str | None] | None = None
    #: Most characters.
    most: int | None = None

    def read(self, node: Node, faults: Faults) -> str | None:
        """Return the text."""
        text = yamltext.text(node, faults)
        complaint = None if text is None else self._complaint(text)
        if complaint is not None:
            faults.add(node.place, complaint)
            return None
        return text

    def _complaint(self, text: str) -> str | None:
        if self.most is not None and len(text) > self.most:
            return f"more than {self.most} characters"
        if self.pattern is not None and not self.pattern.fullmatch(text):
            return self.complaint.replace("{shown}", shown(text))
        return None if self.check is None else self.check(text)

    def schema(self) -> Schema:
        """Say the pattern and the length."""
        schema: Schema = {"type": "string"}
        if self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern.pattern})$"
        if self.most is not None:
            schema["maxLength"] = self.most
        return schema


@dataclass(frozen=True, slots=True)
class Line:
    """One line for people."""

    words: str = "one line of text"
    most: int | None = None

    def read(self, node: Node, faults: Faults) -> str | None:
        """Return the line."""
        text = yamltext.text(node, faults)
        if text is None:
            return None
        if not (text.strip() and is_printable(text)):
            faults.add(node.place, "expected one line of text without control characters")
        elif self.most is not None and len(text) > self.most:
            faults.add(node.place, f"more than {self.most} characters")
        else:
            return text
        return None

    def schema(self) -> Schema:
        """Say that it is not blank and holds no control character."""
        most = {} if self.most is None else {"maxLength": self.most}
        return {"type": "string", "pattern": _ONE_LINE, **most}


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer in plain decimal."""

    least: int
    most: int

    @property
    def words(self) -> str:
        """Say the bounds, unless it may be any."""
        if self.least == self.most:
            return f"the integer {self.least}"
        return f"an integer{_span(self.least, self.most)}"

    def read(self, node: Node, faults: Faults) -> int | None:
        """Return the integer."""
        return yamltext.integer(node, faults, least=self.least, most=self.most)

    def schema(self) -> Schema:
        """Say the bounds."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Decimal:
    """A number in plain decimal, with or without a fraction; it is never rounded."""

    least: Exact
    most: Exact

    @property
    def words(self) -> str:
        """Say the bounds, unless it may be any."""
        return f"a number{_span(self.least, self.most)}"

    def read(self, node: Node, faults: Faults) -> Exact | None:
        """Return the number."""
        if not (isinstance(node, Scalar) and node.plain and _EXACT.fullmatch(node.text)):
            yamltext.expected(node, "a number in plain decimal, without quotes, such as 0.5", faults)
            return None
        number = Exact(node.text)
        if self.least <= number <= self.most:
            return number
        faults.add(node.place, f"{shown(node.text)} is not between {self.least:f} and {self.most:f}")
        return None

    def schema(self) -> Schema:
        """Say the bounds."""
        return {"type": "number", "minimum": _number(self.least), "maximum": _number(self.most)}


@dataclass(frozen=True, slots=True)
class Flag:
    """A truth value."""

    words: str = "true or false"

    def read(self, node: Node, faults: Faults) -> bool | None:
        """Return the truth value: `true` or `false`, and no other spelling."""
        if isinstance(node, Scalar) and node.plain and node.text in ("true", "false"):
            return node.text == "true"
        yamltext.expected(node, self.words, faults)
        return None

    def schema(self) -> Schema:
        """Say that it is one."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    options: Collection[str]
    #: What stands behind the message for words that people write instead.
    hints: Map[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def words(self) -> str:
        """Say which words."""
        return f"one of {', '.join(self.options)}"

    def read(self, node: Node, faults: Faults) -> str | None:
        """Return the word."""
        if not isinstance(node, Scalar) or (node.kind != TEXT and node.text not in self.options):
            yamltext.expected(node, self.words, faults)  # to quote it would not help
            return None
        word = yamltext.text(node, faults)
        if word is not None and word not in self.options:
            hint = self.hints.get(word) or suggest(word, self.options)
            faults.add(node.place, f"{shown(word)} is none of {', '.join(self.options)}{hint}")
        return word if word in self.options else None

    def schema(self) -> Schema:
        """Say which words."""
        return {"enum": list(self.options)}


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds, written with a unit."""

    least: float = 0.001
    most: float = _AGES

    @property
    def words(self) -> str:
        """Say the bounds, unless it may be any."""
        least, most = map(yamltext.spell_duration, (self.least, self.most))
        return f"a duration, such as 30s{f', from {least} to {most}' if self.most < _AGES else ''}"

    def read(self, node: Node, faults: Faults) -> float | None:
        """Return seconds."""
        return yamltext.duration(node, faults, least=self.least, most=self.most)

    def schema(self) -> Schema:
        """Say how it is written."""
        return {"type": "string", "pattern": _DURATION}


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes, written with a unit."""

    least: int = 1
    most: int = _HUGE

    @property
    def words(self) -> str:
        """Say the bounds, unless it may be any."""
        least, most = map(yamltext.spell_size, (self.least, self.most))
        return f"a size, such as 64KiB{f', from {least} to {most}' if self.most < _HUGE else ''}"

    def read(self, node: Node, faults: Faults) -> int | None:
        """Return bytes."""
        return yamltext.size(node, faults, least=self.least, most=self.most)

    def schema(self) -> Schema:
        """Say how it is written."""
        return {"type": "string", "pattern": _SIZE}


def _span(least: int | Exact, most: int | Exact) -> str:
    return f" from {Exact(least):f} to {Exact(most):f}" if most < _WORD else ""


def _number(exact: Exact) -> float:
    return int(exact) if exact == int(exact) else float(exact)
