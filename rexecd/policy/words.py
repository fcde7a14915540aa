"""What a command is kept within, in the words of the policy: for people who list, explain and compare."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from rexecd.policy.bounds import Quota, Resources, Sandbox
from rexecd.policy.values import spell_rate
from rexecd.wire.messages import SignalName
from rexecd.yamltext import spell_duration, spell_size

#: How the limits of one run and of many are written, in the order of the manual.
_LIMITS: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        "concurrency": str,
        "rate": spell_rate,
        "memory": spell_size,
        "cpu": spell_duration,
        "processes": str,
        "open_files": str,
        "file_size": spell_size,
        "nice": str,
    }
)


def limits(*parts: Resources | Quota) -> dict[str, str]:
    """Return the limits that are set, by their keys."""
    found = {key: value for part in parts for key, value in part._asdict().items() if value is not None}
    return {key: words(found[key]) for key, words in _LIMITS.items() if key in found}


def sandbox(kept: Sandbox | None) -> str:
    """Return a sandbox as `read /etc/app, /srv; network none`, or `none`."""
    return "none" if kept is None else "; ".join(_sandbox(kept))


def _sandbox(kept: Sandbox) -> Iterator[str]:
    for key, paths in (("read", kept.read), ("write", kept.write)):
        if paths is not None:
            yield f"{key} {', '.join(map(repr, paths)) or 'nothing'}"
    if kept.network is not None:
        yield f"network {kept.network.value}"
    if kept.private_tmp:
        yield "private_tmp"
    if kept.minimal_devices:
        yield "devices minimal"
    if kept.best_effort:
        yield "best_effort"


def signals(allowed: frozenset[SignalName]) -> str:
    """Return which signals a caller may send."""
    return ", ".join(signal.name for signal in SignalName if signal in allowed) or "none"


def limits_object(*parts: Resources | Quota) -> dict[str, object]:
    """Return the limits that are set, for JSON: numbers, a rate as the policy writes it."""
    values = {key: value for part in parts for key, value in part._asdict().items()}
    return {key: said if key == "rate" else values[key] for key, said in limits(*parts).items()}


def sandbox_object(kept: Sandbox | None) -> dict[str, object] | None:
    """Return a sandbox for JSON, by the keys of the policy."""
    if kept is None:
        return None
    return {
        "read": None if kept.read is None else list(kept.read),
        "write": None if kept.write is None else list(kept.write),
        "network": None if kept.network is None else kept.network.value,
        "private_tmp": kept.private_tmp,
        "devices": "minimal" if kept.minimal_devices else None,
        "best_effort": kept.best_effort,
    }
