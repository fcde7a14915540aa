"""Who is let in: addresses, reasons, hidden commands, and files that are passed opened."""

import pytest

from rexecd.errors import Code, Refused
from rexecd.limits import MAX_JUSTIFICATION
from rexecd.policy.decide import granted_by
from rexecd.policy.listing import entries
from rexecd.policy.model import PassedFile, PassedText
from rexecd.wire.messages import Offer
from tests.unit.policy.worlds import POLICIES, ask, asked, commands, read, refusal

POLICY = commands(
    "  feed: {summary: Feed, run: /bin/cat, stdin: accept}\n"
    "  why: {summary: Why, run: /bin/why, justification: required, hidden: true}\n"
)

ADDRESSES = read(POLICIES / "good-addresses.yaml")
ADMITTED = {
    ("ann", "10.2.0.1"): {"anywhere"},
    ("ann", "10.1.0.1"): {"anywhere", "near"},
    ("ann", "::ffff:10.1.0.1"): {"anywhere", "near"},
    ("ann", "2001:db8:1::9"): {"anywhere", "near"},
    ("ann", "2001:db8:2::9%eth0"): {"anywhere"},
    ("ann", "192.0.2.1"): set(),
    ("ann", "unix"): set(),
    ("ann", ""): set(),
    ("bob", "192.0.2.1"): {"anywhere"},
    ("bob", "10.1.0.1"): {"anywhere", "near"},
    ("bob", ""): {"anywhere"},
}


@pytest.mark.parametrize(("principal", "address"), ADMITTED)
def test_both_a_principal_and_a_rule_say_where_callers_come_from(principal: str, address: str) -> None:
    """What is no address is admitted only where any is; the listing agrees with the decision."""
    allowed, refused = set(), []
    for name in ADDRESSES.rules:
        request = asked(name, principal=principal, address=address)
        try:
            allowed.add(ask(ADDRESSES, request).rule)
        except Refused as error:
            refused.append(error)

    assert ADMITTED[principal, address] == allowed
    assert {(Code.NOT_PERMITTED, "no such command, or not for you: see --list")}.issuperset(
        (error.code, error.text) for error in refused
    )
    assert ADMITTED[principal, address] == {each.name for each in entries(ADDRESSES, principal, address)}


def test_a_wrong_address_looks_like_an_unknown_command() -> None:
    """Only the reason, for the trail, says that it was the address, and whose."""
    reasons = {"anywhere": "the principal may not come", "near": "the command may not be run"}
    for name, reason in reasons.items():
        address = "192.0.2.1" if name == "anywhere" else "10.2.0.1"
        refused = refusal(ADDRESSES, asked(name, address=address))

        assert refusal(ADDRESSES, "nosuch").text == refused.text
        assert refused.reason.startswith(reason)


REASONS = {
    "because": None,
    "é" * (MAX_JUSTIFICATION // 2): None,
    "": Code.JUSTIFICATION_REQUIRED,
    "   ": Code.JUSTIFICATION_REQUIRED,
    "\u3164\u2800": Code.JUSTIFICATION_REQUIRED,
    "x" * (MAX_JUSTIFICATION + 1): Code.BAD_LINE,
    "é" * (MAX_JUSTIFICATION // 2 + 1): Code.BAD_LINE,
    "a\nb": Code.BAD_LINE,
    "\x1b[2J": Code.BAD_LINE,
    "\u202e": Code.BAD_LINE,
    "\ud800": Code.BAD_LINE,
    "\0": Code.BAD_LINE,
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_asked_for_and_can_forge_nothing(reason: str) -> None:
    """Where one is required it is not blank, and everywhere it is short and printable."""
    for line in ("why", "feed"):
        request = asked(line, justification=reason, offer=Offer.OPTIONAL)
        code = REASONS[reason]
        if code is None or (line == "feed" and code is Code.JUSTIFICATION_REQUIRED):
            assert line == ask(POLICY, request).rule
        else:
            assert code == refusal(POLICY, request).code


def test_who_may_not_run_a_command_does_not_hear_that_it_needs_a_reason() -> None:
    """A forbidden command looks like an unknown one."""
    assert Code.NOT_PERMITTED == refusal(POLICY, asked("why", principal="bob")).code


def test_a_hidden_command_can_be_run() -> None:
    """It is only not listed."""
    assert "why" == ask(POLICY, asked("why", justification="x")).rule


def test_a_file_is_passed_by_its_resolved_path() -> None:
    """The argument has room for the descriptor, and the caller's spelling is gone."""
    policy = commands(
        "  x: {summary: x, run: '/bin/x {v} -f {f} --in={f}', parameters: {f: {type: path, under: [/srv], "
        "pass: descriptor, optional: true}, v: {type: flag, adds: [-v, -v]}}}\n"
    )
    made = ask(policy, "x /srv/inside/../inside/a --v")

    assert ("/bin/x", "-v", "-v", "-f", "/dev/fd/", "--in=/dev/fd/") == made.argv
    assert (PassedFile(4, "/srv/www/a", "f"), PassedFile(5, "/srv/www/a", "f")) == made.passed
    assert (("/bin/x", "-f"), ()) == (ask(policy, "x").argv, ask(policy, "x").passed)
    assert Code.BAD_ARGUMENT == refusal(policy, "x /srv/out/passwd").code


def test_a_secret_travels_beside_the_arguments() -> None:
    """Each in its way; what is left out is not passed."""
    policy = read(POLICIES / "good-secrets.yaml")
    made = ask(policy, "db.login ann --file=hunter2xyz --pin 1234 --token=-x --quiet")

    assert ("/bin/login", "--user=ann", "-q", "--password-file=/dev/fd/") == made.argv
    assert (PassedText(3, b"hunter2xyz"), PassedText(None, b"1234")) == made.passed
    assert "-x" == made.environment["TOKEN"]
    assert not made.takes_input
    assert "TOKEN" not in ask(policy, "db.login ann --file=x").environment


def test_a_record_shows_what_stands_behind_a_descriptor_but_no_secret() -> None:
    """An auditor sees the file that was passed, and that a secret was."""
    policy = commands(
        "  x: {summary: x, run: '/bin/x {f} --key={s}', parameters: {f: {type: path, under: [/srv], "
        "pass: descriptor}, s: {type: secret, pass: descriptor}, t: {type: secret, pass: stdin}}}\n"
    )
    made = ask(policy, "x /srv/a hunter2xyz hunter3xyz")

    assert ("/bin/x", "/dev/fd/[/srv/a]", "--key=/dev/fd/[secret]") == made.recorded_argv()
    assert ("/bin/cat",) == ask(POLICY, "feed").recorded_argv()


def test_which_roles_allow_a_command_can_be_said() -> None:
    """By the words that do, with their places."""
    policy = read(POLICIES / "good-every-key.yaml")

    assert (
        "role all with '*' (good-every-key.yaml:8:17), role some with 'every' (good-every-key.yaml:9:18)"
        == granted_by(policy, policy.principals["ann@example.org"], "every")
    )
