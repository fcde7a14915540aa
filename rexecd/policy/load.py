"""The texts of a policy in, a Policy out, or every fault in them at once.

Rule 1: rules, roles and principals have no order, and a name stands for one thing.
Rule 2: what grants nothing or names nothing is a fault, not a silent no.
Rule 3: deny beats allow, over all roles of a principal.
Rule 4: no I/O. Included files and accounts are asked of what is handed in.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from collections.abc import Mapping as Map
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd import yamltext
from rexecd.errors import ConfigError
from rexecd.forms import Entries, Table
from rexecd.networks import networks
from rexecd.policy.command import Host, build_rule
from rexecd.policy.identity import Accounts, Nobody
from rexecd.policy.masking import guard
from rexecd.policy.model import Defaults, Policy, Principal, Role, Rule, Term
from rexecd.policy.restrict import build_quota
from rexecd.policy.tables import PART, POLICY
from rexecd.yamltext import Faults, Place, shown, suggest

_SECTIONS: Final = ("principals", "roles", "commands")
_NOBODY: Final = Nobody()
_NO_DEFAULTS: Final = Defaults()


class File(NamedTuple):
    """One file's text, and its name in messages."""

    source: str
    text: str


#: Return the files of an included directory in the order of their names; raise ConfigError.
Include = Callable[[str], Sequence[File]]


def nothing_included(directory: str) -> Sequence[File]:
    """Refuse: this policy is a text without a place, and has no directories beside it."""
    raise ConfigError(f"{shown(directory)} cannot be included here")


def load(
    text: str,
    source: str,
    *,
    include: Include = nothing_included,
    accounts: Accounts = _NOBODY,
    defaults: Defaults = _NO_DEFAULTS,
) -> Policy:
    """Return the policy in `text` and what it includes; raise ConfigError with every fault.

    `source` is the file's name in messages. The digest is that of the files, whatever the defaults.
    """
    faults = Faults()
    merged, files = read(File(source, text), include, faults)
    policy = None if merged is None else _build(merged, Host(accounts, defaults), faults)
    faults.check()
    if merged is None or policy is None or not merged.is_whole:
        # Only where a fault was found; kept so that nothing else can follow.
        raise RuntimeError("a policy without faults was not read whole")
    digest = hashlib.sha256("".join(file.text for file in files).encode(errors="replace")).hexdigest()
    texts = MappingProxyType({file.source: file.text for file in files})
    return Policy(policy.principals, policy.rules, policy.roles, digest, guard(policy.rules.values()), texts)


def check_whole(new: Policy, old: Policy) -> None:
    """Raise ConfigError if a file of `new` is the beginning of what it was in `old`.

    A file that says where it ends cannot be that without having said so; of any other one nobody knows.
    """
    cut = [
        f"{source}: ends where the one in force goes on: it may have been cut short; begin it with '---' and "
        "end it with '...', and it can be told"
        for source, text in new.texts.items()
        if len(text) < len(old.texts.get(source, "")) and old.texts[source].startswith(text)
        if not yamltext.is_closed(text)
    ]
    if cut:
        raise ConfigError(*cut)


class Merged(NamedTuple):
    """The sections of all files together: what was read of each name, and where each name stands."""

    read: Map[str, Map[str, Entries]]
    places: Map[str, Map[str, Place]]
    #: Where a policy without any commands is at fault.
    commands: Place
    #: Whether no name can be missing because something could not be read.
    is_whole: bool


def read(main: File, include: Include, faults: Faults) -> tuple[Merged | None, list[File]]:
    """Return what stands in a policy's files, and the files; None where the first cannot be read."""
    top, is_whole = _read_file(main, POLICY, faults)
    if top is None:
        return None, [main]
    files = [main]
    if top.has("include") and not top.is_faulty("include"):
        try:
            files += include(top.get("include"))
        except ConfigError as error:
            is_whole = False
            for fault in error.faults:
                faults.add(top.place("include"), fault)
    if len(files) > 1:
        for file in files:
            _check_last_line(file, faults)
    found = [(top, is_whole), *(_read_file(file, PART, faults) for file in files[1:])]
    parts = [part for part, _ in found if part is not None]
    return _merge(parts, faults, is_whole=all(whole for _, whole in found)), files


def _read_file(file: File, table: Table, faults: Faults) -> tuple[Entries | None, bool]:
    """Return what stands in a file, and whether none of the names in it can be missing there."""
    before = len(faults)
    node = yamltext.parse(file.text, file.source, faults)
    is_whole = len(faults) == before
    entries = table.read(node, faults)
    if entries is None:
        return None, False
    return entries, is_whole and not any(map(entries.is_faulty, entries.node.entries))


def _check_last_line(file: File, faults: Faults) -> None:
    """Demand an end of line: else text could move from one file to the next, and the digest be the same."""
    if not file.text.endswith("\n"):
        place = Place(file.source, file.text.count("\n") + 1, 1)
        faults.add(place, "the last line has no end: is the file whole? add a newline")


def _merge(parts: Sequence[Entries], faults: Faults, *, is_whole: bool) -> Merged:
    found: dict[str, dict[str, Entries]] = {name: {} for name in _SECTIONS}
    places: dict[str, dict[str, Place]] = {name: {} for name in _SECTIONS}
    for part in parts:
        for name in _SECTIONS:
            section: Entries | None = part.get(name)
            if section is None:
                continue
            for key, place in section.node.keys.items():
                if key in places[name]:
                    faults.add(place, f"repeated key {shown(key)}, first at {places[name][key]}")
                    continue
                places[name][key] = place
                if key in section.values:
                    found[name][key] = section.values[key]
    return Merged(found, places, parts[0].place("commands"), is_whole)


def _build(merged: Merged, host: Host, faults: Faults) -> Policy:
    places = merged.places
    # A name that could not be read is no mistake of those who use it.
    told = faults if merged.is_whole else Faults()
    if not places["commands"]:
        told.add(merged.commands, "without commands a policy allows nothing")
    rules = {
        name: rule
        for name, entries in merged.read["commands"].items()
        if (rule := build_rule(name, places["commands"][name], entries, host, faults)) is not None
    }
    names = _Names(places["commands"])
    roles = {
        name: role
        for name, entries in merged.read["roles"].items()
        if (role := _role(name, places["roles"][name], entries, names, told)) is not None
    }
    principals = {
        name: Principal(
            name=name,
            place=places["principals"][name],
            roles=tuple(role.name for role in held),
            sources=networks(entries.get("from")),
            requires_certificate=entries.get("require") == "certificate",
            quota=build_quota(entries, faults),
            rules=MappingProxyType(_permitted(held, rules)),
        )
        for name, entries in merged.read["principals"].items()
        if (held := _held(entries, places["roles"], roles, told)) is not None
    }
    for rule in rules.values():
        _check_examples(rule, places["principals"], told)
    return Policy(MappingProxyType(principals), MappingProxyType(rules), MappingProxyType(roles), digest="")


class _Names:
    """The names of all commands, and what `prefix.*` stands for among them."""

    def __init__(self, commands: Collection[str]) -> None:
        self.all = frozenset(commands)
        below: dict[str, set[str]] = {}
        for name in commands:
            at = name.find(".")
            while at >= 0:
                below.setdefault(name[: at + 1] + "*", set()).add(name)
                at = name.find(".", at + 1)
        self._below = {prefix: frozenset(found) for prefix, found in below.items()}

    def matching(self, pattern: str) -> frozenset[str]:
        """Return the commands a name, `prefix.*` or `*` stands for."""
        if pattern == "*":
            return self.all
        return self._below.get(pattern, frozenset({pattern} & self.all))

    def complaint(self, pattern: str) -> str:
        """Return what is wrong with a pattern that stands for nothing."""
        if "*" in pattern.removesuffix(".*"):
            meant = f"{pattern.rstrip('.*')}.*"
            hint = f" (did you mean {meant!r}?)" if meant in self._below else ""
            return f"{shown(pattern)} is not a command, 'prefix.*' or '*'{hint}"
        return f"{shown(pattern)} matches no command{suggest(pattern, sorted(self.all.union(self._below)))}"


def _role(name: str, place: Place, entries: Entries, names: _Names, faults: Faults) -> Role | None:
    """Return a role; None for one with a fault."""
    allow = _terms(entries, "allow", names, faults)
    deny = _terms(entries, "deny", names, faults)
    if allow is None or deny is None or not entries.has("allow"):
        return None
    role = Role(name, place, allow, deny)
    if not role.allowed - role.denied:
        faults.add(place, "this role allows nothing: all of it is denied again")
    return role


def _terms(entries: Entries, key: str, names: _Names, faults: Faults) -> tuple[Term, ...] | None:
    """Return what a list of names, `prefix.*` and `*` stands for; None with a fault."""
    if entries.is_faulty(key):
        return None
    terms = [Term(pattern, place, names.matching(pattern)) for pattern, place in entries.items(key)]
    for term in terms:
        if names.all and not term.commands:  # without any command that is the fault
            faults.add(term.place, names.complaint(term.pattern))
    return tuple(terms) if all(term.commands for term in terms) else None


def _held(
    entries: Entries, known: Map[str, Place], roles: Map[str, Role], faults: Faults
) -> list[Role] | None:
    """Return the roles a principal holds; None where its list has a fault."""
    for name, place in entries.items("roles"):
        if name not in known:
            faults.add(place, f"unknown role {shown(name)}{suggest(name, known)}")
    names = entries.get("roles")
    return None if names is None else [roles[name] for name in names if name in roles]


def _permitted(held: list[Role], rules: Map[str, Rule]) -> dict[str, Rule]:
    """Return what roles allow together, less what any of them denies."""
    allowed = frozenset[str]().union(*(role.allowed for role in held))
    denied = frozenset[str]().union(*(role.denied for role in held))
    return {name: rules[name] for name in sorted(allowed - denied) if name in rules}


def _check_examples(rule: Rule, principals: Map[str, Place], faults: Faults) -> None:
    for example in rule.examples:
        if example.principal not in principals:
            faults.add(
                example.place,
                f"unknown principal {shown(example.principal)}{suggest(example.principal, principals)}",
            )
