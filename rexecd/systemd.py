"""What a service manager hands over, and what it is told (sd_listen_fds(3), sd_notify(3)).

Rule 1: without a service manager everything here is empty, and does nothing.
Rule 2: a service manager that does not listen is not our fault: telling it something never raises
and never waits.
Rule 3: what was meant for this process is forgotten once it is read: nothing that is started from
here takes it for its own.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final, NamedTuple

from rexecd.errors import ConfigError

_FIRST_DESCRIPTOR: Final = 3
#: What systemd calls a socket whose unit gives it no name.
_NAMELESS: Final = "unknown"
#: Told that many times within the manager's limit, so that a turn or two may be late.
_OFTEN: Final = 4
#: How often it is said how the service is.
_NEWS_EVERY: Final = 5.0
#: The longest text that is worth a line of `systemctl status`.
_LONGEST_STATUS: Final = 500
#: For this process alone. JOURNAL_STREAM is left to whoever writes the log.
_OURS: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
    "SYSTEMD_EXEC_PID",
    "MANAGERPID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "FDSTORE",
)


class Inherited(NamedTuple):
    """A listening socket, and what its unit calls it (FileDescriptorName=)."""

    name: str
    socket: socket.socket


class Manager:
    """The service manager that started this process, or none. Any thread may use it."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take what is meant for this process out of `environment`."""
        given = {name: environment.pop(name, "") for name in _OURS}
        self._address = _address(given["NOTIFY_SOCKET"])
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            if self._address:  # kept, so that a process out of descriptors still can say that it lives
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        #: Between two signs of life; 0 if nobody waits for them.
        self.interval = _seconds(given["WATCHDOG_USEC"], given["WATCHDOG_PID"]) / _OFTEN
        self._alive = 0.0
        self._said = ""
        self.inherited: tuple[Inherited, ...] = tuple(_sockets(given))

    def ready(self, status: str = "") -> None:
        """Say that the service can be used, or that a reload is over."""
        self._tell("READY=1", *self._status(status))

    def status(self, status: str) -> None:
        """Say in words how the service is, if that is news."""
        if status != self._said:
            self._tell(*self._status(status))

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it, however it went."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}")  # both in one, or it is no reload

    def stopping(self, status: str, *, seconds: float) -> None:
        """Say that the service has begun to stop, and that it may take so long."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", *self._status(status))

    def alive(self) -> None:
        """Say that the caller's loop still turns. It is called at every turn, and says so now and then."""
        now = time.monotonic()
        if self.interval and now >= self._alive + self.interval:
            self._alive = now
            self._tell("WATCHDOG=1")

    def at_each_turn(self, describe: Callable[[], str]) -> Callable[[], None]:
        """Return what an accept loop calls at each turn: say that it lives, and at times how it is."""
        next_news = 0.0

        def turn() -> None:
            nonlocal next_news
            self.alive()
            if self._socket is not None and time.monotonic() >= next_news:
                next_news = time.monotonic() + _NEWS_EVERY
                self.status(describe())

        return turn

    def listener(self, name: str, fits: Callable[[socket.socket], bool]) -> socket.socket | None:
        """Return the inherited socket of this name; raise ConfigError also for several of them."""
        found = self.listeners(name, fits)
        if len(found) > 1:
            raise self._misnamed(f"one socket {name!r}")
        return found[0] if found else None

    def listeners(self, name: str, fits: Callable[[socket.socket], bool]) -> list[socket.socket]:
        """Return the inherited sockets of this name, or the only one; none if nothing was inherited.

        One unit with several `ListenStream=` passes several of one name. Raise ConfigError for sockets
        without any of this name among them, and for one of a kind that does not fit.
        """
        are_alone = len(self.inherited) == 1  # systemd-socket-activate(1) gives it no name
        named = [each.socket for each in self.inherited if each.name == name or are_alone]
        if self.inherited and not named:
            raise self._misnamed(f"a socket {name!r}")
        for sock in named:
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) or not fits(sock):
                raise ConfigError(
                    f"the socket {name!r} that systemd passed is of another kind: see the shipped unit"
                )
        return named

    def _misnamed(self, wanted: str) -> ConfigError:
        names = ", ".join(repr(each.name) for each in self.inherited)
        return ConfigError(f"systemd passed {names}, not {wanted}: see FileDescriptorName= of its unit")

    def _status(self, status: str) -> list[str]:
        self._said = status or self._said
        return [f"STATUS={status[:_LONGEST_STATUS]}".replace("\n", " ")] if status else []

    def _tell(self, *lines: str) -> None:
        if self._socket is not None and self._address:
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)


def _address(text: str) -> str:
    """Return the manager's address for Python; empty for none, and for kinds that are not ours (vsock)."""
    if text.startswith("@"):
        return f"\0{text[1:]}"
    return text if text.startswith("/") else ""


def _seconds(microseconds: str, pid: str) -> float:
    """Return after how long a silent process is taken for hung; 0 if this one is not."""
    if pid not in ("", str(os.getpid())) or not microseconds.isdecimal():
        return 0.0
    return int(microseconds) / 1e6


def _sockets(given: dict[str, str]) -> list[Inherited]:
    """Return the sockets passed to this very process, close-on-exec."""
    number = given["LISTEN_FDS"]
    if given["LISTEN_PID"] != str(os.getpid()) or not number.isdecimal():
        return []
    names = given["LISTEN_FDNAMES"].split(":") if given["LISTEN_FDNAMES"] else []
    names += [_NAMELESS] * (int(number) - len(names))
    sockets = []
    for descriptor, name in enumerate(names[: int(number)], _FIRST_DESCRIPTOR):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the library's own signature
        sockets.append(Inherited(name, socket.socket(fileno=descriptor)))
    return sockets
