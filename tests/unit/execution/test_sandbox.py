"""What a command can still do from inside of a sandbox: each of these is tried out, not looked up."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.policy.bounds import NetworkAccess, Sandbox
from tests.unit.execution.attempts import Way
from tests.unit.execution.boxed import (
    EVERY_WAY,
    NOT_AS_ROOT,
    boxed,
    bystander,
    needs_landlock,
    needs_scopes,
)

pytestmark = needs_landlock
NONE = Sandbox(network=NetworkAccess.NONE)
LOOPBACK = Sandbox(network=NetworkAccess.LOOPBACK)
#: Of every sort one: what holds for any sandbox is tried in each.
ANY = {
    "no network": NONE,
    "loopback": LOOPBACK,
    "files": Sandbox(read=("/proc",)),
    "private /tmp": Sandbox(private_tmp=True, write=("/",)),
    "few devices": Sandbox(minimal_devices=True),
}
TRACED = "sandbox: other processes of the user can be traced"


@pytest.fixture
def files(open_directory: Path) -> Path:
    """Give directories in which everybody may do everything: shown, owned and other."""
    for name in ("shown", "owned", "other"):
        (made := open_directory / name).mkdir()
        (made / "file").write_text("text")
        shutil.copy("/bin/echo", made / "program")
        (made / "moved").mkdir()
        for path in (made, made / "file", made / "program", made / "moved"):
            path.chmod(0o777)
    return open_directory


def _all_of(directory: Path) -> dict[str, str]:
    """Return one attempt at each right, with what comes of it where all is allowed."""
    return {
        f"read {directory}/file": "ok",
        f"list {directory}": "file moved program",
        f"execute {directory}/program": "spoke 0 True",
        f"write {directory}/file": "ok",
        f"truncate {directory}/file": "ok",
        f"create {directory}/new": "ok",
        f"mkdir {directory}/directory": "ok",
        f"link {directory}/file {directory}/moved/link": "ok",
        f"rename {directory}/new {directory}/moved/renamed": "ok",
        f"remove {directory}/file": "ok",
    }


def _closed(directory: Path, *, readable: bool = False) -> dict[str, str]:
    """Return the same where it is closed: what makes a name elsewhere says EXDEV or EACCES."""
    allowed = list(_all_of(directory).items())
    kept = 3 if readable else 0
    return dict(allowed[:kept]) | {attempt: "EACCES" for attempt, _ in allowed[kept:]}


def _denied(results: dict[str, str]) -> dict[str, str]:
    return {
        attempt: "EACCES" if result in ("EXDEV", "ENOENT") else result for attempt, result in results.items()
    }


@EVERY_WAY
def test_every_attempt_is_one_that_succeeds_without_a_sandbox(way: Way, files: Path) -> None:
    """So it is the sandbox that the others fail in."""
    expected = _all_of(files / "other") | {"socket AF_UNIX": "ok", "pair AF_UNIX SOCK_DGRAM": "ok"}

    assert expected == boxed(None, expected, way=way).results


@EVERY_WAY
def test_files_are_closed_but_for_what_is_listed(way: Way, files: Path) -> None:
    """What may be read may be executed; what may be written may be made, moved and removed too."""
    wanted = Sandbox(read=(f"{files}/shown",), write=(f"{files}/owned",))
    expected = _closed(files / "shown", readable=True) | _all_of(files / "owned") | _closed(files / "other")
    missing, results = boxed(wanted, expected, way=way)

    assert [] == missing
    assert expected == _denied(results)


@pytest.mark.parametrize("wanted", [Sandbox(read=()), Sandbox(write=())], ids=["read", "write"])
@EVERY_WAY
def test_either_list_closes_everything(way: Way, wanted: Sandbox) -> None:
    """An empty one too; programs of the system still start, with their libraries and five devices."""
    expected = {
        "read /etc/passwd": "EACCES",
        "read /proc/self/status": "EACCES",
        "read /proc/1/environ": "EACCES",
        "list /": "EACCES",
        "list /tmp": "EACCES",
        "list /dev": "EACCES",
        "read /dev/tty": "EACCES",
        "create /tmp/never": "EACCES",
        "execute /bin/echo": "spoke 0 True",
        "read /usr/bin/env": "ok",
        "write /dev/null": "ok",
        "read /dev/zero": "ok",
        "write /dev/full": "ok",
        "read /dev/random": "ok",
        "read /dev/urandom": "ok",
    }

    assert ([], expected) == boxed(wanted, expected, way=way)


@EVERY_WAY
def test_a_single_file_can_be_listed(way: Way, files: Path) -> None:
    """And its neighbours stay closed."""
    wanted = Sandbox(read=(f"{files}/shown/file",), write=(f"{files}/owned/file",))
    expected = {
        f"read {files}/shown/file": "ok",
        f"write {files}/shown/file": "EACCES",
        f"truncate {files}/owned/file": "ok",
        f"write {files}/owned/file": "ok",
        f"remove {files}/owned/file": "EACCES",
        f"read {files}/owned/program": "EACCES",
    }

    assert ([], expected) == boxed(wanted, expected, way=way)


@EVERY_WAY
def test_a_link_leads_no_further_than_what_is_listed(way: Way, files: Path) -> None:
    """It is the file that counts, not its name."""
    (files / "owned" / "link").symlink_to(files / "other" / "file")
    expected = {f"read {files}/owned/link": "EACCES", f"truncate {files}/owned/link": "EACCES"}

    assert expected == boxed(Sandbox(write=(f"{files}/owned",)), expected, way=way).results


@EVERY_WAY
def test_what_is_not_there_is_said_and_closes_nothing_less(way: Way, files: Path) -> None:
    """A path that is misspelt, or not there yet, cannot be given."""
    wanted = Sandbox(read=(f"{files}/absent", f"{files}/shown"), write=(f"{files}/shown/file/below",))
    expected = {f"read {files}/shown/file": "ok", f"read {files}/other/file": "EACCES"}
    missing, results = boxed(wanted, expected, way=way)

    assert [
        f"read: {files}/absent: No such file or directory",
        f"write: {files}/shown/file/below: Not a directory",
    ] == missing
    assert expected == results


@EVERY_WAY
def test_of_the_devices_five_are_left(way: Way) -> None:
    """And everything else is as its user may."""
    expected = {
        "list /dev": "EACCES",
        "read /dev/tty": "EACCES",
        "read /dev/ptmx": "EACCES",
        "read /dev/kmsg": "EACCES",
        "create /dev/shm/never": "EACCES",
        "write /dev/null": "ok",
        "read /dev/urandom": "ok",
        "read /etc/passwd": "ok",
        "execute /bin/echo": "spoke 0 True",
    }

    assert ([], expected) == boxed(Sandbox(minimal_devices=True), expected, way=way)


@EVERY_WAY
def test_all_files_and_few_devices_go_together(way: Way, files: Path) -> None:
    """To list the root directory opens all of it but /dev."""
    wanted = Sandbox(read=("/",), minimal_devices=True)
    expected = {
        "read /etc/passwd": "ok",
        "read /dev/tty": "EACCES",
        "list /dev": "EACCES",
        f"write {files}/other/file": "EACCES",
    }

    assert ([], expected) == boxed(wanted, expected, way=way)


@pytest.fixture
def host(open_directory: Path) -> Iterator[dict[str, str]]:
    """Give what listens on the host: ports, a path and an abstract name."""
    path = open_directory / "socket"
    log = open_directory / "log"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(path))
        datagrams.bind(str(log))
        abstract.bind("")
        for listening in (unix, abstract):
            listening.listen()
        for made in (path, log):
            made.chmod(0o777)
        yield {
            "tcp": f"tcp {tcp.getsockname()[1]}",
            "udp": f"udp {udp.getsockname()[1]}",
            "unix": f"unix {path}",
            "log": f"whisper {log}",
            "abstract": f"unix @{abstract.getsockname()[1:].decode()}",
        }


def test_the_hosts_sockets_are_reached_without_a_sandbox(host: dict[str, str]) -> None:
    """Each of them."""
    assert dict.fromkeys(host.values(), "ok") == boxed(None, host.values()).results


@EVERY_WAY
def test_without_a_network_there_are_no_sockets(way: Way, host: dict[str, str]) -> None:
    """Of no family, no ring that makes them, and no pair that reaches more than its other end."""
    expected = dict.fromkeys(host.values(), "EAFNOSUPPORT") | {
        "socket AF_INET6": "EAFNOSUPPORT",
        "socket AF_NETLINK SOCK_RAW": "EAFNOSUPPORT",
        "socket AF_VSOCK": "EAFNOSUPPORT",
        "socket AF_ALG SOCK_SEQPACKET": "EAFNOSUPPORT",
        "socket AF_PACKET SOCK_RAW": "EAFNOSUPPORT",
        "pair AF_UNIX SOCK_DGRAM": "EAFNOSUPPORT",
        "pair AF_TIPC SOCK_STREAM": "EAFNOSUPPORT",
        "pair AF_UNIX SOCK_STREAM": "ok",
        "pair AF_UNIX SOCK_SEQPACKET": "ok",
        "ring": "ENOSYS",
        "execute /bin/echo": "spoke 0 True",
        "read /etc/passwd": "ok",
    }

    assert ([], expected) == boxed(NONE, expected, way=way)


@EVERY_WAY
def test_a_loopback_of_ones_own_reaches_nothing_of_the_host(way: Way, host: dict[str, str]) -> None:
    """It works, and is another one than the host's."""
    expected = {
        host["tcp"]: "ECONNREFUSED",
        host["abstract"]: "ECONNREFUSED",
        "meet": "ok",
        "interfaces": "lo",
        "socket AF_UNIX": "ok",
        "socket AF_INET6": "ok",
        "socket AF_NETLINK SOCK_RAW": "ok",
        "socket AF_VSOCK": "EAFNOSUPPORT",
        "socket AF_PACKET SOCK_RAW": "EAFNOSUPPORT",
        "ring": "ENOSYS",
        "capabilities": "0",
        "execute /bin/echo": "spoke 0 True",
    }

    assert ([], expected) == boxed(LOOPBACK, expected, way=way)


@needs_scopes
@EVERY_WAY
def test_abstract_sockets_of_the_host_are_out_of_reach(way: Way, host: dict[str, str]) -> None:
    """In any sandbox, also one that leaves it the network."""
    expected = {host["abstract"]: "EPERM", host["tcp"]: "ok", host["unix"]: "ok"}

    assert ([], expected) == boxed(Sandbox(minimal_devices=True), expected, way=way)


@pytest.mark.parametrize("wanted", ANY)
@NOT_AS_ROOT
def test_other_processes_of_the_user_are_out_of_reach(way: Way, wanted: str) -> None:
    """They cannot be traced or read, whatever the sandbox is about."""
    with bystander(way) as pid:
        attempts = [f"trace {pid}", f"read /proc/{pid}/mem", f"read /proc/{pid}/environ"]
        control = boxed(None, attempts[-1:], way=way).results
        seen = boxed(ANY[wanted], attempts, way=way)

    assert {attempts[-1]: "ok"} == control  # tracing may be denied by the host too (ptrace_scope)
    assert ([], dict(zip(attempts, ["EPERM", "EACCES", "EACCES"], strict=True))) == seen


@needs_scopes
@EVERY_WAY
def test_other_processes_of_the_user_get_no_signal(way: Way) -> None:
    """Not even the one that only asks whether they are there."""
    with bystander(way) as pid:
        attempt = f"signal {pid}"

        assert {attempt: "ok"} == boxed(None, [attempt], way=way).results
        for wanted in (NONE, Sandbox(read=())):
            assert ([], {attempt: "EPERM"}) == boxed(wanted, [attempt], way=way)


@pytest.mark.parametrize("wanted", ANY)
@EVERY_WAY
def test_nothing_can_be_mounted_or_left_from_inside(way: Way, wanted: str) -> None:
    """No capability is left, and those of a further user namespace open nothing."""
    expected = {
        "capabilities": "0",
        "mount": "EPERM",
        "unshare": "EPERM",
        "unmount /tmp": "EPERM",
        "nested mount": "EPERM",
    }

    assert ([], expected) == boxed(ANY[wanted], expected, way=way)


@EVERY_WAY
def test_everything_together(way: Way, files: Path) -> None:
    """One sandbox of all there is, in which a program still runs."""
    wanted = Sandbox(("/etc",), ("/var/lib",), NetworkAccess.LOOPBACK, private_tmp=True, minimal_devices=True)
    expected = {
        "execute /bin/echo": "spoke 0 True",
        "read /etc/passwd": "ok",
        "write /etc/hostname": "EACCES",
        "create /tmp/new": "ok",
        "create /var/tmp/new": "ok",
        f"read {files}/other/file": "ENOENT",
        "list /home": "EACCES",
        "meet": "ok",
        "capabilities": "0",
    }

    assert ([], expected) == boxed(wanted, expected, way=way)


def test_without_new_privileges_forbidden_nothing_is_given() -> None:
    """The kernel then refuses both, and no wish is taken for fulfilled."""
    patch = "confine.forbid_new_privileges = lambda: None"
    wanted = Sandbox(read=(), write=(), network=NetworkAccess.NONE, minimal_devices=True)
    missing, results = boxed(wanted, ["read /etc/passwd"], patch=patch)

    assert [
        *(
            f"{what}: Landlock cannot be had here (Operation not permitted)"
            for what in (
                "read",
                "write",
                "devices: minimal",
                "sandbox: other processes of the user can be traced",
            )
        ),
        "network: none: Permission denied",
    ] == missing
    assert {"read /etc/passwd": "ok"} == results


def test_a_kernel_without_landlock_gives_no_sandbox_at_all() -> None:
    """A command without a network could otherwise use one through a process it traces."""
    patch = "sandbox.landlock._CREATE_RULESET = 999"
    why = "Landlock cannot be had here (Function not implemented)"

    assert [f"{TRACED}: {why}"] == boxed(NONE, [], patch=patch).missing


def test_a_kernel_that_cannot_keep_files_from_being_truncated_is_said() -> None:
    """What it can is entered all the same."""
    patch = "sandbox.landlock.version = lambda: 2"
    attempts = {"read /etc/passwd": "EACCES"}

    assert (
        ["read, write: the kernel's Landlock (ABI 2) cannot keep files from being truncated"],
        attempts,
    ) == boxed(Sandbox(read=()), attempts, patch=patch)
    assert [] == boxed(NONE, [], patch=patch).missing


def test_a_machine_whose_system_calls_are_unknown_denies_none_of_them() -> None:
    """And says so."""
    patch = "import platform; platform.machine = lambda: 'vax'"

    assert ["network: none: not supported on 'vax'"] == boxed(NONE, [], patch=patch).missing
