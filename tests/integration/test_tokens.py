"""Tokens: shown once, stored as digests, ended at once, and never in sight."""

import json
import subprocess

from rexecd.errors import Code
from rexecd.wire import messages as wire
from tests.harness import Daemon


def test_a_token_made_while_the_service_runs_works_at_once(daemon: Daemon) -> None:
    """It is printed once, alone on stdout."""
    made = daemon.rexecd("token", "create", "bob")
    token = made.stdout.strip()

    assert 0 == made.returncode
    assert (4 + 8 + 1 + 49) == len(token)
    assert "hello\n" == daemon.rexec("echo", "hello", token=token).stdout


def test_only_a_digest_is_stored(daemon: Daemon) -> None:
    """Neither the state directory nor the trail holds a token anybody could use."""
    for token in daemon.tokens.values():
        for file in [*daemon.settings.state.iterdir(), daemon.settings.audit]:
            assert token.encode() not in file.read_bytes(), file
            assert token[13:].encode() not in file.read_bytes(), file


def test_a_revoked_token_ends_an_open_session_at_its_next_command(own_daemon: Daemon) -> None:
    """Effective at once: 255, also for the connection that is already open."""
    own_daemon.start()
    token = own_daemon.tokens["ann"]
    with own_daemon.caller() as caller, own_daemon.caller() as lister:
        before = caller.run("echo yes")
        done = own_daemon.rexecd("token", "revoke", token[4:12])
        lister.say(wire.List())
        unlisted = lister.hear()
        after = caller.run("echo no")
        end = caller.hear()

    assert b"yes\n" == before[1].data
    assert 0 == done.returncode
    assert [wire.Closed(Code.REVOKED, "the token was revoked")] == after
    assert after == [unlisted]
    assert end is None
    assert 255 == own_daemon.rexec("echo", "x").returncode
    assert 1 == len(own_daemon.records("token-revoked"))


def test_wrong_unknown_and_revoked_tokens_look_alike(own_daemon: Daemon) -> None:
    """Same code, same text; only the trail knows better."""
    own_daemon.start()
    revoked = own_daemon.tokens["ann"]
    wrong = own_daemon.tokens["bob"][:-1] + ("a" if own_daemon.tokens["bob"][-1] != "a" else "b")
    own_daemon.rexecd("token", "revoke", revoked[4:12])
    answers = []
    for token in (revoked, wrong, "rxt_AAAAAAAA_" + "A" * 49, "", "é" * 10, "x" * 256):
        with own_daemon.caller(None) as caller:
            caller.say(wire.Authenticate(token.encode()))
            answers.append((caller.hear(), caller.hear()))

    assert {(wire.Closed(Code.AUTHENTICATION_FAILED, "authentication failed"), None)} == set(answers)
    reasons = {record["event"]["reason"] for record in own_daemon.records("auth-refused")}
    assert len(reasons) > 1


def test_the_operator_sees_ids_and_never_secrets(daemon: Daemon) -> None:
    """`token list`, for people and as JSON."""
    rows = json.loads(daemon.rexecd("token", "list", "--json").stdout)
    plain = daemon.rexecd("token", "list").stdout

    assert {"ann", "bob"} == {row["principal"] for row in rows}
    assert all(token[4:12] in plain and token[13:] not in plain for token in daemon.tokens.values())


def test_a_token_for_nobody_is_an_error(daemon: Daemon) -> None:
    """A name that grants nothing is a mistake, not a token."""
    done = daemon.rexecd("token", "create", "nobody")

    assert (1, "") == (done.returncode, done.stdout)
    assert "the policy has no principal 'nobody'" in done.stderr


def test_revoking_an_unknown_token_is_an_error(daemon: Daemon) -> None:
    """Place and remedy."""
    done = daemon.rexecd("token", "revoke", "AAAAAAAA")

    assert 1 == done.returncode
    assert "rexecd token list" in done.stderr


def test_tokens_can_be_managed_while_no_service_runs(own_daemon: Daemon) -> None:
    """The operator's command takes the lock and is itself the trail's writer."""
    made = own_daemon.rexecd("token", "create", "bob")
    ended = own_daemon.rexecd("token", "revoke", own_daemon.tokens["bob"][4:12])

    assert (0, 0) == (made.returncode, ended.returncode)
    assert 1 == len(own_daemon.records("token-revoked"))
    assert 0 == own_daemon.rexecd("audit", "verify").returncode


def test_a_token_can_be_ended_whatever_state_the_policy_is_in(own_daemon: Daemon) -> None:
    """A leaked token does not wait for somebody to mend a file."""
    own_daemon.settings.policy.write_text("broken")
    done = own_daemon.rexecd("token", "revoke", own_daemon.tokens["bob"][4:12])

    assert (0, "") == (done.returncode, done.stderr)


def test_a_token_typed_into_a_command_is_masked_in_the_trail(daemon: Daemon) -> None:
    """Wherever it turns up."""
    token = daemon.tokens["ann"]
    done = daemon.rexec("echo", token)
    daemon.rexec("nosuch", token)

    assert f"{token}\n" == done.stdout
    assert token[13:] not in daemon.settings.audit.read_text()
    assert f"rxt_{token[4:12]}_***" in daemon.settings.audit.read_text()


def test_no_secret_stands_in_a_process_list_or_an_environment(daemon: Daemon) -> None:
    """Of the daemon's processes and of a command."""
    told = json.loads(daemon.rexec("describe").stdout)
    listing = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout

    for token in daemon.tokens.values():
        assert token[13:] not in json.dumps(told)
        assert token[13:] not in listing
