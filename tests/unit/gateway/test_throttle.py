"""Who gets a connection, and for how long a source that misbehaves gets none: by value, without a socket."""

import ipaddress
from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rexecd.gateway.throttle import Figures, Offence, Place, Throttle

FIGURES: Final = Figures(
    max_connections=20,
    reserved_connections=4,
    max_connections_source=10,
    max_startups=(6, 30, 12),
    max_startups_source=5,
    source_prefix_v4=32,
    source_prefix_v6=64,
    exempt=(),
    penalty_authentication=5.0,
    penalty_silence=10.0,
    penalty_protocol=5.0,
    penalty_least=15.0,
    penalty_most=600.0,
    max_sources=64,
)
#: Neither the dice nor strangers are what a test is about.
PLENTY: Final = (10**6, 0, 10**6)


class _World:
    """A throttle, and its clock and dice in the test's hand."""

    def __init__(self, **figures: Any) -> None:
        self.now = 1000.0
        self.luck = 0.99
        self.throttle = Throttle(
            FIGURES._replace(**figures), monotonic=lambda: self.now, random=lambda: self.luck
        )

    def come(self, address: str = "192.0.2.1", *, known: bool = False) -> Place:
        """Return the place of a connection that is admitted."""
        place = self.throttle.admit(address)
        assert isinstance(place, Place), place
        if known:
            place.authenticated()
        return place

    def offend(self, offence: Offence, times: int = 1, address: str = "192.0.2.1") -> list[str]:
        """Offend so often on one connection each; return what was said of it."""
        said = []
        for _ in range(times):
            place = self.come(address)
            refusal = place.penalize(offence)
            place.leave()
            if refusal is not None:
                said.append(str(refusal))
        return said

    def why(self, address: str = "192.0.2.1") -> str:
        """Return why an address gets no connection; empty if it does."""
        place = self.throttle.admit(address)
        if isinstance(place, str):
            return place
        place.leave()
        return ""


def test_a_bound_of_everybody_holds_and_a_place_given_back_is_used_again() -> None:
    """The last place is the last, whoever asks."""
    world = _World(max_startups=PLENTY, reserved_connections=0)
    places = [world.come(f"192.0.2.{number}") for number in range(20)]

    assert "20 connections are open" == world.why("192.0.2.99")
    places[7].leave()
    assert "" == world.why("192.0.2.99")


def test_one_source_gets_no_more_than_its_share() -> None:
    """Known or not; the next source is not concerned."""
    world = _World(max_startups=PLENTY)
    for _ in range(10):
        world.come(known=True)

    assert "10 connections of its source are open" == world.why()
    assert "" == world.why("192.0.2.2")


def test_one_source_gets_no_more_strangers_than_its_share() -> None:
    """Whoever presents a good token makes room for the next."""
    world = _World()
    places = [world.come() for _ in range(5)]

    assert "5 connections of its source have no good token" == world.why()
    places[0].authenticated()
    assert "" == world.why()


def test_the_last_places_are_for_sources_that_have_none() -> None:
    """And an exempt source counts as one that has none."""
    world = _World(max_startups=PLENTY, exempt=(ipaddress.ip_network("198.51.100.0/24"),))
    for number in range(16):
        world.come(f"192.0.2.{number % 2}", known=True)

    assert "16 connections are open, and the rest is for sources that have none" == world.why("192.0.2.1")
    assert "" == world.why("192.0.2.2")
    for _ in range(4):
        world.come("198.51.100.1")
    assert "20 connections are open" == world.why("192.0.2.2")


@pytest.mark.parametrize(
    ("strangers", "luck", "is_dropped"),
    {
        "below START nobody": (5, 0.0, False),
        "from START on RATE per cent": (6, 0.299, True),
        "and not the others": (6, 0.301, False),
        "half way half the rest more": (9, 0.649, True),
        "and still not the others": (9, 0.651, False),
        "at FULL everybody": (12, 0.999, True),
    }.values(),
)
def test_strangers_are_dropped_early_and_more_the_more_there_are(
    strangers: int, luck: float, is_dropped: bool
) -> None:
    """As sshd's MaxStartups."""
    world = _World()
    world.come()
    for number in range(1, strangers):
        world.come(f"198.51.100.{number}")
    world.luck = luck

    assert is_dropped == (world.why() == f"{strangers} connections have no good token")


def test_a_newcomer_is_spared_the_dice_but_not_the_bound() -> None:
    """Few sources that crowd keep each other out, and nobody else."""
    world = _World()
    for number in range(11):
        world.come(f"198.51.100.{number % 3}")
    world.luck = 0.0

    assert "" != world.why("198.51.100.1")
    assert "" == world.why("192.0.2.1")
    world.come("192.0.2.1")
    assert "12 connections have no good token" == world.why("192.0.2.2")


def test_a_place_is_given_back_once_however_often_it_is_asked() -> None:
    """By whichever path a connection ends."""
    world = _World()
    place, other = world.come(), world.come()
    for _ in range(3):
        place.leave()
        place.authenticated()
        place.leave()

    assert (1, 1) == (world.throttle.connections, world.throttle.startups)
    other.leave()
    assert (0, 0, 0) == (world.throttle.connections, world.throttle.startups, world.throttle.remembered)


def test_refused_tokens_add_up_until_the_source_is_refused_and_that_is_said_once() -> None:
    """Until its penalty has run off, and not a moment longer."""
    world = _World()

    assert [] == world.offend(Offence.TOKEN, 2)
    assert ["refused for 15s: 3 refused tokens"] == world.offend(Offence.TOKEN)
    assert "its source is refused for a while" == world.why()
    assert "" == world.why("192.0.2.2")
    world.now += 14.9
    assert "" != world.why()
    world.now += 0.2
    assert "" == world.why()


def test_offences_of_connections_that_were_open_already_lengthen_a_refusal_quietly() -> None:
    """It is said when it begins; at most it lasts as long as the setting says."""
    world = _World(
        max_startups=PLENTY, max_startups_source=100, max_connections=100, max_connections_source=99
    )
    places = [world.come() for _ in range(90)]
    said = [place.penalize(Offence.SILENCE) for place in places]

    assert 1 == len([each for each in said if each])
    world.now += 599
    assert "" != world.why()
    world.now += 2
    assert "" == world.why()


def test_what_was_done_is_told_by_kind() -> None:
    """So that an operator knows what to look for."""
    world = _World()
    world.offend(Offence.PROTOCOL)
    world.offend(Offence.EMPTY)

    assert ["refused for 15.5s: 1 broken connection, 1 connection without a byte, 1 silent connection"] == (
        world.offend(Offence.SILENCE)
    )


def test_looks_at_the_key_weigh_a_fifth_of_a_broken_connection() -> None:
    """A dozen callers behind one address may see the server for the first time at once."""
    world = _World()

    assert [] == world.offend(Offence.UNTRIED, 14)
    assert ["refused for 15s: 15 connections without a token"] == world.offend(Offence.UNTRIED)


def test_penalties_run_off_with_time() -> None:
    """A job with an old token once a minute is never refused."""
    world = _World()
    for _ in range(100):
        assert [] == world.offend(Offence.TOKEN)
        world.now += 60


def test_each_refusal_doubles_what_the_next_offences_add() -> None:
    """15, then two are enough for 20, then one for 20, 40, 80, ...: until the longest."""
    world = _World(penalty_most=100.0)
    lasted = []
    for _ in range(6):
        offences = 0
        while not world.why():
            world.offend(Offence.TOKEN)
            offences += 1
        begun = world.now
        while world.why():
            world.now += 0.5
        lasted.append((offences, round(world.now - begun)))

    assert [(3, 15), (2, 20), (1, 20), (1, 40), (1, 80), (1, 100)] == lasted


def test_a_source_that_has_been_quiet_starts_anew() -> None:
    """After as long as the longest penalty lasts."""
    world = _World()
    world.offend(Offence.TOKEN, 3)
    world.now += 15 + 602

    assert [] == world.offend(Offence.TOKEN, 2)
    assert ["refused for 15s: 3 refused tokens"] == world.offend(Offence.TOKEN)


def test_a_health_check_every_second_is_never_refused_and_a_storm_is() -> None:
    """Coming and going without a byte weighs a tenth of a broken protocol."""
    world = _World()
    for _ in range(1000):
        assert [] == world.offend(Offence.EMPTY)
        world.now += 1

    assert ["refused for 15s: 30 connections without a byte"] == world.offend(Offence.EMPTY, 30)


def test_nought_penalizes_nothing() -> None:
    """And leaves nothing to remember."""
    world = _World(penalty_authentication=0.0)

    assert [] == world.offend(Offence.TOKEN, 100)
    assert 0 == world.throttle.remembered


def test_exempt_networks_are_neither_penalized_nor_counted() -> None:
    """What bounds everybody still holds."""
    exempt = (ipaddress.ip_network("192.0.2.0/25"), ipaddress.ip_network("2001:db8::/32"))
    world = _World(max_startups=PLENTY, exempt=exempt)
    for address in ("192.0.2.1", "2001:db8::1"):
        assert [] == world.offend(Offence.SILENCE, 50, address)
    for _ in range(19):
        world.come()
    world.come("2001:db8:ffff::1")

    assert "20 connections are open" == world.why()
    assert ["refused for 20s: 2 silent connections"] == _World(exempt=exempt).offend(
        Offence.SILENCE, 2, "192.0.2.128"
    )


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::c000:201", "192.0.2.1", False),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_network(one: str, other: str, are_one: bool) -> None:
    """Whoever has one address of a /64 has all of them; the two families never meet."""
    world = _World()
    world.offend(Offence.TOKEN, 3, one)

    assert are_one == bool(world.why(other))


def test_a_source_may_be_an_ipv4_network() -> None:
    """As long as the setting says."""
    world = _World(source_prefix_v4=24)
    world.offend(Offence.TOKEN, 3, "192.0.2.1")

    assert (True, False) == (bool(world.why("192.0.2.200")), bool(world.why("192.0.3.1")))


def test_when_there_is_no_room_the_one_that_ends_first_goes() -> None:
    """A newcomer is never the one that goes: whoever has just misbehaved is known."""
    world = _World()
    for number in range(64):
        world.offend(Offence.SILENCE, 1 if number == 40 else 2, f"198.51.100.{number}")
    world.offend(Offence.TOKEN, 3, "192.0.2.1")

    assert "" != world.why("192.0.2.1")
    assert [40] == [number for number in range(64) if not world.why(f"198.51.100.{number}")]
    assert 64 == world.throttle.remembered


def test_what_has_run_off_goes_before_what_has_not() -> None:
    """Room is made of the dead first."""
    world = _World()
    for number in range(32):
        world.offend(Offence.EMPTY, 1, f"198.51.100.{number}")
    for number in range(32):
        world.offend(Offence.SILENCE, 2, f"203.0.113.{number}")
    world.now += 5
    for number in range(32):
        world.offend(Offence.EMPTY, 1, f"192.0.2.{number}")

    assert [] == [number for number in range(32) if not world.why(f"203.0.113.{number}")]


def test_the_two_families_do_not_crowd_each_other_out() -> None:
    """Whoever has a hundred IPv6 networks makes no IPv4 source forgotten."""
    world = _World()
    world.offend(Offence.TOKEN, 3)
    for number in range(1000):
        world.offend(Offence.SILENCE, 2, f"2001:db8:0:{number:x}::1")

    assert "" != world.why()
    assert 65 == world.throttle.remembered


def test_sources_without_end_are_remembered_up_to_the_bound() -> None:
    """What was there first goes first, and what counts now is counted."""
    world = _World(max_sources=4_096)
    for number in range(100_000):
        world.now += 0.0001
        Place(world.throttle, "", (4, number * 4_099 % 2**32)).penalize(Offence.SILENCE)

    assert 4_096 == world.throttle.remembered


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(Offence), st.floats(0, 100), st.booleans()),
        max_size=300,
    )
)
def test_the_table_never_holds_more_than_it_may(steps: list[tuple[int, Offence, float, bool]]) -> None:
    """Whatever comes in which order, at whatever time."""
    world = _World(max_sources=8)
    for number, offence, later, is_v6 in steps:
        world.now += later
        source = (6, number) if is_v6 else (4, number)
        Place(world.throttle, "", source).penalize(offence)
        for penalties in world.throttle._penalties.values():
            kept = [source for bucket in penalties._buckets.values() for source in bucket]
            assert len(penalties) <= 8
            assert sorted(penalties._records) == sorted(kept)
            assert sorted(penalties._order) == sorted(penalties._buckets)
            assert len(penalties._order) < 8 + 300


class Places(RuleBasedStateMachine):
    """Connections come, are known, misbehave and go, in every order; a plain list keeps count beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = _World(exempt=(ipaddress.ip_network("10.0.0.0/8"),))
        self.there: list[Place] = []
        self.gone: list[Place] = []
        self.known: set[int] = set()

    @rule(last=st.integers(0, 8), is_exempt=st.booleans(), luck=st.floats(0, 1, exclude_max=True))
    def come(self, last: int, is_exempt: bool, luck: float) -> None:
        """Somebody connects."""
        self.world.luck = luck
        place = self.world.throttle.admit(f"10.0.0.{last}" if is_exempt else f"192.0.2.{last}")
        if isinstance(place, Place):
            self.there.append(place)

    @rule(which=st.integers(0, 99), offence=st.none() | st.sampled_from(Offence))
    def go(self, which: int, offence: Offence | None) -> None:
        """Somebody goes, perhaps after an offence; perhaps it is somebody who has gone already."""
        if self.there:
            place = self.there.pop(which % len(self.there))
            if offence is not None:
                place.penalize(offence)
            place.leave()
            self.gone.append(place)
        if self.gone:
            self.gone[which % len(self.gone)].leave()

    @rule(which=st.integers(0, 99))
    def authenticate(self, which: int) -> None:
        """Somebody presents a good token, perhaps for the second time."""
        if self.there:
            place = self.there[which % len(self.there)]
            place.authenticated()
            self.known.add(id(place))

    @rule(seconds=st.floats(0, 50))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.now += seconds

    @invariant()
    def counts_are_right(self) -> None:
        """Nothing is negative, nothing is lost, and no bound is passed."""
        throttle = self.world.throttle
        strangers = [place for place in self.there if id(place) not in self.known]
        counted = Counter(place.source for place in self.there if place.source)
        startups = Counter(place.source for place in strangers if place.source)

        assert (len(self.there), len(strangers)) == (throttle.connections, throttle.startups)
        assert (counted, startups) == (throttle._connections_of, throttle._startups_of)
        assert len(self.there) <= 20
        assert len(strangers) <= 12
        assert all(number <= 10 for number in counted.values())
        assert all(number <= 5 for number in startups.values())


TestPlaces = Places.TestCase
