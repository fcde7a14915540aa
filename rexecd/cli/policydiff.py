"""`rexecd policy diff`: who gains and who loses what between two policies, for people and as JSON."""

import argparse
import json
from collections.abc import Iterator
from typing import Final

from rexecd.cli import say
from rexecd.errors import ConfigError
from rexecd.policy import diff as differences
from rexecd.policyfiles import load_policy
from rexecd.printable import printable

_FINDING: Final = 1
_TROUBLE: Final = 2


def diff(arguments: argparse.Namespace) -> int:
    """Say who gains and who loses what between two policy files; 1 if anything differs.

    2 if one cannot be read, as diff(1): who asks in a script has to tell that from a difference.
    """
    try:
        found = differences.diff(load_policy(arguments.old), load_policy(arguments.new))
    except ConfigError as error:
        for fault in error.faults:
            say.error("rexecd", fault)
        return _TROUBLE
    if arguments.json:
        principals = [_difference_object(difference) for difference in found]
        say.out(json.dumps({"differs": bool(found), "principals": principals}, indent=2))
    else:
        for each in found:
            for text in _difference_text(each):
                say.out(printable(f"{each.name}: {text}"))  # a newline of the policy begins no line of ours
    return _FINDING if found else 0


def _difference_text(difference: differences.Difference) -> Iterator[str]:
    if difference.old is None and difference.new is not None:
        yield f"is new ({difference.new.place})"
    if difference.new is None:
        yield "is gone"
    if difference.sources is not None:
        yield str(difference.sources)
    if difference.requirement is not None:
        yield str(difference.requirement)
    yield from map(str, difference.limits)
    yield from (f"gains {rule.name} ({rule.place})" for rule in difference.gained)
    yield from (f"loses {rule.name}" for rule in difference.lost)
    for rule, changes in difference.altered:
        yield f"{rule.name} changed: {'; '.join(map(str, changes))} ({rule.place})"


def _difference_object(difference: differences.Difference) -> dict[str, object]:
    came, went = difference.old is None, difference.new is None
    return {
        "name": difference.name,
        "principal": "new" if came else "gone" if went else "kept",
        "from": None if difference.sources is None else difference.sources._asdict(),
        "require": None if difference.requirement is None else difference.requirement._asdict(),
        "limits": [change._asdict() for change in difference.limits],
        "gains": [{"command": rule.name, "place": str(rule.place)} for rule in difference.gained],
        "loses": [{"command": rule.name, "place": str(rule.place)} for rule in difference.lost],
        "changes": [
            {
                "command": rule.name,
                "place": str(rule.place),
                "what": [change._asdict() for change in changes],
            }
            for rule, changes in difference.altered
        ],
    }
