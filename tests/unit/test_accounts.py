"""Users and groups as this machine knows them."""

import grp
import os
import pwd

import pytest

from rexecd.accounts import SystemAccounts
from rexecd.policy.identity import Account, Accounts

ACCOUNTS: Accounts = SystemAccounts()


def test_root_is_root() -> None:
    """The one account every machine has."""
    account = ACCOUNTS.user("root")

    assert account is not None
    assert ("root", 0, 0) == account[:3]
    assert 0 in account.groups
    assert 0 == ACCOUNTS.group("root")


def test_a_user_comes_with_all_its_groups_in_order() -> None:
    """The primary one among them, each once."""
    for entry in pwd.getpwall()[:20]:
        groups = tuple(sorted({*os.getgrouplist(entry.pw_name, entry.pw_gid), entry.pw_gid}))

        assert Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups) == ACCOUNTS.user(entry.pw_name)


def test_the_primary_group_is_there_whatever_the_service_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, and once."""
    monkeypatch.setattr(os, "getgrouplist", lambda _name, _gid: [7, 5, 7, 1])
    monkeypatch.setattr(
        pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", 9, 6, "", "/", "/bin/sh"))
    )

    assert Account("somebody", 9, 6, (1, 5, 6, 7)) == ACCOUNTS.user("somebody")


@pytest.mark.parametrize(
    "name", ["", "no-such-name", "0", "root\0", "root:", "\udc80", "\ud800x", "r" * 5000]
)
def test_who_is_not_known_is_nobody(name: str) -> None:
    """Numbers are not names, and odd names no errors."""
    assert ACCOUNTS.user(name) is None
    assert ACCOUNTS.group(name) is None


def test_a_name_service_that_fails_knows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No identity is better than half of one."""

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pwd, "getpwnam", fail)
    monkeypatch.setattr(grp, "getgrnam", fail)
    assert ACCOUNTS.user("root") is None
    assert ACCOUNTS.group("root") is None

    monkeypatch.undo()
    monkeypatch.setattr(os, "getgrouplist", fail)
    assert ACCOUNTS.user("root") is None
