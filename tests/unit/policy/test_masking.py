"""Secrets in lines: what a record may hold, whatever way a caller spelt it."""

import shlex
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import Refused
from rexecd.policy import masking
from rexecd.policy.decide import decide
from rexecd.policy.explain import explain
from rexecd.policy.load import load
from rexecd.policy.masking import recordable
from rexecd.policy.model import Guarded, Rule
from tests.unit.policy.worlds import POLICIES, ask, asked, commands, read, resolve

POLICY = read(POLICIES / "good-secrets.yaml")
SECRET = "hunter2xyz"

REFUSED = {
    "disk /srv": "disk /srv",
    "nosuch --x y": "nosuch '[withheld]'",
    "nosuch": "nosuch",
    "/bin/sh -c 'id; x'": "/bin/sh '[withheld]'",
    "db.loginx": "[withheld]",
    "--file x": "--file '[withheld]'",
    "db login x": "db '[withheld]'",
    "disk /srv /etc": "disk /srv /etc",
    "disk '--file x'": "disk '[withheld]'",
    "disk --FILE=x": "disk '[withheld]'",
    "disk db.login x": "disk '[withheld]'",
    "disk -file:x": "disk '[withheld]'",
    "db.login": "db.login",
    "db.login ann": "db.login '[withheld]'",
    "db.login --user=ann": "db.login '[withheld]'",
    "db.login --user --file=x": "db.login '[withheld]'",
    "db.login --user=ann --note x --file": "db.login '[withheld]'",
    "disk --file=x": "disk '[withheld]'",
    "nosuch --file x": "nosuch '[withheld]'",
}
ALLOWED = {
    "disk /srv": "disk /srv",
    "db.login ann --file x": "db.login '[withheld]'",
    "db.login --user ann --quiet": "db.login --user ann --quiet",
    "db.login --file x --user ann --pin=y": "db.login '--file=[withheld]' --user ann '--pin=[withheld]'",
    "db.login -- ann": "db.login '[withheld]'",
}


@pytest.mark.parametrize("line", REFUSED)
def test_of_a_refused_line_for_a_secret_only_the_command_is_recorded(line: str) -> None:
    """Whatever made it wrong, a value may stand where nobody expects it."""
    assert REFUSED[line] == recordable(POLICY, line, allowed=False)


@pytest.mark.parametrize("line", ALLOWED)
def test_of_an_allowed_line_named_values_are_recorded(line: str) -> None:
    """From the first value by position on nothing is."""
    assert ALLOWED[line] == recordable(POLICY, line, allowed=True)


def test_a_policy_without_secrets_records_what_came() -> None:
    """Byte for byte, whatever it is."""
    policy = commands("  x: {summary: x, run: /bin/x}\n")

    assert "x  'open" == recordable(policy, "x  'open", allowed=False)


SPELT = [
    "db.login ann {}",
    "db.login --file {}",
    "db.login --file={}",
    "db.login --file={} --pin={} --token {}",
    "db.login -- {} {}",
    "db.login --user=ann --quiet {} --",
    "db.login --quiet={}",
    "db.login --fil={}",
    "db.login --fil {}",
    "db.login --FILE={}",
    "db.login -file {}",
    "db.login -f{}",
    "db.login file={}",
    "db.login --file '{}",
    'db.login --file "{}',
    "db.login --file {} \\",
    "'db.login' --file {}",
    "d'b.log'in {}",
    "db.logn ann {}",
    "db.logni --file={}",
    "db-login --file={}",
    "db.Login --file={}",
    "DB.LOGIN ann {}",
    "login ann {}",
    "'db.login ann {}'",
    "'db.login --user=ann --file={}' x",
    "'db.logn --file={}' x",
    "' db.login {}'",
    "db.login{}",
    "db.login={}",
    "db.login:{}",
    "db.login\u00a0{}",
    "db.login\u200b{}",
    "./db.login {}",
    "sudo db.login {}",
    "rexec web1 'db.login {}'",
    "-- db.login {}",
    "'' db.login {}",
    "db.login {}\0",
]


@pytest.mark.parametrize("spelt", SPELT)
def test_no_spelling_brings_a_secret_into_a_record(spelt: str) -> None:
    """By position, by name, behind `--`, in an open quote, behind a misspelt or glued name."""
    assert SECRET not in recordable(POLICY, spelt.replace("{}", SECRET), allowed=False)


CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 !$%'\"\\=-._é"


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SPELT),
    st.text(CHARACTERS, min_size=4).filter(lambda text: "withheld" not in text),
    st.lists(
        st.sampled_from(["--user", "--user=ann", "--quiet", "--", "x", "--pin=", "'", "-x"]), max_size=3
    ),
)
def test_no_secret_gets_into_a_record(spelt: str, secret: str, more: list[str]) -> None:
    """Quoted properly or not at all, with other words behind it."""
    secret = f"Z{secret}Z"
    for written in (secret, shlex.quote(secret)):
        line = spelt.replace("{}", written)

        assert secret not in recordable(POLICY, " ".join([line, *more]), allowed=False)
        assert "Z" not in recordable(POLICY, " ".join([line, *more]), allowed=False)


@settings(max_examples=200, deadline=None)
@given(st.text("Z!% =-", min_size=1, max_size=20).map(lambda text: f"Z{text}Z"), st.integers(0, 3))
def test_a_secret_goes_to_the_program_and_nowhere_else(secret: str, ways: int) -> None:
    """Not into arguments, what is said of the permission, or the explanation."""
    names = ["file", "pin", "token"][: ways + 1]
    line = shlex.join(["db.login", "ann", *(f"--{name}={secret}" for name in names)])
    made = ask(POLICY, line)
    explained = explain(POLICY, asked(line), resolve=resolve)

    assert ("/bin/login", "--user=ann", "--password-file=/dev/fd/") == made.argv
    assert secret not in repr(made) + repr(explained) + recordable(POLICY, line, allowed=True)
    passed = [(passed.argument, getattr(passed, "data", None)) for passed in made.passed]
    assert [(2, secret.encode()), (None, secret.encode())][: len(passed)] == passed
    assert (secret if "token" in names else None) == made.environment.get("TOKEN")


@settings(max_examples=200, deadline=None)
@given(st.text("\x1b\n\u200e\0\ud800", min_size=1, max_size=6).map(lambda text: f"Z{text}Z"))
def test_a_secret_that_does_not_fit_is_not_repeated(secret: str) -> None:
    """Neither the answer nor the reason holds it."""
    with pytest.raises(Refused) as caught:
        decide(POLICY, asked(f"db.login ann --file='{secret}'"), resolve=resolve)

    assert "Z" not in caught.value.text + caught.value.reason


def test_a_long_line_is_looked_at_quickly() -> None:
    """Many words and many commands with secrets do not stall the monitor."""
    declared = "parameters: {s: {type: secret, pass: stdin}}"
    rules = "".join(f"  keep-{n}: {{summary: x, run: /bin/x, {declared}}}\n" for n in range(200))
    policy = load(f"version: 1\ncommands:\n{rules}", "p")

    assert "x '[withheld]'" == recordable(policy, "x " * 1000, allowed=False)


@pytest.mark.parametrize("name", ["db.login", "disk", "nowhere"])
def test_every_refused_line_is_looked_through_alike(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Or the time of an answer would tell a forbidden command from an unknown one (T12)."""
    looked: list[int] = []
    names_secret = masking._names_secret

    def look(guarded: Guarded, words: Iterable[str], rule: Rule | None) -> bool:
        words = list(words)
        looked.append(len(words))
        return names_secret(guarded, words, rule)

    monkeypatch.setattr(masking, "_names_secret", look)
    recordable(POLICY, f"{name} a b c", allowed=False)

    assert [3] == looked
