"""Who commands run as where no rule says so: somebody who owns nothing, if there is a choice."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from rexecd.errors import ConfigError
from rexecd.execution import identity
from rexecd.execution.identity import can_become, defaults, describe, has_means
from rexecd.policy.identity import Account
from rexecd.policy.model import Identity
from rexecd.settings import Settings, load_settings
from tests.unit.execution.starting import STRANGER

REXEC = Account("rexec", 990, 991, (10, 991))
NOBODY = Account("nobody", 65534, 65534, (65534,))


class House:
    """A machine with these users, and one group for each."""

    def __init__(self, users: Iterable[Account]) -> None:
        self._users = {user.name: user for user in users}

    def user(self, name: str) -> Account | None:
        """Return a user by name."""
        return self._users.get(name)

    def group(self, name: str) -> int | None:
        """Return a group's number by name."""
        user = self._users.get(name)
        return None if user is None else user.gid


def settings(directory: Path, text: str = "") -> Settings:
    """Return settings that say `text`."""
    file = directory / "rexecd.yaml"
    file.write_text(f"version: 1\n{text}")
    file.chmod(0o600)
    return load_settings(file)


@pytest.fixture
def means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the means to become anybody, as far as it looks."""
    monkeypatch.setattr(identity, "has_means", lambda: True)


@pytest.fixture
def no_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take them."""
    monkeypatch.setattr(identity, "has_means", lambda: False)


@pytest.mark.usefixtures("means")
def test_it_is_the_account_for_commands_if_there_is_one(tmp_path: Path) -> None:
    """With that account's own groups."""
    found = defaults(settings(tmp_path), House([REXEC, NOBODY])).identity

    assert Identity("rexec", 990, 991, (10, 991)) == found
    assert "rexec" == describe(found)


@pytest.mark.usefixtures("means")
def test_else_it_is_nobody(tmp_path: Path) -> None:
    """Every system has that one."""
    assert (
        Identity("nobody", 65534, 65534, (65534,)) == defaults(settings(tmp_path), House([NOBODY])).identity
    )


@pytest.mark.usefixtures("means")
@pytest.mark.parametrize("uid", [0, os.geteuid()], ids=["root", "the daemon's own"])
def test_an_account_for_commands_that_is_root_or_the_daemon_is_passed_over(tmp_path: Path, uid: int) -> None:
    """It would own what it must not."""
    made = House([REXEC._replace(uid=uid), NOBODY])

    assert defaults(settings(tmp_path), made).identity == Identity("nobody", 65534, 65534, (65534,))


@pytest.mark.usefixtures("means")
def test_without_either_somebody_has_to_be_named(tmp_path: Path) -> None:
    """Never the daemon's own user in silence."""
    with pytest.raises(ConfigError) as caught:
        defaults(settings(tmp_path), House([]))

    why = "there is no user rexec or nobody for commands: make one, or write 'run_as'"
    assert (why,) == tuple(caught.value.faults)


@pytest.mark.usefixtures("no_means")
def test_without_the_means_it_is_the_daemons_own(tmp_path: Path) -> None:
    """There is no choice, and the start-up says so."""
    assert defaults(settings(tmp_path), House([REXEC, NOBODY])).identity is None
    assert f"uid {os.geteuid()}, the monitor's own" == describe(None)


@pytest.mark.usefixtures("means")
def test_what_is_written_counts(tmp_path: Path) -> None:
    """Also root, if that is meant."""
    house = House([REXEC, NOBODY, Account("web", 1001, 1001, (33, 1001)), Account("root", 0, 0, (0,))])
    written = {
        "web": Identity("web", 1001, 1001, (33, 1001)),
        "root": Identity("root", 0, 0, (0,)),
        "{user: web, group: nobody}": Identity("web", 1001, 65534, (33, 1001)),
        "{user: web, groups: []}": Identity("web", 1001, 1001, ()),
        "{user: 5, group: 6}": Identity("5", 5, 6, ()),
    }

    for text, expected in written.items():
        assert expected == defaults(settings(tmp_path, f"run_as: {text}\n"), house).identity


@pytest.mark.usefixtures("no_means")
@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("rexec", "2:9", f"run_as: rexecd runs as uid {os.geteuid()} and cannot become rexec (uid 990, "),
        ("{user: rexec}", "2:9", "cannot become rexec (uid 990, "),
        ("ghost", "2:9", "there is no user 'ghost' on this machine"),
    ],
)
def test_what_cannot_be_had_is_a_fault(text: str, place: str, why: str, tmp_path: Path) -> None:
    """Better no start than a first request that fails."""
    made = settings(tmp_path, f"run_as: {text}\n")
    with pytest.raises(ConfigError) as caught:
        defaults(made, House([REXEC, NOBODY]))

    (fault,) = caught.value.faults
    assert re.match(re.escape(f"{made.source}:{place}: ") + ".*" + re.escape(why), fault)


def test_the_longest_time_comes_along(tmp_path: Path) -> None:
    """It holds for every rule too."""
    made = settings(tmp_path, "max_timeout: 90s\n" + ("" if os.geteuid() else "run_as: root\n"))

    assert 90.0 == defaults(made).max_timeout


@pytest.mark.parametrize(
    ("bits", "enough"),
    [
        ("000001ffffffffff", True),
        ("00000000000000c0", True),
        ("0000000000000080", False),
        ("0000000000000040", False),
        ("0000000000000000", False),
    ],
)
def test_both_capabilities_are_needed(monkeypatch: pytest.MonkeyPatch, bits: str, enough: bool) -> None:
    """CAP_SETUID without CAP_SETGID would keep root's groups; uid 0 alone means nothing."""
    monkeypatch.setattr(identity, "effective_capabilities", lambda: int(bits, 16))

    assert enough is has_means()
    assert enough is can_become(STRANGER)
