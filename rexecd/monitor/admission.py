"""Who may run something now: how many at once, and how many in which time.

Rule 1: all limits are asked under one lock, and nothing is counted unless all of them admit.
Rule 2: what is counted belongs to a name, not to the policy it came from: quotas that a reload has
changed hold from the next request on, and what runs stays counted.

For a rate, the moments of what it admitted are kept as long as they count. A token bucket would do
with one number, but after a rest it lets through nearly twice as many as it says: a full bucket at
once, and what flows in while the same time still runs.
"""

import functools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Self

from rexecd.errors import Code, Refused
from rexecd.policy.bounds import Quota, Rate

#: So many names are remembered before anybody looks for those that are idle.
_FEW: Final = 64
_UNITS: Final = {1: "s", 60: "min", 3600: "h", 86400: "d"}


class _Use:
    """What one name has used up."""

    def __init__(self) -> None:
        self.running = 0
        #: When something was admitted, the latest last, and until when the latest counts.
        self._moments: deque[float] = deque()
        self._counts_until = -math.inf

    def is_idle(self, now: float) -> bool:
        """Return whether nothing would be lost with it."""
        return not self.running and now >= self._counts_until

    def due(self, rate: Rate | None) -> float:
        """Return the moment from which a rate admits one more."""
        if rate is None or len(self._moments) < rate.count:
            return -math.inf
        return self._moments[-rate.count] + rate.seconds

    def begin(self, now: float, rate: Rate | None) -> None:
        """Count one that was admitted."""
        self.running += 1
        if rate is None:
            return
        while self._moments and self._moments[0] + rate.seconds <= now:
            self._moments.popleft()
        self._moments.append(now)
        self._counts_until = max(self._counts_until, now + rate.seconds)


class _Limit(NamedTuple):
    """One party's quota, and what of it is used up."""

    #: As the trail has it: `rule 'disk'`. A principal may have the same name as a rule.
    key: str
    #: As the caller hears it.
    spoken: str
    quota: Quota
    use: _Use

    @property
    def due(self) -> float:
        """Return the moment from which its rate admits one more."""
        return self.use.due(self.quota.rate)


class Admitted:
    """One that runs, and counts until it leaves; as a context manager it leaves at the end."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._first = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Make room for another; in any thread, and only the first time."""
        if self._first.acquire(blocking=False):
            self._leave()


class Admission:
    """The one place where all commands of a monitor are counted. Any thread may use it.

    It admits at most `most` at once, and `most_each` of a principal whose quota does not say otherwise.
    """

    def __init__(self, *, most: int, most_each: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._most_each = most_each
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._running = 0
        self._uses: dict[str, _Use] = {}
        self._look_at = _FEW

    @property
    def running(self) -> int:
        """Return how many run now."""
        return self._running

    def enter(self, principal: str, principal_quota: Quota, rule: str, rule_quota: Quota) -> Admitted:
        """Count one more of a principal and a rule; raise Refused with BUSY, and nothing is counted.

        Its `retry_after` is exact where only rates refuse, if nobody else comes: 0 says that something
        has to end first.
        """
        if principal_quota.concurrency is None:
            principal_quota = principal_quota._replace(concurrency=self._most_each)
        with self._lock:
            now = self._monotonic()
            limits = (
                self._limit(f"principal {principal!r}", "you", principal_quota),
                self._limit(f"rule {rule!r}", "this command", rule_quota),
            )
            self._check_concurrency(limits)
            _check_rates(limits, now)
            self._forget_idle(now)
            for limit in limits:
                self._uses[limit.key] = limit.use
                limit.use.begin(now, limit.quota.rate)
            self._running += 1
        return Admitted(functools.partial(self._leave, limits))

    def _limit(self, key: str, spoken: str, quota: Quota) -> _Limit:
        return _Limit(key, spoken, quota, self._uses.get(key) or _Use())

    def _check_concurrency(self, limits: tuple[_Limit, ...]) -> None:
        if self._running >= self._most:
            reason = f"concurrency of the daemon: {self._running} of {self._most} running"
            raise Refused(Code.BUSY, "the server is busy; try later", reason=reason)
        for key, spoken, quota, use in limits:
            if quota.concurrency is not None and use.running >= quota.concurrency:
                running = f"{use.running} of {quota.concurrency} running"
                text = f"{running} for {spoken}; try later"
                raise Refused(Code.BUSY, text, reason=f"concurrency of {key}: {running}")

    def _forget_idle(self, now: float) -> None:
        """Drop the names that nothing is known of any more, from time to time."""
        if len(self._uses) >= self._look_at:
            self._uses = {key: use for key, use in self._uses.items() if not use.is_idle(now)}
            self._look_at = 2 * len(self._uses) + _FEW

    def _leave(self, limits: tuple[_Limit, ...]) -> None:
        with self._lock:
            self._running -= 1
            for limit in limits:
                limit.use.running -= 1


class Connections:
    """How many connections each principal has; any thread may use it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}

    def enter(self, principal: str) -> Admitted:
        """Count one more; raise Refused with BUSY for one too many."""
        with self._lock:
            number = self._open.get(principal, 0)
            if number >= self._most:
                text = f"{number} connections of yours are open; try later"
                reason = f"principal {principal!r} has {number} connections open"
                raise Refused(Code.BUSY, text, reason=reason)
            self._open[principal] = number + 1
        return Admitted(functools.partial(self._leave, principal))

    def _leave(self, principal: str) -> None:
        with self._lock:
            self._open[principal] -= 1
            if not self._open[principal]:
                del self._open[principal]


def _check_rates(limits: tuple[_Limit, ...], now: float) -> None:
    """Raise Refused for the rate that refuses longest: when it admits, so do the others."""
    limit = max(limits, key=lambda limit: limit.due)
    rate = limit.quota.rate
    if rate is None or limit.due <= now:
        return
    wait = _wait(limit.due, now)
    allowed, seconds = _spelled(rate), math.ceil(wait)
    text = f"rate limit: {allowed} for {limit.spoken}"
    reason = f"rate of {limit.key}: {allowed}; it admits again in {seconds} s"
    raise Refused(Code.BUSY, text, reason=reason, retry_after=wait)


def _wait(due: float, now: float) -> float:
    """Return the seconds after which it is not before `due`, whatever is lost in adding them to `now`."""
    wait = due - now
    return wait if now + wait >= due else math.nextafter(wait, math.inf)


def _spelled(rate: Rate) -> str:
    """Return a rate as the policy has it: `5/min`."""
    unit = _UNITS.get(rate.seconds)
    return f"{rate.count}/{unit}" if unit else f"{rate.count} in {rate.seconds} s"
