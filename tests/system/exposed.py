"""What the gateway's unit refuses, tried from inside it: prints what came of each attempt."""

import ctypes
import errno
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rexecd.confine import deny_exec

LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(LIBC, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _open(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def _create(path: str) -> None:
    Path(path).touch(exist_ok=False)


def _socket(family: int, kind: int = socket.SOCK_STREAM) -> None:
    socket.socket(family, kind).close()


def _listen() -> None:
    socket.create_server(("127.0.0.1", 0)).close()


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(path)


def _exec() -> None:
    deny_exec()
    os.execv(sys.executable, [sys.executable, "-c", "print('{}')"])


monitor = int(sys.argv[1])
ATTEMPTS: "dict[str, Callable[[], object]]" = {
    **{f"open {path}": partial(_open, path) for path in sys.argv[2].split()},
    **{f"create {path}": partial(_create, path) for path in sys.argv[3].split()},
    "list /": lambda: sorted(os.listdir("/")),
    "list processes": lambda: (
        [name for name in os.listdir("/proc") if name.isdecimal()] == [str(os.getpid())]
    ),
    "inet": lambda: _socket(socket.AF_INET),
    "inet6": lambda: _socket(socket.AF_INET6),
    "netlink": lambda: _socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "packet": lambda: _socket(socket.AF_PACKET, socket.SOCK_RAW),
    "vsock": lambda: _socket(socket.AF_VSOCK),
    "listen": _listen,
    "seam": lambda: _connect("/run/rexecd/seam.sock"),
    "admin": lambda: _connect("/run/rexecd/admin.sock"),
    "setuid": lambda: os.setuid(0),
    "setgroups": lambda: os.setgroups([0]),
    "signal the monitor": lambda: os.kill(monitor, 0),
    "trace": lambda: _call("ptrace", 16, monitor, None, None),
    "unshare": lambda: _call("unshare", 0x10000000),
    "mount": lambda: _call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "chroot": lambda: os.chroot("/tmp"),
    "keyring": lambda: _call("syscall", 250, 1, None),
    "code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, 1),
    "exec": _exec,
}


def _outcome(attempt: "Callable[[], object]") -> object:
    try:
        found = attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "ok" if found is None or isinstance(found, mmap.mmap) else found


print(json.dumps({name: _outcome(attempt) for name, attempt in ATTEMPTS.items()}), flush=True)
