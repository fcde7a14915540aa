"""Who a command runs as: the names and numbers of a policy, resolved and checked when it is loaded.

Rule 1: 0 is never taken from a number, nor from a name other than `root`.
Rule 2: what an account's own entry says is checked as well: a group 0 nobody wrote is a fault.
"""

from typing import NamedTuple, Protocol

from rexecd.forms import Entries
from rexecd.policy.model import Identity
from rexecd.runas import HIGHEST_ID, MEANT, ROOT
from rexecd.yamltext import Faults, Mapping, Place, shown


class Account(NamedTuple):
    """What the system knows of a user; `groups` are all its groups, the primary one among them."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


class Accounts(Protocol):
    """Who is known to the system."""

    def user(self, name: str) -> Account | None:
        """Return a user by name, None for nobody."""

    def group(self, name: str) -> int | None:
        """Return a group's number by name, None for no group."""


class Nobody:
    """A system without users and groups: every name is unknown."""

    def user(self, name: str) -> Account | None:  # noqa: ARG002 - as in Accounts
        """Return None."""
        return None

    def group(self, name: str) -> int | None:  # noqa: ARG002
        """Return None."""
        return None


def resolve(asked: str | int | Entries, place: Place, accounts: Accounts, faults: Faults) -> Identity | None:
    """Return the identity a rule's `run_as` stands for; None with a fault.

    `place` is that of a bare name. Names are looked up now and not again: whoever changes an
    account reloads the policy.
    """
    if not isinstance(asked, Entries):
        account = _account(asked, place, accounts, faults)
        if isinstance(asked, int):
            faults.add(place, f"a number needs a group: {{user: {asked}, group: ...}}")
        entries = Entries({}, Mapping({}, {}, place), {})
    else:
        entries, place = asked, asked.place("user")
        account = None if asked.get("user") is None else _account(asked.get("user"), place, accounts, faults)
        if isinstance(asked.get("user"), int) and not asked.has("group"):
            faults.add(place, "a user by number needs a 'group' as well")
    if account is None or entries.is_faulty("group") or entries.is_faulty("groups"):
        return None
    gid = _primary(account, entries, place, accounts, faults)
    groups = _supplementary(account, entries, place, accounts, faults)
    return None if gid is None else Identity(account.name, account.uid, gid, tuple(sorted(groups)))


def _primary(
    account: Account, entries: Entries, place: Place, accounts: Accounts, faults: Faults
) -> int | None:
    if entries.has("group"):
        return _group(entries.get("group"), entries.place("group"), accounts, faults)
    if account.gid == 0 and account.uid != 0:
        what = f"the primary group of {shown(account.name)} is 0, root's; write the group that is meant"
        faults.add(place, what)
    return account.gid


def _supplementary(
    account: Account, entries: Entries, place: Place, accounts: Accounts, faults: Faults
) -> frozenset[int]:
    if entries.has("groups"):
        numbers = [_group(each, where, accounts, faults) for each, where in entries.items("groups")]
        return frozenset(number for number in numbers if number is not None)
    if 0 in account.groups and account.uid != 0:
        faults.add(place, f"{shown(account.name)} is in group 0, root's; write the groups that are meant")
    return frozenset(account.groups)


def _account(user: str | int, place: Place, accounts: Accounts, faults: Faults) -> Account | None:
    if isinstance(user, int):
        return Account(str(user), user, user, ())
    account = accounts.user(user)
    if account is None:
        faults.add(place, f"there is no user {shown(user)} on this machine")
    elif account.uid == 0 and user != ROOT:
        faults.add(place, f"user {shown(user)} is root by another name; {MEANT}")
    elif not all(0 <= number <= HIGHEST_ID for number in (account.uid, account.gid, *account.groups)):
        faults.add(place, f"user {shown(user)} has a number that is -1 to the kernel; give it another")
    return account


def _group(group: str | int, place: Place, accounts: Accounts, faults: Faults) -> int | None:
    if isinstance(group, int):
        return group
    number = accounts.group(group)
    if number is None:
        faults.add(place, f"there is no group {shown(group)} on this machine")
    elif number == 0 and group != ROOT:
        faults.add(place, f"group {shown(group)} is root's by another name; {MEANT}")
    elif not 0 <= number <= HIGHEST_ID:
        faults.add(place, f"group {shown(group)} has a number that is -1 to the kernel; give it another")
    return number
