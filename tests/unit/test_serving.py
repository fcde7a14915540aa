"""Threads with edges: bounded, stoppable, and nothing escapes them."""

import errno
import itertools
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

from rexecd.serving import BoundedThreadingServer, Signals, Stop


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

        assert made.socket is listener
        assert made.server_address == listener.getsockname()
        made.server_close()


@pytest.mark.parametrize("end", ["stop", "drain"])
def test_an_accept_loop_hears_of_its_end_at_once(end: str) -> None:
    """And not when it next looks, which is a minute away here."""
    made = _Server(1)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 60}, daemon=True)
    thread.start()
    with _call(made):
        _until(lambda: made.active == 1)  # it looks again
        begun = time.monotonic()
        if end == "stop":
            made.stop_and_wait(5)
        else:
            made.drain(_Signals(), seconds=0)
            made.stop.set()
        thread.join(30)

    assert time.monotonic() - begun < 30
    assert (False, -1) == (thread.is_alive(), made.fileno())


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

    assert said.startswith("rexecd: error: fault: KeyError at ")
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


def test_a_machine_without_memory_does_not_end_the_accept_loop(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where it accepts, nor anywhere between two connections."""
    failing = [MemoryError()] * 3
    accept = socket.socket.accept

    def exhausted(sock: socket.socket) -> Any:
        if failing:
            raise failing.pop()
        return accept(sock)

    def look_after() -> None:
        if failing:
            raise failing.pop()

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    monkeypatch.setattr(server, "service_actions", look_after)
    with _call(server):
        _until(lambda: server.active == 1)

    assert failing == []
    assert server.stop_and_wait(5)


def test_what_an_accept_loop_looks_after_is_due_now_and_then_and_never_ends_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """However often it turns; a fault there is said and survived."""
    looked: list[float] = []
    made = _Server(1)

    def look() -> None:
        looked.append(time.monotonic())
        raise KeyError("rxt_in_the_message")

    made.on_turn = look
    begun = time.monotonic()
    while time.monotonic() < begun + 1.0:
        made.service_actions()
    made.server_close()

    assert 2 <= len(looked) <= 3
    assert all(later - earlier >= 0.4 for earlier, later in itertools.pairwise(looked))
    said = capfd.readouterr().err
    assert "fault: KeyError at" in said
    assert "rxt_" not in said


def test_one_stop_wakes_every_poll_now_and_later() -> None:
    """It is never read, so it stays readable."""
    stop = Stop()
    poller = select.poll()
    poller.register(stop, select.POLLIN)

    assert not stop.wait(0)
    stop.set()
    assert stop.wait(10)
    assert len(poller.poll(0)) == len(poller.poll(0)) == 1


def test_a_stop_has_two_steps() -> None:
    """Whoever is idle leaves at the first, and at the second in any case."""
    first, second = Stop(), Stop()
    first.draining.set()
    second.set()

    assert first.draining.wait(10)
    assert not first.wait(0)
    assert second.draining.wait(10)
    assert second.wait(10)


class _Signals(Signals):
    """Signals that come when the test says so, and count how often they were asked for."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.ended: list[int] = []
        self.asked = threading.Event()

    def wait(self, *others: int, seconds: float | None = None) -> tuple[list[int], list[int]]:
        """Return what there is."""
        time.sleep(0.001)
        self.asked.set()
        return self.numbers, self.ended


def _draining(server: _Server, signals: _Signals, seconds: float) -> threading.Thread:
    thread = threading.Thread(target=server.drain, args=(signals,), kwargs={"seconds": seconds})
    thread.start()
    return thread


def test_who_is_busy_goes_on_while_a_server_drains(server: _Server) -> None:
    """The door is closed, and what the accept loop looked after is still looked after."""
    looked = threading.Event()
    server.service_actions = looked.set  # type: ignore[method-assign]
    address = server.socket.getsockname()
    with _call(server):
        _until(lambda: server.active == 1)
        signals = _Signals()
        thread = _draining(server, signals, 60)
        assert signals.asked.wait(10)  # from here on the accept loop is over
        looked.clear()
        assert looked.wait(10)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=10)
        assert server.stop.draining.wait(0)
        assert not server.stop.wait(0)
        server.stop.set()  # here: the end of the handler
        thread.join(10)

        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("number", "ended", "seconds"),
    [(signal.SIGTERM, [], 60), (signal.SIGINT, [], 60), (0, [7], 60), (0, [], 0), (0, [], 0.05)],
)
def test_a_drain_ends_at_another_signal_a_lifelines_end_or_its_time(
    server: _Server, number: int, ended: list[int], seconds: float
) -> None:
    """Whoever is still busy then is for the stop."""
    signals = _Signals()
    with _call(server):
        _until(lambda: server.active == 1)
        thread = _draining(server, signals, seconds)
        if seconds:
            assert signals.asked.wait(10)
        signals.numbers, signals.ended = [number] if number else [], ended
        thread.join(10)

        assert not thread.is_alive()
        assert server.active == 1
        assert not server.stop.wait(0)


def test_a_drain_without_anybody_is_over_at_once(server: _Server) -> None:
    """And a reload's signal does not hurry it."""
    signals = _Signals()
    signals.numbers = [signal.SIGHUP]
    server.drain(signals, seconds=60)

    assert not signals.asked.is_set()


def test_what_waits_at_an_inherited_listener_is_left_to_its_next_owner() -> None:
    """It is closed and never shut down: the manager's copy takes on where this one left."""
    kept = socket.create_server(("127.0.0.1", 0))
    made = BoundedThreadingServer(kept.dup(), socketserver.BaseRequestHandler, most=1, stop=Stop())
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    made.drain(_Signals(), seconds=60)
    with kept, socket.create_connection(kept.getsockname(), timeout=10) as caller:
        accepted, _ = kept.accept()
        with accepted:
            accepted.send(b"x")

            assert caller.recv(1) == b"x"


def test_signals_wake_the_main_thread_and_say_which_they_were() -> None:
    """In a process of its own, since signals are the whole process's."""
    program = (
        "import os, signal; from rexecd.serving import Signals;"
        "s = Signals([signal.SIGTERM, signal.SIGHUP]); os.kill(os.getpid(), signal.SIGHUP);"
        "print(s.wait()); r, w = os.pipe(); os.close(w); print(s.wait(r)[1] == [r], s.wait(seconds=0))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == f"([{int(signal.SIGHUP)}], [])\nTrue ([], [])\n"
