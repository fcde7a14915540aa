"""What the records of the trail add up to: counted as they are written, read as metrics.

Rule 1: labels are closed lists of ours and names of the policy, never a caller's text, and there is a bound
to how many there are.
Rule 2: counting neither raises nor waits: it is done under the trail's lock, in the path of every command.
Pure: one thread at a time counts; whoever reads meanwhile copies first.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from rexecd.audit.events import Action
from rexecd.errors import Code

#: Most different commands of the policy that are counted by name.
MOST_RULES: Final = 200
#: Names that no command can have: of those beyond, and of what was refused before any command was found.
OTHER: Final = "_other"
NONE: Final = "_none"

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
SIGNALLED: Final = "signalled"
TIMED_OUT: Final = "timed-out"
KILLED: Final = "killed"
REFUSED: Final = "refused"
NOT_STARTED: Final = "not-started"
#: How a command can have come out.
OUTCOMES: Final = (SUCCEEDED, FAILED, SIGNALLED, TIMED_OUT, KILLED, REFUSED, NOT_STARTED)

#: Seconds; what took longer than the last is in the bucket without end.
BUCKETS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    7200.0,
)

#: The ceilings of a rule that a command can run into (`rexec.limit`).
LIMITS: Final = ("memory", "processes", "cpu", "file_size")
_STREAMS: Final = (("stdout", "output_bytes"), ("stderr", "error_output_bytes"), ("stdin", "input_bytes"))
#: How the gateway says until when its certificate is good.
_UNTIL: Final = re.compile(r"until ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\Z")

Fields = Mapping[str, object]


class Meter:
    """Everything that is counted, from the start of this process on."""

    def __init__(self) -> None:
        self.records: dict[Action, int] = dict.fromkeys(Action, 0)
        #: By command of the policy and outcome.
        self.commands: Counter[tuple[str, str]] = Counter()
        self.durations = [0] * (len(BUCKETS) + 1)
        self.duration_sum = 0.0
        self.limits: dict[str, int] = dict.fromkeys(LIMITS, 0)
        self.bytes: dict[str, int] = dict.fromkeys((stream for stream, _ in _STREAMS), 0)
        self.truncated = 0
        #: By what the caller was told.
        self.refusals: dict[str, int] = dict.fromkeys((code.word for code in Code), 0)
        self.tls_failures = 0
        #: Connections that got no token across in time.
        self.unauthenticated = 0
        self.shed = 0
        self.penalties = 0
        #: Until when the gateway said that its certificate is good; None: it has not said it to this process.
        self.certificate_expires: float | None = None
        self._rules: set[str] = set()
        self._counts: dict[Action, Callable[[Fields], None]] = {
            Action.COMMAND_EXITED: self._exited,
            Action.COMMAND_TIMED_OUT: self._timed_out,
            Action.COMMAND_KILLED: self._killed,
            Action.COMMAND_DRAINED: self._drained,
            Action.COMMAND_REFUSED: self._refused,
            Action.AUTH_REFUSED: self._not_authenticated,
            Action.LIMIT_REACHED: self._limit_reached,
            Action.TLS_FAILED: self._tls_failed,
            Action.SOURCE_PENALIZED: self._penalized,
            Action.CERTIFICATE_LOADED: self._certificate_loaded,
        }

    def count(self, action: Action, fields: Fields, _line: bytes = b"") -> None:
        """Count one record; a watcher of the trail."""
        self.records[action] += 1
        more = self._counts.get(action)
        if more is not None:
            more(fields)

    def _exited(self, fields: Fields) -> None:
        status = FAILED if fields.get("exit_code") else SUCCEEDED
        self._ended(fields, SIGNALLED if "signal" in fields else status)

    def _timed_out(self, fields: Fields) -> None:
        self._ended(fields, TIMED_OUT)

    def _killed(self, fields: Fields) -> None:
        self._ended(fields, KILLED)

    def _ended(self, fields: Fields, outcome: str) -> None:
        self.commands[self._rule(fields), outcome] += 1
        duration = fields.get("duration")
        if isinstance(duration, float):  # of a monitor that was killed nobody knows it
            self.durations[bisect_left(BUCKETS, duration)] += 1
            self.duration_sum += duration
        limit = fields.get("limit")
        if isinstance(limit, str) and limit in self.limits:
            self.limits[limit] += 1

    def _drained(self, fields: Fields) -> None:
        for stream, name in _STREAMS:
            self.bytes[stream] += _number(fields, name)
        self.truncated += fields.get("truncated") is True

    def _refused(self, fields: Fields) -> None:
        code = fields.get("code")
        self._refuse(code)
        outcome = NOT_STARTED if code == Code.NOT_STARTED.word else REFUSED
        self.commands[self._rule(fields), outcome] += 1

    def _not_authenticated(self, fields: Fields) -> None:
        if "code" in fields:
            self._refuse(fields["code"])
        else:  # the gateway's report of those who presented nothing
            self.unauthenticated += _number(fields, "count")

    def _limit_reached(self, fields: Fields) -> None:
        if "code" in fields:
            self._refuse(fields["code"])
        elif "token_id" not in fields:  # which would be wrong secrets of one token
            self.shed += _number(fields, "count")

    def _tls_failed(self, fields: Fields) -> None:
        self.tls_failures += _number(fields, "count")

    def _penalized(self, fields: Fields) -> None:
        self.penalties += _number(fields, "count")

    def _certificate_loaded(self, fields: Fields) -> None:
        found = _UNTIL.search(str(fields.get("reason")))
        if found is not None:
            try:
                self.certificate_expires = datetime.fromisoformat(found[1]).timestamp()
            except ValueError:
                return

    def _refuse(self, code: object) -> None:
        if isinstance(code, str) and code in self.refusals:
            self.refusals[code] += 1

    def _rule(self, fields: Fields) -> str:
        """Return the label of a command of the policy."""
        rule = fields.get("rule")
        if not isinstance(rule, str):
            return NONE
        if rule not in self._rules:
            if len(self._rules) >= MOST_RULES:
                return OTHER
            self._rules.add(rule)
        return rule


def _number(fields: Fields, name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0
