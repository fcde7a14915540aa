"""What is tried from inside of a sandbox, by a process that enters it as a worker does.

It is a process of its own: what it enters it never leaves. It loads as little as it can.
"""

import ctypes
import enum
import errno
import json
import os
import pickle
import signal
import socket
from collections.abc import Callable
from typing import Final

from rexecd import confine
from rexecd.execution import sandbox
from rexecd.policy.bounds import Sandbox

STRANGER: Final = 12345
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_libc: Final = ctypes.CDLL(None, use_errno=True)
#: Descriptors that a worker opens before it enters its sandbox.
_kept: Final[dict[str, int]] = {}


class Way(enum.Enum):
    """How a worker comes to its sandbox."""

    #: It is root, and stays root without capabilities.
    ROOT = "root"
    #: It is root, and becomes somebody between the two steps.
    BECOME = "become"
    #: It has never had a privilege.
    USER = "user"

    @property
    def uid(self) -> int:
        """Return who it is in the end."""
        return STRANGER if os.geteuid() == 0 and self is not Way.ROOT else os.geteuid()


def _open(flags: int) -> Callable[[str], None]:
    return lambda path: os.close(os.open(path, flags, 0o666))


def _execute(program: str) -> str:
    """Start a program as a worker does, and see it to its end."""
    read, write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write, 1)]
    pid = os.posix_spawn(program, [program, "spoke"], {}, file_actions=actions, setsid=True)
    os.close(write)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = str(pid) in os.pread(_kept["children"], 4096, 0).decode().split()
    _, status = os.waitpid(pid, 0)
    return f"{os.read(read, 100).decode().strip()} {os.waitstatus_to_exitcode(status)} {found}".strip()


def _make_socket(family: str, kind: str = "SOCK_STREAM") -> None:
    socket.socket(getattr(socket, family), getattr(socket, kind)).close()


def _make_pair(family: str, kind: str) -> None:
    for end in socket.socketpair(getattr(socket, family), getattr(socket, kind)):
        end.close()


def _connect_tcp(port: str) -> None:
    with socket.socket() as sock:  # a name would be looked up by modules not loaded yet
        sock.settimeout(5)
        sock.connect(("127.0.0.1", int(port)))


def _send_udp(port: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", ("127.0.0.1", int(port)))


def _connect_unix(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(name.replace("@", "\0"))


def _whisper(name: str) -> None:
    """Reach a named socket from one end of a pair."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ends[0].sendto(b"hello", name)


def _meet() -> None:
    """Connect to oneself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        _connect_tcp(str(server.getsockname()[1]))


def _trace(pid: str) -> None:
    if _libc.ptrace(_PTRACE_ATTACH, int(pid), None, None):
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(int(pid), 0)
    _libc.ptrace(_PTRACE_DETACH, int(pid), None, None)


def _unmount(path: str) -> None:
    if _libc.umount2(path.encode(), 0):
        raise OSError(ctypes.get_errno(), "umount2")


def _nested(*what: str) -> str:
    """Do something with all the power that a user namespace of one's own gives."""
    if (pid := os.fork()) == 0:
        try:
            confine.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWNET)
            _VERBS[what[0]](*what[1:])
        except OSError as error:
            os._exit(error.errno or 0)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return errno.errorcode[code] if code else "ok"


_VERBS: Final[dict[str, Callable[..., object]]] = {
    "read": _open(os.O_RDONLY),
    "write": _open(os.O_WRONLY),
    "create": _open(os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "truncate": lambda path: os.truncate(path, 0),
    "list": lambda path: " ".join(sorted(os.listdir(path))),
    "remove": os.unlink,
    "rename": os.rename,
    "link": os.link,
    "mkdir": os.mkdir,
    "mode": lambda path: f"{os.stat(path).st_mode & 0o7777:o}",
    "execute": _execute,
    "socket": _make_socket,
    "pair": _make_pair,
    "tcp": _connect_tcp,
    "udp": _send_udp,
    "unix": _connect_unix,
    "whisper": _whisper,
    "meet": _meet,
    "interfaces": lambda: " ".join(name for _, name in socket.if_nameindex()),
    "signal": lambda pid: os.kill(int(pid), 0),
    "trace": _trace,
    "ring": lambda: confine.system_call(425, 0, None) and None,
    "mount": lambda: confine.mount("tmpfs", "/mnt", "tmpfs", flags=0),
    "unmount": _unmount,
    "unshare": lambda: confine.unshare(_CLONE_NEWNS),
    "nested": _nested,
    "capabilities": lambda: str(confine.effective_capabilities()),
    "dumpable": lambda: str(_libc.prctl(3, 0, 0, 0, 0)),
    "ids": lambda: f"{os.getuid()}:{os.getgid()}",
    "here": os.getcwd,
}


def _become(uid: int) -> None:
    if os.geteuid() == 0 and uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    confine.drop_capabilities()


def _enter(wanted: Sandbox | None, way: Way) -> list[str]:
    """Do as a worker does."""
    _kept["children"] = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
    confine.forbid_new_privileges()
    uid = way.uid
    if way is Way.USER:
        _become(uid)
    missing = [] if wanted is None else sandbox.before(wanted)
    if way is not Way.USER:
        _become(uid)
    return missing if wanted is None else missing + sandbox.after(wanted)


def _attempt(words: str) -> str:
    verb, *arguments = words.split()
    try:
        result = _VERBS[verb](*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok" if result is None else str(result)


def main(told: bytes) -> None:
    """Enter a sandbox, make the attempts and say what came of them."""
    signal.alarm(45)
    wanted, way, attempts, patch = pickle.loads(told)
    exec(patch, globals())
    missing = _enter(wanted, way)
    print(json.dumps([missing, {each: _attempt(each) for each in attempts}]))
