"""What a process denies itself. System calls that Python does not offer live here, by ctypes.

What a process denies itself is one-way: it can be taken, never given back, and is inherited.
"""

import contextlib
import ctypes
import errno
import itertools
import os
import platform
import resource
import signal
import socket
import struct
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rexecd.errors import ConfigError

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_DROP: Final = 24
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_SECCOMP_RET_ALLOW: Final = 0x7FFF0000
_SECCOMP_RET_ERRNO: Final = 0x00050000

# Classic BPF as seccomp(2) takes it: load a word, mask it, compare and jump, return.
_LOAD: Final = 0x20
_MASK: Final = 0x54
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_OFFSET_OF_NUMBER: Final = 0
_OFFSET_OF_ARCHITECTURE: Final = 4
#: Of the lower half of argument 0, which is all of it for an `int`; 8 bytes each, little-endian.
_OFFSET_OF_ARGUMENTS: Final = 16
_ALLOW: Final = (_RETURN, 0, 0, _SECCOMP_RET_ALLOW)

#: `_LINUX_CAPABILITY_VERSION_3` of capset(2): two triples of effective, permitted, inheritable.
_CAPABILITY_VERSION: Final = 0x20080522
_CAPABILITIES: Final = struct.Struct("=6I")

#: The same number on every architecture, as of all system calls since Linux 5.1.
_IO_URING_SETUP: Final = 425
#: The rest of a socket's type are flags (socket(2)).
_TYPE_OF_SOCKET: Final = 0xF

#: x86-64 numbers its x32 system calls from here; they would go round the comparison.
_X32_BIT: Final = 0x40000000


class _Machine(NamedTuple):
    """The kernel's numbers on one architecture (AUDIT_ARCH_*, __NR_*)."""

    architecture: int
    seccomp: int
    execve: int
    execveat: int
    socket: int
    socketpair: int


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 317, 59, 322, 41, 53),
    "aarch64": _Machine(0xC00000B7, 277, 221, 281, 198, 199),
    "riscv64": _Machine(0xC00000F3, 277, 221, 281, 198, 199),
}


class _Argument(NamedTuple):
    """What one argument of a system call may be, as far as `mask` goes."""

    position: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


class _Denial(NamedTuple):
    """A system call that fails, unless there are arguments here and each is as it may be."""

    number: int
    error: int = errno.EPERM
    unless: tuple[_Argument, ...] = ()


#: (operation, jumps if true, jumps if false, operand), jumps counted from the next row.
_Row = tuple[int, int, int, int]

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def deny_exec() -> None:
    """Make execve and execveat fail with EPERM in every thread of this process, for good.

    Raise ConfigError where the kernel cannot give it: the exposed process does not start
    unconfined.
    """
    try:
        machine = _machine()
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _install(machine, _Denial(machine.execve), _Denial(machine.execveat))
    except OSError as error:
        raise ConfigError(f"the gateway cannot deny itself exec: {error.strerror}") from None


def deny_sockets(*, but: tuple[int, ...] = ()) -> None:
    """Make socket(2) fail for every family `but` these, for good; raise OSError.

    Pairs that are connected to each other stay (socketpair(2)). io_uring fails too: it makes sockets
    that no filter sees. New privileges have to be forbidden before.
    """
    machine = _machine()
    _install(machine, *_socket_denials(machine, but))


def _socket_denials(machine: _Machine, but: tuple[int, ...]) -> list[_Denial]:
    pair = [_Argument(0, (socket.AF_UNIX,))]
    if socket.AF_UNIX not in but:
        # Either end of a pair of datagram sockets could send to any other by its name.
        pair.append(_Argument(1, (socket.SOCK_STREAM, socket.SOCK_SEQPACKET), _TYPE_OF_SOCKET))
    return [
        _Denial(machine.socket, errno.EAFNOSUPPORT, (_Argument(0, but),)),
        _Denial(machine.socketpair, errno.EAFNOSUPPORT, tuple(pair)),
        _Denial(_IO_URING_SETUP, errno.ENOSYS),
    ]


def _machine() -> _Machine:
    """Return the numbers of this machine; raise OSError if we do not know them."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(errno.ENOSYS, f"not supported on {platform.machine()!r}")
    return machine


def _install(machine: _Machine, *denials: _Denial) -> None:
    """Put a filter before every system call of every thread of this process; raise OSError."""
    code = _assemble(machine, denials)
    program = _Program(len(code) // 8, code)
    thread = _check(
        _libc.syscall(
            ctypes.c_long(machine.seccomp),
            ctypes.c_ulong(_SECCOMP_SET_MODE_FILTER),
            ctypes.c_ulong(_SECCOMP_FILTER_FLAG_TSYNC),
            ctypes.byref(program),
        )
    )
    if thread:
        raise OSError(errno.EBUSY, f"thread {thread} is in the way")


def _assemble(machine: _Machine, denials: Sequence[_Denial]) -> bytes:
    """Return the filter: a foreign architecture and x32 get EPERM, what is denied its error."""
    is_x86 = machine.seccomp == _MACHINES["x86_64"].seccomp
    refuse = _refuse(errno.EPERM)
    rows: list[_Row] = [
        (_LOAD, 0, 0, _OFFSET_OF_ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, machine.architecture),
        refuse,
        (_LOAD, 0, 0, _OFFSET_OF_NUMBER),
        (_JUMP_IF_AT_LEAST, 0, 1, _X32_BIT if is_x86 else 0xFFFFFFFF),
        refuse,
    ]
    for denial in denials:
        verdict = _verdict(denial)
        rows += [(_JUMP_IF_EQUAL, 0, len(verdict), denial.number), *verdict]
    return b"".join(struct.pack("=HBBI", *row) for row in (*rows, _ALLOW))


def _verdict(denial: _Denial) -> list[_Row]:
    """Return the rows that decide about one system call; each way through them ends in a return."""
    refuse = _refuse(denial.error)
    rows: list[_Row] = []
    for argument in denial.unless:
        rows += [(_LOAD, 0, 0, _OFFSET_OF_ARGUMENTS + 8 * argument.position), (_MASK, 0, 0, argument.mask)]
        left = len(argument.values)
        rows += [(_JUMP_IF_EQUAL, left - at, 0, value) for at, value in enumerate(argument.values)]
        rows.append(refuse)
    return [*rows, _ALLOW if denial.unless else refuse]


def _refuse(error: int) -> _Row:
    return (_RETURN, 0, 0, _SECCOMP_RET_ERRNO | error)


def effective_capabilities() -> int:
    """Return what this thread may do now, a bit for each capability(7); raise OSError."""
    sets = ctypes.create_string_buffer(_CAPABILITIES.size)
    _check(_libc.capget(struct.pack("=Ii", _CAPABILITY_VERSION, 0), sets))
    low, _, _, high, _, _ = _CAPABILITIES.unpack(sets.raw)
    return int(low | high << 32)


def drop_bounding(*, but: Collection[int] = ()) -> None:
    """Empty the bounding set of this thread's capabilities `but` for these; raise OSError.

    CAP_SETPCAP is needed.
    """
    for capability in itertools.count():
        try:
            if capability not in but:
                _check(_libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0))
        except OSError as error:
            if capability and error.errno == errno.EINVAL:  # there are no more
                return
            raise


def drop_capabilities() -> None:
    """Empty every set of this thread's capabilities, the ambient one with them; raise OSError.

    With no new privileges allowed no program it starts gets one again, not even as uid 0
    (capabilities(7), execve(2)).
    """
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, _CAPABILITIES.pack(*6 * (0,))))


def become(uid: int, gid: int, groups: Sequence[int], *, keep: Collection[int] = ()) -> None:
    """Take every id of another user for good, with no capability but `keep`; raise OSError.

    These are inherited by the programs that are started from here, as a unit's ambient ones are. Only
    for a process of one thread.
    """
    with contextlib.suppress(OSError):  # without CAP_SETPCAP they stay in bounds, and out of reach
        drop_bounding(but=keep)
    _check(_libc.prctl(_PR_SET_KEEPCAPS, ctypes.c_ulong(1), 0, 0, 0))
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    kept = sum(1 << capability for capability in keep)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    _check(_libc.capset(header, _CAPABILITIES.pack(low, low, low, high, high, high)))
    for capability in keep:
        number = (ctypes.c_ulong(_PR_CAP_AMBIENT_RAISE), ctypes.c_ulong(capability))
        _check(_libc.prctl(_PR_CAP_AMBIENT, *number, 0, 0))


def forbid_new_privileges() -> None:
    """Let no program that is started from here on gain anything by setuid bits or file capabilities."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(*, dumpable: bool) -> None:
    """Say whether this process's memory, and files of it in /proc, are its user's; raise ConfigError."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one, and from core files.

    Not dumpable means: no ptrace and no /proc/PID/mem for anyone without CAP_SYS_PTRACE.
    """
    set_dumpable(dumpable=False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (a child subreaper, prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def wake_with_parent() -> None:
    """Be continued, if stopped, when our parent ends; a change of identity takes that back."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def children() -> set[int]:
    """Return this process's children, those adopted included (proc_pid_children(5))."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has just ended
            found.update(map(int, task.joinpath("children").read_text(encoding="ascii").split()))
    return found


def leave_orphans() -> None:
    """Undo `adopt_orphans`; who was adopted stays so."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 0)


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


def unshare(kinds: int) -> None:
    """Enter new namespaces, CLONE_NEW*; raise OSError. Only for a process of one thread."""
    _check(_libc.unshare(ctypes.c_int(kinds)))


def mount(source: str, target: str, kind: str, *, flags: int, options: str = "") -> None:
    """Mount a file system; raise OSError with the target."""
    texts = (os.fsencode(text) for text in (source, target, kind))
    if _libc.mount(*texts, ctypes.c_ulong(flags), os.fsencode(options)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def system_call(number: int, *arguments: int | bytes | None) -> int:
    """Return what a system call returns for which libc has no name; raise OSError."""
    given = (each if isinstance(each, bytes | None) else ctypes.c_long(each) for each in arguments)
    return _check(_libc.syscall(ctypes.c_long(number), *given))


def _check(result: int) -> int:
    """Return what a system call has returned; raise OSError if it has failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise ConfigError(f"prctl({option}): {os.strerror(ctypes.get_errno())}")
