"""`rexecd status`: how the service is, in words, as JSON, and as an exit status for monitoring."""

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rexecd.cli import say, tools, units
from rexecd.cli.operate import ask, ask_for_metrics
from rexecd.errors import ConfigError, Unavailable
from rexecd.files import read_file
from rexecd.identity.certificates import expires
from rexecd.seam import messages as seam
from rexecd.settings import Settings, load_settings

_FINDING: Final = 1
#: Only these settings are those of the units.
_INSTALLED: Final = Path("/etc/rexecd/rexecd.yaml")


def status(arguments: argparse.Namespace) -> int:
    """Say how the running service is; 1 if something is not as it should be, or nothing runs."""
    settings = load_settings(arguments.config)
    if arguments.metrics:
        say.out(ask_for_metrics(settings).removesuffix("\n"))
        return 0
    found: dict[str, Any] = {"up": True, "problems": [], "warnings": []}
    problems: list[str] = found["problems"]
    try:
        found |= ask(settings, seam.Status())
    except Unavailable as error:
        found["up"] = False
        problems.append(str(error))
    else:
        problems += _problems(found)
        found["warnings"] += _troubles_elsewhere(found)
    found |= _about_certificate(settings, problems, found["warnings"]) | _about_units(settings, problems)
    if arguments.json:
        say.out(json.dumps(found, indent=2))
    else:
        for name, value in _flat(found):
            say.out(f"{name:<20} {'none' if value is None else value}")
        for warning in found["warnings"]:
            say.warning("rexecd", warning)
        for problem in problems:
            say.error("rexecd", problem)
    return _FINDING if problems else 0


def _problems(answer: dict[str, Any]) -> list[str]:
    """Return what is wrong with a service that runs, and add what can be told from what it says."""
    loaded = datetime.fromisoformat(answer["policy_loaded"])
    answer["policy_age"] = int((datetime.now(UTC) - loaded).total_seconds())
    problems = []
    if not answer["trail"]["healthy"]:
        problems.append(f"the trail cannot be written, so nothing runs: {answer['trail']['error']}")
    if answer["policy_error"] is not None:
        problems.append(f"{answer['policy_error']} (the old policy stays in force)")
    return problems


def _troubles_elsewhere(answer: dict[str, Any]) -> list[str]:
    """Return what goes wrong beside the trail, which nothing waits for."""
    troubles = []
    for sink in ("journal", "syslog"):
        facts = answer.get(sink)
        if facts and facts["error"] is not None:
            what = f"{facts['waiting']} bytes of records wait, and {facts['dropped']} were dropped"
            troubles.append(f"{sink}: {facts['error']}: {what}")
    fault = answer.get("metrics_file", {}).get("error")
    faults = [*(answer["trail"].get(name) for name in ("aside_error", "checkpoint_error")), fault]
    return [*troubles, *filter(None, faults)]


def _about_certificate(settings: Settings, problems: list[str], warnings: list[str]) -> dict[str, object]:
    """Return until when the server's certificate is good; what cannot be read is not known."""
    try:
        end = expires(read_file(settings.certificate.resolve()))
    except ConfigError:
        return {"certificate_expires": None}
    if end <= datetime.now(UTC):
        problems.append(f"{settings.certificate}: expired on {end:%Y-%m-%d}: renew it")
    elif end <= datetime.now(UTC) + timedelta(seconds=settings.certificate_warning):
        warnings.append(f"{settings.certificate}: expires on {end:%Y-%m-%d}: renew it")
    return {"certificate_expires": end.isoformat(timespec="seconds")}


def _about_units(settings: Settings, problems: list[str]) -> dict[str, object]:
    """Return how systemd sees the two services, if they are installed and these are their settings."""
    if settings.source != _INSTALLED:
        return {}
    states = {}
    for unit in tools.show(units.SERVICES, ["Id", "LoadState", "ActiveState", "SubState", "NRestarts"]):
        if unit.get("LoadState") == "loaded":
            state = (
                f"{unit['ActiveState']} ({unit['SubState']}, {say.count(int(unit['NRestarts']), 'restart')})"
            )
            states[unit["Id"].removesuffix(".service")] = state
            if unit["ActiveState"] != "active":
                problems.append(f"{unit['Id']} is {unit['ActiveState']}: journalctl -u {unit['Id']}")
    return {"units": states} if states else {}


def _flat(found: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the facts as lines: `trail.healthy`, `policy.error`."""
    lines: list[tuple[str, object]] = []
    for name, value in found.items():
        if isinstance(value, dict):
            lines += [(f"{name}.{part}", inner) for part, inner in value.items()]
        elif name not in ("problems", "warnings"):
            lines.append((name.replace("policy_", "policy.", 1), value))
    return lines
