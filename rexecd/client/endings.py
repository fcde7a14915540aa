"""How a command ended, for a person."""

from rexecd.client.results import Outcome


def ending_notes(outcome: Outcome) -> list[str]:
    """Return what a person should know of an ending that was not an ordinary success."""
    notes = ["[output or input was cut at its limit]"] if outcome.truncated else []
    if outcome.reason is not None:
        notes.append(f"[{outcome.reason}]")
    elif outcome.signal is not None:
        notes.append(f"[signal {outcome.signal}]")
    elif outcome.returncode:
        notes.append(f"[exit status {outcome.returncode}]")
    return notes
