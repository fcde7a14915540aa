"""The text of a policy in, a Policy out, or every fault in it at once.

Rule 1: rules, roles and principals have no order, and a name stands for one thing.
Rule 2: what grants nothing or names nothing is a fault, not a silent no.
Rule 3: deny beats allow, over all roles of a principal.
"""

import hashlib
from collections.abc import Collection
from collections.abc import Mapping as Map
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd import names, yamltext
from rexecd.policy.command import read_rule
from rexecd.policy.model import Policy, Principal, Rule
from rexecd.yamltext import Faults, Keys, Mapping, Node, Place, shown, suggest

_TOP: Final = Keys(("version", "principals", "roles", "commands"), ("version",), ("include",))
_ROLE: Final = Keys(("allow", "deny"), ("allow",))
_PRINCIPAL: Final = Keys(("roles",), ("roles",), ("from", "require"))

_IN_A_COMMAND: Final = "use lower-case letters, digits, '-', '_' and dots between words"
_IN_A_PRINCIPAL: Final = "use letters, digits and . _ @ -, and begin with a letter or digit"


class _Role(NamedTuple):
    """The names of the commands a role allows and denies."""

    allow: frozenset[str]
    deny: frozenset[str]


def load(text: str, source: str) -> Policy:
    """Return the policy in `text`; raise ConfigError with every fault.

    `source` is the file's name in messages.
    """
    faults = Faults()
    top = yamltext.keyed(yamltext.parse(text, source, faults), faults, keys=_TOP)
    policy = None if top is None else _read(top, text, faults)
    faults.check()
    if policy is None:  # only where a fault was found; kept so that nothing else can follow
        raise RuntimeError("a policy without faults was not read")
    return policy


def _read(top: Mapping, text: str, faults: Faults) -> Policy:
    if "version" in top.entries:
        yamltext.integer(top.entries["version"], faults, least=1, most=1)
    commands = _section(top, "commands", faults)
    if not commands.entries:
        faults.add(commands.place, "without commands a policy allows nothing")
    rules = _rules(commands, faults)
    roles = _roles(_section(top, "roles", faults), commands.entries, faults)
    principals = {
        name: Principal(name, MappingProxyType(_permitted(held, rules)))
        for name, held in _principals(_section(top, "principals", faults), roles, faults).items()
    }
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()
    return Policy(MappingProxyType(principals), MappingProxyType(rules), digest)


def _section(top: Mapping, name: str, faults: Faults) -> Mapping:
    """Return one of the mappings of a policy; an empty one where it is missing."""
    node = top.entries.get(name)
    return Mapping({}, {}, top.place) if node is None else yamltext.mapping(node, faults)


def _rules(commands: Mapping, faults: Faults) -> dict[str, Rule]:
    rules = {}
    for name, node in commands.entries.items():
        place = commands.keys[name]
        if name in names.RESERVED_COMMANDS:
            faults.add(place, f"{name!r} is a word of the interactive session; choose another name")
        elif not names.is_name(names.COMMAND, name):
            faults.add(place, f"{shown(name)} cannot name a command; {_IN_A_COMMAND}")
        rule = read_rule(name, place, node, faults)
        if rule is not None:
            rules[name] = rule
    return rules


def _roles(section: Mapping, commands: Collection[str], faults: Faults) -> dict[str, _Role | None]:
    """Return every role by name; None for one with a fault, so that it is not reported as unknown."""
    roles: dict[str, _Role | None] = {}
    for name, node in section.entries.items():
        place = section.keys[name]
        _check_name(name, place, "role", faults)
        roles[name] = _role(node, place, commands, faults)
    return roles


def _check_name(name: str, place: Place, what: str, faults: Faults) -> None:
    if not names.is_name(names.PRINCIPAL, name):
        faults.add(place, f"{shown(name)} cannot name a {what}; {_IN_A_PRINCIPAL}")


def _role(node: Node, place: Place, commands: Collection[str], faults: Faults) -> _Role | None:
    found = yamltext.keyed(node, faults, keys=_ROLE)
    if found is None or "allow" not in found.entries:
        return None
    allow = _matches(found.entries["allow"], commands, faults)
    deny = _matches(found.entries["deny"], commands, faults) if "deny" in found.entries else frozenset()
    if allow is None or deny is None:
        return None
    if not allow - deny:
        faults.add(place, "this role allows nothing: all of it is denied again")
    return _Role(allow, deny)


def _matches(node: Node, commands: Collection[str], faults: Faults) -> frozenset[str] | None:
    """Return the commands a list of names, `prefix.*` and `*` stands for; None with a fault."""
    patterns = yamltext.texts(node, faults, unique=True)
    if patterns is None:
        return None
    found: set[str] = set()
    complete = True
    for pattern, item in zip(patterns, yamltext.sequence(node, faults), strict=True):
        matching = {command for command in commands if _is_match(pattern, command)}
        if not matching:
            faults.add(item.place, _nothing_matches(pattern, commands))
            complete = False
        found |= matching
    return frozenset(found) if complete else None


def _is_match(pattern: str, command: str) -> bool:
    if pattern.endswith(".*"):
        return command.startswith(pattern[:-1])
    return pattern in ("*", command)


def _nothing_matches(pattern: str, commands: Collection[str]) -> str:
    if "*" in pattern.removesuffix(".*") and pattern != "*":
        return f"{shown(pattern)} is not a command, 'prefix.*' or '*'"
    prefixes = {command.rpartition(".")[0] + ".*" for command in commands if "." in command}
    return f"{shown(pattern)} matches no command{suggest(pattern, sorted(prefixes.union(commands)))}"


def _principals(section: Mapping, roles: Map[str, _Role | None], faults: Faults) -> dict[str, list[_Role]]:
    """Return the roles each principal holds."""
    principals = {}
    for name, node in section.entries.items():
        _check_name(name, section.keys[name], "principal", faults)
        found = yamltext.keyed(node, faults, keys=_PRINCIPAL)
        if found is not None and "roles" in found.entries:
            principals[name] = _held(found.entries["roles"], roles, faults)
    return principals


def _held(node: Node, roles: Map[str, _Role | None], faults: Faults) -> list[_Role]:
    held = []
    for item, name in zip(
        yamltext.sequence(node, faults), yamltext.texts(node, faults, unique=True) or (), strict=False
    ):
        role = roles.get(name)
        if name not in roles:
            faults.add(item.place, f"unknown role {shown(name)}{suggest(name, roles)}")
        elif role is not None:
            held.append(role)
    return held


def _permitted(held: list[_Role], rules: Map[str, Rule]) -> dict[str, Rule]:
    allowed = frozenset[str]().union(*(role.allow for role in held))
    denied = frozenset[str]().union(*(role.deny for role in held))
    return {name: rules[name] for name in sorted(allowed - denied) if name in rules}
