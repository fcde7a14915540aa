"""Sockets handed over by a service manager."""

import os
import socket
import subprocess
import sys

from rexecd.systemd import inherited_sockets


def test_without_a_service_manager_there_is_nothing() -> None:
    """And nothing is touched."""
    assert inherited_sockets({}) == []


def test_what_is_meant_for_another_process_is_not_taken() -> None:
    """LISTEN_PID has to be ours; the variables go either way, so that no child believes them."""
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "A": "b"}

    assert inherited_sockets(environment) == []
    assert environment == {"A": "b"}


def test_our_sockets_are_taken_close_on_exec() -> None:
    """In a process whose descriptor 3 is a listener."""
    program = """
import os, sys
from rexecd.systemd import inherited_sockets
os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
(sock,) = inherited_sockets(os.environ)
print(sock.getsockname()[1], os.get_inheritable(3), "LISTEN_FDS" in os.environ)
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = subprocess.run(
            [sys.executable, "-c", program, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            check=True,
        )
        port = listener.getsockname()[1]

    assert done.stdout == f"{port} False False\n"
