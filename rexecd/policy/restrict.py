"""What `limits` and `sandbox` say: to what a command, and how often somebody may start it, is kept.

Rule: what restricts nothing is a fault; it would look like a protection.
"""

from collections.abc import Mapping as Map
from typing import Final

from rexecd.forms import Entries
from rexecd.policy.bounds import NetworkAccess, Quota, Resources, Sandbox
from rexecd.policy.parameters import Parameter, Pass
from rexecd.policy.places import is_below
from rexecd.yamltext import Faults, shown

#: Descriptors a command has besides those of its parameters: its own three, and what its start takes.
_OWN_FILES: Final = 16


def build_quota(entries: Entries, faults: Faults) -> Quota:
    """Return how often a command or a principal may run; a fault stands in `faults`."""
    found: Entries | None = entries.get("limits")
    if found is None:
        return Quota()
    if not found.node.entries:
        faults.add(entries.place("limits"), "this limits nothing; remove it")
    return Quota(found.get("concurrency"), found.get("rate"))


def build_resources(entries: Entries, parameters: Map[str, Parameter | None], faults: Faults) -> Resources:
    """Return what one run of a command may use; a fault stands in `faults`."""
    found: Entries | None = entries.get("limits")
    if found is None:
        return Resources()
    seconds: float | None = found.get("cpu")
    if seconds is not None and not seconds.is_integer():
        faults.add(found.place("cpu"), "processor time is counted in whole seconds; write 1s, 2s and so on")
    files: int | None = found.get("open_files")
    passed = sum(
        parameter is not None and parameter.passed is Pass.DESCRIPTOR for parameter in parameters.values()
    )
    if files is not None and files < _OWN_FILES + passed:
        why = f"its start takes {_OWN_FILES}, and each parameter that is passed by descriptor one more"
        faults.add(found.place("open_files"), f"{files} are too few; write {_OWN_FILES + passed}: {why}")
    return Resources(
        memory=found.get("memory"),
        cpu=None if seconds is None else int(seconds),
        processes=found.get("processes"),
        open_files=files,
        file_size=found.get("file_size"),
        nice=found.get("nice"),
    )


def build_sandbox(entries: Entries, faults: Faults) -> Sandbox | None:
    """Return what a command is kept from; None for nothing, or with a fault."""
    found: Entries | None = entries.get("sandbox")
    if found is None:
        return None
    network: str | None = found.get("network")
    sandbox = Sandbox(
        read=found.get("read"),
        write=found.get("write"),
        network=None if network is None else NetworkAccess(network),
        private_tmp=bool(found.get("private_tmp")),
        minimal_devices=found.has("devices"),
        best_effort=bool(found.get("best_effort")),
    )
    if any(map(found.is_faulty, found.node.entries)):
        return None
    if sandbox == Sandbox(best_effort=sandbox.best_effort):
        faults.add(entries.place("sandbox"), "this restricts nothing; remove it, or say what it is for")
    _check_reached(found, faults)
    return sandbox


def _check_reached(found: Entries, faults: Faults) -> None:
    """Add a fault for what opens everything, and for what may be read where it may be written already."""
    written = list(found.items("write"))
    for path, place in written:
        if path == "/":
            faults.add(place, "'/' is everything, so that nothing is closed; name what is written to")
    for path, place in found.items("read"):
        outer = next((outer for outer, _ in written if outer != "/" and is_below(path, outer)), None)
        if outer is not None:
            faults.add(place, f"{shown(path)} may be written to already, with {shown(outer)}; remove it")
