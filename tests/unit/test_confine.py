"""What a process denies itself, seen from inside and by the kernel."""

import errno
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys

import pytest

from rexecd import confine
from rexecd.errors import ConfigError


def _run(program: str) -> str:
    """Run Python in a process of its own, since all of this is for good."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


def test_exec_is_denied_in_every_thread_also_those_that_were_there_before() -> None:
    """The filter is synchronised to all threads, and new ones inherit it."""
    program = """
import os, threading
from rexecd.confine import deny_exec
go = threading.Event()
def attempt():
    go.wait()
    try:
        os.execv("/bin/true", ["true"])
    except OSError as error:
        print(error.strerror, flush=True)
early = threading.Thread(target=attempt); early.start()
deny_exec(); go.set(); early.join()
late = threading.Thread(target=attempt); late.start(); late.join()
if (child := os.fork()) == 0:
    attempt(); os._exit(0)
os.waitpid(child, 0)
"""

    assert _run(program).splitlines() == ["Operation not permitted"] * 3


def test_an_unknown_machine_does_not_start_unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail closed."""
    monkeypatch.setattr(platform, "machine", lambda: "vax")

    with pytest.raises(ConfigError, match="cannot deny itself exec: not supported on 'vax'"):
        confine.deny_exec()


class Filter:
    """A program for seccomp(2), interpreted here, so that each architecture can be asked."""

    def __init__(self, machine: str, *denials: confine._Denial) -> None:
        facts = confine._MACHINES[machine]
        code = confine._assemble(facts, denials)
        self._rows = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
        self._here = facts.architecture

    def error(self, number: int, *arguments: int, foreign: bool = False) -> int:
        """Return the errno a system call fails with; 0 if it is let through."""
        given = (*arguments, *(6 - len(arguments)) * (0,))
        call = struct.pack("=IIQ6Q", number, self._here ^ foreign, 0, *given)
        at, word = 0, 0
        while True:
            operation, if_true, if_false, operand = self._rows[at]
            at += 1
            match operation:
                case confine._LOAD:
                    (word,) = struct.unpack_from("=I", call, operand)
                case confine._MASK:
                    word &= operand
                case confine._JUMP_IF_EQUAL:
                    at += if_true if word == operand else if_false
                case confine._JUMP_IF_AT_LEAST:
                    at += if_true if word >= operand else if_false
                case confine._RETURN:
                    return 0 if operand == confine._SECCOMP_RET_ALLOW else operand & 0xFFFF
                case _:
                    pytest.fail(f"operation {operation:#x}")


EVERY_MACHINE = pytest.mark.parametrize("machine", sorted(confine._MACHINES))


@EVERY_MACHINE
def test_of_all_system_calls_two_start_a_program(machine: str) -> None:
    """Each architecture is asked here; calls of foreign ones and of x32 go round no comparison."""
    facts = confine._MACHINES[machine]
    asked = Filter(machine, confine._Denial(facts.execve), confine._Denial(facts.execveat))
    denied = [number for number in range(470) if asked.error(number)]

    assert sorted([facts.execve, facts.execveat]) == denied
    assert errno.EPERM == asked.error(facts.execve) == asked.error(0, foreign=True)
    if machine == "x86_64":
        assert errno.EPERM == asked.error(confine._X32_BIT + 520) == asked.error(confine._X32_BIT)


LEFT: dict[str, tuple[int, ...]] = {
    "nothing": (),
    "no local ones": (socket.AF_INET, socket.AF_NETLINK),
    "local ones": (socket.AF_UNIX, socket.AF_INET6),
}


@pytest.mark.parametrize("left", LEFT)
@EVERY_MACHINE
def test_sockets_are_denied_but_for_families_that_are_left(machine: str, left: str) -> None:
    """Whatever the upper half of an argument says, which the kernel ignores; and no ring makes one."""
    facts = confine._MACHINES[machine]
    asked = Filter(machine, *confine._socket_denials(facts, LEFT[left]))
    for upper in (0, 1 << 32, 0xFFFFFFFF << 32):
        allowed = {each for each in range(50) if not asked.error(facts.socket, each | upper)}

        assert set(LEFT[left]) == allowed
    assert errno.EAFNOSUPPORT == asked.error(facts.socket, socket.AF_VSOCK)
    assert errno.ENOSYS == asked.error(425)


@pytest.mark.parametrize("left", LEFT)
@EVERY_MACHINE
def test_a_pair_of_sockets_reaches_its_other_end_only(machine: str, left: str) -> None:
    """Where local sockets are denied it must be connected for good; flags of its type do not matter."""
    facts = confine._MACHINES[machine]
    asked = Filter(machine, *confine._socket_denials(facts, LEFT[left]))
    connected = {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}
    loose = {socket.SOCK_DGRAM, socket.SOCK_RAW}
    for flags in (0, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK):
        denied = {
            each for each in connected | loose if asked.error(facts.socketpair, socket.AF_UNIX, each | flags)
        }

        assert (set() if left == "local ones" else loose) == denied
    for family in set(range(50)) - {socket.AF_UNIX}:
        assert errno.EAFNOSUPPORT == asked.error(facts.socketpair, family, socket.SOCK_STREAM)


def test_a_hidden_process_cannot_be_read_and_leaves_no_core() -> None:
    """Not dumpable: the kernel gives its memory to nobody without CAP_SYS_PTRACE."""
    program = """
import ctypes, resource
from rexecd.confine import hide_memory
hide_memory()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""

    assert _run(program) == "0 (0, 0)\n"


def test_ignored_and_blocked_signals_are_given_back() -> None:
    """What nohup and shells leave behind would otherwise reach every command."""
    program = """
import signal
from rexecd.confine import restore_signals
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
restore_signals()
print(signal.getsignal(signal.SIGHUP).name, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""

    assert _run(program) == "SIG_DFL set()\n"
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


def test_limits_that_cannot_fit_are_refused_at_start() -> None:
    """Who would run out of descriptors under load hears of it before."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    with pytest.raises(ConfigError, match="max_connections: 9 needs"):
        confine.raise_descriptor_limit(hard + 1, what="max_connections: 9")


def test_the_soft_limit_is_lifted_as_far_as_needed() -> None:
    """And no further: commands inherit it."""
    program = """
import resource
from rexecd.confine import raise_descriptor_limit
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
raise_descriptor_limit(65, what="x")
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (65, hard))
"""

    assert _run(program) == "True\n"


def test_a_memory_can_be_shown_for_a_moment() -> None:
    """Files of a hidden process in /proc are root's; some have to be written by ourselves."""
    program = """
import ctypes
from rexecd.confine import set_dumpable
get = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
set_dumpable(dumpable=False); print(get())
set_dumpable(dumpable=True); print(get())
"""

    assert _run(program).split() == ["0", "1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no capability")
@pytest.mark.root
def test_every_capability_is_given_up() -> None:
    """Those that could be had back by a program too; what may be done is told before and after."""
    program = """
import re
from rexecd import confine
def sets():
    return dict(re.findall(r"Cap(\\w+):\\s*(\\w+)", open("/proc/thread-self/status").read()))
before = sets()
print(confine.effective_capabilities() == int(before["Eff"], 16) > 0)
confine.drop_bounding()
print(sets() == before | {"Bnd": "0" * 16})
confine.drop_capabilities()
print(confine.effective_capabilities(), set(sets().values()))
"""

    assert _run(program).splitlines() == ["True", "True", f"0 {{'{'0' * 16}'}}"]


def test_no_program_gains_anything_from_here_on() -> None:
    """Setuid bits count for nothing."""
    program = """
from rexecd.confine import forbid_new_privileges
forbid_new_privileges()
print("NoNewPrivs:\\t1" in open("/proc/self/status").read())
"""

    assert _run(program) == "True\n"


def test_what_libc_cannot_do_says_why() -> None:
    """An error has its text and, where there is one, its place (434 is pidfd_open(2) everywhere)."""
    program = """
import os
from rexecd import confine
print(os.path.exists(f"/proc/self/fd/{confine.system_call(434, os.getpid(), 0)}"))
for call in (
    lambda: confine.system_call(999),
    lambda: confine.system_call(434, 0, 0),
    lambda: confine.mount("none", "/nowhere", "none", flags=0),
    lambda: confine.unshare(1),
    lambda: confine.drop_bounding(),
):
    try:
        call()
    except OSError as error:
        print(error.strerror, error.filename)
"""
    bounding = [] if os.geteuid() == 0 else ["Operation not permitted None"]

    errors = _run(program).splitlines()
    assert errors[:3] == ["True", "Function not implemented None", "Invalid argument None"]
    assert errors[3] in ("No such file or directory /nowhere", "Operation not permitted /nowhere")
    assert errors[4:] == ["Invalid argument None", *bounding]
