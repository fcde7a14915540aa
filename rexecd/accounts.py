"""The users and groups of this machine, as the name service gives them (passwd, LDAP, whatever there is)."""

import grp
import os
import pwd

from rexecd.policy.identity import Account


class SystemAccounts:
    """Look-ups by name; each asks anew, and a name service that fails knows nobody."""

    def user(self, name: str) -> Account | None:
        """Return a user and all its groups; None if there is none of that name."""
        try:
            entry = pwd.getpwnam(name)
            groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        except (KeyError, ValueError, OSError):  # ValueError: a NUL, or what no file system could encode
            return None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(sorted({*groups, entry.pw_gid})))

    def group(self, name: str) -> int | None:
        """Return a group's number; None if there is none of that name."""
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError, OSError):
            return None
