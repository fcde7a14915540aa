"""What both servers share: bounded threads, a stop that wakes every poll, signals for the main thread.

`ThreadingMixIn` makes a thread for each connection without any bound, and has no way to
tell a thread that the service stops. Both are added here and nothing else.

A service ends in two steps (ADR 0018). It drains: nobody new is accepted, who is idle leaves, who has a
command, or has not had one yet, goes on. Then it stops: everybody leaves.
"""

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from rexecd.log import Log

#: How long the accept loop rests when the machine is out of descriptors or memory: it must
#: neither spin nor die (ATTACKS SRV, rule 6).
_EXHAUSTED_REST: Final = 0.05
#: Between two looks at who is left while a service drains.
_LOOK_AGAIN: Final = 0.05
#: Seconds a thread may have the interpreter while others wait for it; each read or write hands it on.
_SWITCH_INTERVAL: Final = 0.1
#: An accept loop that turns for each connection of a storm looks after the rest only so often.
_LOOK_AFTER: Final = 0.45

#: The signals that end a service: the first drains it, the second stops it.
ENDING: Final = frozenset({signal.SIGTERM, signal.SIGINT})

#: What a caller is told: idle while the service drains, when it stops, and then of a command that ran.
RESTARTING: Final = "the service is restarting; try later"
STOPPING: Final = "the service is stopping; try later"
CUT_SHORT: Final = "the service stopped while the command ran"


def prepare_for_many() -> None:
    """Make the interpreter one for many threads that come and go; call it once, when a service is ready.

    The collector looks at everything again and again as connections do: at what is here now, which only ends
    with the process, it need not.

    A thread that waits for the interpreter wakes at each interval to ask for it. By default (5 ms) thousands
    that wait, because thousands of callers have vanished at once, do nothing else but wake.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_INTERVAL)


class Flag:
    """What every poll loop can wait for: once set, its descriptor is readable for ever."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._descriptor

    def set(self) -> None:
        """Wake everyone who polls, now and later."""
        os.eventfd_write(self._descriptor, 1)

    def wait(self, seconds: float) -> bool:
        """Sleep, but not longer than until it is set; return whether it is."""
        poller = select.poll()
        poller.register(self, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def close(self) -> None:
        """Give the descriptor back, when nobody polls it any more."""
        os.close(self._descriptor)


class Stop(Flag):
    """Set when the service stops; before that, `draining` is."""

    def __init__(self) -> None:
        super().__init__()
        self.draining = Flag()

    def set(self) -> None:
        """Wake everyone: whoever is idle leaves too, whatever came first."""
        self.draining.set()
        super().set()


class Listener(Protocol):
    """What a server accepts from: a listening socket, or several as one."""

    def fileno(self) -> int:
        """Return what to poll; negative once it is closed."""

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a connection and its peer; raise BlockingIOError if there is none after all."""

    def settimeout(self, seconds: float) -> None:
        """Set how long `accept` waits."""

    def getsockname(self) -> Any:  # noqa: ANN401 - each family has its own
        """Return the address."""

    def close(self) -> None:
        """Accept no more."""


class BoundedThreadingServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A `ThreadingMixIn` server over a listener it is given, with at most `most` threads.

    `TCPServer.__init__` is gone round on purpose: it opens a socket of its own even when it is
    asked not to bind one, which a locked-down unit forbids.
    """

    #: A thread must not keep the process alive: `stop_and_wait` says how long it is waited for.
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listener: Listener,
        handler: type[socketserver.BaseRequestHandler],
        *,
        most: int,
        stop: Stop,
        log: Log | None = None,
    ) -> None:
        socketserver.BaseServer.__init__(self, listener.getsockname(), handler)
        self.socket = listener  # type: ignore[assignment] # of a socket it needs no more than this
        listener.settimeout(0)  # who waited may be gone by now
        self.stop = stop
        # Both, so that the accept loop hears of its end at once, and not when it next looks.
        self._doors = select.epoll()
        self._doors.register(listener, select.EPOLLIN)
        self._doors.register(stop.draining, select.EPOLLIN)
        #: Called by the accept loop about twice a second, however often it turns: who turns says so.
        self.on_turn: Callable[[], None] = lambda: None
        self._log = log or Log("rexecd")
        self._most = most
        self._active = 0
        self._changed = threading.Condition()
        self._looked = 0.0

    @property
    def active(self) -> int:
        """Return how many connections have a thread."""
        return self._active

    def fileno(self) -> int:
        """Return what is readable while somebody waits, and from the end's beginning on; -1 once closed."""
        return -1 if self._doors.closed else self._doors.fileno()

    def server_close(self) -> None:
        """Accept nobody any more."""
        self._doors.close()
        super().server_close()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Accept until `shutdown`; a machine out of memory interrupts this, and does not end it."""
        while True:
            try:
                super().serve_forever(poll_interval)
                return
            except MemoryError:
                if self.stop.draining.wait(_EXHAUSTED_REST):
                    return

    def service_actions(self) -> None:
        """Do what is due; `serve_forever` calls this at each turn, and nothing here may end it."""
        now = time.monotonic()
        if now >= self._looked + _LOOK_AFTER:
            self._looked = now
            try:
                self.look_after()
            except Exception:  # noqa: BLE001 - the edge of the accept loop
                self.handle_error(None, None)

    def look_after(self) -> None:
        """Do what is done about twice a second; subclasses have more to do."""
        self.on_turn()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; rest a moment where the machine has nothing left to give."""
        try:
            return super().get_request()
        except MemoryError:
            time.sleep(_EXHAUSTED_REST)
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None  # which ends no accept loop
        except OSError as error:
            if not isinstance(error, BlockingIOError | ConnectionError):
                time.sleep(_EXHAUSTED_REST)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Give the connection a thread, or close it at once if there are too many."""
        with self._changed:
            if self._active >= self._most:
                self.shed(request, client_address, f"{self._most} connections are open")
                return
            self._active += 1
        try:
            self.start_thread(request, client_address)
        except (RuntimeError, MemoryError) as error:  # no thread to be had: the machine's limit, not ours
            self._leave()
            self.shed(request, client_address, str(error) or "out of memory")

    def start_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Start the connection's thread, as the mixin does; raise RuntimeError if there is none to be had."""
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Run the handler in the connection's thread, and give its place back whatever happens."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave()

    def shed(self, request: Any, client_address: Any, why: str) -> None:  # noqa: ANN401, ARG002
        """Close a connection that gets no thread; subclasses also report it."""
        self.close_request(request)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """Only close: the handler has ended its side, and a TLS socket is never `shutdown()`."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        """Say in one line what escaped a handler; the default would print the locals' secrets."""
        error = sys.exception()
        frames = []
        trace = error.__traceback__ if error else None
        while trace:
            frames.append(f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}")  # noqa: PTH119
            trace = trace.tb_next
        with contextlib.suppress(MemoryError):
            self._log.error(f"fault: {type(error).__name__} at {' '.join(frames)}")

    def drain(self, signals: "Signals", *others: int, seconds: float) -> None:
        """Accept nobody, and let who is busy go on for at most `seconds`, but not after another signal.

        That is a second one that ends the service, or the end of one of `others` (descriptors). What
        waits in the backlog of an inherited listener is left to whoever gets it next: ours is only
        closed, never shut down.
        """
        self.stop.draining.set()
        self.shutdown()
        self.server_close()
        deadline = time.monotonic() + seconds
        if self._active and seconds:
            self._log.info(f"draining: {self._active} connections may go on", seconds=f"{seconds:g}")
        while self._active and (left := deadline - time.monotonic()) > 0:
            numbers, ended = signals.wait(*others, seconds=min(left, _LOOK_AGAIN))
            if ended or ENDING.intersection(numbers):
                return
            self.service_actions()  # the accept loop is over, and what it looked after is not

    def stop_and_wait(self, seconds: float) -> bool:
        """Stop accepting, wake every thread, wait for them; return whether all ended in time."""
        self.stop.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            return self._changed.wait_for(lambda: self._active == 0, seconds)

    def _leave(self) -> None:
        with self._changed:
            self._active -= 1
            self._changed.notify_all()


class Signals:
    """Signals as something the main thread waits for; handlers do nothing (ATTACKS rule 7)."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def wait(self, *others: int, seconds: float | None = None) -> tuple[list[int], list[int]]:
        """Return the signals that came and which of the `others` (descriptors) became readable."""
        poller = select.poll()
        for descriptor in (self._read, *others):
            poller.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poller.poll(None if seconds is None else seconds * 1000)]
        numbers: list[int] = []
        with contextlib.suppress(BlockingIOError):
            numbers.extend(os.read(self._read, 64))
        return numbers, [descriptor for descriptor in ready if descriptor != self._read]
