"""What tests of the policy share: a small machine, its files, and how a line is asked."""

import posixpath
from pathlib import Path

import pytest

from rexecd.errors import Refused
from rexecd.policy.decide import Request, decide
from rexecd.policy.identity import Account
from rexecd.policy.load import File, load
from rexecd.policy.model import Invocation, Policy
from rexecd.wire.messages import Offer

ROOT = Path(__file__).parents[3]
POLICIES = ROOT / "tests" / "data" / "policies"
SHIPPED = ROOT / "config" / "policy.yaml"

#: The links of a small world: where they stand, and where they lead.
LINKS = {"/srv/inside": "/srv/www", "/srv/out": "/etc", "/data": "/mnt/data"}


def resolve(path: str) -> str:
    """Return a path without `..` and without the links above."""
    path = posixpath.normpath(path)
    for link, target in LINKS.items():
        if path == link or path.startswith(link + "/"):
            return target + path[len(link) :]
    return path


class Machine:
    """A machine with some users and groups, two of them root under another name."""

    USERS = (
        Account("root", 0, 0, (0,)),
        Account("toor", 0, 0, (0,)),
        Account("web", 1001, 1001, (33, 1001)),
        Account("staff", 1002, 0, (0, 1002)),
        Account("member", 1003, 1003, (0, 1003)),
        Account("ghost", -1, 1004, (1004,)),
        Account("lost", 1005, 2**32 - 1, (1005,)),
    )
    GROUPS = {"root": 0, "wheel": 0, "www-data": 33, "web": 1001, "nothing": -1}  # noqa: RUF012 - never written

    def user(self, name: str) -> Account | None:
        """Return a user by name."""
        return next((user for user in self.USERS if user.name == name), None)

    def group(self, name: str) -> int | None:
        """Return a group's number by name."""
        return self.GROUPS.get(name)


def read(path: Path) -> Policy:
    """Return the policy in a file of the tests, as that machine reads it."""
    return load(path.read_text(encoding="utf-8"), path.name, include=included, accounts=Machine())


def included(directory: str) -> list[File]:
    """Return the files of a directory beside the policies of the tests."""
    files = sorted((POLICIES / directory).glob("*.yaml"))
    return [File(f"{directory}/{file.name}", file.read_text(encoding="utf-8")) for file in files]


def commands(text: str, *, allow: str = '"*"', source: str = "policy.yaml") -> Policy:
    """Return a policy with the commands in `text`, for ann, who may run what `allow` says."""
    head = f"version: 1\nprincipals: {{ann: {{roles: [all]}}}}\nroles: {{all: {{allow: [{allow}]}}}}\n"
    return load(f"{head}commands:\n{text}", source, accounts=Machine())


def rule(run: str, **parameters: str) -> Policy:
    """Return a policy with one command `x`; a parameter is what stands between its braces."""
    declared = ", ".join(f"{name}: {{{text}}}" for name, text in parameters.items())
    return commands(f"  x: {{summary: x, run: {run}, parameters: {{{declared}}}}}\n")


def asked(
    line: str,
    *,
    principal: str = "ann",
    address: str = "192.0.2.7",
    offer: Offer = Offer.NONE,
    justification: str = "",
) -> Request:
    """Return a request."""
    return Request(principal, "c1", "c1-1", address, line, offer, justification)


def ask(policy: Policy, request: Request | str) -> Invocation:
    """Return the decision on a request, or on a line of ann's."""
    return decide(policy, asked(request) if isinstance(request, str) else request, resolve=resolve)


def refusal(policy: Policy, request: Request | str) -> Refused:
    """Return the refusal of a request, or of a line of ann's."""
    with pytest.raises(Refused) as caught:
        ask(policy, request)
    return caught.value
