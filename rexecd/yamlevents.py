"""YAML text to typed events: the only module that knows PyYAML.

Rule 1: nothing is ever constructed from a tag; a tag only says what YAML would have guessed.
Rule 2: the parser in Python words every fault and places every node. The one in C is fifteen times
as quick; it reads only texts of characters on which both agree, and whoever asked for it takes its
word only for a text without a single fault.
"""

import enum
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml


class Kind(enum.Enum):
    """What begins or ends."""

    STREAM_END = enum.auto()
    DOCUMENT = enum.auto()
    DOCUMENT_END = enum.auto()
    ALIAS = enum.auto()
    SCALAR = enum.auto()
    SEQUENCE = enum.auto()
    SEQUENCE_END = enum.auto()
    MAPPING = enum.auto()
    MAPPING_END = enum.auto()


class Event(NamedTuple):
    """One step through a text; line and column count from 1."""

    kind: Kind
    line: int
    column: int
    #: Of a scalar.
    text: str = ""
    #: Whether a scalar has no quotes and is no block.
    plain: bool = False
    anchor: str | None = None
    tag: str | None = None
    #: Whether a document's beginning or end is marked.
    marked: bool = False
    #: Whether a document has a '%' line.
    directive: bool = False


class Unreadable(Exception):
    """Nothing sensible can be read behind this place."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


TEXT: Final = "a text"
NOTHING: Final = "nothing"
MERGE: Final = "a merge key"
_TAGS: Final = {
    "tag:yaml.org,2002:str": TEXT,
    "tag:yaml.org,2002:null": NOTHING,
    "tag:yaml.org,2002:bool": "a boolean",
    "tag:yaml.org,2002:int": "an integer",
    "tag:yaml.org,2002:float": "a floating-point number",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:merge": MERGE,
}
_KINDS: Final[dict[type, Kind]] = {
    yaml.StreamEndEvent: Kind.STREAM_END,
    yaml.DocumentStartEvent: Kind.DOCUMENT,
    yaml.DocumentEndEvent: Kind.DOCUMENT_END,
    yaml.AliasEvent: Kind.ALIAS,
    yaml.ScalarEvent: Kind.SCALAR,
    yaml.SequenceStartEvent: Kind.SEQUENCE,
    yaml.SequenceEndEvent: Kind.SEQUENCE_END,
    yaml.MappingStartEvent: Kind.MAPPING,
    yaml.MappingEndEvent: Kind.MAPPING_END,
}
_DEEPER: Final[dict[type, int]] = {
    yaml.SequenceStartEvent: 1,
    yaml.MappingStartEvent: 1,
    yaml.SequenceEndEvent: -1,
    yaml.MappingEndEvent: -1,
}
#: What is often meant by what is no YAML, by what the parser says of it.
_REMEDIES: Final = {
    "while scanning an alias": "a text that begins with '*' has to be quoted",
    "found unknown escape character": "write patterns in single quotes",
}
_COLUMN: Final = "the keys of a mapping begin in the same column"
_COLON: Final = "a text that holds ': ' has to be quoted"
_ADDRESS: Final = "an address that begins with ':' has to be quoted"
_RESOLVER: Final = yaml.SafeLoader("")
#: Not on every machine.
_QUICK: Final[Any] = getattr(yaml, "CSafeLoader", None)  # PyYAML is untyped
#: No tabs, no line ends but one, no mark of byte order, nothing PyYAML calls a control character.
_AGREED: Final = re.compile("[\n -~\u00a1-\u2027\u202f-\ud7ff\U00010000-\U0010ffff]*")

#: A comment stuck to the head of a block: one takes it, the other does not.
_DISPUTED: Final = re.compile("[|>][-+0-9]*#")


def meaning(text: str) -> str:
    """Return what YAML takes a plain text for: TEXT, NOTHING, MERGE, or a word for people."""
    return _TAGS.get(
        _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)),  # type: ignore[no-untyped-call]
        "a special word",
    )


def is_quick(text: str) -> bool:
    """Return whether `quick_events` can be asked."""
    return _QUICK is not None and bool(_AGREED.fullmatch(text)) and not _DISPUTED.search(text)


def quick_events(text: str) -> Iterator[Event]:
    """Yield what `events` yields, sooner; raise Unreadable, without a useful place, where in doubt."""
    doubt = Unreadable(1, 1, "ask the other parser")
    depth = 0  # in brackets
    try:
        loader = _QUICK(text)
        while event := loader.get_event():
            if depth or getattr(event, "flow_style", False):
                depth += _DEEPER.get(type(event), 0)
            made = _event(event)
            if made is not None:
                if made.plain and (not made.text or (depth and "?" in made.text)):
                    # An empty value they place differently; a '?' in brackets only one of them takes.
                    raise doubt
                yield made
    except (yaml.YAMLError, ValueError, OverflowError):
        raise doubt from None


def events(text: str) -> Iterator[Event]:
    """Yield every event of a text but the start of the stream; raise Unreadable."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        at = error.position
        before = text[:at]
        line, column = before.count("\n") + 1, at - before.rfind("\n")
        raise Unreadable(line, column, f"control character {text[at]!r}; remove it") from None
    while event := _next(loader, text):
        made = _event(event)
        if made is not None:
            yield made


def _next(loader: Any, text: str) -> Any:  # noqa: ANN401 - PyYAML is untyped
    try:
        return loader.get_event()
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, loader, text) from None
    except (ValueError, OverflowError):
        # PyYAML lets "\UFFFFFFFF" and absurd version numbers reach chr() and int().
        mark = loader.get_mark()
        raise Unreadable(mark.line + 1, mark.column + 1, "a number out of range") from None


def _syntax(error: yaml.MarkedYAMLError, loader: Any, text: str) -> Unreadable:  # noqa: ANN401
    mark: Any = error.problem_mark or error.context_mark or loader.get_mark()
    start = text.rfind("\n", 0, mark.index) + 1
    if text[start:].lstrip(" ").startswith("\t"):
        return Unreadable(mark.line + 1, mark.column + 1, "a tab in the indentation; use spaces")
    words = ": ".join(part for part in (error.context, error.problem) if part)
    remedy = _remedy(words, before=text[start : mark.index], behind=text[mark.index :])
    return Unreadable(mark.line + 1, mark.column + 1, f"not valid YAML: {words}{remedy}")


def _remedy(words: str, *, before: str, behind: str) -> str:
    """Return the remedy with `; ` in front, where the parser's words and the text around show one."""
    found = [remedy for said, remedy in _REMEDIES.items() if said in words]
    if behind.startswith("::"):
        found.append(_ADDRESS)
    elif behind.startswith(":") and ": " in before:
        found.append(_COLON)
    elif "mapping values are not allowed" in words:
        found.append(_COLUMN)
    return f"; {found[0]}" if found else ""


def _event(event: Any) -> Event | None:  # noqa: ANN401 - PyYAML is untyped
    """Return an event of ours; None for the start of the stream."""
    kind = _KINDS.get(type(event))
    if kind is None:
        return None
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    match kind:
        case Kind.SCALAR:
            return Event(kind, line, column, event.value, not event.style, event.anchor, event.tag)
        case Kind.SEQUENCE | Kind.MAPPING:
            return Event(kind, line, column, anchor=event.anchor, tag=event.tag)
        case Kind.DOCUMENT:
            directive = bool(event.version or event.tags)
            return Event(kind, line, column, marked=event.explicit, directive=directive)
    marked = kind is Kind.DOCUMENT_END and event.explicit
    return Event(kind, line, column, anchor=getattr(event, "anchor", None), marked=marked)
