"""Tokens: shown once, stored as digests, ended at once, and never in sight."""

import json
import secrets
import subprocess
import sys
import threading
from pathlib import Path

from rexecd.errors import Code
from rexecd.identity import tokens
from rexecd.identity.tokens import mint
from rexecd.wire import messages as wire
from tests.harness import Daemon, wait_for


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


def test_tokens_that_are_not_good_look_alike(own_daemon: Daemon) -> None:
    """Same code, same text, same end; only the trail knows better."""
    made = {
        reason: own_daemon.rexecd("token", "create", "bob", *options).stdout.strip()
        for reason, options in {
            "revoked token": (),
            "expired token": ("--expires", "1s"),
            "the token is good from 198.51.100.0/24 only": ("--from", "198.51.100.0/24"),
        }.items()
    }
    own_daemon.rexecd("token", "revoke", made["revoked token"][4:12])
    own_daemon.start()
    body = f"{own_daemon.tokens['bob'][:13]}{'A' * 43}"
    unknown = mint(secrets.token_bytes).text
    made |= {"wrong secret": body + tokens._check(body.encode()), "unknown token": unknown}
    wait_for(
        lambda: json.loads(own_daemon.rexecd("token", "list", "--json").stdout)[-2]["state"] == "expired"
    )
    answers, reasons = [], []
    for token in (*made.values(), unknown[:-1], "", "é" * 10, "x" * 256):
        with own_daemon.caller(None) as caller:
            caller.say(wire.Authenticate(token.encode()))
            answers.append((caller.hear(), caller.hear()))
        reasons.append(own_daemon.records("auth-refused")[-1]["event"]["reason"])

    assert {(wire.Closed(Code.AUTHENTICATION_FAILED, "authentication failed"), None)} == set(answers)
    assert [*made, *["malformed token"] * 4] == reasons


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


def _watch_processes(stop: threading.Event, seen: set[bytes]) -> None:
    """Keep the command line and environment of every process there is, until told to stop."""
    while not stop.wait(0.03):
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    seen.add((process / name).read_bytes())
                except OSError:
                    continue


def test_no_verb_on_tokens_leaves_a_secret_behind(own_daemon: Daemon, tmp_path: Path) -> None:
    """Made, minted, imported, rotated, revoked, pasted by mistake: only the operator got to see it."""
    own_daemon.start()
    file = tmp_path / "minted"
    stop, seen = threading.Event(), set[bytes]()
    watcher = threading.Thread(target=_watch_processes, args=(stop, seen))
    watcher.start()
    said = ""
    mint_line = [sys.executable, "-I", "-m", "rexecd", "token", "mint", "--out", str(file)]
    minted = subprocess.run(mint_line, capture_output=True, text=True, check=True)
    created = own_daemon.rexecd("token", "create", "bob", "--note", "canary")
    rotated = own_daemon.rexecd("token", "rotate", created.stdout[4:12])
    imported = own_daemon.rexecd("token", "import", "bob", minted.stdout.strip())
    tokens_made = [created.stdout.strip(), rotated.stdout.strip(), file.read_text().strip()]
    for done in (minted, created, rotated):
        said += done.stderr
    for token in tokens_made:
        own_daemon.rexec("echo", "x", token=token)
        said += own_daemon.rexec("nosuch", token=token).stderr
    for arguments in (
        ("token", "list"),
        ("token", "list", "--json"),
        ("status", "--json"),
        ("audit", "show"),
    ):
        done = own_daemon.rexecd(*arguments)
        said += done.stdout + done.stderr
    for token in tokens_made:
        own_daemon.rexecd("token", "revoke", token[4:12])
    purged = own_daemon.rexecd("token", "purge", "--older", "0s")
    stop.set()
    watcher.join()
    # By mistake, where its digest belongs: that is on the process list, and should be nowhere else.
    pasted = own_daemon.rexecd("token", "import", "bob", tokens_made[0])
    own_daemon.stop()
    state = b"".join(each.read_bytes() for each in own_daemon.settings.state.iterdir() if each.is_file())
    said += imported.stdout + imported.stderr + purged.stdout + pasted.stdout + pasted.stderr
    said += own_daemon.complaints() + own_daemon.settings.audit.read_text()

    assert (0, 1) == (imported.returncode, pasted.returncode)
    for token in tokens_made:
        assert len(token) == 62
        for secret in (token[13:], token[13:56]):
            assert secret not in said
            assert secret.encode() not in state
            assert not any(secret.encode() in each for each in seen)


def test_a_token_that_is_refused_leaves_no_secret_behind(own_daemon: Daemon) -> None:
    """Good but for what stands in front or behind: neither log nor trail has it."""
    token = own_daemon.tokens["ann"]
    own_daemon.start()
    for wrong in (f"{token}\0", f" {token}", f"{token}\n", token[:-1], token * 2, f"x{token[1:]}"):
        with own_daemon.caller(None) as caller:
            caller.say(wire.Authenticate(wrong.encode()))
            caller.hear()

    assert 6 == len(own_daemon.records("auth-refused"))
    assert token[13:50] not in own_daemon.complaints() + own_daemon.settings.audit.read_text()
