"""What a monitor that was killed left in the trail: its commands and connections, recorded as ended.

Their processes are not looked for here: control groups, the workers and `serve` end them (ARCHITECTURE,
"Who kills what"). The trail has to say so.
"""

from pathlib import Path
from typing import Final

from rexecd.audit.events import Action
from rexecd.audit.trail import Trail
from rexecd.audit.unfinished import unfinished

_KILLED: Final = "the monitor was killed"
#: Nobody saw how it ended.
_UNKNOWN: Final = "unknown"
#: A start is not delayed by more than about ten seconds, whatever the length of the trail: some five million
#: records. systemd waits for ninety.
_SEARCH_TIME: Final = 10.0
#: Some tens of megabytes. A monitor has never had as many connections at a time.
_MOST: Final = 200_000


def settle(trail: Trail, path: Path) -> dict[str, object]:
    """Record the end of all that is unfinished; return what `service-started` says of it.

    Raise TrailError, and ConfigError for a trail that cannot be read. Should it be killed meanwhile, the next
    start does the rest.
    """
    left = unfinished(path, seconds=_SEARCH_TIME, most=_MOST)
    if not left.was_killed:
        return {}
    for context in left.commands:
        trail.recorder(**context).record(
            Action.COMMAND_KILLED,
            outcome=_UNKNOWN,
            reason=_KILLED,
            duration=None,
            cpu_time=None,
            peak_memory=None,
        )
    for context in left.connections:
        trail.recorder(**context).record(Action.CONNECTION_CLOSED, outcome=_UNKNOWN, reason=_KILLED)
    reason = f"{_KILLED} before this start"
    if left.back_to is not None:
        reason += f"; what began before record {left.back_to} was not looked for"
    return {"reason": reason, "unfinished": len(left.commands)}
