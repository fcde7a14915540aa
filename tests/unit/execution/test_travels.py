"""What must not travel from one command to the next, nor from whoever started the monitor."""

import os
import platform
from pathlib import Path
from typing import Final

import pytest

from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Workers
from rexecd.policy.bounds import Sandbox
from tests.unit.execution.starting import (
    SOMEBODY,
    invocation,
    monitor,
    python_for,
    root_only,
    run,
    see,
)

#: add_key(2), request_key(2) and keyctl(2) on the session keyring.
_CALLS: Final = {"x86_64": (248, 250), "aarch64": (217, 219), "riscv64": (217, 219)}
_ADD, _KEYCTL = _CALLS.get(platform.machine(), (0, 0))
LOOK: Final = f"""
import ctypes, sys
call = ctypes.CDLL(None).syscall
name = sys.argv[1].encode()
found = call({_KEYCTL}, 10, -3, b"user", name, 0) > 0
added = call({_ADD}, b"user", name, b"secret", 6, -3) > 0
print(found, added)
"""
#: A monitor in a container whose filter lets nobody use keyctl(2), or only ask for a keyring's number.
IN_A_CONTAINER: Final = f"""
import errno
from rexecd import confine
from tests.unit.execution.starting import going, run
unless = (confine._Argument(0, (0,)),) if {{partly}} else ()
confine.forbid_new_privileges()
confine._install(confine._machine(), confine._Denial({_KEYCTL}, errno.EPERM, unless))
from rexecd.errors import Refused
with going() as workers:
    try:
        print(run(workers, "/bin/echo", "started").output)
    except Refused as refused:
        print(refused.reason)
"""
#: A process with a key in its session, as after a login, becomes a monitor.
LOGGED_IN: Final = f"""
import ctypes
from tests.unit.execution.starting import going, python_for, run
call = ctypes.CDLL(None).syscall
assert call({_KEYCTL}, 1, None) > 0 and call({_ADD}, b"user", b"login", b"secret", 6, -3) > 0
with going() as workers:
    print(run(workers, python_for(workers), "-I", "-c", {LOOK!r}, "login").output)
"""

pytestmark = pytest.mark.skipif(not _KEYCTL, reason="no numbers of system calls for this machine")


def test_keys_of_a_command_are_gone_with_it(workers: Workers) -> None:
    """The next one has the same worker, and an empty keyring."""
    python = python_for(workers)
    run(workers, "/bin/true")
    before = workers.use
    told = [run(workers, python, "-I", "-c", LOOK, "mine").output for _ in range(2)]

    assert ["False True\n"] * 2 == told
    assert before == workers.use


def test_keys_of_whoever_started_the_monitor_stay_there() -> None:
    """A login's session keyring is inherited by everything that is started in it."""
    assert "False True\n\n" == monitor(LOGGED_IN)


@root_only
def test_a_sandbox_follows_files_that_are_replaced(workers: Workers, open_directory: Path) -> None:
    """Editors and deployments put a new file in the place of the old one."""
    place = open_directory / "list"
    box = Sandbox(read=(str(place),))
    told = []
    for text in ("old", "new"):
        fresh = open_directory / "fresh"
        fresh.write_text(text)
        fresh.replace(place)
        told.append(run(workers, "/bin/cat", str(place), sandbox=box).output)

    assert ["old", "new"] == told


ADOPTED: Final = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
if sys.argv[1] == "host":
    assert libc.unshare(0x30000000) == 0
    pid = os.fork()
    if pid == 0:
        while True:
            time.sleep(60)
    print(pid, flush=True)
    time.sleep(60)
spaces = [os.open(f"/proc/{sys.argv[2]}/ns/{name}", os.O_RDONLY) for name in ("user", "pid")]
assert all(libc.setns(space, 0) == 0 for space in spaces)
child = os.fork()
if child == 0:
    if os.fork() == 0:
        os.setsid()
        for descriptor in range(3):
            os.close(descriptor)
        os.execv("/bin/sleep", ["sleep", "300"])
    time.sleep(0.1)
    os._exit(0)
os.waitpid(child, 0)
"""


@root_only
def test_who_is_adopted_in_another_commands_namespace_does_not_stay(
    contained: Workers,
) -> None:
    """It is nobody's child any more, and still in the control group of its own command."""
    if contained.containment == "subreaper":
        pytest.skip("it is found by its control group only")
    python = python_for(contained)
    host, streams = spawn(invocation(python, "-I", "-c", ADOPTED, "host", identity=SOMEBODY), contained)
    line = os.read(streams.stdout, 64).split()
    if not line:
        host.abandon()
        streams.close()
        pytest.skip("user namespaces are not permitted")
    guest = run(contained, python, "-I", "-c", ADOPTED, "guest", line[0].decode(), identity=SOMEBODY)
    members = [
        Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        for path in Path("/sys/fs/cgroup").glob(f"**/rexecd-*-{os.getpid()}-*/**/cgroup.procs")
        for pid in path.read_text().split()
    ]
    host.end(grace=0)
    see(host)
    streams.close()

    assert 0 == guest.status, guest.errors
    assert b"sleep" not in members


def test_where_nobody_has_keyrings_commands_run_without() -> None:
    """The filter that denies them to us denies them to every command."""
    assert "started\n\n" == monitor(IN_A_CONTAINER.format(partly=False))


def test_where_commands_might_still_read_a_keyring_none_is_started() -> None:
    """A filter that only keeps us from making an empty one would hand ours on."""
    assert "session keyring: Operation not permitted\n" == monitor(IN_A_CONTAINER.format(partly=True))
