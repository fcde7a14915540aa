"""What a process denies itself. System calls that Python does not offer live here, by ctypes.

What a process denies itself is one-way: it can be taken, never given back, and is inherited.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from typing import Final, NamedTuple

from rexecd.errors import ConfigError

_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_SECCOMP_RET_ALLOW: Final = 0x7FFF0000
_SECCOMP_RET_ERRNO: Final = 0x00050000

# Classic BPF as seccomp(2) takes it: load a word, compare and jump, return.
_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_OFFSET_OF_NUMBER: Final = 0
_OFFSET_OF_ARCHITECTURE: Final = 4

#: `_LINUX_CAPABILITY_VERSION_3` of capset(2): two triples of effective, permitted, inheritable.
_CAPABILITY_VERSION: Final = 0x20080522
_CAPABILITIES: Final = struct.Struct("=6I")

#: x86-64 numbers its x32 system calls from here; they would go round the comparison.
_X32_BIT: Final = 0x40000000


class _Machine(NamedTuple):
    """The kernel's numbers on one architecture (AUDIT_ARCH_*, __NR_*)."""

    architecture: int
    seccomp: int
    execve: int
    execveat: int


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 317, 59, 322),
    "aarch64": _Machine(0xC00000B7, 277, 221, 281),
    "riscv64": _Machine(0xC00000F3, 277, 221, 281),
}

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def deny_exec() -> None:
    """Make execve and execveat fail with EPERM in every thread of this process, for good.

    Raise ConfigError where the kernel cannot give it: the exposed process does not start
    unconfined.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise ConfigError(f"the gateway cannot deny itself exec on {platform.machine()!r}: not supported")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    code = _exec_filter(machine)
    program = _Program(len(code) // 8, code)
    result = _libc.syscall(
        ctypes.c_long(machine.seccomp),
        ctypes.c_ulong(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_ulong(_SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.byref(program),
    )
    if result:
        reason = os.strerror(ctypes.get_errno()) if result < 0 else f"thread {result} is in the way"
        raise ConfigError(f"the gateway cannot deny itself exec: {reason}")


def _exec_filter(machine: _Machine) -> bytes:
    """Return the filter: a foreign architecture, x32, execve and execveat get EPERM."""
    x86 = machine.seccomp == _MACHINES["x86_64"].seccomp
    # (operation, jumps if true, jumps if false, operand); DENY is the last instruction.
    rows = [
        (_LOAD, 0, 0, _OFFSET_OF_ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 5, machine.architecture),
        (_LOAD, 0, 0, _OFFSET_OF_NUMBER),
        (_JUMP_IF_AT_LEAST, 3, 0, _X32_BIT if x86 else 0xFFFFFFFF),
        (_JUMP_IF_EQUAL, 2, 0, machine.execve),
        (_JUMP_IF_EQUAL, 1, 0, machine.execveat),
        (_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
        (_RETURN, 0, 0, _SECCOMP_RET_ERRNO | errno.EPERM),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def drop_inheritable() -> None:
    """Empty this thread's inheritable capabilities, and so its ambient ones; raise OSError.

    A program started as somebody else would get them. This process itself loses nothing.
    """
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    sets = ctypes.create_string_buffer(_CAPABILITIES.size)
    _check(_libc.capget(header, sets))
    low, high = struct.iter_unpack("=3I", sets.raw)
    _check(_libc.capset(header, _CAPABILITIES.pack(*low[:2], 0, *high[:2], 0)))


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one, and from core files.

    Not dumpable means: no ptrace and no /proc/PID/mem for anyone without CAP_SYS_PTRACE.
    """
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (a child subreaper, prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def restore_signals() -> None:
    """Undo ignored and blocked signals this process was started with (nohup, a shell's `&`).

    Commands inherit both, and a command that cannot be interrupted is not what anyone asked for.
    SIGPIPE and SIGXFSZ stay ignored here; `subprocess` restores them in every child.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals():
        if number not in (signal.SIGPIPE, signal.SIGXFSZ) and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def raise_descriptor_limit(needed: int, *, what: str) -> None:
    """Lift the soft limit of open files as far as needed; raise ConfigError if that cannot be.

    Not further: commands inherit it, and some programs walk through every possible descriptor.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            f"{what} needs {needed} open files and the limit is {hard}: raise LimitNOFILE or lower it"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))


def _check(result: int) -> None:
    """Raise OSError if a system call has failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise ConfigError(f"prctl({option}): {os.strerror(ctypes.get_errno())}")
