"""Who commands run as, and what of the daemon is out of their reach: everything."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rexecd.cli.init import lay_out
from tests.commands import STRANGER, python_for_all
from tests.harness import AS_OURSELVES, COMMANDS, PATIENCE, SETTINGS, Daemon, children
from tests.unit.execution.starting import as_user

#: What a process may not do to another one that is not its own.
_PRYING: Final = ("memory", "trace", "read:/proc/{}/environ", "read:/proc/{}/maps", "link:/proc/{}/fd/0")
_REFUSED: Final = {"EACCES", "EPERM"}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Give a directory that everybody may look into, with the tests' programs."""
    made = Path(tempfile.mkdtemp(prefix="rexecd-tests-"))
    made.chmod(0o755)
    for name in ("tries.py", "whoami.py"):
        shutil.copyfile(COMMANDS / name, made / name)
        (made / name).chmod(0o644)
    yield made
    shutil.rmtree(made)


def _policy(place: Path, python: str) -> str:
    whoami = f"summary: Say who runs\n    run: {python} -I {place}/whoami.py"
    tries = f"""summary: Try everything
    run: ["{python}", -I, {place}/tries.py, "{{what}}"]
    parameters: {{what: {{type: text, max: 4000}}}}"""
    return f"""\
version: 1
principals: {{ann: {{roles: [all]}}}}
roles: {{all: {{allow: ["*"]}}}}
commands:
  whoami:
    {whoami}
  tries:
    {tries}
  tries.root:
    {tries}
    run_as: root
  whoami.root:
    {whoami}
    run_as: root
    limits: {{nice: 1}}
  whoami.number:
    {whoami}
    run_as: {{user: 12345, group: 23456, groups: [34567, 45678]}}
  whoami.alone:
    {whoami}
    run_as: {{user: 12345, group: 23456, groups: []}}
  whoami.name:
    {whoami}
    run_as: {{user: nobody, groups: [daemon]}}
  setuid:
    summary: Read what is root's with a program that becomes root
    run: [{place}/cat, {place}/secret]
    run_as: nobody
"""


@pytest.fixture(scope="module", params=["closed", "open"])
def daemon(
    request: pytest.FixtureRequest, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """Give a root's daemon whose default user is not root, in a directory one may get to or not."""
    if os.geteuid() != 0:
        pytest.skip("becomes somebody else")
    python = python_for_all() or pytest.skip("there is no Python that everybody may start")
    directory = place if request.param == "open" else tmp_path_factory.mktemp("closed")
    _make_setuid(place)
    settings = SETTINGS.replace(AS_OURSELVES, "")
    made = Daemon(directory, settings=settings, policy=_policy(place, python)).start()
    yield made
    made.stop()


def _make_setuid(place: Path) -> None:
    """Make a program that becomes root where it may, and something that only root may read."""
    shutil.copyfile("/bin/cat", place / "cat")
    os.chown(place / "cat", 0, STRANGER)
    (place / "cat").chmod(0o4750)  # not for others on this machine
    (place / "secret").touch(mode=0o600)
    (place / "secret").write_text("root's")


def _tried(daemon: Daemon, words: Iterable[str], rule: str = "tries") -> dict[str, str]:
    done = daemon.rexec("HOST", rule, " ".join(words))
    assert 0 == done.returncode, done.stderr
    return dict(json.loads(done.stdout))


def _reached(found: dict[str, str]) -> dict[str, str]:
    """Return what was not refused."""
    return {what: result for what, result in found.items() if result not in _REFUSED}


def _prying_into(pids: Iterable[int]) -> list[str]:
    return [how.format(pid) if "{}" in how else f"{how}:{pid}" for pid in pids for how in _PRYING]


def _pids(daemon: Daemon) -> list[int]:
    """Return the processes of a daemon but for its workers."""
    assert daemon.process
    return [daemon.process.pid, daemon.monitor_pid, daemon.gateway_pid, daemon.launcher_pid]


def _told(daemon: Daemon, rule: str) -> dict[str, Any]:
    done = daemon.rexec(rule)
    assert 0 == done.returncode, done.stderr
    return dict(json.loads(done.stdout))


def test_by_default_a_command_is_not_the_daemons_user(daemon: Daemon) -> None:
    """It is somebody without any of root's groups, capabilities or ways to them; the trail has the name."""
    told = _told(daemon, "whoami")
    user = daemon.status()["run_as"]
    account = pwd.getpwnam(user)

    assert ([account.pw_uid], [account.pw_gid]) == (told["uids"], told["gids"])
    assert 0 not in {account.pw_uid, *told["groups"]}
    assert not told["new_privileges"]
    assert user == daemon.records("command-allowed")[-1]["process"]["user"]["name"]


def test_no_process_of_the_daemon_can_be_looked_into_or_signalled(daemon: Daemon) -> None:
    """Neither memory nor environment nor descriptors of `serve`, monitor, gateway or launcher."""
    pids = _pids(daemon)
    found = _tried(daemon, [*_prying_into(pids), *(f"signal:{pid}" for pid in pids)])

    assert len(pids) * (len(_PRYING) + 1) == len(found)
    assert {} == _reached(found)


def test_no_secret_state_or_door_of_the_daemon_can_be_reached(daemon: Daemon) -> None:
    """Whether one can get to its directory or not: each has its own protection."""
    settings = daemon.settings
    directory = daemon.made.config.parent
    private = [settings.key, settings.tokens, settings.trail_key, settings.lock, settings.audit]
    words = [
        *(f"read:{path}" for path in [*private, directory / "certs/ca.key", daemon.made.verification_key]),
        *(f"write:{path}" for path in [*private, settings.policy, settings.source, settings.certificate]),
        *(f"count:{path}" for path in (settings.state, settings.audit.parent, settings.run)),
        *(f"connect:{path}" for path in (settings.seam_socket, settings.admin_socket)),
        f"create:{directory}/new",
        f"create:{settings.certificate.parent}/new",
    ]

    assert {} == _reached(_tried(daemon, words))


def test_its_own_worker_can_be_signalled_and_not_taken_over(daemon: Daemon) -> None:
    """They are one user; but the worker's memory stays its own."""
    found = _tried(daemon, ["worker:signal", "worker:memory", "worker:trace"])

    assert {"worker:signal": "ok"} == _reached(found)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_who_ends_or_stops_the_idle_workers_of_a_user_keeps_nobody_from_being_served(
    daemon: Daemon, how: str
) -> None:
    """Those of other users are out of reach, and the next command is given another one."""
    told = [_told(daemon, rule) for rule in ("whoami", "whoami.root")]
    workers = children(daemon.launcher_pid)
    found = _tried(daemon, [f"{how}:{pid}" for pid in workers], rule="tries.root")
    before = time.monotonic()
    again = [_told(daemon, rule) for rule in ("whoami", "whoami.root")]

    assert {"ok", "EPERM"} == set(found.values())
    assert told == again
    assert time.monotonic() - before < 5


IDENTITIES: Final[dict[str, tuple[list[int], list[int], list[int]]]] = {
    "number": ([12345], [23456], [23456, 34567, 45678]),
    "alone": ([12345], [23456], [23456]),
}


@pytest.mark.parametrize("rule", IDENTITIES)
def test_user_group_and_groups_are_the_rules_and_no_others(daemon: Daemon, rule: str) -> None:
    """In every one of the kernel's ids, seen from inside."""
    told = _told(daemon, f"whoami.{rule}")
    user = daemon.records("command-allowed")[-1]["process"]["user"]

    assert IDENTITIES[rule] == (told["uids"], told["gids"], sorted({*told["groups"], *told["gids"]}))
    assert "12345" == user["id"]
    assert {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}.items() <= told["capabilities"].items()


def test_root_has_no_capability_and_no_way_to_one(daemon: Daemon, place: Path) -> None:
    """It reads what is root's, and not what is somebody else's alone."""
    told = _told(daemon, "whoami.root")
    other = place / "private"
    other.touch(mode=0o600)
    os.chown(other, STRANGER, STRANGER)
    found = _tried(daemon, [f"read:{place}/secret", f"read:{other}", f"become:{STRANGER}"], rule="tries.root")

    assert [0] == told["uids"]
    assert not told["new_privileges"]
    assert {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}.items() <= told["capabilities"].items()
    assert ["ok", "EACCES", "EPERM"] == list(found.values())


def test_a_program_with_the_setuid_bit_gains_nothing(daemon: Daemon, place: Path) -> None:
    """Started by anybody else it reads what is root's; as a command it does not."""
    who: dict[str, Any] = {"user": STRANGER, "group": STRANGER, "extra_groups": []}
    elsewhere = subprocess.run(
        [place / "cat", place / "secret"], capture_output=True, text=True, check=False, cwd="/", **who
    )
    done = daemon.rexec("setuid")

    if elsewhere.stdout != "root's":
        pytest.skip("this file system knows no setuid bit")
    assert (1, "") == (done.returncode, done.stdout)
    assert "Permission denied" in done.stderr


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon whose commands run as its own user."""
    directory = tmp_path_factory.mktemp("same")
    shutil.copyfile(COMMANDS / "tries.py", directory / "tries.py")
    policy = _policy(directory, sys.executable).partition("  tries.root:")[0]
    made = Daemon(directory, policy=policy).start()
    yield made
    made.stop()


def test_even_a_command_of_the_daemons_own_user_looks_into_none_of_its_processes(same: Daemon) -> None:
    """The workers, its own among them, are closed to it as well."""
    pids = [*_pids(same), *children(same.launcher_pid)]
    found = _tried(same, [*_prying_into(pids), "worker:memory", "worker:trace"])

    assert len(pids) > 4
    assert {} == _reached(found)


def test_check_says_who_commands_run_as(daemon: Daemon) -> None:
    """Before the service is started."""
    done = daemon.rexecd("check")

    assert daemon.status()["run_as"] in done.stdout


_BEYOND: Final = """\
version: 1
principals: {ann: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
  id: {summary: Who it is, run: /usr/bin/id, run_as: daemon}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody who may become nobody else")
@pytest.mark.parametrize("verb", ["check", "serve"])
def test_a_daemon_without_the_means_says_so_and_does_not_start(place: Path, verb: str) -> None:
    """In one line with its place, and not at the first request."""
    directory = Path(tempfile.mkdtemp(dir=place))
    made = lay_out(directory, ["localhost"], settings=SETTINGS.replace(AS_OURSELVES, ""), policy=_BEYOND)
    for path in (directory, *directory.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    line = [sys.executable, "-I", "-m", "rexecd", verb, "--config", str(made.config)]
    done = subprocess.run(
        ["/usr/bin/setpriv", *as_user(STRANGER), "--", *line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert 1 == done.returncode
    assert f"{directory}/policy.yaml:5:3: to run 'id' as daemon" in done.stderr
    assert "takes a monitor that is root, or has CAP_SETUID and CAP_SETGID" in done.stderr
    assert "ready on" not in done.stdout
