"""Sandboxes, end to end: what a command of a real daemon reaches, and what a host that has none says."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.harness import COMMANDS, Daemon

_HEAD: Final = """\
version: 1
principals: {ann: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
"""
#: What a rule of the policy is kept from, by name.
SANDBOXES: Final = {
    "free": "",
    "reads": "sandbox: {read: [ROOM/read, PYTHON]}",
    "writes": "sandbox: {read: [ROOM/read, PYTHON], write: [ROOM/write]}",
    "unconnected": "sandbox: {network: none}",
    "loopback": "sandbox: {network: loopback}",
    "temporary": "sandbox: {private_tmp: true}",
    "devices": "sandbox: {devices: minimal}",
    "everything": "sandbox: {read: [PYTHON], network: none, private_tmp: true, devices: minimal}",
}
#: The tests' Python and what it consists of, wherever it lies.
PYTHON: Final = sorted({sys.prefix, sys.base_prefix, str(COMMANDS)})
IS_HIDDEN: Final = any(path.startswith(("/tmp/", "/var/tmp/")) for path in PYTHON)
needs_python: Final = pytest.mark.skipif(IS_HIDDEN, reason="the tests' Python lies in /tmp")


def _policy(room: Path, *names: str) -> str:
    """Return a policy whose rules try what they are told, in one of the sandboxes each."""
    rules = "".join(
        f"""\
  {name}:
    summary: Try what is said
    run: ["{sys.executable}", -I, {COMMANDS}/tries.py, "{{what}}"]
    parameters: {{what: {{type: text, max: 4000}}}}
    {SANDBOXES[name].replace("ROOM", str(room)).replace("PYTHON", ", ".join(PYTHON))}
"""
        for name in names
    )
    return f"{_HEAD}{rules}"


class House(NamedTuple):
    """A daemon, and a place with something to read and to write."""

    daemon: Daemon
    room: Path

    def try_in(self, rule: str, *words: str) -> dict[str, Any]:
        """Return what came of each."""
        done = self.daemon.rexec("HOST", rule, " ".join(words))
        assert 0 == done.returncode, done.stderr
        return dict(json.loads(done.stdout))


def _make_room(directory: Path) -> Path:
    for name in ("read", "write", "else"):
        (directory / name).mkdir(parents=True)
        (directory / name / "file").write_text(name)
    return directory


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a daemon with every sandbox; skip where this host cannot give them."""
    room = _make_room(tmp_path_factory.mktemp("room"))
    names = [name for name in SANDBOXES if not (IS_HIDDEN and "private_tmp" in SANDBOXES[name])]
    made = Daemon(tmp_path_factory.mktemp("daemon"), policy=_policy(room, *names))
    try:
        made.start()
    except AssertionError:
        made.stop()
        if "sandbox" in made.complaints():
            pytest.skip(made.complaints().strip())
        raise
    yield House(made, room)
    made.stop()


def test_without_a_sandbox_all_of_it_is_reached(house: House) -> None:
    """So that what follows shows something."""
    room = house.room
    found = house.try_in(
        "free", f"read:{room}/read/file", f"read:{room}/else/file", f"write:{room}/else/file", "meet:"
    )

    assert {"ok"} == set(found.values())


def test_only_what_is_listed_is_read_and_nothing_is_written(house: House) -> None:
    """Nor made, nor looked for: the rest of the file system is closed."""
    room = house.room
    found = house.try_in(
        "reads",
        f"read:{room}/read/file",
        f"write:{room}/read/file",
        f"create:{room}/read/new",
        f"read:{room}/else/file",
        f"count:{room}/else",
        f"read:{house.daemon.settings.policy}",
        "create:/var/tmp/rexecd-new",
    )

    assert ["ok", *["EACCES"] * 6] == list(found.values())


def test_only_what_is_listed_is_written(house: House) -> None:
    """Below it files are made and changed."""
    room = house.room
    found = house.try_in(
        "writes",
        f"write:{room}/write/file",
        f"create:{room}/write/new",
        f"read:{room}/write/file",
        f"write:{room}/read/file",
        f"write:{room}/else/file",
    )
    (room / "write" / "new").unlink()

    assert [*["ok"] * 3, *["EACCES"] * 2] == list(found.values())


def test_without_a_network_nothing_is_connected(house: House) -> None:
    """Neither to this machine nor to itself nor to a local service."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        free = house.try_in("free", f"tcp:{port}")
        found = house.try_in(
            "unconnected", f"tcp:{port}", "meet:", f"connect:{house.daemon.settings.admin_socket}"
        )

    assert {"ok"} == set(free.values())
    assert {"EAFNOSUPPORT"} == set(found.values())


def test_with_a_loopback_of_its_own_it_meets_itself_and_nobody_else(house: House) -> None:
    """What listens on the host's 127.0.0.1 is not there, the daemon's port among it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = house.try_in("loopback", "meet:", f"tcp:{port}", f"tcp:{house.daemon.port}")

    assert ["ok", "ECONNREFUSED", "ECONNREFUSED"] == list(found.values())


@needs_python
def test_a_private_tmp_is_empty_every_time(house: House) -> None:
    """Nothing of the host's is there, nor of the command before; and the host sees nothing of it."""
    descriptor, name = tempfile.mkstemp(dir="/tmp")
    os.close(descriptor)
    try:
        found = [
            house.try_in("temporary", "count:/tmp", f"read:{name}", "create:/tmp/mine") for _ in range(3)
        ]
    finally:
        os.unlink(name)

    assert [[0, "ENOENT", "ok"]] * 3 == [list(each.values()) for each in found]
    assert not os.path.exists("/tmp/mine")


def test_of_the_devices_the_harmless_ones_are_left(house: House) -> None:
    """Nothing that could be a disk, a terminal or a kernel log."""
    harmless = ["null", "zero", "full", "random", "urandom"]
    found = house.try_in(
        "devices",
        "count:/dev",
        *(f"read:/dev/{name}" for name in harmless),
        "read:/dev/kmsg",
        "read:/dev/ptmx",
    )

    assert ["ok"] * len(harmless) == list(found.values())[1:6]
    assert not {"ok"} & {found["read:/dev/kmsg"], found["read:/dev/ptmx"]}


@needs_python
def test_all_together_hold_together(house: House) -> None:
    """One does not open what the other has closed."""
    found = house.try_in(
        "everything",
        f"read:{COMMANDS}/tries.py",
        "create:/tmp/mine",
        f"read:{house.daemon.settings.policy}",
        f"write:{COMMANDS}/tries.py",
        "meet:",
        "read:/dev/ptmx",
    )

    assert ["ok", "ok"] == list(found.values())[:2]
    assert not {"ok"} & set(list(found.values())[2:])


def _start(directory: Path, sandbox: str) -> tuple[Daemon, subprocess.CompletedProcess[str]]:
    """Return a daemon that is not started, and what `check` says of its one rule."""
    policy = f"{_HEAD}  boxed:\n    summary: Boxed\n    run: /bin/echo word\n    sandbox: {sandbox}\n"
    made = Daemon(directory, policy=policy)
    return made, made.rexecd("check")


def test_a_sandbox_that_cannot_be_given_stops_the_start_with_its_place(tmp_path: Path) -> None:
    """`check` has said so before."""
    made, checked = _start(tmp_path, "{read: [/nonexistent/here]}")
    with pytest.raises(AssertionError):
        made.start()
    made.stop()
    fault = f"{made.settings.policy}:5:3: boxed: read: /nonexistent/here: No such file or directory"

    assert 1 == checked.returncode
    assert fault in checked.stdout + checked.stderr
    assert fault in made.complaints()
    assert "Traceback" not in made.complaints()


def test_best_effort_starts_with_what_there_is_and_warns(tmp_path: Path) -> None:
    """The place, and what is missing; the command runs."""
    made, checked = _start(tmp_path, "{read: [/nonexistent/here], best_effort: true}")
    try:
        done = made.start().rexec("boxed")
    finally:
        made.stop()
    warning = f"{made.settings.policy}:5:3: boxed: best effort, without read: /nonexistent/here"

    assert "word\n" == done.stdout
    assert warning in made.complaints()
    assert warning in checked.stdout + checked.stderr


def test_a_reload_keeps_the_old_policy_when_the_new_ones_sandbox_cannot_be_given(house: House) -> None:
    """The operator is told where, and what runs goes on."""
    policy = house.daemon.settings.policy
    good = policy.read_text()
    policy.write_text(good.replace(f"write: [{house.room}/write]", "write: [/nonexistent/here]", 1))
    try:
        reloaded = house.daemon.rexecd("reload")
    finally:
        policy.write_text(good)
    after = house.try_in("writes", f"read:{house.room}/write/file")

    assert 1 == reloaded.returncode
    assert "writes: write: /nonexistent/here: No such file or directory" in reloaded.stderr
    assert ["ok"] == list(after.values())
