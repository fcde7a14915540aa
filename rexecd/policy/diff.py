"""Two policies, and who may do what since then: gained, lost, changed.

Rule 1: only what somebody may do is compared. Places, examples, silenced codes and commands that
nobody may run make no difference; neither does by which role a command is permitted.
Rule 2: order counts where it means something: parameters are filled in declared order.
Rule 3: what differs is never said in the same words twice.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from rexecd.networks import Network
from rexecd.policy import words as said_of
from rexecd.policy.kinds import HIGHEST, LOWEST, Duration, Integer, Kind, Matching, Number
from rexecd.policy.model import Policy, Principal, Quota, Resources, Rule
from rexecd.policy.parameters import Parameter, Repeat
from rexecd.policy.pattern import Pattern
from rexecd.policy.places import HostAddress, HostNetwork
from rexecd.yamltext import spell_duration, spell_size


class Change(NamedTuple):
    """One thing that was so and is now otherwise, in words."""

    what: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.what} {self.old} -> {self.new}"


class Altered(NamedTuple):
    """A command that a principal may run before and after, as it is now, and what changed about it."""

    rule: Rule
    changes: tuple[Change, ...]


class Difference(NamedTuple):
    """What changed for one principal."""

    name: str
    #: None: there was no such principal.
    old: Principal | None
    #: None: there is none any more.
    new: Principal | None
    gained: tuple[Rule, ...]
    lost: tuple[Rule, ...]
    altered: tuple[Altered, ...]
    #: Where it has to come from, if that changed.
    sources: Change | None
    #: What it has to show besides its token, if that changed.
    requirement: Change | None
    #: How much it may run, if that changed.
    limits: tuple[Change, ...]


def diff(old: Policy, new: Policy) -> tuple[Difference, ...]:
    """Return what changed for each principal, by name; nothing for whom nothing did."""
    altered = {
        name: Altered(rule, changes)
        for name, rule in new.rules.items()
        if name in old.rules and (changes := tuple(_changes(old.rules[name], rule)))
    }
    names = sorted(old.principals.keys() | new.principals.keys())
    found = (_compare(name, old.principals.get(name), new.principals.get(name), altered) for name in names)
    return tuple(difference for difference in found if difference is not None)


def _compare(
    name: str, old: Principal | None, new: Principal | None, altered: Mapping[str, Altered]
) -> Difference | None:
    before: Mapping[str, Rule] = {} if old is None else old.rules
    after: Mapping[str, Rule] = {} if new is None else new.rules
    difference = Difference(
        name,
        old,
        new,
        gained=tuple(after[rule] for rule in sorted(after.keys() - before.keys())),
        lost=tuple(before[rule] for rule in sorted(before.keys() - after.keys())),
        altered=tuple(altered[rule] for rule in sorted(before.keys() & after.keys() & altered.keys())),
        sources=None if old is None or new is None else _moved(old.sources, new.sources),
        requirement=None if old is None or new is None else _requirement(old, new),
        limits=() if old is None or new is None else tuple(_limits((old.quota,), (new.quota,))),
    )
    what = (difference.gained, difference.lost, difference.altered, difference.sources)
    is_other = any((*what, difference.requirement, difference.limits))
    return difference if old is None or new is None or is_other else None


def _requirement(old: Principal, new: Principal) -> Change | None:
    if old.requires_certificate == new.requires_certificate:
        return None
    words = {True: "certificate", False: "none"}
    return Change("require", words[old.requires_certificate], words[new.requires_certificate])


def _changes(old: Rule, new: Rule) -> Iterator[Change]:
    """Yield what differs between two rules of one name."""
    for name, (key, words) in _FIELDS.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield _change(key, before, after, words)
    yield from _limits((old.quota, old.resources), (new.quota, new.resources))
    moved = _moved(old.sources, new.sources)
    if moved is not None:
        yield moved
    orders = tuple(old.parameters), tuple(new.parameters)
    if orders[0] != orders[1]:
        yield _change("parameters", *orders, lambda names: ", ".join(names) or "none")
    yield from _entries("parameter", old.parameters, new.parameters, _declaration)
    yield from _entries("environment", old.environment, new.environment, _value)


def _entries(
    what: str, old: Mapping[str, Any], new: Mapping[str, Any], words: Callable[[Any], str]
) -> Iterator[Change]:
    """Yield what differs between two mappings, name by name."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            yield _change(f"{what} {name}", before, after, words)


def _limits(old: tuple[Quota | Resources, ...], new: tuple[Quota | Resources, ...]) -> Iterator[Change]:
    """Yield what differs between limits, key by key."""
    before, after = said_of.limits(*old), said_of.limits(*new)
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            yield Change(f"limits.{key}", before.get(key, "none"), after.get(key, "none"))


def _moved(old: tuple[Network, ...], new: tuple[Network, ...]) -> Change | None:
    """Return how a `from` changed; its networks have no order."""
    if set(old) == set(new):
        return None
    return _change("from", old, new, lambda networks: ", ".join(map(str, networks)) or "anywhere")


def _change(what: str, old: Any, new: Any, words: Callable[[Any], str]) -> Change:  # noqa: ANN401
    """Return a change in the words of the policy or, where those are the same, in Python's."""
    before, after = words(old), words(new)
    return Change(what, before, after) if before != after else Change(what, repr(old), repr(new))


# What a policy holds in words.


def _value(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    return _WORDS.get(type(value), str)(value)


#: How values of a type are written; others say it themselves.
_WORDS: Final[Mapping[type, Callable[[Any], str]]] = MappingProxyType(
    {
        type(None): lambda _: "none",
        bool: lambda value: "yes" if value else "no",
        str: repr,
        tuple: lambda values: ", ".join(map(_value, values)) or "none",
        Pattern: lambda pattern: repr(pattern.text),
        Repeat: lambda repeat: repeat.takes,
    }
)


def _size(amount: int | None) -> str:
    return "none" if amount is None else spell_size(amount)


#: The fields of a rule that are compared as they are: their key in the policy, and their words.
_FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = MappingProxyType(
    {
        "summary": ("summary", _value),
        "description": ("description", _value),
        "template": ("run", str),
        "stdin": ("stdin", _value),
        "timeout": ("timeout", spell_duration),
        "on_disconnect": ("on_disconnect", _value),
        "signals": ("signals", said_of.signals),
        "sandbox": ("sandbox", said_of.sandbox),
        "working_directory": ("working_directory", str),
        "umask": ("umask", lambda mask: f"{mask:03o}"),
        "identity": ("run_as", lambda identity: str(identity or "that of the settings")),
        "justification": ("justification", _value),
        "hidden": ("hidden", _value),
        "output_ceiling": ("limits.output", _size),
        "input_ceiling": ("limits.input", _size),
    }
)
#: Types and fields whose names in the policy are others.
_TYPES: Final = MappingProxyType({Matching: "pattern", HostAddress: "address", HostNetwork: "network"})
_KEYS: Final = MappingProxyType(
    {
        "options": "of",
        "roots": "under",
        "least": "min",
        "most": "max",
        "pattern": "matches",
        "noun": "for",
        "passed": "pass",
    }
)


def _declaration(parameter: Parameter | None) -> str:
    return "none" if parameter is None else describe_parameter(parameter)


def describe_parameter(parameter: Parameter) -> str:
    """Return what a parameter is: its type, and everything about it that was not left as it is."""
    kind = type(parameter.kind)
    said = "; ".join([*_said(parameter.kind), *_said(parameter)])
    word = _TYPES.get(kind, kind.__name__.lower())
    return f"{word} ({said})" if said else word


def _said(part: Kind | Parameter) -> Iterator[str]:
    for field in dataclasses.fields(part):  # type: ignore[arg-type]  # every kind is a dataclass
        value = getattr(part, field.name)
        if field.name not in ("name", "kind") and value not in (field.default, *_UNBOUND):
            yield f"{_KEYS.get(field.name, field.name.replace('_', ' '))} {_words(part, field.name)(value)}"


def _words(part: Kind | Parameter, field: str) -> Callable[[Any], str]:
    """Return how a field is written: a number that is a text already has no quotes."""
    if isinstance(part, Duration) and field in ("least", "most"):
        return spell_duration
    is_number = isinstance(part, Parameter) and isinstance(part.kind, Integer | Number)
    return str if is_number and field == "default" else _value


#: Bounds that are none.
_UNBOUND: Final = (None, (), LOWEST, HIGHEST)
