"""Policies that hypothesis makes up, and lines for them with the arguments that have to come of them.

What is expected is put together here from what was drawn, and nowhere from the code under test.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import strategies as st

from rexecd.policy.load import load
from rexecd.policy.model import NetworkAccess, OnDisconnect, Policy, Quota, Rate, Resources, Sandbox
from rexecd.wire.messages import SignalName
from tests.unit.policy.worlds import Machine

#: Characters that mean something to shells, to YAML, to templates, or to option parsers.
_ODD = "ab -=$;|&<>'\"\\*?{}()#~é"


class Drawn(NamedTuple):
    """A type as the policy writes it, values that fit, and whether one may begin with a dash."""

    keys: dict[str, object]
    values: st.SearchStrategy[str]
    dashed: bool = False


TYPES = {
    "choice": Drawn({"of": ["one", "a b", "{a}"]}, st.sampled_from(["one", "a b", "{a}"])),
    "dashed": Drawn(
        {"type": "choice", "of": ["-x", "--help", "--"], "leading_dash": "allow"},
        st.sampled_from(["-x", "--help", "--"]),
        dashed=True,
    ),
    "integer": Drawn({"min": 0, "max": 99}, st.integers(0, 99).map(str)),
    "word": Drawn({}, st.text("ab.:@+_-", min_size=1, max_size=5).map(lambda text: f"w{text}")),
    "text": Drawn({"max": 9}, st.text(_ODD, max_size=9).filter(lambda text: not text.startswith("-"))),
    "loose": Drawn(
        {"type": "text", "max": 9, "leading_dash": "allow"}, st.text("-" + _ODD, max_size=9), dashed=True
    ),
    "pattern": Drawn({"matches": "[a-c]+( [a-c]+)?"}, st.sampled_from(["a", "abc", "a c"])),
    "path": Drawn({"under": ["/srv"]}, st.sampled_from(["/srv", "/srv/a b", "/srv/-x"])),
    "hostname": Drawn({}, st.sampled_from(["web1", "a.example"])),
    "address": Drawn({}, st.sampled_from(["::1", "10.0.0.1"])),
    "port": Drawn({}, st.sampled_from(["1", "65535"])),
    "duration": Drawn({}, st.sampled_from(["0s", "250ms"])),
    "time": Drawn({}, st.sampled_from(["2026-01-31", "2026-01-31 12:30"])),
}


@dataclass
class Slot:
    """One declared parameter."""

    name: str
    type: str
    declared: dict[str, object]
    values: st.SearchStrategy[str]
    optional: bool = False
    default: str | None = None
    repeat: tuple[int, int] | None = None
    adds: list[str] | None = None
    dashed: bool = False


#: What a rule may be kept within, as the policy writes it, and as the model has it.
BOUNDS: dict[str, tuple[object, dict[str, object]]] = {
    "limits": (
        {"concurrency": 2, "rate": "7/h", "memory": "64MiB", "cpu": "2m", "open_files": 99},
        {
            "quota": Quota(2, Rate(7, 3600)),
            "resources": Resources(memory=64 * 1024**2, cpu=120, open_files=99),
        },
    ),
    "sandbox": (
        {"read": [], "write": ["/srv"], "network": "none", "best_effort": True},
        {"sandbox": Sandbox((), ("/srv",), NetworkAccess.NONE, best_effort=True)},
    ),
    "signals": (["USR1"], {"signals": frozenset({SignalName.USR1})}),
    "on_disconnect": ("finish", {"on_disconnect": OnDisconnect.FINISH}),
}


@dataclass
class Command:
    """One rule: its slots in order, its arguments as pieces of text and slots, and which bounds it has."""

    name: str
    slots: list[Slot]
    elements: list[list[str | Slot]]
    sources: bool = False
    bounds: frozenset[str] = frozenset()

    @property
    def written(self) -> dict[str, object]:
        """Return it as the policy writes it."""
        run = ["/bin/x", *("".join(map(_hole, pieces)) for pieces in self.elements)]
        declared: dict[str, object] = {"summary": self.name, "run": run}
        declared |= {"from": ["10.0.0.0/8"]} if self.sources else {}
        declared |= {key: BOUNDS[key][0] for key in sorted(self.bounds)}
        return declared | ({"parameters": {s.name: s.declared for s in self.slots}} if self.slots else {})

    @property
    def bound(self) -> dict[str, object]:
        """Return every bound as an invocation has it: those that are not written bind nothing."""
        free: dict[str, object] = {
            "quota": Quota(),
            "resources": Resources(),
            "sandbox": None,
            "signals": frozenset(SignalName),
            "on_disconnect": OnDisconnect.KILL,
        }
        for key in self.bounds:
            free |= BOUNDS[key][1]
        return free

    @property
    def literal_dashes(self) -> set[str]:
        """Return the operator's own beginnings of arguments that are options."""
        added = {word for slot in self.slots for word in slot.adds or ()}
        return added | {pieces[0] for pieces in self.elements if isinstance(pieces[0], str)}


def _hole(piece: str | Slot) -> str:
    if isinstance(piece, str):
        return piece.replace("{a}", "{{a}}")
    return f"{{{piece.name}{'...' if piece.repeat else ''}}}"


@st.composite
def slots(draw: st.DrawFn) -> list[Slot]:
    """Draw some parameters, the last value of which may be a repetition."""
    found = []
    for number in range(draw(st.integers(0, 4))):
        name = f"p{number}"
        if draw(st.integers(0, 4)) == 0:
            adds = draw(st.lists(st.sampled_from(["-v", "--all", "x y", "{p0}"]), min_size=1, max_size=3))
            found.append(Slot(name, "flag", {"type": "flag", "adds": adds}, st.just(""), adds=adds))
            continue
        kind = draw(st.sampled_from(sorted(TYPES)))
        drawn = TYPES[kind]
        slot = Slot(name, kind, {"type": kind, **drawn.keys}, drawn.values, dashed=drawn.dashed)
        match draw(st.sampled_from(["required", "optional", "default"])):
            case "optional":
                slot.optional = slot.declared["optional"] = True
            case "default":
                slot.default = draw(slot.values)
                is_number = kind in ("integer", "port")
                slot.declared["default"] = int(slot.default) if is_number else slot.default
        found.append(slot)
    valued = [slot for slot in found if slot.adds is None]
    if draw(st.booleans()) and valued:
        _repeat(valued[-1], draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    return found


def _repeat(slot: Slot, least: int, more: int) -> None:
    """Make a repetition of a parameter."""
    slot.repeat = (least, max(1, least + more))
    slot.optional, slot.default = False, None
    slot.declared = {key: value for key, value in slot.declared.items() if key not in ("optional", "default")}
    slot.declared |= {"least": slot.repeat[0], "most": slot.repeat[1]}


@st.composite
def commands(draw: st.DrawFn, name: str = "x") -> Command:
    """Draw a rule in which every parameter is used at least once."""
    found: list[Slot] = draw(slots())
    elements: list[list[str | Slot]] = []
    for slot in found:
        alone = slot.adds is not None or slot.repeat is not None
        around = [("", "")] if alone else [("", ""), ("--a=", ""), ("x", "y"), ("", "-rf"), ("", ",")]
        for before, behind in draw(st.lists(st.sampled_from(around), min_size=1, max_size=2)):
            elements.append([piece for piece in (before, slot, behind) if piece])
    whole = [s for s in found if s.adds is None and s.repeat is None and not s.optional]
    if len(whole) > 1 and draw(st.booleans()):
        elements.append([whole[0], whole[1]])
    literals = st.lists(st.sampled_from(["-h", "--", "x y", "", "{a}"]), max_size=3)
    elements += [[literal] for literal in draw(literals)]
    bounds = draw(st.frozensets(st.sampled_from(sorted(BOUNDS))))
    return Command(name, found, list(draw(st.permutations(elements))), draw(st.booleans()), bounds)


@dataclass
class Asked:
    """A line, and the arguments it has to become; None where an empty value brings a dash to the front."""

    line: str
    argv: tuple[str, ...] | None
    values: dict[str, list[str]] = field(default_factory=dict)


@st.composite
def lines(draw: st.DrawFn, command: Command) -> Asked:
    """Draw values for a rule, written by position, by name or both."""
    values = {slot.name: _given(draw, slot) for slot in command.slots}
    given = {name: texts for name, texts in values.items() if texts}
    words = [command.name, *_written(draw, command.slots, given)]
    filled = {slot.name: _filled(slot, given) for slot in command.slots}
    argv: list[str] = ["/bin/x"]
    for pieces in command.elements:
        arguments = _arguments(pieces, filled)
        if arguments is None:
            return Asked(shlex.join(words), None, given)
        argv += arguments
    return Asked(shlex.join(words), tuple(argv), given)


def _given(draw: st.DrawFn, slot: Slot) -> list[str]:
    if slot.repeat is not None:
        return draw(st.lists(slot.values, min_size=slot.repeat[0], max_size=slot.repeat[1]))
    may_lack = slot.adds is not None or slot.optional or slot.default is not None
    return [] if may_lack and draw(st.booleans()) else [draw(slot.values)]


def _filled(slot: Slot, given: dict[str, list[str]]) -> list[str]:
    if slot.name in given or slot.default is None:
        return given.get(slot.name, [])
    return [slot.default]


def _written(draw: st.DrawFn, declared: Sequence[Slot], given: dict[str, list[str]]) -> list[str]:
    """Return words; positions are for the first parameters only, up to one that is left out."""
    named: list[list[list[str]]] = []
    positional: list[str] = []
    has_gap = False
    for slot in declared:
        texts = given.get(slot.name, [])
        if slot.adds is not None:
            named += [[[f"--{slot.name}"]]] if texts else []
        elif not texts:
            has_gap = True
        elif has_gap or draw(st.booleans()):
            equals = draw(st.booleans())
            named.append(
                [[f"--{slot.name}={text}"] if equals else [f"--{slot.name}", text] for text in texts]
            )
        else:
            positional += texts
    if any(text.startswith("--") for text in positional) or draw(st.booleans()):
        return [*_mixed(draw, named), "--", *positional]
    return _mixed(draw, [*named, [[text] for text in positional]])


def _mixed(draw: st.DrawFn, streams: list[list[list[str]]]) -> list[str]:
    """Return the words of several streams, each in its own order."""
    turns = [number for number, stream in enumerate(streams) for _ in stream]
    rest = [iter(stream) for stream in streams]
    return [word for number in draw(st.permutations(turns)) for word in next(rest[number])]


def _arguments(pieces: Sequence[str | Slot], filled: dict[str, list[str]]) -> list[str] | None:
    """Return what one element becomes; None where that is refused."""
    used = [piece for piece in pieces if isinstance(piece, Slot)]
    if any(not filled[slot.name] for slot in used):
        return []
    if used and used[0].adds is not None:
        return used[0].adds
    if used and used[0].repeat is not None:
        return filled[used[0].name]
    texts = [piece if isinstance(piece, str) else filled[piece.name][0] for piece in pieces]
    if isinstance(pieces[0], Slot) and not texts[0] and "-rf" in pieces and not pieces[0].dashed:
        return None
    return ["".join(texts)]


def policy_of(
    rules: Sequence[Command],
    *,
    roles: dict[str, object] | None = None,
    principals: dict[str, object] | None = None,
    sections: Sequence[str] = ("version", "principals", "roles", "commands"),
) -> Policy:
    """Return the policy with some rules, for ann, who may run all of them, unless said otherwise."""
    whole: dict[str, object] = {
        "version": 1,
        "principals": principals or {"ann": {"roles": ["all"]}},
        "roles": roles or {"all": {"allow": ["*"]}},
        "commands": {rule.name: rule.written for rule in rules},
    }
    ordered = {name: whole[name] for name in sections}
    return load(json.dumps(ordered, ensure_ascii=False), "p", accounts=Machine())  # JSON is YAML
