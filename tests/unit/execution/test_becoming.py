"""Who a program runs as, seen from inside of it."""

import os
from pathlib import Path
from typing import Any

import pytest

from rexecd.errors import Refused
from rexecd.execution import identity
from rexecd.execution.identity import all_groups, can_become, open_readable
from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Workers
from rexecd.policy.model import Identity, PassedFile, PassedText
from tests.unit.execution.starting import (
    NO_POWER,
    STRANGER,
    WITHOUT_MEANS,
    as_user,
    facts,
    invocation,
    monitor,
    root_only,
    run,
)

STATUS = """
from tests.unit.execution.starting import STRANGER, going, run
with going() as workers:
    print(run(workers, "/bin/cat", "/proc/self/status", identity=STRANGER).output)
"""


def _pretend(
    monkeypatch: pytest.MonkeyPatch, uid: int, gid: int, groups: list[int], *, has_means: bool = False
) -> None:
    """Let this process look like somebody's."""
    monkeypatch.setattr(identity, "has_means", lambda: has_means)
    monkeypatch.setattr(os, "getresuid", lambda: (uid, uid, uid))
    monkeypatch.setattr(os, "getresgid", lambda: (gid, gid, gid))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "getegid", lambda: gid)
    monkeypatch.setattr(os, "getgroups", lambda: groups)


WHO: dict[str, tuple[int, int, list[int], bool]] = {
    "itself": (12345, 23456, [23456, 34567], True),
    "itself, the primary group not among the others": (12345, 23456, [34567], True),
    "another user of the same groups": (12346, 23456, [23456, 34567], False),
    "another primary group": (12345, 34567, [23456, 34567], False),
    "one group more": (12345, 23456, [23456, 34567, 4], False),
    "one group less": (12345, 23456, [23456], False),
    "root without capabilities": (0, 0, [0], False),
}


@pytest.mark.parametrize("who", WHO)
def test_who_has_not_the_means_is_at_most_who_it_is_already(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them, anyone."""
    uid, gid, groups, allowed = WHO[who]
    _pretend(monkeypatch, uid, gid, groups)

    assert allowed is can_become(STRANGER)
    monkeypatch.setattr(identity, "has_means", lambda: True)
    assert can_become(STRANGER)


@pytest.mark.parametrize("field", ["getresuid", "getresgid"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_process_between_two_users_is_neither(field: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real, effective and saved ids all have to agree."""
    _pretend(monkeypatch, 12345, 23456, [34567])
    ids = list(getattr(os, field)())
    ids[at] += 1
    monkeypatch.setattr(os, field, lambda: tuple(ids))

    assert not can_become(STRANGER)


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 2**32, 2**63])
@pytest.mark.parametrize("field", ["uid", "gid", "groups"])
def test_a_number_that_means_leave_it_is_never_used(
    field: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes -1 for 'as it is', which would be root."""
    _pretend(monkeypatch, 0, 0, [0], has_means=True)
    asked: dict[str, Any] = STRANGER._asdict() | {field: (number,) if field == "groups" else number}

    assert not can_become(Identity(**asked))


@root_only
@pytest.mark.parametrize("field", ["uid", "gid", "groups"])
def test_a_number_that_came_so_far_starts_nothing(field: str, workers: Workers) -> None:
    """Were a check forgotten, the worker would look at what it has become."""
    asked: dict[str, Any] = STRANGER._asdict() | {field: (-1,) if field == "groups" else -1}
    with pytest.raises(Refused):
        spawn(invocation("/bin/true", identity=Identity(**asked)), workers)


def test_a_list_of_groups_is_never_empty() -> None:
    """Without any the primary one stands in it, and is not said twice."""
    assert (23456,) == all_groups(STRANGER._replace(groups=()))
    assert (23456, 34567) == all_groups(STRANGER)


def test_who_cannot_be_become_is_refused_before_anything_happens() -> None:
    """The caller hears one sentence, the trail who it was."""
    program = """
from rexecd.errors import Refused
from tests.unit.execution.starting import STRANGER, going, run
with going() as workers:
    try:
        run(workers, "/bin/true", identity=STRANGER)
    except Refused as refused:
        print(refused.code.name, refused.text, refused.reason, sep="|")
"""
    why = "cannot become uid 12345, gid 23456: Operation not permitted"

    expected = f"NOT_STARTED|the program could not be started|{why}\n"
    assert expected == monitor(program, *WITHOUT_MEANS)


def test_our_own_identity_needs_no_root(workers: Workers) -> None:
    """Nothing is changed then."""
    own = Identity("own", os.geteuid(), os.getegid(), tuple(os.getgroups()))

    assert f"{os.geteuid()}\n" == run(workers, "/usr/bin/id", "-u", identity=own).output


@root_only
def test_a_program_is_who_it_should_be_in_every_respect(workers: Workers) -> None:
    """Every id and group, no capability, and the rule's umask, as the kernel tells the program."""
    told = facts(run(workers, "/bin/cat", "/proc/self/status", identity=STRANGER, umask=0o077).output)

    expected = {"Uid": "\t".join(["12345"] * 4), "Gid": "\t".join(["23456"] * 4), "Groups": "23456 34567"}
    assert expected | NO_POWER | {"Umask": "0077"} == {
        name: told[name] for name in (*expected, *NO_POWER, "Umask")
    }


@root_only
def test_a_program_without_groups_keeps_none_of_ours(workers: Workers) -> None:
    """Ours are root's."""
    assert "23456\n" == run(workers, "/usr/bin/id", "-G", identity=STRANGER._replace(groups=())).output


@root_only
def test_capabilities_the_daemon_was_given_to_hand_on_are_not_handed_on() -> None:
    """Inheritable and ambient ones would outlive the change of user, or wait for a file that lifts them."""
    given = "+chown,+dac_override"
    told = facts(monitor(STATUS, "--inh-caps", given, "--ambient-caps", given))

    assert NO_POWER == {name: told[name] for name in NO_POWER}


@root_only
def test_a_daemon_with_two_capabilities_only_starts_programs_as_anyone() -> None:
    """It is not root, and who it starts is neither: that has not even the two."""
    told = facts(monitor(STATUS, *as_user(65534, "+setuid,+setgid")))

    assert NO_POWER == {name: told[name] for name in NO_POWER}
    assert ("\t".join(["12345"] * 4), "23456 34567") == (told["Uid"], told["Groups"])


@root_only
def test_a_program_of_somebody_else_opens_its_pipes_by_name(workers: Workers) -> None:
    """/dev/fd/N, /dev/stdin, /dev/stdout and /dev/stderr are opened anew, which is for a pipe's owner."""
    script = 'cat "$1" /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr'
    passed = (PassedText(4, b"one\n"), PassedText(None, b"two\n"))
    told = run(workers, "/bin/sh", "-c", script, "sh", "/dev/fd/", passed=passed, identity=STRANGER)

    assert (0, "one\ntwo\nout\n", "err\n") == told


@root_only
def test_a_file_the_identity_may_read_is_passed(workers: Workers) -> None:
    """It opens it anew by the descriptor's name."""
    passed = (PassedFile(1, "/etc/passwd", "file"),)
    expected = Path("/etc/passwd").read_text()

    assert expected == run(workers, "/bin/cat", "/dev/fd/", passed=passed, identity=STRANGER).output


@root_only
@pytest.mark.parametrize(("directory", "mode"), [(0o755, 0o600), (0o700, 0o644)])
def test_a_file_only_the_daemon_may_read_is_not_lent(
    workers: Workers, open_directory: Path, directory: int, mode: int
) -> None:
    """A rule for somebody else gives no more than somebody else has."""
    file = open_directory / "file"
    file.write_text("secret")
    file.chmod(mode)
    open_directory.chmod(directory)
    with pytest.raises(Refused) as caught:
        spawn(
            invocation("/bin/cat", "/dev/fd/", passed=(PassedFile(1, str(file), "file"),), identity=STRANGER),
            workers,
        )

    assert f"parameter 'file': {file}: Permission denied" == caught.value.reason


def _is_lent(path: Path) -> bool:
    try:
        os.close(open_readable(str(path), STRANGER))
    except PermissionError:
        return False
    return True


@root_only
def test_what_the_identity_may_read_is_what_the_kernel_says(workers: Workers, open_directory: Path) -> None:
    """Every mode, as owner, in the primary group, in another one, and as a stranger."""
    owners = {"owner": (12345, 0), "primary": (0, 23456), "other": (0, 34567), "none": (0, 0)}
    for who, (uid, gid) in owners.items():
        for mode in range(0o1000):
            file = open_directory / f"{who}-{mode:03o}"
            file.touch()
            os.chown(file, uid, gid)
            file.chmod(mode)
    script = 'for name in *; do [ -r "$name" ] && echo "$name"; done'
    kernel = run(
        workers, "/bin/sh", "-c", script, identity=STRANGER, working_directory=str(open_directory)
    ).output
    ours = [path.name for path in open_directory.iterdir() if _is_lent(path)]

    assert sorted(kernel.split()) == sorted(ours)
