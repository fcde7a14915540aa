"""Who ran what how often, what took longest, and who was refused.

Rule 1: memory has a bound whatever a trail holds: what is one too many is counted under `others`.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rexecd.audit.events import FIELDS, Action
from rexecd.audit.search import Record, at, in_seconds, safe

#: So many different rows of each table; more than any policy has.
_MOST_ROWS: Final = 10_000
#: Characters of a command's name that a caller made up.
_MOST_NAME: Final = 64
_OTHERS: Final = ("others",) * 3
_LARGEST: Final = 2**63

_ENDS: Final = frozenset(
    action.value for action in (Action.COMMAND_EXITED, Action.COMMAND_TIMED_OUT, Action.COMMAND_KILLED)
)
_REFUSALS: Final = frozenset(
    action.value
    for action in (
        Action.COMMAND_REFUSED,
        Action.AUTH_REFUSED,
        Action.TLS_FAILED,
        Action.LIMIT_REACHED,
        Action.SOURCE_PENALIZED,
    )
)
#: The actions that count here, as they stand in a line: no other has to be parsed.
COUNTED: Final = frozenset(action.encode() for action in _ENDS | _REFUSALS)


@dataclass(slots=True)
class Runs:
    """What became of one principal's runs of one rule."""

    runs: int = 0
    #: Ended with another status than 0, by a signal, by its deadline, or killed.
    failed: int = 0
    #: Of how many it is known how long they took, and how long, in nanoseconds.
    timed: int = 0
    total: int = 0
    longest: int = 0
    #: Nanoseconds of processor time of all of them, and bytes of the largest; None where nobody knows.
    cpu_time: int | None = None
    memory: int | None = None


class Slow(NamedTuple):
    """One command that took long."""

    duration: int
    #: The larger the earlier: of equals the first one is kept.
    order: int
    time: object
    principal: str
    rule: str
    request: object
    action: str


@dataclass(slots=True)
class Stats:
    """Counts, and the slowest commands; records go in one by one."""

    #: Rows of each table that are wanted.
    most: int
    runs: dict[tuple[str, str], Runs] = field(default_factory=dict)
    #: By who (a principal, else an address), what (a rule, a command's name, else an action), and code.
    refused: dict[tuple[str, str, str], int] = field(default_factory=dict)
    slowest: list[Slow] = field(default_factory=list)
    damaged: int = 0
    _seen: int = 0

    def take(self, record: Record) -> None:
        """Count one record."""
        action = at(record, ("event", "action"))
        if "unreadable" in record:
            self.damaged += 1
        elif isinstance(action, str) and action in _ENDS:
            self._take_end(record, action)
        elif isinstance(action, str) and action in _REFUSALS:
            self._take_refusal(record, action)

    def _take_end(self, record: Record, action: str) -> None:
        key = (_text(at(record, FIELDS["principal"])), _text(at(record, FIELDS["rule"])))
        if key not in self.runs and len(self.runs) >= _MOST_ROWS:
            key = _OTHERS[:2]
        runs = self.runs.setdefault(key, Runs())
        runs.runs += 1
        runs.failed += action != Action.COMMAND_EXITED.value or at(record, FIELDS["exit_code"]) != 0
        cpu_time, memory = _number(record, "cpu_time"), _number(record, "peak_memory")
        if cpu_time is not None:
            runs.cpu_time = cpu_time + (runs.cpu_time or 0)
        if memory is not None:
            runs.memory = max(memory, runs.memory or 0)
        duration = _number(record, "duration")
        if duration is None:
            return
        runs.timed += 1
        runs.total += duration
        runs.longest = max(runs.longest, duration)
        self._seen += 1
        if len(self.slowest) == self.most and duration <= self.slowest[0].duration:
            return
        slow = Slow(
            duration, -self._seen, record.get("@timestamp"), *key, at(record, FIELDS["request_id"]), action
        )
        (heapq.heappush if len(self.slowest) < self.most else heapq.heappushpop)(self.slowest, slow)

    def _take_refusal(self, record: Record, action: str) -> None:
        who = at(record, FIELDS["principal"]) or at(record, FIELDS["address"])
        what = at(record, FIELDS["rule"]) or _first_word(at(record, FIELDS["line"])) or action
        code = at(record, FIELDS["code"])
        key = (_text(who), _text(what), action if code is None else _text(code))
        if key not in self.refused and len(self.refused) >= _MOST_ROWS:
            key = _OTHERS
        count = at(record, FIELDS["count"])
        # Of a limit of one principal `count` is the limit; of those that were shed, how many there were.
        is_sum = type(count) is int and 0 < count < _LARGEST and at(record, FIELDS["token_id"]) is None
        self.refused[key] = self.refused.get(key, 0) + (count if is_sum and isinstance(count, int) else 1)

    def tables(self) -> dict[str, list[dict[str, object]]]:
        """Return all of it as lists of rows, the most first; times and seconds as they are."""
        ran = sorted(self.runs.items(), key=lambda item: (-item[1].runs, item[0]))
        refused = sorted(self.refused.items(), key=lambda item: (-item[1], item[0]))
        return {
            "commands": [
                {
                    "principal": principal,
                    "rule": rule,
                    "runs": runs.runs,
                    "failed": runs.failed,
                    "mean": _seconds(runs.total // runs.timed) if runs.timed else None,
                    "longest": _seconds(runs.longest) if runs.timed else None,
                    "cpu_time": None if runs.cpu_time is None else runs.cpu_time // 10**6 / 1000,
                    "peak_memory": runs.memory,
                }
                for (principal, rule), runs in ran[: self.most]
            ],
            "slowest": [
                {
                    "duration": _seconds(slow.duration),
                    "time": slow.time,
                    "principal": slow.principal,
                    "rule": slow.rule,
                    "action": slow.action,
                    "request": slow.request,
                }
                for slow in sorted(self.slowest, key=lambda slow: slow[:2], reverse=True)
            ],
            "refused": [
                {"count": count, "who": who, "what": what, "code": code}
                for (who, what, code), count in refused[: self.most]
            ],
        }

    def left_out(self) -> dict[str, int]:
        """Return how many rows of a table are one too many."""
        sizes = {"commands": len(self.runs), "refused": len(self.refused)}
        return {name: size - self.most for name, size in sizes.items() if size > self.most}


def columns(rows: Sequence[dict[str, object]]) -> Iterator[str]:
    """Yield rows as lines of aligned columns, safe to print; the first one names them."""
    if not rows:
        return
    cells = [list(rows[0]), *([_shown(name, value) for name, value in row.items()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(map(str.ljust, line, widths)).rstrip()


def _shown(name: str, value: object) -> str:
    if name in {"mean", "longest", "duration", "cpu_time"} and isinstance(value, float):
        return f"{value:.3f}s"
    return safe(value)


def _number(record: Record, name: str) -> int | None:
    """Return the number of a field, None where there is none that makes sense."""
    value = at(record, FIELDS[name])
    return value if type(value) is int and 0 <= value < _LARGEST else None


def _seconds(nanoseconds: int) -> float:
    """Return what `in_seconds` says, as a number."""
    return float((in_seconds(nanoseconds) or "0s").removesuffix("s"))


def _text(value: object) -> str:
    return value[:_MOST_NAME] if isinstance(value, str) else "-"


def _first_word(line: object) -> str | None:
    """Return the name of the command that a caller asked for."""
    return line[: _MOST_NAME + 1].split(" ", 1)[0] if isinstance(line, str) else None
