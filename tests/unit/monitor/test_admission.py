"""Who may run now: never more at once, never more in a time, and a promise of when that is kept."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rexecd.errors import Code, Refused
from rexecd.monitor.admission import Admission, Admitted, Connections
from rexecd.policy.bounds import Quota, Rate

FREE = Quota()
THREADS = 8


class Time:
    """A clock that goes when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def admission(time: Callable[[], float] | None = None, **limits: int) -> Admission:
    """Return one with ceilings that are not in the way."""
    return Admission(**{"most": 1000, "most_each": 1000} | limits, monotonic=time or Time())


def refusal(admission: Admission, *asked: Any) -> Refused:
    """Return the no to a request."""
    with pytest.raises(Refused) as caught:
        admission.enter(*asked)
    assert Code.BUSY is caught.value.code
    return caught.value


def answer(admission: Admission, *asked: Any) -> Admitted | Refused:
    """Return what comes of a request."""
    try:
        return admission.enter(*asked)
    except Refused as refused:
        return refused


class Case(NamedTuple):
    """What runs already, who asks then, and what is said."""

    ran: tuple[str, Quota, str, Quota]
    asks: tuple[str, Quota, str, Quota]
    text: str
    reason: str
    retry_after: float = 0.0
    times: int = 1


ONE = Quota(concurrency=1)
FIVE_A_MINUTE = Quota(rate=Rate(5, 60))
REFUSALS = {
    "the daemon": Case(
        ("ann", FREE, "disk", FREE),
        ("eve", FREE, "uptime", FREE),
        "the server is busy; try later",
        "concurrency of the daemon: 4 of 4 running",
        times=4,
    ),
    "each principal": Case(
        ("ann", FREE, "disk", FREE),
        ("ann", FREE, "uptime", FREE),
        "3 of 3 running for you; try later",
        "concurrency of principal 'ann': 3 of 3 running",
        times=3,
    ),
    "this principal": Case(
        ("ann", ONE, "disk", FREE),
        ("ann", ONE, "uptime", FREE),
        "1 of 1 running for you; try later",
        "concurrency of principal 'ann': 1 of 1 running",
    ),
    "this rule": Case(
        ("ann", FREE, "disk", ONE),
        ("bob", FREE, "disk", ONE),
        "1 of 1 running for this command; try later",
        "concurrency of rule 'disk': 1 of 1 running",
    ),
    "how often this principal": Case(
        ("ann", Quota(rate=Rate(1, 3600)), "disk", FREE),
        ("ann", Quota(rate=Rate(1, 3600)), "uptime", FREE),
        "rate limit: 1/h for you",
        "rate of principal 'ann': 1/h; it admits again in 3600 s",
        retry_after=3600.0,
    ),
    "how often this rule": Case(
        ("ann", FREE, "disk", Quota(rate=Rate(2, 90))),
        ("bob", FREE, "disk", Quota(rate=Rate(2, 90))),
        "rate limit: 2 in 90 s for this command",
        "rate of rule 'disk': 2 in 90 s; it admits again in 90 s",
        retry_after=90.0,
        times=2,
    ),
}


@pytest.mark.parametrize("limit", REFUSALS)
def test_a_refusal_names_the_limit(limit: str) -> None:
    """To the caller as much as it may know, to the trail with the name; and when to come again."""
    case = REFUSALS[limit]
    gate = admission(most=4, most_each=3 if limit == "each principal" else 1000)
    for _ in range(case.times):
        gate.enter(*case.ran)
    refused = refusal(gate, *case.asks)

    assert (case.text, case.reason, case.retry_after) == (refused.text, refused.reason, refused.retry_after)


FIRST = [
    ("daemon", "principal 'ann': 1 of 1", Quota(1, Rate(1, 60)), Quota(1, Rate(1, 60)), 1),
    ("principal 'ann': 1 of 1", "rule", Quota(1, Rate(1, 60)), Quota(1, Rate(1, 60)), 9),
    ("rule 'disk': 1 of 1", "rate", Quota(None, Rate(1, 60)), Quota(1, Rate(1, 60)), 9),
    ("rate of principal 'ann'", "rule", Quota(None, Rate(1, 60)), Quota(None, Rate(1, 60)), 9),
]


@pytest.mark.parametrize(("first", "other", "own", "of_rule", "most"), FIRST)
def test_the_widest_limit_is_told_first(
    first: str, other: str, own: Quota, of_rule: Quota, most: int
) -> None:
    """The daemon's, the principal's, the rule's, and how often only after how many."""
    gate = admission(most=most)
    gate.enter("ann", own, "disk", of_rule)
    refused = refusal(gate, "ann", own, "disk", of_rule)

    assert first in refused.reason
    assert other not in refused.reason


def test_a_principal_of_its_own_quota_is_not_held_to_that_of_each() -> None:
    """The policy says more, or less, than the settings."""
    gate = admission(most_each=1)
    for _ in range(2):
        gate.enter("ann", Quota(concurrency=2), "disk", FREE)
    gate.enter("bob", FREE, "disk", FREE)

    assert "2 of 2 running" in refusal(gate, "ann", Quota(concurrency=2), "disk", FREE).reason
    assert "1 of 1 running" in refusal(gate, "bob", FREE, "disk", FREE).reason


def test_of_two_rates_the_one_that_takes_longer_is_told() -> None:
    """After that wait neither refuses."""
    time = Time()
    gate = admission(time)
    asked = ("ann", Quota(rate=Rate(1, 10)), "disk", Quota(rate=Rate(1, 30)))
    gate.enter(*asked)
    time.now += 0.5
    refused = refusal(gate, *asked)
    time.now += refused.retry_after

    assert ("rate limit: 1 in 30 s for this command", 29.5) == (
        refused.text,
        refused.retry_after,
    )
    gate.enter(*asked)


@pytest.mark.parametrize("refusing", [Quota(concurrency=1), Quota(rate=Rate(1, 60))])
def test_a_refused_request_leaves_no_trace(refusing: Quota) -> None:
    """What the rule refuses counts neither against its rate nor against its caller's."""
    gate = admission()
    gate.enter("ann", FREE, "busy", refusing)
    for _ in range(10):
        refusal(gate, "bob", FIVE_A_MINUTE, "busy", refusing)
    for _ in range(5):
        gate.enter("bob", FIVE_A_MINUTE, "other", FREE)

    assert "rate of principal 'bob'" in refusal(gate, "bob", FIVE_A_MINUTE, "other", FREE).reason


def test_a_principal_and_a_rule_of_one_name_are_two() -> None:
    """What one uses up the other has."""
    gate = admission()
    gate.enter("backup", ONE, "disk", FREE)
    gate.enter("ann", FREE, "backup", ONE)

    assert "principal 'backup'" in refusal(gate, "backup", ONE, "disk", FREE).reason


def test_leaving_makes_room_and_does_so_once() -> None:
    """At the end of a `with`, by hand, or both: another finds room for one."""
    gate = admission()
    with gate.enter("ann", FREE, "disk", ONE) as first:
        refusal(gate, "bob", FREE, "disk", ONE)
    first.leave()
    second = gate.enter("bob", FREE, "disk", ONE)
    first.leave()

    refusal(gate, "ann", FREE, "disk", ONE)
    second.leave()
    gate.enter("ann", FREE, "disk", ONE)


def test_leaving_gives_back_nothing_of_a_rate() -> None:
    """It is about beginnings."""
    gate = admission()
    with gate.enter("ann", FREE, "disk", Quota(rate=Rate(1, 60))):
        pass

    refusal(gate, "ann", FREE, "disk", Quota(rate=Rate(1, 60)))


def test_changed_quotas_hold_at_once_for_what_comes() -> None:
    """What runs stays counted, as does what was admitted a moment ago; nobody is thrown out."""
    time = Time()
    gate = admission(time)
    running = [gate.enter("ann", FREE, "disk", Quota(3, Rate(9, 60))) for _ in range(3)]

    assert "3 of 1 running" in refusal(gate, "ann", FREE, "disk", ONE).reason
    for one in running[:2]:
        one.leave()
    assert "1 of 1 running" in refusal(gate, "ann", FREE, "disk", ONE).reason
    running[2].leave()
    assert 60.0 == refusal(gate, "ann", FREE, "disk", Quota(1, Rate(3, 60))).retry_after
    assert 10.0 == refusal(gate, "ann", FREE, "disk", Quota(1, Rate(2, 10))).retry_after
    gate.enter("ann", FREE, "disk", Quota(1, Rate(4, 60)))
    gate.enter("ann", FREE, "disk", FREE)


def test_a_rate_that_was_lowered_counts_the_latest() -> None:
    """Of more than it would have admitted, those are in its way that are last to go."""
    time = Time()
    gate = admission(time)
    for _ in range(3):
        gate.enter("ann", FREE, "disk", Quota(rate=Rate(3, 60)))
        time.now += 10

    assert 40.0 == refusal(gate, "ann", FREE, "disk", Quota(rate=Rate(2, 60))).retry_after
    assert 50.0 == refusal(gate, "ann", FREE, "disk", Quota(rate=Rate(1, 60))).retry_after


def test_what_is_lost_in_adding_is_waited_for() -> None:
    """A clock of fractions of a second never shows a moment a little before the one that was promised."""
    time = Time(0.09182010386086414)
    gate = admission(time)
    asked = ("ann", FREE, "disk", Quota(rate=Rate(1, 60)))
    gate.enter(*asked)
    time.now = 19.113019262716637
    time.now += refusal(gate, *asked).retry_after
    gate.enter(*asked)


def test_who_is_idle_is_forgotten() -> None:
    """A hundred thousand names that came once take no memory; those that matter stay."""
    time = Time()
    gate = admission(time)
    gate.enter("ann", FREE, "disk", ONE)
    gate.enter("bob", Quota(rate=Rate(1, 86400)), "uptime", FREE).leave()
    for number in range(10_000):
        with gate.enter(f"p{number}", Quota(rate=Rate(2, 1)), f"r{number}", Quota(rate=Rate(2, 1))):
            time.now += 0.25

    assert 200 > len(gate._uses)
    assert "rule 'disk'" in refusal(gate, "eve", FREE, "disk", ONE).reason
    assert "principal 'bob'" in refusal(gate, "bob", Quota(rate=Rate(1, 86400)), "disk", FREE).reason


def test_of_a_rate_no_more_is_kept_than_it_counts() -> None:
    """However many come in however long a time."""
    time = Time()
    gate = admission(time)
    quota = Quota(rate=Rate(10, 1))
    for _ in range(1000):
        gate.enter("ann", quota, "disk", FREE).leave()
        time.now += 0.125

    assert 12 > max(len(use._moments) for use in gate._uses.values())


MOMENTS = st.floats(0, 1e6) | st.sampled_from([0.0, 0.1, 1e-9, 3.3])


@given(
    count=st.integers(1, 5),
    seconds=st.sampled_from([1, 7, 60, 86400]),
    start=st.floats(0, 1e9),
    pauses=st.lists(MOMENTS, max_size=40),
)
def test_no_time_of_that_length_has_more_than_a_rate_allows(
    count: int, seconds: int, start: float, pauses: list[float]
) -> None:
    """Wherever it begins; and who waits as long as was said gets in, at any time a clock can show."""
    time, admitted = Time(start), list[float]()
    gate = admission(time)
    asked = ("ann", FREE, "disk", Quota(rate=Rate(count, seconds)))
    for pause in pauses:
        time.now += pause
        refused = answer(gate, *asked)
        if isinstance(refused, Refused):
            early = time.now
            time.now += refused.retry_after
            gate.enter(*asked)

            assert early < time.now
            assert seconds + 1e-6 > refused.retry_after
        admitted.append(time.now)

    for first, behind in zip(admitted, admitted[count:], strict=False):
        assert first + seconds <= behind


NAMES = st.sampled_from(["a", "b", "c"])
LIMITS = st.builds(
    Quota, st.none() | st.integers(1, 3), st.none() | st.builds(Rate, st.integers(1, 4), st.integers(1, 9))
)


class Doorway(RuleBasedStateMachine):
    """Any order of coming, going, waiting and reloading, beside a list of all that came."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.gate = admission(self.time, most=5, most_each=4)
        self.inside: list[tuple[str, str, Admitted]] = []
        self.came: list[tuple[float, str]] = []

    @initialize(
        principals=st.fixed_dictionaries(dict.fromkeys("abc", LIMITS)),
        rules=st.fixed_dictionaries(dict.fromkeys("abc", LIMITS)),
    )
    def load(self, principals: dict[str, Quota], rules: dict[str, Quota]) -> None:
        """Begin with some policy."""
        self.quotas = {f"p {name}": quota for name, quota in principals.items()}
        self.quotas |= {f"r {name}": quota for name, quota in rules.items()}

    @rule(name=st.sampled_from(["p a", "r a", "r b"]), concurrency=st.none() | st.integers(1, 3))
    def reload(self, name: str, concurrency: int | None) -> None:
        """Change how many may run at once."""
        self.quotas[name] = self.quotas[name]._replace(concurrency=concurrency)

    @rule(seconds=st.integers(0, 5) | st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time.now += seconds

    @precondition(lambda self: self.inside)
    @rule(which=st.integers(0, 9))
    def go(self, which: int) -> None:
        """Let one end."""
        self.inside.pop(which % len(self.inside))[2].leave()

    def has_room(self, key: str, default: int | None) -> bool:
        """Return what a plain count says of how many."""
        ceiling = self.quotas[key].concurrency or default
        running = sum(key in (f"p {who}", f"r {what}") for who, what, _ in self.inside)
        return ceiling is None or running < ceiling

    def has_time(self, key: str) -> bool:
        """Return what a look at all that ever came says of how often."""
        rate = self.quotas[key].rate
        return rate is None or rate.count > sum(
            name == key and moment + rate.seconds > self.time.now for moment, name in self.came
        )

    @rule(who=NAMES, what=NAMES)
    def come(self, who: str, what: str) -> None:
        """Ask; the answer is what plain counting says."""
        keys = (f"p {who}", f"r {what}")
        room = len(self.inside) < 5 and self.has_room(keys[0], 4) and self.has_room(keys[1], None)
        time = all(map(self.has_time, keys))
        one = answer(self.gate, who, self.quotas[keys[0]], what, self.quotas[keys[1]])
        if isinstance(one, Refused):
            assert (room, time) != (True, True)
            assert room is (one.retry_after > 0)
        else:
            assert (room, time) == (True, True)
            self.inside.append((who, what, one))
            self.came += [(self.time.now, key) for key in keys]

    @invariant()
    def nobody_is_lost(self) -> None:
        """Compare what counts as running with what runs."""
        assert len(self.inside) == self.gate._running


test_admission_agrees_with_counting = Doorway.TestCase


def _in_threads(work: Callable[[int], None]) -> None:
    """Do something in many threads at once."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_threads_never_find_more_room_than_there_is() -> None:
    """However they come and go, and however often each leaves."""
    gate = admission(most=4, most_each=3)
    running, seen, faults, lock = Counter[str](), Counter[str](), list[str](), threading.Lock()

    def work(number: int) -> None:
        who, what = f"p{number % 2}", f"r{number % 3}"
        for _ in range(500):
            try:
                one = gate.enter(who, FREE, what, Quota(concurrency=2))
            except Refused:
                continue
            with lock:
                running.update(("all", who, what))
                seen.update(("all", who, what))
                faults.extend(key for key in running if running[key] > {"a": 4, "p": 3, "r": 2}[key[0]])
            with lock:
                running.subtract(("all", who, what))
            one.leave()
            one.leave()

    _in_threads(work)

    assert [] == faults
    assert 500 < seen["all"]
    assert 0 == gate._running
    assert {0} == {use.running for use in gate._uses.values()}


def test_many_threads_share_one_rate() -> None:
    """As many get in as it says, whoever they are."""
    gate, admitted = admission(), list[Admitted]()

    def work(number: int) -> None:
        for _ in range(100):
            try:
                admitted.append(gate.enter(f"p{number}", FREE, "disk", Quota(rate=Rate(50, 60))))
            except Refused:
                continue

    _in_threads(work)

    assert 50 == len(admitted)


def test_one_that_leaves_in_many_threads_leaves_once() -> None:
    """The first one counts."""
    gate = admission()
    gate.enter("ann", FREE, "disk", FREE)
    one = gate.enter("ann", FREE, "disk", FREE)
    _in_threads(lambda _: one.leave())

    assert 1 == gate._running


def test_a_principal_has_so_many_connections_and_no_more() -> None:
    """Whatever others have; a place that is given back is free, and only once."""
    gate = Connections(2)
    first, second = gate.enter("ann"), gate.enter("ann")
    gate.enter("bob")
    with pytest.raises(Refused) as caught:
        gate.enter("ann")
    first.leave()
    first.leave()
    third = gate.enter("ann")
    with pytest.raises(Refused):
        gate.enter("ann")
    for one in (second, third):
        one.leave()

    assert (
        Code.BUSY,
        "2 connections of yours are open; try later",
        "principal 'ann' has 2 connections open",
    ) == (
        caught.value.code,
        caught.value.text,
        caught.value.reason,
    )
    assert {"bob": 1} == gate._open


def test_many_threads_never_have_more_connections_than_there_may_be() -> None:
    """However they come and go, nothing is left of them."""
    gate, most, now, lock = Connections(3), list[int](), Counter[str](), threading.Lock()

    def work(number: int) -> None:
        who = f"p{number % 2}"
        for _ in range(500):
            try:
                one = gate.enter(who)
            except Refused:
                continue
            with one:
                with lock:
                    now[who] += 1
                    most.append(now[who])
                with lock:
                    now[who] -= 1

    _in_threads(work)

    assert max(most) <= 3
    assert {} == gate._open
