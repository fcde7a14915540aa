"""What a line of a session can go on with: names of commands, their parameters, their choices.

Pure: from a listing and the line up to the cursor to candidates; who shows them is not known here.
Rule 1: everything in a listing is the server's word. What cannot be printed is no candidate, what needs
quotes has them, and what is said of one is escaped and short.
Rule 2: what is offered is read by the server as it is meant: a choice that could be taken for a name is
offered behind `--name=` or `--` only.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rexecd.client.listing import read_schema
from rexecd.client.scanning import Word, scan
from rexecd.printable import printable
from rexecd.wire.messages import Entry

#: The session's own words, with what they do.
WORDS: Final[Mapping[str, str]] = {"help": "what you may run", "exit": "leave"}
#: A longer one is nothing a person wants to have typed for them.
_MOST_TEXT: Final = 256
#: What is said of a candidate, in characters.
_MOST_ABOUT: Final = 100


class Candidate(NamedTuple):
    """What the word at the cursor can become."""

    #: The whole word, quoted if need be.
    text: str
    #: For people: a summary, or what a parameter takes.
    about: str = ""
    #: Whether the word is whole then, and a blank may follow.
    is_whole: bool = True


class Completion(NamedTuple):
    """Candidates, and where in the line the word begins that each of them takes the place of."""

    start: int
    candidates: tuple[Candidate, ...]


class Parameter(NamedTuple):
    """What completion has to know of a parameter."""

    name: str
    about: str = ""
    choices: tuple[str, ...] = ()
    is_flag: bool = False
    is_repeated: bool = False
    is_secret: bool = False


class Known:
    """What may be run, as a session has last heard it."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._entries = {entry.name: entry for entry in entries if _is_offered(entry.name)}
        self._parameters: dict[str, Mapping[str, Parameter]] = {}
        holders = [name for name, entry in self._entries.items() if "writeOnly" in entry.schema]
        self._secrets = {each.name for name in holders for each in self._of(name).values() if each.is_secret}

    def complete(self, line: str) -> Completion:
        """Return what the last word of a line, up to the cursor, can become."""
        words = scan(line).words
        last = words[-1] if words and words[-1].is_open else Word(len(line), "", is_open=True)
        before = [word.text for word in words if word is not last]
        found: Iterator[Candidate]
        if not before:
            found = self._names(last.text)
        elif before == ["help"]:
            found = (each for each in self._commands(last.text) if "'" not in each.text)
        elif before[0] in self._entries:
            found = _arguments(self._of(before[0]), before[1:], last.text)
        else:
            found = iter(())
        return Completion(last.start, tuple(found))

    def may_be_kept(self, line: str) -> bool:
        """Return whether a line may be written down: of a command that is listed, and without a secret.

        Of other lines nobody here can say what is a secret in them.
        """
        first, *rest = [word.text for word in scan(line).words] or [""]
        if any(word[2:].partition("=")[0] in self._secrets for word in rest if word.startswith("--")):
            return False
        if first not in self._entries:
            return first == "help"
        return not rest or not any(each.is_secret for each in self._of(first).values())

    def _names(self, typed: str) -> Iterator[Candidate]:
        yield from self._commands(typed)
        yield from (Candidate(word, about) for word, about in WORDS.items() if word.startswith(typed))

    def _commands(self, typed: str) -> Iterator[Candidate]:
        for name, entry in self._entries.items():
            if name.startswith(typed):
                yield Candidate(shlex.quote(name), _short(entry.summary))

    def _of(self, name: str) -> Mapping[str, Parameter]:
        """Return a command's parameters in their order; its schema is read when somebody asks."""
        if name not in self._parameters:
            self._parameters[name] = _read(self._entries[name])
        return self._parameters[name]


def _is_offered(text: str) -> bool:
    return bool(text) and text.isprintable() and len(text) <= _MOST_TEXT and text not in WORDS


def _short(text: str) -> str:
    """Return one printable line of a foreign text."""
    shown = printable(text[: _MOST_ABOUT + 1].partition("\n")[0])
    return shown if len(shown) <= _MOST_ABOUT else f"{shown[: _MOST_ABOUT - 3]}..."


def _read(entry: Entry) -> Mapping[str, Parameter]:
    schema = read_schema(entry.schema) or {}
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    lines = dict(line.removeprefix("--").split(": ", 1) for line in entry.parameters if ": " in line)
    return {
        name: _parameter(name, found, lines.get(name, ""))
        for name, found in properties.items()
        if _is_offered(name) and isinstance(found, dict)
    }


def _parameter(name: str, found: Mapping[str, object], line: str) -> Parameter:
    is_repeated = found.get("type") == "array"
    inner = found.get("items") if is_repeated else found
    one = inner if isinstance(inner, dict) else {}
    options = one.get("enum")
    return Parameter(
        name,
        _short(line or str(found.get("description", ""))),
        tuple(each for each in options if isinstance(each, str) and _is_choice(each))
        if isinstance(options, list)
        else (),
        is_flag=one.get("type") == "boolean",
        is_repeated=is_repeated,
        is_secret=one.get("writeOnly") is True,
    )


def _is_choice(text: str) -> bool:
    return text.isprintable() and len(text) <= _MOST_TEXT


def _arguments(parameters: Mapping[str, Parameter], before: Sequence[str], typed: str) -> Iterator[Candidate]:
    """Return what the word behind a command and some arguments can become; as `bind` in the policy reads."""
    given: list[str] = []
    awaited: Parameter | None = None
    places = 0
    is_behind_dashes = False
    for word in before:
        name, equals, _ = word[2:].partition("=")
        if awaited is not None:
            awaited = None
        elif is_behind_dashes or not word.startswith("--"):
            places += 1
        elif word == "--":
            is_behind_dashes = True
        elif name in parameters:
            given.append(name)
            awaited = None if equals or parameters[name].is_flag else parameters[name]
    if awaited is not None:
        yield from _choices(awaited, typed)
        return
    left = [each for each in parameters.values() if each.is_repeated or each.name not in given]
    slots = [each for each in left if not each.is_flag]
    repeated = next((at for at, each in enumerate(slots) if each.is_repeated), len(slots))
    filled = slots[: min(places, repeated)]
    for slot in slots[len(filled) : len(filled) + 1]:
        yield from _choices(slot, typed, may_be_dashed=is_behind_dashes)
    if not is_behind_dashes and (not typed or typed.startswith("-")):
        yield from _by_name([each for each in left if each not in filled], typed)
        if not before and typed and "--help".startswith(typed):
            yield Candidate("--help", "how it is called")


def _choices(parameter: Parameter, typed: str, *, may_be_dashed: bool = False) -> Iterator[Candidate]:
    for choice in parameter.choices:
        if choice.startswith(typed) and (may_be_dashed or not choice.startswith("--")):
            yield Candidate(shlex.quote(choice), parameter.name)


def _by_name(left: Sequence[Parameter], typed: str) -> Iterator[Candidate]:
    name, equals, value = typed[2:].partition("=")
    for each in left:
        if equals:
            if each.name == name and not each.is_flag:
                fitting = (choice for choice in each.choices if choice.startswith(value))
                yield from (Candidate(shlex.quote(f"--{name}={choice}"), each.name) for choice in fitting)
        elif f"--{each.name}".startswith(typed):
            ending = "" if each.is_flag else "="
            yield Candidate(shlex.quote(f"--{each.name}{ending}"), each.about, is_whole=each.is_flag)
