"""Fuzz the policy by hand: whatever the file, the line or the pattern says, only declared errors come out.

Invariant: a mutated policy loads or is a ConfigError; a line is an Invocation or Refused, and its
arguments are as many as the rule makes them; a pattern is a PatternError or matches in bounded time.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris PyYAML
    PYTHONPATH=. /tmp/fuzz/bin/python tests/fuzz/policy_fuzz.py load -max_total_time=300
    PYTHONPATH=. /tmp/fuzz/bin/python tests/fuzz/policy_fuzz.py decide -max_total_time=300
    PYTHONPATH=. /tmp/fuzz/bin/python tests/fuzz/policy_fuzz.py pattern -max_total_time=300

What follows the target goes to libFuzzer. A finding is written to `crash-...` in the working
directory; the same command with that file instead of the options runs it again.
"""

import importlib
import posixpath
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rexecd.policy.model import Policy

_ROOT: Final = Path(__file__).parents[2]
_POLICIES: Final = _ROOT / "tests" / "data" / "policies"
_SEPARATOR: Final = b"\n"
#: Seconds of processor time one input may take, on a machine that traces every branch.
_SLOW: Final = 5.0

#: What is known of the bytes handed in: one input of a target.
Target = Callable[[bytes], None]


def _atheris() -> ModuleType:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed: see the head of this file")


def load_target() -> Target:
    """Return what loads a good policy into which lines and tokens of the input are put."""
    from rexecd.errors import ConfigError  # noqa: PLC0415 - imported under the eyes of the fuzzer
    from rexecd.policy.load import load  # noqa: PLC0415

    seeds = [path.read_text(encoding="utf-8").split("\n") for path in sorted(_POLICIES.glob("good-*.yaml"))]

    def one(data: bytes) -> None:
        lines = list(seeds[data[0] % len(seeds)]) if data else []
        for edit in data[1:].split(_SEPARATOR):
            _edit(lines, edit)
        try:
            load("\n".join(lines), "fuzz.yaml")
        except ConfigError as error:
            if not error.faults:
                raise RuntimeError("a refusal without a fault") from None

    return one


def _edit(lines: list[str], edit: bytes) -> None:
    """Change one line: drop, repeat, swap, cut, replace it, or put a text into it."""
    if len(edit) < 3 or not lines:  # what, where, how far
        return
    at, column = edit[1] % len(lines), edit[2]
    line, text = lines[at], edit[3:].decode(errors="surrogateescape")
    match edit[0] % 6:
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, line)
        case 2:
            other = column % len(lines)
            lines[at], lines[other] = lines[other], line
        case 3:
            lines[at] = line[: column % (len(line) + 1)]
        case 4:
            lines[at] = text
        case _:
            column %= len(line) + 1
            lines[at] = line[:column] + text + line[column:]


def decide_target() -> Target:
    """Return what decides a line over the policies of the tests, and looks at how it is recorded."""
    from rexecd.errors import Refused  # noqa: PLC0415
    from rexecd.policy.decide import Request, decide  # noqa: PLC0415
    from rexecd.policy.explain import explain  # noqa: PLC0415
    from rexecd.policy.masking import recordable  # noqa: PLC0415
    from rexecd.wire.messages import Offer  # noqa: PLC0415

    asked = [(policy, name) for policy in _policies() for name in policy.principals]

    def one(data: bytes) -> None:
        if not data:
            return
        policy, principal = asked[data[0] % len(asked)]
        line = data[1:].decode(errors="surrogateescape" if data[0] & 128 else "replace")
        request = Request(principal, "c", "r", "10.1.0.1", line, Offer.NONE)
        recordable(policy, line, allowed=False)
        outcome = explain(policy, request, resolve=posixpath.normpath).outcome
        try:
            made = decide(policy, request, resolve=posixpath.normpath)
        except Refused as refused:
            if str(outcome) != str(refused):
                raise RuntimeError("explained otherwise") from None
            return
        if outcome != made:
            raise RuntimeError("explained otherwise")
        if len(made.argv) > len(policy.rules[made.rule].template.elements) + 4:
            raise RuntimeError("too many arguments")

    return one


def _policies() -> "list[Policy]":
    """Return the policies of the tests that stand alone: without other files, and without users."""
    from rexecd.errors import ConfigError  # noqa: PLC0415
    from rexecd.policy.load import load  # noqa: PLC0415

    found = []
    for path in [*sorted(_POLICIES.glob("good-*.yaml")), _ROOT / "config" / "policy.yaml"]:
        try:
            found.append(load(path.read_text(encoding="utf-8"), path.name))
        except ConfigError:
            continue
    return found


def pattern_target() -> Target:
    """Return what compiles the first line of the input and matches the others."""
    from rexecd.policy.grammar import PatternError  # noqa: PLC0415
    from rexecd.policy.pattern import compile_pattern  # noqa: PLC0415

    def one(data: bytes) -> None:
        text, *values = data.decode(errors="replace").split("\n")
        began = time.process_time()
        try:
            pattern = compile_pattern(text)
        except PatternError:
            return
        for value in values:
            pattern.is_match(value)
            pattern.is_match(value * (1024 // (len(value) + 1)))
        if time.process_time() - began > _SLOW:
            raise RuntimeError("a pattern stalls")

    return one


_TARGETS: Final = {"load": load_target, "decide": decide_target, "pattern": pattern_target}


def main(arguments: Sequence[str]) -> None:
    """Run one target for as long as it is let."""
    if not arguments or arguments[0] not in _TARGETS:
        sys.exit(f"usage: policy_fuzz.py {'|'.join(_TARGETS)} [LIBFUZZER OPTION ...]")
    atheris = _atheris()
    with atheris.instrument_imports(include=["rexecd"]):
        target = _TARGETS[arguments[0]]()
    atheris.Setup([sys.argv[0], *arguments[1:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
