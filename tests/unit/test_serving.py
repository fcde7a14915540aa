"""Threads with edges: bounded, stoppable, and nothing escapes them."""

import errno
import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rexecd.serving import BoundedThreadingServer, Stop


class _Server(BoundedThreadingServer):
    """Serves nothing until it is let."""

    def __init__(self, most: int) -> None:
        super().__init__(
            socket.create_server(("127.0.0.1", 0)), socketserver.BaseRequestHandler, most=most, stop=Stop()
        )
        self.shed_why: list[str] = []
        self.fail: Exception | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Wait for the stop, or fail."""
        if self.fail is not None:
            token = "rxt_in_a_local"  # noqa: F841 - a handler's locals may hold one
            raise self.fail
        self.stop.wait(10)

    def shed(self, request: Any, client_address: Any, why: str) -> None:
        """Remember who got no thread."""
        super().shed(request, client_address, why)
        self.shed_why.append(why)


@pytest.fixture
def server() -> Iterator[_Server]:
    """Give a server of two places, running."""
    made = _Server(2)
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made
    if made.fileno() >= 0:
        made.stop_and_wait(5)


def _call(server: _Server) -> socket.socket:
    return socket.create_connection(server.socket.getsockname(), timeout=10)


def _until(question: Any) -> None:
    deadline = time.monotonic() + 10
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_server_opens_no_socket_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCPServer.__init__ would, even when it is told not to bind: a locked-down unit forbids it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError("socket")

    with listener, monkeypatch.context() as patch:
        patch.setattr(socket, "socket", forbidden)
        made = BoundedThreadingServer(listener, socketserver.BaseRequestHandler, most=1, stop=Stop())

        assert made.fileno() == listener.fileno()
        assert made.server_address == listener.getsockname()


def test_a_surplus_connection_is_closed_and_a_free_place_is_used_again(server: _Server) -> None:
    """The bound is on threads that exist, not on those there ever were."""
    first, second = _call(server), _call(server)
    _until(lambda: server.active == 2)
    with _call(server) as third:
        assert third.recv(1) == b""
    server.fail = RuntimeError("end")
    server.stop.set()
    _until(lambda: server.active == 0)
    first.close()
    second.close()

    assert server.shed_why == ["2 connections are open"]


def test_a_machine_without_threads_sheds_and_gives_the_place_back(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thread.start raises; the accept loop goes on and a stop is still clean."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with _call(server) as caller:
        assert caller.recv(1) == b""
    monkeypatch.undo()
    with _call(server):
        _until(lambda: server.active == 1)

        assert server.shed_why == ["can't start new thread"]
        assert server.stop_and_wait(5)


def test_what_escapes_a_handler_is_one_line_without_values(
    server: _Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """Type and places, never the message or the locals: they could hold a token."""
    server.fail = KeyError("rxt_in_the_message")
    with _call(server) as caller:
        assert caller.recv(1) == b""
    _until(lambda: server.active == 0)
    said = capfd.readouterr().err

    assert said.startswith("rexecd: fault: KeyError at ")
    assert len(said.splitlines()) == 1
    assert "rxt_" not in said


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_machine_without_descriptors_makes_accept_rest_and_not_spin(
    server: _Server, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It neither dies nor burns the processor, and serves again by itself."""
    tries: list[float] = []
    accept = socket.socket.accept

    def exhausted(sock: socket.socket) -> Any:
        tries.append(time.monotonic())
        if len(tries) < 5:
            raise OSError(number, os.strerror(number))
        return accept(sock)

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    with _call(server):
        _until(lambda: server.active == 1)

    assert tries[4] - tries[0] > 4 * 0.04


def test_one_stop_wakes_every_poll_now_and_later() -> None:
    """It is never read, so it stays readable."""
    stop = Stop()
    poller = select.poll()
    poller.register(stop, select.POLLIN)

    assert not stop.wait(0)
    stop.set()
    assert stop.wait(10)
    assert len(poller.poll(0)) == len(poller.poll(0)) == 1


def test_signals_wake_the_main_thread_and_say_which_they_were() -> None:
    """In a process of its own, since signals are the whole process's."""
    program = (
        "import os, signal; from rexecd.serving import Signals;"
        "s = Signals([signal.SIGTERM, signal.SIGHUP]); os.kill(os.getpid(), signal.SIGHUP);"
        "print(s.wait()); r, w = os.pipe(); os.close(w); print(s.wait(r)[1] == [r], s.wait(seconds=0))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == f"([{int(signal.SIGHUP)}], [])\nTrue ([], [])\n"
