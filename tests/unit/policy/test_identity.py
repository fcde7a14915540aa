"""Who a command runs as: names and numbers, and root never by accident."""

import pytest

from rexecd.errors import ConfigError
from rexecd.policy.identity import Nobody
from rexecd.policy.load import load
from rexecd.policy.model import Identity
from tests.unit.policy.worlds import POLICIES, Machine, read

WEB = Identity("web", 1001, 1001, (33, 1001))
IDENTITIES = {
    "name": WEB,
    "mapping": WEB,
    "root": Identity("root", 0, 0, (0,)),
    "group": Identity("staff", 1002, 1001, ()),
    "groups": Identity("member", 1003, 1003, (33, 4294967294)),
    "roots-group": Identity("web", 1001, 0, (0,)),
    "numbers": Identity("4294967294", 4294967294, 1, ()),
}


def test_an_identity_is_what_was_asked_for() -> None:
    """By name the account's own groups, unless others are written; by number none."""
    rules = read(POLICIES / "good-identities.yaml").rules

    assert IDENTITIES == {name: rule.identity for name, rule in rules.items()}


def test_without_a_word_it_is_the_daemons_own() -> None:
    """Nothing is looked up."""
    policy = load("version: 1\ncommands: {x: {summary: x, run: /bin/x}}\n", "p", accounts=Nobody())

    assert policy.rules["x"].identity is None


def test_a_machine_without_users_knows_nobody() -> None:
    """Names are faults there, numbers are not."""
    text = "version: 1\ncommands: {{x: {{summary: x, run: /bin/x, run_as: {}}}}}\n"

    assert load(text.format("{user: 5, group: 6}"), "p").rules["x"].identity == Identity("5", 5, 6, ())
    with pytest.raises(ConfigError, match="there is no user 'root' on this machine"):
        load(text.format("root"), "p")
    with pytest.raises(ConfigError, match="there is no group 'web' on this machine"):
        load(text.format("{user: 5, group: web}"), "p")


def test_an_account_is_looked_up_when_the_policy_is_loaded_and_not_again() -> None:
    """Each place that names it asks once."""
    asked = []

    class Counting(Machine):
        """The machine, counting."""

        def group(self, name: str) -> int | None:
            asked.append(name)
            return super().group(name)

    load(
        "version: 1\ncommands:\n"
        "  x: {summary: x, run: /bin/x, run_as: {user: 5, group: web, groups: [web]}}\n",
        "p",
        accounts=Counting(),
    )

    assert ["web", "web"] == asked


def test_an_identity_is_shown_for_people() -> None:
    """Names, numbers, and that there are no other groups."""
    assert "web (uid 1001, gid 1001, groups 33,1001)" == str(WEB)
    assert "5 (uid 5, gid 6, groups none)" == str(Identity("5", 5, 6, ()))
