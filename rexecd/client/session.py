"""An authenticated connection: one command at a time, any number one after another.

Rule 1: a session belongs to one thread; only `signal` may be called from another, or from a
signal handler.
Rule 2: a command that was begun and not seen to its end costs the session: the connection is
closed, and the server ends the command, unless its rule lets it finish.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from types import TracebackType

from rexecd.client.address import Address, parse_address
from rexecd.client.conversation import Conversation
from rexecd.client.credentials import check_token
from rexecd.client.deadline import Deadline
from rexecd.client.dial import Dialling, Trace, dial
from rexecd.client.errors import CallerError, ConnectFailed, ConnectionLost, ProtocolBroken, UsageError
from rexecd.client.exchange import WANTED_SIGNAL, Descriptor, Exchange, Memory, Sink
from rexecd.client.link import Link
from rexecd.client.request import check_reason, check_timeout, line_of
from rexecd.client.results import Outcome
from rexecd.client.runner import Streamer
from rexecd.client.trust import Known, make_trust
from rexecd.errors import RexecError
from rexecd.portable import READING
from rexecd.typed import Final, Self
from rexecd.wire.messages import (
    Accepted,
    Authenticate,
    Entry,
    Goodbye,
    List,
    Listed,
    Message,
    Offer,
    Run,
    SignalName,
)

#: For TCP, the handshake and the answer to the token together.
CONNECT_TIMEOUT: Final = 15.0
#: For the first answer to a request; the command itself may take as long as its rule says.
ANSWER_TIMEOUT: Final = 60.0
#: For the last word; the server does not depend on hearing it.
_GOODBYE_TIMEOUT: Final = 1.0
#: Most signals taken off the pipe at once.
_MAX_SIGNALS: Final = 64
#: A listing without an end would fill our memory.
_MAX_ENTRIES: Final = 2_000


def connect(
    host: str,
    *,
    token: str,
    ca: str | os.PathLike[str] | None = None,
    pin: str | None = None,
    known_hosts: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
    answer_timeout: float = ANSWER_TIMEOUT,
    family: str = "any",
    trace: Trace | None = None,
) -> "Session":
    """Return an authenticated session with the rexecd at `host` (`name[:port]`, `[ipv6]:port`).

    `ca` is a file with the certificate of the server's authority, `pin` the server's key as
    `sha256:HEX`; where both are given both have to hold. Without them, `known_hosts` is a file with
    the keys of servers somebody has said yes to. It is read and never written, and nobody is
    asked: UnknownHost and ChangedKey have the `fingerprint` that was found. One of the three is needed.

    `cert` and `key` are files with the caller's certificate and its key, for servers that want
    one; `key` may be left out where it is in the same file. `family` is `any`, `inet` (IPv4 only) or
    `inet6`; `trace` is told in words what is tried. Raise CallerError.
    """
    address = parse_address(host)
    trust = make_trust(ca, pin, None if known_hosts is None else _load(known_hosts, address))
    identity = None
    if cert is not None or key is not None:
        from rexecd.client.identity import make_identity  # noqa: PLC0415 - not for who has no certificate

        identity = make_identity(cert, key)
    secret = check_token(token)
    deadline = Deadline(connect_timeout)
    conversation = Conversation(
        Link(dial(address, trust, deadline, identity, Dialling(family, trace))), str(address)
    )
    accepted = _authenticate(conversation, secret, deadline, address)
    if trace is not None:
        trace(
            f"the token was accepted, as {accepted.principal} in connection {accepted.connection_id}, "
            f"{deadline.elapsed() * 1000:.0f} ms after the beginning"
        )
    return Session(conversation, accepted, answer_timeout=answer_timeout)


def _authenticate(
    conversation: Conversation, secret: bytes, deadline: Deadline, address: Address
) -> Accepted:
    """Return what the server says to a token it accepts; raise CallerError."""
    try:
        conversation.say(Authenticate(secret))
        accepted: Accepted = conversation.wait(deadline)
    except TimeoutError as error:
        conversation.close()
        raise ConnectFailed(f"{address}: {error}") from None
    except BaseException:
        conversation.close()
        raise
    return accepted


def _load(path: str | os.PathLike[str], address: Address) -> Known:
    """Return what a file of known hosts says of a server; raise UsageError."""
    from rexecd.client.known_hosts import load  # noqa: PLC0415 - locks and patterns that a start can do without

    return load(os.fspath(path), address)


def _feed(source: Descriptor | int | bytes | None) -> Descriptor | Memory:
    if isinstance(source, Descriptor):
        return source
    return Descriptor(source) if isinstance(source, int) else Memory(source or b"")


class Session(Streamer):
    """What a caller can do once the server knows it. Made by `connect`; a context manager.

    `principal` is whom the token belongs to, `connection_id` names the connection in the server's audit
    trail, `banner` is the operator's greeting (a foreign text: escape it before it is shown),
    `token_expires_in` the seconds the token was good for when the session began, None where it does not
    expire.

    >>> session.principal, session.is_running, session.is_closed
    ('ann', False, False)
    """

    _wakers: tuple[socket.socket, ...] = ()

    def __init__(self, conversation: Conversation, accepted: Accepted, *, answer_timeout: float) -> None:
        self._conversation = conversation
        self._answer_timeout = answer_timeout
        self.connection_id = accepted.connection_id
        self.principal = accepted.principal
        self.banner = accepted.banner
        #: In how many seconds from the beginning of the session the token expires; None if it does not.
        self.token_expires_in: float | None = float(accepted.expires_in) or None
        self._is_running = False
        self._is_closed = False
        self._is_busy = False
        self._process = os.getpid()
        # Not a pipe: where there is no poll(2), only sockets can be waited for.
        self._wakers = self._wake, self._waker = socket.socketpair()
        self._wake.settimeout(0)
        self._waker.settimeout(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The connection sees to itself, and warns; these two are nothing to warn of.
        self._close_wakers()

    @property
    def wakeup_descriptor(self) -> int:
        """Return a descriptor for `signal.set_wakeup_fd`; it stays open until `close`.

        Python runs a signal's handler between two instructions. One that comes right before this
        session begins to wait would else be handled when the server next says something.
        """
        return self._waker.fileno()

    @property
    def is_running(self) -> bool:
        """Return whether a command is under way."""
        return self._is_running

    @property
    def is_closed(self) -> bool:
        """Return whether nothing more can be asked."""
        return self._is_closed

    def execute(
        self,
        line: str,
        *,
        offer: Offer,
        source: Descriptor | int | bytes | None = None,
        sink: Sink,
        started: Callable[[str], None] | None = None,
        reason: str = "",
        timeout: float | None = None,
    ) -> Outcome:
        r"""Run a command, giving `sink` its output as it comes, and return how it ended.

        `source` is input, or a descriptor to read it from; it is touched only when the command takes input,
        and `offer` says whether it has to. `started` is told the request's number when the command has been
        started. `reason` and `timeout` are as for `run`. Raise CallerError, and whatever `sink` and `started`
        raise, which ends the session.

        >>> pieces = []
        >>> session.execute(
        ...     "echo hello", offer=Offer.NONE, sink=lambda stream, data: pieces.append(data)
        ... ).returncode
        0
        >>> b"".join(pieces)
        b'hello\n'
        """
        with self._begin(
            line, offer=offer, source=source, sink=sink, started=started, reason=reason, timeout=timeout
        ) as exchange:
            return exchange.run()

    @contextlib.contextmanager
    def _begin(
        self,
        line: str,
        *,
        offer: Offer,
        source: Descriptor | int | bytes | None,
        sink: Sink,
        started: Callable[[str], None] | None = None,
        reason: str,
        timeout: float | None,
    ) -> Iterator[Exchange]:
        """Ask for a command and give its exchange, for `execute` and `stream`; raise CallerError."""
        line = line_of(line)
        if reason:
            check_reason(reason)
        run = Run(line, offer, reason, check_timeout(timeout))
        feed = _feed(source)
        with contextlib.closing(feed), self._request() as deadline:
            self._conversation.say(run)
            self._is_running = True
            yield Exchange(
                self._conversation,
                wake=self._wake,
                source=feed,
                sink=sink,
                deadline=deadline,
                started=started,
            )

    def list(self) -> list[Entry]:
        """Return what this caller may run; raise CallerError."""
        entries: list[Entry] = []
        with self._request() as deadline:
            self._conversation.say(List())
            while not isinstance(message := self._next_entry(deadline), Listed):
                entries.append(message)
                if len(entries) > _MAX_ENTRIES:
                    raise ProtocolBroken(f"the server lists more than {_MAX_ENTRIES} commands")
        return entries

    def check(self) -> None:
        """Take notice of a server that has gone since the last request; raise CallerError."""
        with self._request():
            pass

    def signal(self, name: str) -> None:
        """Send a signal (`INT`, `TERM`, `HUP`, `QUIT`, `USR1`, `USR2`) to the running command.

        May be called from a signal handler or another thread; does nothing when none runs.
        Raise ValueError for another name.
        """
        try:
            number = SignalName[name.removeprefix("SIG")]
        except KeyError:
            raise ValueError(f"{name!r} cannot be sent") from None
        if self._is_running and self._is_ours:
            with contextlib.suppress(
                OSError
            ):  # full: one more would say nothing; closed: none is left to tell
                self._waker.send(bytes([WANTED_SIGNAL | number]))

    def is_ready(self) -> bool:
        """Return whether a command could be asked for now; what the server said meanwhile is heard first.

        >>> session.is_ready()
        True
        """
        try:
            with self._request():
                return True
        except CallerError:
            return False

    def close(self) -> None:
        """Say goodbye if nothing is under way, and close the connection. May be called twice."""
        if not self._is_closed:
            if self._is_ours and self._conversation.may_say(Goodbye):
                self._take_leave()
            self._abandon()
        self._close_wakers()

    def _close_wakers(self) -> None:
        for waker in self._wakers:
            waker.close()

    @property
    def _is_ours(self) -> bool:
        """Return whether this is the process that connected, and no fork of it, which has the same socket."""
        return os.getpid() == self._process

    def _check_usable(self) -> None:
        """Raise UsageError in a forked process, ConnectionLost for a session that is closed."""
        if not self._is_ours:
            raise UsageError(
                "the session belongs to the process that opened it", hint="connect after the fork, not before"
            )
        if self._is_closed:
            raise ConnectionLost("the session is closed")

    @contextlib.contextmanager
    def _request(self) -> Iterator[Deadline]:
        """Begin a request under a deadline; close the session if it is left half done."""
        self._check_usable()
        deadline = Deadline(self._answer_timeout)
        if self._is_busy:
            raise UsageError(
                "a command is under way in this session",
                hint="see it to its end first; another thread needs a session of its own, as a Pool gives",
            )
        try:
            self._is_busy = True
            wake = self._wake.fileno()
            if wake in self._conversation.settle({wake: READING}):
                self._forget_signals()
            yield deadline
        except (ConnectionLost, ProtocolBroken):
            self._abandon()  # also where nothing was under way
            raise
        finally:
            self._end_request()

    def _next_entry(self, deadline: Deadline) -> Message:
        try:
            return self._conversation.wait(deadline)
        except TimeoutError as error:
            raise ConnectionLost(f"the server gave {error}") from None

    def _end_request(self) -> None:
        self._is_running = self._is_busy = False
        if self._is_closed or not self._conversation.may_say(Run):
            self._abandon()

    def _take_leave(self) -> None:
        deadline = Deadline(_GOODBYE_TIMEOUT)
        with contextlib.suppress(OSError, RexecError):  # nobody is left who would want to know
            self._conversation.say(Goodbye())
            while self._conversation.backlog:
                self._conversation.turn(deadline=deadline)
                self._conversation.next()

    def _abandon(self) -> None:
        self._is_closed = True
        self._conversation.close()

    def _forget_signals(self) -> None:
        """Drop what was meant for the command before."""
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(_MAX_SIGNALS):
                pass
