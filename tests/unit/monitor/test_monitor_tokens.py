"""What operators can do about tokens: judged, recorded, then done; every no is one line."""

import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rexecd.audit.search import read
from rexecd.cli.init import lay_out
from rexecd.cli.monitor import opened_service
from rexecd.clock import Clock
from rexecd.errors import ConfigError, TrailError, Unavailable
from rexecd.identity.store import Store
from rexecd.identity.tokens import mint, spell_digest
from rexecd.monitor import admin, tokens
from rexecd.monitor.credentials import Credentials
from rexecd.monitor.service import Service
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.settings import load_settings

START = datetime(2026, 1, 2, tzinfo=UTC)
DAY = 86400
POLICY = """\
version: 1
principals:
  ann: {roles: [some]}
  bob: {roles: [some]}
roles:
  some: {allow: [disk, "service.*"]}
commands:
  disk: {summary: x, run: /bin/true}
  service.status: {summary: x, run: /bin/true}
  secret: {summary: x, run: /bin/true}
"""


class _Time:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def pass_by(self, **much: float) -> None:
        """Let time go by."""
        self.now += timedelta(**much)


@pytest.fixture
def time() -> _Time:
    """Give a clock that stands."""
    return _Time()


@pytest.fixture
def service(tmp_path: Path, time: _Time) -> Iterator[Service]:
    """Give a monitor's state with a clock of the test's own."""
    made = lay_out(tmp_path, ["localhost"], settings="version: 1\n", policy=POLICY)
    with opened_service(load_settings(made.config)) as opened:
        opened.clock = Clock(now=lambda: time.now)
        with Store(opened.settings.tokens) as store:
            opened.credentials = Credentials(store, opened.clock, most_failures=20)
            yield opened


def _made(service: Service, **terms: Any) -> str:
    """Return the id of a new token of ann's."""
    return str(tokens.create(service, seam.CreateToken("ann", **terms))["id"])


def _minted(principal: str = "ann", **terms: Any) -> seam.ImportToken:
    minted = mint(secrets.token_bytes)
    digest = spell_digest(minted.token_id, minted.digest)
    return seam.ImportToken(*seam.CreateToken(principal, **terms), digest=digest)


def _records(service: Service) -> list[dict[str, Any]]:
    """Return what the trail says of tokens."""
    found = read([service.settings.audit])
    return [each for each in found if str(each["event"]["action"]).startswith("token-")]


def test_a_token_is_created_with_all_it_is_good_for(service: Service) -> None:
    """The answer, the trail and what is known agree; the secret stands in the answer alone."""
    answer = tokens.create(
        service,
        seam.CreateToken("ann", 90 * DAY, ("192.0.2.0/24", "2001:db8::1"), ("disk", "service.*"), "for CI"),
    )
    record = service.credentials.tokens[str(answer["id"])]
    (recorded,) = _records(service)

    assert {"id", "principal", "expires", "token"} == answer.keys()
    assert "2026-04-02T00:00:00+00:00" == answer["expires"]
    assert START + timedelta(days=90) == record.terms.expires
    assert ["192.0.2.0/24", "2001:db8::1/128"] == list(map(str, record.terms.networks))
    assert (("disk", "service.*"), "for CI") == (record.terms.only, record.terms.note)
    assert {
        "token_id": answer["id"],
        "expires": answer["expires"],
        "networks": "192.0.2.0/24 2001:db8::1/128",
        "only": "disk service.*",
        "note": "for CI",
    }.items() <= recorded["rexec"].items()
    assert "ann" == recorded["user"]["name"]
    assert str(answer["token"])[13:] not in json.dumps(recorded)


WRONG: dict[str, tuple[seam.CreateToken, str]] = {
    "nobody": (seam.CreateToken("eve"), "the policy has no principal 'eve': it has ann, bob"),
    "no network": (
        seam.CreateToken("ann", networks=("somewhere",)),
        "--from 'somewhere' is not a network, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32",
    ),
    "host bits": (
        seam.CreateToken("ann", networks=("10.0.0.1/8",)),
        "--from '10.0.0.1/8' is not a network (did you mean '10.0.0.0/8'?)",
    ),
    "IPv4 in IPv6": (
        seam.CreateToken("ann", networks=("::ffff:10.0.0.1",)),
        "--from '::ffff:10.0.0.1' is IPv4 in IPv6; write the IPv4 network",
    ),
    "no such command": (
        seam.CreateToken("ann", only=("disc",)),
        "--only 'disc': 'ann' may run no such command: see 'rexecd policy list'",
    ),
    "somebody else's command": (
        seam.CreateToken("ann", only=("disk", "secret")),
        "--only 'secret': 'ann' may run no such command: see 'rexecd policy list'",
    ),
    "no command begins so": (
        seam.CreateToken("ann", only=("disk.*",)),
        "--only 'disk.*': 'ann' may run no such command: see 'rexecd policy list'",
    ),
    "an empty command": (
        seam.CreateToken("ann", only=("",)),
        "--only '': 'ann' may run no such command: see 'rexecd policy list'",
    ),
    "two commands in one": (
        seam.CreateToken("ann", only=("disk service.status",)),
        "--only 'disk service.status': 'ann' may run no such command: see 'rexecd policy list'",
    ),
    "a long note": (
        seam.CreateToken("ann", note="x" * 201),
        "--note: at most 200 characters, on one line",
    ),
    "two lines": (seam.CreateToken("ann", note="x\ny"), "--note: at most 200 characters, on one line"),
    "a hundred years": (
        seam.CreateToken("ann", 36501 * DAY),
        "--expires: more than a hundred years: say 'never' if that is meant",
    ),
    "many networks": (
        seam.CreateToken("ann", networks=("192.0.2.1",) * 65),
        "--from, --only: at most 64 of each",
    ),
    "many commands": (
        seam.CreateToken("ann", only=("disk",) * 65),
        "--from, --only: at most 64 of each",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_one_line_and_leaves_no_trace(service: Service, case: str) -> None:
    """Created or imported: nothing is recorded, nothing is kept."""
    asked, line = WRONG[case]
    for question in (asked, seam.ImportToken(*asked, digest=_minted().digest)):
        with pytest.raises(ConfigError) as caught:
            admin.do(service, question)

        assert line == str(caught.value)
    assert [] == _records(service)
    assert {} == service.credentials.tokens


def test_a_token_is_imported_once(service: Service) -> None:
    """A second time does nothing, and changes nothing of what it is good for."""
    asked = _minted(lifetime=DAY)
    first = tokens.take(service, asked)
    known = service.credentials.tokens
    again = tokens.take(service, asked._replace(lifetime=0, note="other"))

    assert (True, False) == (first["is_new"], again["is_new"])
    assert first["expires"] == again["expires"] == "2026-01-03T00:00:00+00:00"
    assert known is service.credentials.tokens
    assert ["token-imported"] == [record["event"]["action"] for record in _records(service)]


def test_an_import_says_what_is_wrong_with_the_token_that_is_here(service: Service, time: _Time) -> None:
    """Another's, of another secret, revoked or expired; and then what to do."""
    good, revoked, expired = _minted(), _minted(), _minted(lifetime=60)
    for asked in (good, revoked, expired):
        tokens.take(service, asked)
    tokens.revoke(service, seam.RevokeTokens(revoked.digest[4:12], ""))
    time.pass_by(seconds=60)
    wrong = {
        f"{good.digest[4:12]} is here already and is 'ann''s": good._replace(principal="bob"),
        f"{good.digest[4:12]} is here already and has another secret": good._replace(
            digest=good.digest[:13] + "0" * 64
        ),
        f"{revoked.digest[4:12]} is here already and is revoked": revoked,
        f"{expired.digest[4:12]} is here already and is expired": expired,
    }
    for line, asked in wrong.items():
        with pytest.raises(ConfigError) as caught:
            tokens.take(service, asked)

        assert f"a token with the id {line}: make another with 'rexecd token mint'" == str(caught.value)
    with pytest.raises(ConfigError, match="this digest is another token's: see 'rexecd token list'"):
        tokens.take(service, good._replace(digest=f"rxd_AAAAAAAA_{good.digest[13:]}"))


def test_a_token_that_was_pasted_for_its_digest_is_not_repeated(service: Service) -> None:
    """The line says what was expected instead."""
    token = mint(secrets.token_bytes).text
    with pytest.raises(ConfigError) as caught:
        tokens.take(service, seam.ImportToken("ann", 0, (), (), "", token))

    assert "'rexecd token mint'" in str(caught.value)
    assert token[13:] not in str(caught.value)


def test_a_rotated_token_hands_over_what_it_is_good_for(service: Service, time: _Time) -> None:
    """As long a life, counted from now; the old one ends with the overlap."""
    old = _made(service, lifetime=30 * DAY, networks=("192.0.2.0/24",), only=("disk",), note="CI")
    time.pass_by(days=20)
    answer = tokens.rotate(service, seam.RotateToken(old, DAY, changes_lifetime=False, lifetime=0))
    known = service.credentials.tokens
    before, after = known[old], known[str(answer["id"])]
    recorded = _records(service)[-1]

    assert before.terms._replace(expires=None) == after.terms._replace(expires=None)
    assert START + timedelta(days=50) == after.terms.expires
    assert START + timedelta(days=21) == before.terms.expires
    assert (old, "2026-01-23T00:00:00+00:00") == (answer["replaces"], answer["until"])
    assert ("token-rotated", answer["id"], old) == (
        recorded["event"]["action"],
        recorded["rexec"]["token_id"],
        recorded["rexec"]["replaces"],
    )
    assert "the old one is good until 2026-01-23T00:00:00+00:00" == recorded["event"]["reason"]


ENDS = {
    "without an end it stays without": (0, seam.RotateToken("", DAY, False, 0), None, 1),
    "with a new life": (30 * DAY, seam.RotateToken("", DAY, True, 7 * DAY), 7, 1),
    "never from now on": (30 * DAY, seam.RotateToken("", DAY, True, 0), None, 1),
    "no overlap": (30 * DAY, seam.RotateToken("", 0, False, 0), 30, 0),
    "an overlap that is longer than its life": (2 * DAY, seam.RotateToken("", 9 * DAY, False, 0), 2, 2),
}


@pytest.mark.parametrize("case", ENDS)
def test_both_tokens_of_a_rotation_end_as_was_asked(service: Service, case: str) -> None:
    """Days from now; an old token never lives longer than it would have."""
    lifetime, asked, new_days, old_days = ENDS[case]
    old = _made(service, lifetime=lifetime)
    answer = tokens.rotate(service, asked._replace(token_id=old))
    known = service.credentials.tokens

    assert START + timedelta(days=old_days) == known[old].terms.expires
    assert (None if new_days is None else START + timedelta(days=new_days)) == known[
        str(answer["id"])
    ].terms.expires


def test_what_cannot_be_rotated_is_one_line(service: Service, time: _Time) -> None:
    """Unknown, revoked, expired, or of nobody any more."""
    revoked, expired, orphan = _made(service), _made(service, lifetime=60), _made(service)
    tokens.revoke(service, seam.RevokeTokens(revoked, ""))
    time.pass_by(seconds=60)
    remedy = "make a new one with 'rexecd token create'"
    said = {}
    for token_id in ("AAAAAAAA", revoked, expired):
        with pytest.raises(ConfigError) as caught:
            tokens.rotate(service, seam.RotateToken(token_id, 0, False, 0))
        said[token_id] = str(caught.value)
    service.settings.policy.write_text(POLICY.replace("  ann:", "  eve:"))
    service.reload()

    assert {
        "AAAAAAAA": "no token has the id 'AAAAAAAA': see 'rexecd token list'",
        revoked: f"token {revoked} is revoked: {remedy}",
        expired: f"token {expired} is expired: {remedy}",
    } == said
    with pytest.raises(ConfigError, match="no principal 'ann'"):
        tokens.rotate(service, seam.RotateToken(orphan, 0, False, 0))


def test_all_tokens_of_a_principal_end_together(service: Service) -> None:
    """One record each, none for what was revoked already; nobody else's end."""
    first, second = _made(service), _made(service)
    other = str(tokens.create(service, seam.CreateToken("bob"))["id"])
    tokens.revoke(service, seam.RevokeTokens(first, ""))
    answer = tokens.revoke(service, seam.RevokeTokens("", "ann"))
    again = tokens.revoke(service, seam.RevokeTokens("", "ann"))
    known = service.credentials.tokens
    revoked = [each for each in _records(service) if each["event"]["action"] == "token-revoked"]

    assert {"principal": "ann", "count": 2, "ids": [first, second]} == answer == again
    assert [first, second] == [record["rexec"]["token_id"] for record in revoked]
    assert known[other].revoked is None


def test_who_has_no_token_cannot_lose_one(service: Service) -> None:
    """A misspelt name must not look like a success."""
    for asked, line in (
        (seam.RevokeTokens("", "ann"), "no token is of 'ann': see 'rexecd token list'"),
        (seam.RevokeTokens("AAAAAAAA", ""), "no token has the id 'AAAAAAAA': see 'rexecd token list'"),
        (seam.RevokeTokens("", ""), "no token is of '': see 'rexecd token list'"),
    ):
        with pytest.raises(ConfigError) as caught:
            tokens.revoke(service, asked)

        assert line == str(caught.value)


def test_the_dead_are_purged_once_they_have_been_so_long_enough(service: Service, time: _Time) -> None:
    """Revoked or expired; the good stay, and the trail keeps the ids."""
    good, revoked, expired = _made(service), _made(service), _made(service, lifetime=DAY)
    tokens.revoke(service, seam.RevokeTokens(revoked, ""))
    time.pass_by(days=30)
    early = tokens.purge(service, seam.PurgeTokens(31 * DAY))
    some = tokens.purge(service, seam.PurgeTokens(30 * DAY))
    rest = tokens.purge(service, seam.PurgeTokens(0))
    purged = [each for each in _records(service) if each["event"]["action"] == "token-purged"]

    assert [] == early["ids"]
    assert [revoked] == some["ids"]
    assert [expired] == rest["ids"]
    assert [good] == list(service.credentials.tokens)
    assert [revoked, expired] == [record["rexec"]["token_id"] for record in purged]


DEEDS: dict[str, Callable[[str], seam.Message]] = {
    "create": lambda _: seam.CreateToken("ann"),
    "import": lambda _: _minted(),
    "rotate": lambda token_id: seam.RotateToken(token_id, 0, False, 0),
    "revoke": lambda token_id: seam.RevokeTokens(token_id, ""),
    "purge": lambda _: seam.PurgeTokens(0),
    "revoke a certificate": lambda _: seam.RevokeCertificate("ab" * 32, "CN=x", 0),
}


@pytest.mark.parametrize("case", DEEDS)
def test_who_asked_stands_in_the_record(service: Service, case: str) -> None:
    """Of every change; where nobody is known nobody is named."""
    token_id, dead = _made(service), _made(service)
    tokens.revoke(service, seam.RevokeTokens(dead, ""))
    asker = {"operator_id": "0", "operator": "root", "login_id": "1000", "login": "alice"}
    admin.do(service, DEEDS[case](token_id), asker)
    *before, last = read([service.settings.audit])

    assert asker.items() <= last["rexec"].items()
    assert not any("operator_id" in record["rexec"] for record in before)


@pytest.mark.parametrize("case", DEEDS)
def test_what_cannot_be_recorded_is_not_done(
    service: Service, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The trail first: neither store nor memory has changed."""
    token_id, dead = _made(service), _made(service)
    tokens.revoke(service, seam.RevokeTokens(dead, ""))
    before = service.credentials.tokens

    def full(*_: object, **__: object) -> None:
        raise TrailError("the disk is full")

    monkeypatch.setattr(service.trail, "append", full)
    with pytest.raises(TrailError):
        admin.do(service, DEEDS[case](token_id))

    assert before is service.credentials.tokens
    with Store(service.settings.tokens) as store:
        assert before == store.records()
        assert {} == store.revoked_certificates()


STORED = {
    "create": "add",
    "import": "add",
    "rotate": "replace",
    "revoke": "revoke",
    "purge": "forget",
    "revoke a certificate": "revoke_certificate",
}


@pytest.mark.parametrize("case", DEEDS)
def test_what_the_store_refuses_after_it_was_recorded_is_not_done(
    service: Service, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The operator hears of it; the trail tells of what did not follow, and never the other way round."""
    token_id, dead = _made(service), _made(service)
    tokens.revoke(service, seam.RevokeTokens(dead, ""))
    before, recorded = service.credentials.tokens, len(list(read([service.settings.audit])))

    def full(*_: object, **__: object) -> None:
        raise Unavailable("tokens.sqlite: database or disk is full")

    monkeypatch.setattr(Store, STORED[case], full)
    with pytest.raises(Unavailable, match="disk is full"):
        admin.do(service, DEEDS[case](token_id))

    assert before is service.credentials.tokens
    assert recorded + 1 == len(list(read([service.settings.audit])))
    monkeypatch.undo()
    admin.do(service, DEEDS[case](token_id))


def test_operators_who_change_the_same_token_at_once_wait_for_each_other(service: Service) -> None:
    """One rotation wins, the others hear that the token is dead; the trail tells what happened."""
    old = _made(service)
    won, lost = list[str](), list[str]()

    def rotate() -> None:
        try:
            won.append(str(tokens.rotate(service, seam.RotateToken(old, 0, False, 0))["id"]))
        except ConfigError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=rotate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (1, 7) == (len(won), len(lost))
    assert {f"token {old} is expired: make a new one with 'rexecd token create'"} == set(lost)
    assert {old, *won} == set(service.credentials.tokens)


def test_an_answer_about_many_tokens_fits_into_a_packet(service: Service) -> None:
    """It counts them all and names the first thousand."""
    many = 7000
    with Store(service.settings.tokens) as store:
        minted = [_minted() for _ in range(many)]
        with store._changing() as connection:
            connection.executemany(
                "INSERT INTO token (token_id, digest, principal, created) VALUES (?, ?, 'ann', ?)",
                [(each.digest[4:12], bytes.fromhex(each.digest[13:]), START.isoformat()) for each in minted],
            )
        service.credentials = Credentials(store, service.clock, most_failures=20)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        operator = Channel(ours, seam.ADMIN, timeout=20)
        session = threading.Thread(
            target=admin.AdminSession(Channel(theirs, seam.ADMIN, timeout=20), service).run
        )
        session.start()
        answers = []
        for question in (seam.RevokeTokens("", "ann"), seam.PurgeTokens(0)):
            operator.send(question)
            answer = operator.receive()
            assert answer is not None
            answers.append(json.loads(answer.body))
        operator.close()
        session.join()
        theirs.close()

    assert [(many, 1000)] * 2 == [(answer["count"], len(answer["ids"])) for answer in answers]
