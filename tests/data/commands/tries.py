"""Try what the words of the argument say (`read:/etc/shadow kill:1`) and say as JSON what came of each.

What came is `ok`, what was found out, or the name of the error.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable

PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def read(path: str) -> None:
    """Open a file and read a byte of it."""
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, 1)


def write(path: str) -> None:
    """Open a file for writing at its end."""
    os.open(path, os.O_WRONLY | os.O_APPEND)


def create(path: str) -> None:
    """Make a new file."""
    os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def count(path: str) -> int:
    """Say how many entries a directory has."""
    return len(os.listdir(path))


def memory(pid: str) -> None:
    """Read a byte of what a process has mapped."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        mem.seek(int(maps.readline().partition("-")[0], 16))
        mem.read(1)


def trace(pid: str) -> None:
    """Attach to a process as a debugger."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, int(pid), None, None):
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(int(pid), 0)
    libc.ptrace(PTRACE_DETACH, int(pid), None, None)


def send(number: "signal.Signals", pid: str) -> None:
    """Send a signal to a process; but not to the worker that keeps this one."""
    if int(pid) != os.getppid():
        os.kill(int(pid), number)


def connect(path: str) -> None:
    """Connect to a packet socket of the file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(path)


def tcp(port: str) -> None:
    """Connect to a port of 127.0.0.1."""
    socket.create_connection(("127.0.0.1", int(port)), 5).close()


def meet(_: str) -> None:
    """Connect to oneself over the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        tcp(str(server.getsockname()[1]))


TRIES: "dict[str, Callable[[str], object]]" = {
    "read": read,
    "write": write,
    "create": create,
    "count": count,
    "link": os.readlink,
    "memory": memory,
    "trace": trace,
    "signal": lambda pid: os.kill(int(pid), 0),
    "kill": lambda pid: send(signal.SIGKILL, pid),
    "stop": lambda pid: send(signal.SIGSTOP, pid),
    "connect": connect,
    "tcp": tcp,
    "meet": meet,
    "become": lambda uid: os.setuid(int(uid)),
    "worker": lambda how: TRIES[how](str(os.getppid())),
}


def attempt(what: str) -> "int | str":
    """Return what came of one try."""
    verb, _, rest = what.partition(":")
    try:
        found = TRIES[verb](rest)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return found if isinstance(found, int) else "ok"


signal.alarm(15)
json.dump({what: attempt(what) for what in sys.argv[1].split()}, sys.stdout)
