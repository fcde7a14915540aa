"""Sessions with one server that many threads share, each used by one thread at a time.

Rule 1: a place is held for every session there is or is being made; there are never more than `size`.
Rule 2: who waits longest is served first: a place that becomes free is handed over, and cannot be snatched.
Rule 3: nothing is asked twice that may have been taken once (`CallerError.may_have_run`).
Rule 4: no network is waited for under the lock.
"""

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, NamedTuple, Self, Unpack

from rexecd.client.calls import connect
from rexecd.client.credentials import check_token
from rexecd.client.errors import NetworkError, PoolTimeout, SessionClosed, UsageError
from rexecd.client.exchange import Sink
from rexecd.client.results import Outcome
from rexecd.client.runner import Runner
from rexecd.client.session import Session
from rexecd.client.signatures import Connecting
from rexecd.wire.messages import Offer

#: Seconds until a waiting thread gives up.
WAIT: Final = 30.0
#: Seconds a session is kept that nobody uses; far below what servers allow (`idle_timeout`, an hour).
MAX_IDLE: Final = 300.0


class _Kept(NamedTuple):
    """A session nobody uses, and since when."""

    session: Session
    since: float


class _Waiter:
    """A thread in the queue, until it is handed a place, perhaps with a session in it."""

    def __init__(self) -> None:
        self.is_served = threading.Event()
        self.has_place = False
        self.session: Session | None = None


class _Loan:
    """A place of the pool in the hands of one thread, and the session in it."""

    def __init__(self, session: Session | None, connect: Callable[[], Session]) -> None:
        self.session = session
        self.is_fresh = False
        self._connect = connect
        self._process = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Return whether a fork has it, and the pool of its process knows nothing of it."""
        return os.getpid() != self._process

    def ready(self) -> Session:
        """Return a session that was alive a moment ago; raise CallerError."""
        return self.session if self.session is not None and self.session.is_ready() else self.renew()

    def renew(self) -> Session:
        """Return a session that was never used; raise CallerError."""
        self.leave()
        self.is_fresh = True
        self.session = self._connect()
        return self.session

    def leave(self) -> None:
        """Throw the session away."""
        if self.session is not None:
            self.session.close()
            self.session = None


class Pool(Runner):
    r"""At most `size` sessions with the rexecd at `host`, for any number of threads; a context manager.

    >>> with rexecd.client.Pool(host, size=4, token=token, ca=ca) as pool:
    ...     pool.run("echo hello").stdout
    b'hello\n'

    Sessions are made when they are needed, with the keyword arguments of `connect`, and used again; one
    that is closed, lost or left in the middle of a command is thrown away. A thread that finds all of them
    in use waits `wait` seconds (30; None for as long as it takes) and then gets PoolTimeout. A session
    nobody has used for `max_idle` seconds (300) is closed when the pool is next used.

    `run` and `execute` ask once more, with a fresh session, where one that lay idle turns out to be closed
    and it is certain that nothing was started (`may_have_run`); never otherwise.

    A pool can be inherited by a fork: the child begins with an empty one, and leaves its parent's sessions
    alone.

    Raise UsageError for a size, a token or a time that cannot be right.
    """

    def __init__(
        self,
        host: str,
        *,
        size: int = 8,
        wait: float | None = WAIT,
        max_idle: float = MAX_IDLE,
        **connecting: Unpack[Connecting],
    ) -> None:
        if size < 1:
            raise UsageError(f"the size of a pool is {size}, and has to be 1 or more")
        if not (wait is None or 0 <= wait <= threading.TIMEOUT_MAX):
            raise UsageError(f"the wait is {wait} s, and has to be 0 or more")
        if not max_idle >= 0:
            raise UsageError(f"max_idle is {max_idle} s, and has to be 0 or more")
        if unknown := connecting.keys() - Connecting.__annotations__.keys():
            raise TypeError(f"unexpected keyword argument {min(unknown)!r}")  # and not in some thread, later
        token = connecting.get("token")
        if token is not None:
            check_token(token)
        self._connect: Callable[[], Session] = lambda: connect(host, **connecting)
        self._size = size
        self._wait = wait
        self._max_idle = max_idle
        self._is_closed = False
        self._begin()
        _POOLS.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def execute(
        self,
        line: str,
        *,
        offer: Offer,
        source: int | bytes | None = None,
        sink: Sink,
        reason: str = "",
        timeout: float | None = None,
    ) -> Outcome:
        """Run a command in one of the sessions; all as in `Session.execute`. Raise PoolTimeout too."""

        def ask(session: Session) -> Outcome:
            return session.execute(
                line, offer=offer, source=source, sink=sink, reason=reason, timeout=timeout
            )

        with self._lend() as loan:
            try:
                return ask(loan.ready())
            except (NetworkError, SessionClosed) as error:
                if error.may_have_run or loan.is_fresh:
                    raise
            return ask(loan.renew())

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        r"""Lend a session to one thread, for several commands, `list` or `stream`.

        It is not to be used behind the block. Raise PoolTimeout, and what `connect` raises.

        >>> with pool.session() as session:
        ...     [session.run(["echo", word]).stdout for word in ("one", "two")]
        [b'one\n', b'two\n']
        """
        with self._lend() as loan:
            yield loan.ready()

    def close(self) -> None:
        """Close the sessions nobody uses; those in use are closed when they come back. May be called twice.

        Threads that wait get UsageError.
        """
        with self._lock:
            self._is_closed = True
            kept, waiting = [*self._kept], [*self._waiting]
            self._kept.clear()
            self._waiting.clear()
            self._places -= len(kept)
        for waiter in waiting:
            waiter.is_served.set()
        for each in kept:
            each.session.close()

    def _begin(self) -> None:
        """Begin with nothing, as a new pool or in a forked process."""
        self._lock = threading.Lock()
        self._kept: deque[_Kept] = deque()  # used last, taken first
        self._waiting: deque[_Waiter] = deque()
        self._places = 0

    def forget_parent(self) -> None:
        """Give up what is of the process that forked, in its child, where a lock may be held by nobody."""
        kept = self._kept
        self._begin()
        for each in kept:
            each.session.close()  # which closes this process's copies and no more

    @contextlib.contextmanager
    def _lend(self) -> Iterator[_Loan]:
        self._close_stale()
        loan = _Loan(self._take(), self._connect)
        try:
            yield loan
        finally:
            self._take_back(loan)

    def _take(self) -> Session | None:
        """Return a session nobody uses, None where there is a place to make one; raise PoolTimeout."""
        waiter, session = None, None
        with self._lock:
            if self._is_closed:
                raise _closed()
            if self._kept:
                session = self._kept.pop().session
            elif self._places < self._size:
                self._places += 1
            else:
                waiter = _Waiter()
                self._waiting.append(waiter)
        return session if waiter is None else self._await(waiter)

    def _await(self, waiter: _Waiter) -> Session | None:
        """Return what a waiting thread is handed; raise PoolTimeout, or UsageError for a closed pool."""
        try:
            waiter.is_served.wait(self._wait)
        except BaseException:  # Ctrl-C
            if not self._leave_queue(waiter) and waiter.has_place:
                self._hand_on(waiter.session)
            raise
        if self._leave_queue(waiter):
            raise PoolTimeout(
                f"no connection became free within {self._wait:g} s",
                hint=f"all {self._size} are in use: make the pool larger, or wait longer",
            )
        if not waiter.has_place:
            raise _closed()
        return waiter.session

    def _leave_queue(self, waiter: _Waiter) -> bool:
        """Return whether a waiting thread was still in the queue."""
        with self._lock:
            is_there = waiter in self._waiting
            if is_there:
                self._waiting.remove(waiter)
            return is_there

    def _take_back(self, loan: _Loan) -> None:
        """Take a place back, and keep the session in it where that can be used again."""
        if loan.is_inherited:
            loan.leave()
            return
        try:
            if loan.session is not None and (loan.session.is_closed or loan.session.is_running):
                loan.leave()
        finally:
            self._hand_on(loan.session)

    def _hand_on(self, session: Session | None) -> None:
        """Give a place, and the session in it, to who waits longest, else keep the session."""
        surplus: Session | None = None
        with self._lock:
            if self._waiting:
                waiter = self._waiting.popleft()
                waiter.session, waiter.has_place = session, True
                waiter.is_served.set()
            elif session is None or self._is_closed:
                self._places -= 1
                surplus = session
            else:
                self._kept.append(_Kept(session, time.monotonic()))
        if surplus is not None:
            surplus.close()

    def _close_stale(self) -> None:
        """Close what nobody has used for long."""
        oldest = time.monotonic() - self._max_idle
        stale: list[Session] = []
        with self._lock:
            while self._kept and self._kept[0].since < oldest:
                stale.append(self._kept.popleft().session)
            self._places -= len(stale)
        for session in stale:
            session.close()


def _closed() -> UsageError:
    return UsageError("the pool is closed")


#: All there are, for a fork.
_POOLS: Final[weakref.WeakSet[Pool]] = weakref.WeakSet()


def _begin_anew() -> None:
    for pool in [*_POOLS]:
        pool.forget_parent()


if hasattr(os, "register_at_fork"):  # where there is no fork nothing is inherited
    os.register_at_fork(after_in_child=_begin_anew)
