"""Who may come in, and who has to go: guesses are bounded, ends are felt, and nothing is left behind."""

import contextlib
import os
import secrets
import select
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from rexecd.clock import Clock
from rexecd.errors import Code, Refused, Unavailable
from rexecd.identity import tokens
from rexecd.identity.shown import ClientCertificate
from rexecd.identity.store import RevokedCertificate, Store
from rexecd.identity.tokens import Minted, Terms, TokenRecord, Use, WrongSecret, mint
from rexecd.monitor.credentials import Credential, Credentials, Guesses, Lives
from rexecd.serving import Flag

START = datetime(2026, 1, 2, tzinfo=UTC)
HOME, AWAY = "192.0.2.1", "198.51.100.1"
MOST = 3


class _Time:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.passed = 0.0

    @property
    def clock(self) -> Clock:
        """Return it as the program takes it."""
        return Clock(lambda: START + timedelta(seconds=self.passed), lambda: 1000 + self.passed)


@pytest.fixture
def time() -> _Time:
    """Give a clock that stands."""
    return _Time()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give an empty store."""
    with Store(tmp_path / "tokens.sqlite") as opened:
        yield opened


@pytest.fixture
def credentials(store: Store, time: _Time) -> Credentials:
    """Give what a monitor knows of it."""
    return Credentials(store, time.clock, most_failures=MOST)


def _record(minted: Minted, terms: Terms = tokens.NO_TERMS) -> TokenRecord:
    return TokenRecord(minted.token_id, minted.digest, "ci", START, terms)


def _added(credentials: Credentials, **terms: object) -> Minted:
    """Return a new token that is known there."""
    minted = mint(secrets.token_bytes)
    credentials.add(_record(minted, Terms(**terms)))  # type: ignore[arg-type]
    return minted


def _is_set(flag: Flag) -> bool:
    poller = select.poll()
    poller.register(flag, select.POLLIN)
    return bool(poller.poll(0))


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _guess(credentials: Credentials, minted: Minted, address: str = AWAY) -> bool:
    """Present a wrong secret and count it, as the service does."""
    other = mint(secrets.token_bytes).text
    body = f"rxt_{minted.token_id}_{other[13:56]}"
    with pytest.raises(WrongSecret) as caught:
        credentials.authenticate((body + tokens._check(body.encode())).encode(), address)
    return credentials.guesses.count(caught.value.token_id)


def _enter(credentials: Credentials, minted: Minted, address: str = HOME) -> TokenRecord:
    """Present a token and use it, as the service does."""
    record = credentials.authenticate(minted.text.encode(), address)
    credentials.note_use(record.token_id, address)
    return record


def test_the_guess_that_is_too_many_is_said_once(time: _Time) -> None:
    """In a minute; behind the minute counting begins anew."""
    guesses = Guesses(MOST, time.clock)
    first = [guesses.count("one") for _ in range(6)]
    time.passed = 59.9
    late = [guesses.are_too_many("one"), guesses.count("one")]
    time.passed = 60
    after = guesses.are_too_many("one")
    again = [guesses.count("one") for _ in range(3)]

    assert [False, False, True, False, False, False] == first
    assert [True, False] == late
    assert not after
    assert [False, False, True] == again


def test_guesses_at_one_token_are_nothing_to_another(time: _Time) -> None:
    """A stranger to the counts is not bounded, and what is forgotten is not counted."""
    guesses = Guesses(1, time.clock)
    assert guesses.count("one")
    before = guesses.are_too_many("one"), guesses.are_too_many("other")
    guesses.forget(["one", "nobody"])

    assert (True, False) == before
    assert not guesses.are_too_many("one")


def test_guessing_from_many_threads_is_said_once(time: _Time) -> None:
    """However they meet."""
    guesses = Guesses(50, time.clock)
    told: list[bool] = []
    threads = [
        threading.Thread(target=lambda: told.extend(guesses.count("one") for _ in range(25)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [True] == [each for each in told if each]


def test_a_token_that_is_guessed_at_is_good_from_its_usual_address_only(
    credentials: Credentials, time: _Time
) -> None:
    """Nobody shuts its holder out by guessing; a minute later it is good from anywhere again."""
    minted = _added(credentials)
    _enter(credentials, minted, HOME)
    told = [_guess(credentials, minted) for _ in range(MOST)]
    with pytest.raises(Refused, match="not the usual address") as caught:
        credentials.authenticate(minted.text.encode(), AWAY)
    at_home = credentials.authenticate(minted.text.encode(), HOME)
    time.passed = 60
    moved = credentials.authenticate(minted.text.encode(), AWAY)

    assert [False, False, True] == told
    assert (Code.AUTHENTICATION_FAILED, "authentication failed") == (caught.value.code, caught.value.text)
    assert minted.token_id == at_home.token_id == moved.token_id


def test_the_usual_address_is_known_after_a_restart(
    credentials: Credentials, store: Store, time: _Time
) -> None:
    """It is the one the store has."""
    minted = _added(credentials)
    _enter(credentials, minted, HOME)
    credentials.write_uses()
    again = Credentials(store, time.clock, most_failures=MOST)
    for _ in range(MOST):
        _guess(again, minted)

    assert minted.token_id == again.authenticate(minted.text.encode(), HOME).token_id
    with pytest.raises(Refused):
        again.authenticate(minted.text.encode(), AWAY)


def test_a_token_that_was_never_used_has_no_usual_address(credentials: Credentials) -> None:
    """Its id stands nowhere yet but in the trail: who guesses at it has read that."""
    minted = _added(credentials)
    for _ in range(MOST):
        _guess(credentials, minted)

    with pytest.raises(Refused, match="not the usual address"):
        credentials.authenticate(minted.text.encode(), HOME)


def test_when_a_token_was_last_used_survives(credentials: Credentials, store: Store, time: _Time) -> None:
    """The last time and the last address; what is written is not written again."""
    minted, other = _added(credentials), _added(credentials)
    for address in (AWAY, HOME):
        time.passed += 1
        _enter(credentials, minted, address)
    before = store.records()[minted.token_id].used
    credentials.write_uses()
    written = store.records()
    store.note_uses({minted.token_id: Use(START, "overwritten")})
    credentials.write_uses()

    assert before is None
    assert Use(START + timedelta(seconds=2), HOME) == written[minted.token_id].used
    assert written[other.token_id].used is None
    assert Use(START, "overwritten") == store.records()[minted.token_id].used


def test_a_use_that_cannot_be_written_is_written_later(
    credentials: Credentials, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is locked for a while costs nothing; a token forgotten meanwhile stays forgotten."""

    def fail(_: object) -> None:
        raise Unavailable("locked")

    minted, gone = _added(credentials), _added(credentials)
    _enter(credentials, minted)
    _enter(credentials, gone)
    monkeypatch.setattr(store, "note_uses", fail)
    with pytest.raises(Unavailable):
        credentials.write_uses()
    monkeypatch.undo()
    credentials.forget([gone.token_id])
    credentials.write_uses()

    assert {minted.token_id: Use(START, HOME)} == {
        token_id: record.used for token_id, record in store.records().items()
    }


def test_uses_are_noted_while_others_are_written(credentials: Credentials, store: Store) -> None:
    """Sessions in their threads, the writer in its own: none is lost, and nobody trips."""
    minted = [_added(credentials) for _ in range(50)]

    def work(part: list[Minted]) -> None:
        for _ in range(200):
            for each in part:
                credentials.note_use(each.token_id, HOME)

    threads = [threading.Thread(target=work, args=(part,)) for part in (minted[:25], minted[25:])]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        credentials.write_uses()
    credentials.write_uses()

    assert {Use(START, HOME)} == {record.used for record in store.records().values()}


def test_closing_writes_what_is_not_yet(credentials: Credentials, tmp_path: Path) -> None:
    """An orderly stop forgets no use."""
    minted = _added(credentials)
    _enter(credentials, minted)
    credentials.close()
    with Store(tmp_path / "tokens.sqlite") as store:
        assert Use(START, HOME) == store.records()[minted.token_id].used


def test_what_is_changed_here_is_what_the_store_has(credentials: Credentials, store: Store) -> None:
    """After every change: what is known and what a restart would find are the same."""
    one, two, three = (_added(credentials) for _ in range(3))
    new = mint(secrets.token_bytes)
    changes: list[Callable[[], None]] = [
        lambda: credentials.replace(one.token_id, _record(new), until=START + timedelta(days=1)),
        lambda: credentials.revoke([two.token_id, new.token_id]),
        lambda: credentials.revoke([two.token_id]),
        lambda: credentials.forget([three.token_id]),
        lambda: credentials.revoke_certificate(RevokedCertificate("ab" * 32, "CN=x", START, START)),
    ]
    for change in changes:
        change()

        assert store.records() == credentials.tokens
        assert store.revoked_certificates() == credentials.revoked_certificates


def test_a_change_that_the_store_refuses_is_none(
    credentials: Credentials, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was good stays good, and nobody is woken."""

    def fail(*_: object, **__: object) -> None:
        raise Unavailable("disk full")

    minted = _added(credentials)
    before = credentials.tokens
    for name in ("add", "replace", "revoke", "forget"):
        monkeypatch.setattr(store, name, fail)
    other = mint(secrets.token_bytes)
    with credentials.lives.joined(minted.token_id) as (flag,):
        changes: list[Callable[[], None]] = [
            lambda: credentials.add(_record(other)),
            lambda: credentials.replace(minted.token_id, _record(other), until=START),
            lambda: credentials.revoke([minted.token_id]),
            lambda: credentials.forget([minted.token_id]),
        ]
        for change in changes:
            with pytest.raises(Unavailable):
                change()

        assert not _is_set(flag)
    assert before is credentials.tokens


def test_everybody_who_is_in_with_a_token_hears_of_its_end() -> None:
    """And nobody else; who leaves first takes nothing from who stays."""
    lives = Lives()
    with lives.joined("one", "two") as flags, lives.joined("three") as (other,):
        with lives.joined("one") as (same,):
            pass
        lives.end(["one", "nobody"])

        assert same is flags[0]
        assert [True, False, False] == [_is_set(flag) for flag in (*flags, other)]
        assert {"one", "two", "three"} == set(lives.keys)


def test_no_flag_is_left_when_all_have_left() -> None:
    """However often they came: descriptors are few."""
    lives = Lives()
    before = _descriptors()
    for _ in range(100):
        with lives.joined("one", "two"), lives.joined("two"):
            lives.end(["two"])
    with pytest.raises(ZeroDivisionError), lives.joined("one"):
        raise ZeroDivisionError

    assert () == lives.keys
    assert before == _descriptors()


def test_who_comes_after_an_end_gets_a_flag_of_its_own() -> None:
    """An end is told to those it concerns, once: who joins later has asked whether it is good."""
    lives = Lives()
    with lives.joined("one") as (first,):
        lives.end(["one"])
    with lives.joined("one") as (second,):
        assert first is not second
        assert not _is_set(second)


def test_who_comes_after_an_end_does_not_hear_of_it_while_others_stay() -> None:
    """A token that was forgotten and imported again is good, though a command still finishes."""
    lives = Lives()
    before = _descriptors()
    with contextlib.ExitStack() as late, lives.joined("one") as (first,):
        lives.end(["one"])
        (second,) = late.enter_context(lives.joined("one"))
        early, late_one = _is_set(first), _is_set(second)
        lives.end(["one"])

        assert (True, False, True) == (early, late_one, _is_set(second))
    assert () == lives.keys
    assert before == _descriptors()


def test_sessions_come_and_go_while_tokens_end() -> None:
    """From many threads: no flag is set after it was given back, none is left."""
    lives, over, faults = Lives(), threading.Event(), list[Exception]()
    before = _descriptors()

    def come_and_go() -> None:
        try:
            for _ in range(300):
                with lives.joined("one", "two") as flags:
                    _is_set(flags[0])
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells
            faults.append(error)

    def end() -> None:
        while not over.is_set():
            lives.end(["one", "two"])

    ender = threading.Thread(target=end)
    threads = [threading.Thread(target=come_and_go) for _ in range(6)]
    for thread in (ender, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    ender.join()

    assert [] == faults
    assert before == _descriptors()


def test_an_expired_token_wakes_who_is_in_with_it(credentials: Credentials, time: _Time) -> None:
    """Not a moment before; why is said to the caller."""
    minted = _added(credentials, expires=START + timedelta(seconds=5))
    lasting = _added(credentials)
    mine = Credential(_enter(credentials, minted))
    with credentials.lives.joined(minted.token_id, lasting.token_id) as (flag, other):
        time.passed = 4.9
        credentials.end_dead()
        early = _is_set(flag), credentials.flaw(mine)
        time.passed = 5
        credentials.end_dead()
        late = _is_set(flag), credentials.flaw(mine)

        assert not _is_set(other)
    assert (False, None) == early
    assert (True, "the token has expired") == late


def test_a_replaced_token_without_overlap_ends_at_once(credentials: Credentials, time: _Time) -> None:
    """Its sessions are woken by the change itself."""
    old, new = _added(credentials), mint(secrets.token_bytes)
    mine = Credential(_enter(credentials, old))
    with credentials.lives.joined(old.token_id) as (flag,):
        credentials.replace(old.token_id, _record(new), until=time.clock.now())

        assert _is_set(flag)
    assert "the token has expired" == credentials.flaw(mine)
    assert new.token_id == _enter(credentials, new).token_id


def test_a_token_that_is_purged_before_anybody_saw_it_expire_ends_its_sessions(
    credentials: Credentials, time: _Time
) -> None:
    """Expired and forgotten in the same second: nobody may go on with it."""
    minted = _added(credentials, expires=START + timedelta(seconds=1))
    mine = Credential(_enter(credentials, minted))
    with credentials.lives.joined(minted.token_id) as (flag,):
        time.passed = 1
        credentials.forget([minted.token_id])

        assert _is_set(flag)
    assert "the token was revoked" == credentials.flaw(mine)


def test_why_a_session_has_to_end_is_said_of_what_ended(credentials: Credentials, time: _Time) -> None:
    """The token first, then the certificate."""
    lasting, short = _added(credentials), _added(credentials, expires=START + timedelta(seconds=1))
    shown = ClientCertificate("ab" * 32, "ci", "CN=ci", START + timedelta(seconds=2))
    mine = [Credential(_enter(credentials, each), shown) for each in (lasting, short)]
    said = [[credentials.flaw(each) for each in mine]]
    time.passed = 2
    said.append([credentials.flaw(each) for each in mine])
    credentials.revoke_certificate(RevokedCertificate(shown.fingerprint, "CN=ci", shown.expires, START))
    said.append([credentials.flaw(each) for each in mine])
    credentials.revoke([lasting.token_id])
    said.append([credentials.flaw(mine[0])])

    assert [
        [None, None],
        ["the client certificate has expired", "the token has expired"],
        ["the client certificate was revoked", "the token has expired"],
        ["the token was revoked"],
    ] == said


def test_a_refused_certificate_looks_like_a_refused_token(credentials: Credentials, time: _Time) -> None:
    """The trail says which it was."""
    shown = ClientCertificate("ab" * 32, "ci", "CN=ci", START + timedelta(seconds=2))
    credentials.check_certificate(shown)
    time.passed = 2
    reasons = []
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            credentials.check_certificate(shown)
        reasons.append((caught.value.text, caught.value.reason))
        credentials.revoke_certificate(RevokedCertificate(shown.fingerprint, "CN=ci", shown.expires, START))

    assert [
        ("authentication failed", "expired client certificate"),
        ("authentication failed", "revoked client certificate"),
    ] == reasons


def test_a_token_from_another_network_is_refused_alike(credentials: Credentials) -> None:
    """And does not become its usual address."""
    minted = _added(credentials, networks=(ip_network("192.0.2.0/24"),))
    with pytest.raises(Refused) as caught:
        credentials.authenticate(minted.text.encode(), AWAY)

    assert "authentication failed" == caught.value.text
    assert _enter(credentials, minted, HOME).used is None
