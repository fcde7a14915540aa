"""The life of a token: where, for what and how long it is good, and that its end is felt at once."""

import contextlib
import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from rexecd.errors import Code
from rexecd.identity import tokens
from rexecd.wire import messages as wire
from tests.harness import PATIENCE, POLICY, SETTINGS, Caller, Daemon, wait_for

FEW = 4
EXPIRED = wire.Closed(Code.REVOKED, "the token has expired")
REVOKED = wire.Closed(Code.REVOKED, "the token was revoked")
FAILED = wire.Closed(Code.AUTHENTICATION_FAILED, "authentication failed")
ELSEWHERE = "127.0.0.2"
LIFE_SETTINGS = f"""{SETTINGS}
max_connections_each: {FEW}
max_failures_each: 3
penalty_authentication: 0s
"""
LIFE_POLICY = (
    POLICY.replace("principals:", "principals:\n  cyn: {roles: [tester]}\n  dan: {roles: [tester]}\n", 1)
    + """\
  finishes:
    summary: Go on without its caller
    run: [/bin/sh, -c, "echo begun; /bin/sleep 4"]
    on_disconnect: finish
"""
)
#: A second, with room for a machine that has other things to do.
_SOON: Final = 5.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon of this file's own settings."""
    made = Daemon(tmp_path_factory.mktemp("life"), settings=LIFE_SETTINGS, policy=LIFE_POLICY).start()
    yield made
    assert 0 == made.stop()
    assert "fault" not in made.complaints()


def _create(daemon: Daemon, principal: str, *options: str) -> str:
    """Return a token that the operator made."""
    done = daemon.rexecd("token", "create", principal, *options)
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


def _without_server(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of `rexecd` that needs no settings."""
    line = [sys.executable, "-I", "-m", "rexecd", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def _row(daemon: Daemon, token: str) -> dict[str, Any]:
    """Return what `token list --json` says of a token."""
    rows = json.loads(daemon.rexecd("token", "list", "--json").stdout)
    (row,) = [row for row in rows if row["id"] == token[4:12]]
    return dict(row)


def _is_good(daemon: Daemon, token: str, source: str = "127.0.0.1") -> bool:
    """Return whether a token opens a session; what is refused is always refused alike."""
    with daemon.caller(token, source=source) as caller:
        if caller.accepted is None:
            assert (FAILED, None) == (caller.answer, caller.hear())
        return caller.accepted is not None


def _end(caller: Caller) -> wire.Message | None:
    """Return the last message of a session that somebody else ends."""
    heard: list[wire.Message] = []
    while (message := caller.hear()) is not None:
        heard.append(message)
    return heard[-1] if heard else None


def _start(caller: Caller, line: str) -> None:
    """Start a command and wait until it runs."""
    caller.say(wire.Run(line, wire.Offer.NONE, ""))
    assert isinstance(caller.hear(), wire.Started)


def test_a_token_is_good_for_90_days_if_nothing_else_is_said(daemon: Daemon) -> None:
    """The operator hears until when, and that it is not shown again."""
    done = daemon.rexecd("token", "create", "bob")
    row = _row(daemon, done.stdout.strip())
    life = datetime.fromisoformat(row["expires"]) - datetime.fromisoformat(row["created"])

    assert timedelta(days=90) == life
    assert f"good until {row['expires']}: it is not shown again" in done.stderr


def test_an_idle_session_ends_by_itself_when_its_token_expires(daemon: Daemon) -> None:
    """Within a second, with the reason; from then on the token looks like any wrong one."""
    token = _create(daemon, "bob", "--expires", "4s")
    with daemon.caller(token) as caller:
        accepted = caller.accepted
        ends = wait_for(lambda: daemon.records("token-created", token_id=token[4:12]))[0]["rexec"]["expires"]
        end = _end(caller)
        late = time.time() - datetime.fromisoformat(ends).timestamp()

    assert accepted
    assert 1 <= accepted.expires_in <= 4
    assert EXPIRED == end
    assert -1 < late < 2  # the record spells whole seconds
    daemon.wait_for_record("connection-closed", token_id=token[4:12], reason="the token has expired")
    assert not _is_good(daemon, token)
    assert daemon.records("auth-refused", token_id=token[4:12], reason="expired token")
    assert "expired" == _row(daemon, token)["state"]


def test_a_running_command_ends_when_the_token_of_its_caller_expires(daemon: Daemon) -> None:
    """It is killed, and the trail says why."""
    token = _create(daemon, "ann", "--expires", "2s")
    with daemon.caller(token) as caller:
        _start(caller, "sleep")
        end = _end(caller)

    assert EXPIRED == end
    daemon.wait_for_record("command-killed", token_id=token[4:12], reason="the token has expired")


def test_a_revoked_token_ends_idle_sessions_and_running_commands_within_a_second(daemon: Daemon) -> None:
    """All of them, by themselves; others with tokens of the same principal go on."""
    token = _create(daemon, "ann")
    with (
        daemon.caller(token) as idle,
        daemon.caller(token) as busy,
        daemon.caller("ann") as other,
    ):
        _start(busy, "sleep")
        assert 0 == daemon.rexecd("token", "revoke", token[4:12]).returncode
        begun = time.monotonic()
        ends = [_end(idle), _end(busy)]
        taken = time.monotonic() - begun
        after = other.run("echo still")

    assert [REVOKED, REVOKED] == ends
    assert taken < _SOON
    assert isinstance(after[-1], wire.Exit)
    daemon.wait_for_record("command-killed", token_id=token[4:12], reason="the token was revoked")
    assert not _is_good(daemon, token)


def test_a_command_that_may_finish_does_so_when_the_token_is_revoked(daemon: Daemon) -> None:
    """Its caller is gone at once; `on_disconnect: finish` is about exactly that."""
    token = _create(daemon, "ann")
    with daemon.caller(token) as caller:
        _start(caller, "finishes")
        daemon.rexecd("token", "revoke", token[4:12])

        assert REVOKED == _end(caller)
    ended = daemon.wait_for_record("command-exited", token_id=token[4:12])
    assert "finished without its caller: the token was revoked" == ended["event"]["reason"]


def test_a_token_is_good_from_its_networks_only(daemon: Daemon) -> None:
    """From elsewhere it looks like any wrong one; the trail says where it would be good."""
    token = _create(daemon, "bob", "--from", f"{ELSEWHERE}/32", "--from", "2001:db8::/32")

    assert not _is_good(daemon, token)
    assert _is_good(daemon, token, ELSEWHERE)
    assert [f"{ELSEWHERE}/32", "2001:db8::/32"] == _row(daemon, token)["from"]
    reason = f"the token is good from {ELSEWHERE}/32, 2001:db8::/32 only"
    assert daemon.records("auth-refused", token_id=token[4:12], reason=reason)


def test_a_token_for_some_commands_runs_and_lists_no_others(daemon: Daemon) -> None:
    """What it is not good for looks like what does not exist; the trail knows better."""
    token = _create(daemon, "ann", "--only", "echo", "--only", "both")
    with daemon.caller(token) as caller:
        ran = caller.run("echo yes")
        refused, unknown = caller.run("describe")[0], caller.run("nosuch")[0]
        caller.say(wire.List())
        listed: list[wire.Message | None] = []
        while not isinstance(listed[-1] if listed else None, wire.Listed):
            listed.append(caller.hear())
    helped = daemon.rexec("HOST", "echo", "--help", token=token)
    unhelped = daemon.rexec("HOST", "describe", "--help", token=token)
    unknown_help = daemon.rexec("HOST", "nosuch", "--help", token=token)

    assert b"yes\n" == ran[1].data
    assert isinstance(refused, wire.Refused)
    assert isinstance(unknown, wire.Refused)
    assert (Code.NOT_PERMITTED, unknown.text) == (refused.code, refused.text)
    assert ["both", "echo"] == [entry.name for entry in listed[:-1] if isinstance(entry, wire.Entry)]
    assert "Print one word" in helped.stdout
    assert (unknown_help.returncode, unknown_help.stderr.replace("nosuch", "describe")) == (
        unhelped.returncode,
        unhelped.stderr,
    )
    assert daemon.records("command-refused", reason="the token is good for echo, both only")


def test_a_rotated_token_goes_on_for_its_overlap(daemon: Daemon) -> None:
    """Old and new are both good; the old one ends by itself, sessions too."""
    old = _create(daemon, "bob")
    with daemon.caller(old) as caller:
        done = daemon.rexecd("token", "rotate", old[4:12], "--overlap", "3s")
        new = done.stdout.strip()
        both = [_is_good(daemon, old), _is_good(daemon, new)]
        end = _end(caller)

    assert [True, True] == both
    assert f"{old[4:12]} is good until" in done.stderr
    assert EXPIRED == end
    assert [False, True] == [_is_good(daemon, old), _is_good(daemon, new)]
    assert daemon.records("token-rotated", token_id=new[4:12], replaces=old[4:12])


def test_without_an_overlap_the_old_token_ends_at_once(daemon: Daemon) -> None:
    """With its open sessions, within a second."""
    old = _create(daemon, "bob", "--note", "for the night")
    with daemon.caller(old) as caller:
        done = daemon.rexecd("token", "rotate", old[4:12], "--overlap", "0s")
        begun = time.monotonic()

        assert EXPIRED == _end(caller)
        assert time.monotonic() - begun < _SOON
    new = done.stdout.strip()
    assert [False, True] == [_is_good(daemon, old), _is_good(daemon, new)]
    assert "for the night" == _row(daemon, new)["note"]


def test_one_token_is_laid_out_on_many_hosts_by_its_digest(daemon: Daemon, tmp_path: Path) -> None:
    """Made anywhere, its secret on none of them; each may give it other terms."""
    file = tmp_path / "token"
    minted = _without_server("token", "mint", "--digest-only", "--out", str(file))
    again = _without_server("token", "mint", "--out", str(file))
    digest, token = minted.stdout.strip(), file.read_text().strip()
    other = Daemon(tmp_path / "other", settings=LIFE_SETTINGS, policy=LIFE_POLICY).start()
    try:
        done = [
            host.rexecd("token", "import", "bob", digest, *terms)
            for host, terms in ((daemon, ()), (other, ("--only", "echo", "--expires", "never")))
        ]
        repeated = daemon.rexecd("token", "import", "bob", digest)
        good = [_is_good(host, token) for host in (daemon, other)]
        other.rexecd("token", "revoke", token[4:12])
        after = [_is_good(host, token) for host in (daemon, other)]
        rows = [_row(host, token) for host in (daemon, other)]
    finally:
        other.stop()

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert (1, "") == (again.returncode, again.stdout)
    assert "already there, and never overwritten" in again.stderr
    assert token not in minted.stdout + minted.stderr
    assert [0, 0, 0] == [each.returncode for each in (*done, repeated)]
    assert "was known already" in repeated.stdout
    assert ([True, True], [True, False]) == (good, after)
    assert [[], ["echo"]] == [row["only"] for row in rows]
    assert rows[0]["expires"]
    assert rows[1]["expires"] is None


def test_a_digest_without_a_place_for_its_token_is_an_error() -> None:
    """Nobody would ever see the token."""
    done = _without_server("token", "mint", "--digest-only")

    assert (1, "") == (done.returncode, done.stdout)
    assert "--out FILE" in done.stderr


def test_all_tokens_of_a_principal_end_at_once(daemon: Daemon) -> None:
    """Whoever is in with one of them goes."""
    first, second = _create(daemon, "dan"), _create(daemon, "dan")
    with daemon.caller(first) as one, daemon.caller(second) as other:
        done = daemon.rexecd("token", "revoke", "--principal", "dan")

        assert [REVOKED, REVOKED] == [_end(one), _end(other)]
    assert 0 == done.returncode
    assert {first[4:12], second[4:12], daemon.tokens["dan"][4:12]} == {
        line.split()[2] for line in done.stdout.splitlines()
    }
    assert not _is_good(daemon, daemon.tokens["dan"])


def test_dead_tokens_can_be_purged(daemon: Daemon) -> None:
    """Those that have been dead for long enough, and no others."""
    dead, good = _create(daemon, "bob"), _create(daemon, "bob")
    daemon.rexecd("token", "revoke", dead[4:12])
    early = daemon.rexecd("token", "purge")
    done = daemon.rexecd("token", "purge", "--older", "0s")
    ids = {row["id"] for row in json.loads(daemon.rexecd("token", "list", "--json").stdout)}

    assert "rexecd: 0 tokens forgotten\n" == early.stdout
    assert dead[4:12] in done.stdout
    assert dead[4:12] not in ids
    assert good[4:12] in ids
    assert daemon.records("token-purged", token_id=dead[4:12])


def test_the_list_tells_of_the_last_use_within_six_seconds(daemon: Daemon) -> None:
    """When and from where; every key is there for every token, and no secret."""
    token = _create(daemon, "bob", "--note", "a ✓ note")
    before = _row(daemon, token)
    assert _is_good(daemon, token, ELSEWHERE)
    begun = time.monotonic()
    row = wait_for(lambda: (found := _row(daemon, token))["last_used"] and found)
    taken = time.monotonic() - begun

    assert [
        "id", "principal", "state", "created", "expires", "revoked", "last_used", "last_address",
        "from", "only", "note",
    ] == list(row)  # fmt: skip
    assert (None, None) == (before["last_used"], before["last_address"])
    assert (ELSEWHERE, "good", "a ✓ note") == (row["last_address"], row["state"], row["note"])
    assert taken < 6 + _SOON
    assert f"from {ELSEWHERE}" in daemon.rexecd("token", "list").stdout
    assert token[13:] not in json.dumps(row)


def test_the_caller_hears_how_long_its_token_is_good(daemon: Daemon) -> None:
    """In seconds, at the beginning of each session; 0 for one that does not expire."""
    week, lasting = _create(daemon, "bob", "--expires", "7d"), _create(daemon, "bob", "--expires", "never")
    with daemon.caller(week) as one, daemon.caller(lasting) as other:
        left = [caller.accepted.expires_in for caller in (one, other) if caller.accepted]

    assert 0 == left[1]
    assert 7 * 86400 - 60 < left[0] <= 7 * 86400


def test_the_status_counts_tokens_that_are_good_and_those_not_for_long(daemon: Daemon) -> None:
    """Within a week; what is dead counts no more."""
    before = daemon.status()
    soon, later = _create(daemon, "bob", "--expires", "6d"), _create(daemon, "bob", "--expires", "8d")
    between = daemon.status()
    for token in (soon, later):
        daemon.rexecd("token", "revoke", token[4:12])
    after = daemon.status()

    assert (2, 1) == tuple(between[key] - before[key] for key in ("tokens", "tokens_expiring"))
    assert (0, 0) == tuple(after[key] - before[key] for key in ("tokens", "tokens_expiring"))


def test_a_principal_has_so_many_connections(daemon: Daemon) -> None:
    """One too many is told to try later, whatever token it has; a place that is given back is free."""
    other = _create(daemon, "cyn")
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(daemon.caller("cyn")) for _ in range(FEW)]
        with daemon.caller(other) as surplus:
            said = (surplus.answer, surplus.hear())
        told = daemon.rexec("echo", "x", token=other)
        with daemon.caller("bob") as somebody:
            assert somebody.accepted
        callers[0].say(wire.Goodbye())
        callers[0].tls.close()

        assert wait_for(lambda: _has_place(daemon, other))
    text = f"{FEW} connections of yours are open; try later"
    assert (wire.Closed(Code.BUSY, text), None) == said
    assert 125 == told.returncode
    assert text in told.stderr
    assert daemon.records("limit-reached", token_id=other[4:12], code="busy")


def _has_place(daemon: Daemon, token: str) -> bool:
    with daemon.caller(token) as caller:
        return caller.accepted is not None


def _wrong(token: str) -> str:
    """Return a well-formed token with another secret."""
    body = f"{token[:13]}{'A' * 43}"
    return body + tokens._check(body.encode())


def test_a_token_that_is_guessed_at_is_good_from_its_usual_address_only(daemon: Daemon) -> None:
    """Nobody who guesses shuts its holder out; it is recorded once, and all refusals look alike."""
    token = _create(daemon, "bob")
    assert _is_good(daemon, token, "127.0.0.1")
    guesses = [_is_good(daemon, _wrong(token), ELSEWHERE) for _ in range(5)]
    elsewhere, at_home = _is_good(daemon, token, ELSEWHERE), _is_good(daemon, token, "127.0.0.1")
    limits = daemon.records("limit-reached", token_id=token[4:12])

    assert [False] * 5 == guesses
    assert (False, True) == (elsewhere, at_home)
    assert [(3, ELSEWHERE)] == [(each["rexec"]["count"], each["source"]["ip"]) for each in limits]
    assert daemon.records(
        "auth-refused",
        token_id=token[4:12],
        reason="too many wrong secrets came just now, and this is not the usual address",
    )


WRONG_USES = {
    "no duration": (("create", "bob", "--expires", "soon"), 2, "no duration with a unit"),
    "a day that is over": (("create", "bob", "--expires", "2020-01-01"), 2, "is over"),
    "no day": (("create", "bob", "--expires", "2030-02-30"), 2, "is no day"),
    "no network": (("create", "bob", "--from", "10.0.0.1/8"), 1, "did you mean '10.0.0.0/8'?"),
    "no command of its": (("create", "bob", "--only", "sleep"), 1, "see 'rexecd policy list'"),
    "a long note": (("create", "bob", "--note", "é" * 401), 1, "more than can be asked for at once"),
    "many networks": (("create", "bob", *["--from", "::1"] * 65), 1, "more than can be asked for at once"),
    "a long name": (("create", "x" * 65), 1, "more than can be asked for at once"),
    "nothing to revoke": (("revoke",), 2, "required"),
    "two things to revoke": (("revoke", "AAAAAAAA", "--principal", "bob"), 2, "not allowed with"),
    "no digest": (("import", "bob", "rxd_x"), 1, "'rexecd token mint'"),
    "no such token": (("rotate", "AAAAAAAA"), 1, "see 'rexecd token list'"),
}


@pytest.mark.parametrize("case", WRONG_USES)
def test_a_mistake_of_the_operators_is_one_line(daemon: Daemon, case: str) -> None:
    """With what to do instead, and nothing on standard output."""
    arguments, status, said = WRONG_USES[case]
    done = daemon.rexecd("token", *arguments)
    lines = [line for line in done.stderr.splitlines() if "error:" in line]

    assert (status, "") == (done.returncode, done.stdout)
    assert 1 == len(lines)
    assert said in lines[0]


def test_rexec_says_why_its_command_was_ended(daemon: Daemon) -> None:
    """255 and the reason, as where the token was refused from the beginning."""
    token = _create(daemon, "ann")
    pipe = subprocess.PIPE
    line = daemon.rexec_line("sleep", token=token)
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
        daemon.wait_for_record("command-started", token_id=token[4:12])
        daemon.rexecd("token", "revoke", token[4:12])
        _, said = process.communicate(timeout=PATIENCE)

    assert 255 == process.returncode
    assert "the token was revoked" in said
