"""A `/tmp` and a network of one's own, with privileges and inside a user namespace."""

import os
from pathlib import Path

import pytest

from rexecd import confine
from rexecd.execution import namespaces
from rexecd.execution.namespaces import Entered
from rexecd.policy.bounds import NetworkAccess, Sandbox
from tests.unit.execution.attempts import STRANGER, Way
from tests.unit.execution.boxed import EVERY_WAY, boxed, needs_landlock

PRIVATE = Sandbox(private_tmp=True)
BOTH = Sandbox(private_tmp=True, network=NetworkAccess.LOOPBACK)
LEFT = "left-by-a-test-of-rexecd"


@needs_landlock
@EVERY_WAY
def test_a_private_tmp_is_empty_and_for_everybody(way: Way, open_directory: Path) -> None:
    """Nobody stands in the host's one either, which could be reached from there."""
    expected = {
        "here": "/",
        "list /tmp": "",
        "list /var/tmp": "",
        "mode /tmp": "1777",
        "mode /var/tmp": "1777",
        f"read {open_directory}": "ENOENT",
        f"create /tmp/{LEFT}": "ok",
        f"create /var/tmp/{LEFT}": "ok",
    }

    for _ in range(2):  # a second worker finds nothing of the first
        assert ([], expected) == boxed(PRIVATE, expected, way=way, patch="os.chdir('/tmp')")
    assert not Path("/tmp", LEFT).exists()
    assert not Path("/var/tmp", LEFT).exists()


@needs_landlock
@EVERY_WAY
def test_a_private_tmp_may_be_written_where_files_are_closed(way: Way) -> None:
    """It is the command's own; what is listed below the host's one is not there."""
    wanted = PRIVATE._replace(read=("/tmp/of-the-host",))
    expected = {f"create /tmp/{LEFT}": "ok", "list /var/tmp": "", "list /var": "EACCES"}
    missing, results = boxed(wanted, expected, way=way)

    assert ["read: /tmp/of-the-host: No such file or directory"] == missing
    assert expected == results


@needs_landlock
@EVERY_WAY
def test_a_private_tmp_cannot_be_taken_away(way: Way) -> None:
    """Below it lies the host's one."""
    attempts = ["unmount /tmp", "nested unmount /tmp", "nested list /tmp"]
    unmount, nested, _ = boxed(PRIVATE, attempts, way=way).results.values()

    assert "EPERM" == unmount
    assert nested in ("EPERM", "EINVAL")


@needs_landlock
def test_files_of_the_hosts_tmp_stay_closed_where_a_private_one_cannot_be_had() -> None:
    """What was allowed in one's own is not allowed there."""
    patch = "namespaces.TEMPORARY = ('/tmp', '/nowhere')"
    wanted = PRIVATE._replace(write=())
    expected = {f"create /tmp/{LEFT}": "EACCES"}
    missing, results = boxed(wanted, expected, patch=f"from rexecd.execution import namespaces; {patch}")

    assert ["private_tmp: /nowhere: No such file or directory"] == missing
    assert expected == results


@needs_landlock
@EVERY_WAY
def test_a_process_stays_who_it_is(way: Way) -> None:
    """Also inside a user namespace, where it has no power and cannot be looked into."""
    expected = {
        "ids": f"{way.uid}:{way.uid if way.uid == STRANGER else os.getegid()}",
        "capabilities": "0",
        "unshare": "EPERM",
    }
    if way is Way.USER:
        expected["dumpable"] = "0"

    assert ([], expected) == boxed(BOTH, expected, way=way)


REFUSED = "private_tmp: {0}", "network: loopback: {0}"


def test_a_host_without_namespaces_for_everybody_says_so() -> None:
    """For each wish; the process is where it was."""
    patch = """
def deny(kinds):
    raise OSError(1, "Operation not permitted")
confine.unshare = deny
"""
    why = "user namespaces are not permitted (Operation not permitted)"
    missing, results = boxed(BOTH, ["capabilities"], patch=patch)

    assert [text.format(why) for text in REFUSED] == missing
    assert {"capabilities": "0"} == results


def test_a_host_without_namespaces_for_root_is_asked_once() -> None:
    """What failed with privileges is not tried without."""
    patch = """
def deny(kinds):
    confine.unshare = None
    raise OSError(1, "Operation not permitted")
confine.unshare = deny
"""
    why = "namespaces are not permitted (Operation not permitted)"

    assert [text.format(why) for text in REFUSED] == boxed(BOTH, [], way=Way.BECOME, patch=patch).missing


@needs_landlock
def test_a_loopback_that_cannot_be_turned_on_is_missing() -> None:
    """A new network alone is not what was asked for; what else was, is given."""
    patch = """
from rexecd.execution import namespaces
namespaces._SIOCSIFFLAGS = 0xFFFF
"""
    missing, results = boxed(BOTH, ["list /tmp"], patch=patch)

    assert ["network: loopback: Inappropriate ioctl for device"] == missing
    assert {"list /tmp": ""} == results


def test_a_process_caught_in_a_user_namespace_without_rights_ends() -> None:
    """It is nobody there, and has no way back."""
    patch = """
from pathlib import Path
def fail(self, data):
    raise OSError(1, "Operation not permitted", str(self))
Path.write_bytes = fail
enter = sandbox.after
def after(wanted):
    try:
        return enter(wanted)
    except OSError as error:
        return [f"raised {error.strerror}", str(confine.effective_capabilities())]
sandbox.after = after
"""

    assert ["raised caught in a user namespace without rights: Operation not permitted", "0"] == boxed(
        BOTH, [], patch=patch
    ).missing


@pytest.mark.parametrize(
    ("capabilities", "privileged"), [(0, False), (1 << 21, False), (1 << 21 | 1 << 12, True)]
)
def test_a_network_needs_more_than_to_be_made(
    capabilities: int, privileged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to turn its loopback on, a user namespace is the way, where that right is given."""
    monkeypatch.setattr(confine, "effective_capabilities", lambda: capabilities)

    assert privileged is namespaces.is_privileged(BOTH)
    assert bool(capabilities) is namespaces.is_privileged(PRIVATE)
    assert not namespaces.is_privileged(Sandbox(read=()))


@pytest.mark.parametrize(
    ("uid", "restricts", "why"),
    [
        (0, "0\n", "root without CAP_SYS_ADMIN"),
        (1000, "1\n", "AppArmor gives user namespaces no rights"),
    ],
)
def test_what_is_known_to_be_a_trap_is_not_entered(
    uid: int, restricts: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no way back out of a user namespace."""
    _pretend(monkeypatch, tmp_path, uid=uid, restricts=restricts, label="unconfined\n")
    monkeypatch.setattr(confine, "unshare", None)
    entered = namespaces.enter_as_user(BOTH)

    assert not entered.private_tmp
    assert ["private_tmp", "network: loopback"] == [text.partition(f": {why}")[0] for text in entered.missing]


@pytest.mark.parametrize(("restricts", "label"), [("0\n", "unconfined\n"), ("1\n", "rexecd (unconfined)\n")])
def test_what_is_no_trap_is_tried(
    restricts: str, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile of its own lets rexecd have user namespaces on such hosts."""
    _pretend(monkeypatch, tmp_path, uid=1000, restricts=restricts, label=label)

    assert namespaces._obstacle() is None


def test_where_nothing_is_wanted_nothing_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox of files alone needs no namespace."""
    monkeypatch.setattr(confine, "unshare", None)

    assert Entered() == namespaces.enter_as_user(Sandbox(read=(), network=NetworkAccess.NONE))


def _pretend(
    monkeypatch: pytest.MonkeyPatch, directory: Path, *, uid: int, restricts: str, label: str
) -> None:
    """Let this host have AppArmor, and this process be somebody's."""
    monkeypatch.setattr("os.geteuid", lambda: uid)
    for name, text in (("_APPARMOR_RESTRICTS", restricts), ("_APPARMOR_LABEL", label)):
        (directory / name).write_text(text)
        monkeypatch.setattr(namespaces, name, directory / name)
