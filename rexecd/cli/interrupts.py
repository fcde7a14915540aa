"""What signals mean to `rexec`: which go to the running command, and which end the program."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from rexecd.client.session import Session
from rexecd.typed import Final

#: Seconds a command has to end in order when rexec was told to end.
_MOMENT: Final = 2.0
#: What ends that moment.
_TIMER: Final = "SIGALRM"


class Terminated(BaseException):
    """A signal asks the program to end; no `except Exception` may stop it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interrupts:
    """What signals mean: the first of a kind goes to the running command, the next one ends rexec.

    TERM and HUP end it all the same, when the command has had a moment to end in order: whoever sends
    them does not want to wait.
    """

    def __init__(self) -> None:
        self._session: Session | None = None
        self._told: set[int] = set()
        #: The signal that ends rexec in a moment; 0 for none.
        self._ending = 0

    @property
    def is_given_up(self) -> bool:
        """Return whether somebody wanted the running command to end, however that went."""
        return bool(self._told or self._ending)

    @contextlib.contextmanager
    def attending(self, session: Session) -> Iterator[None]:
        """Let the running command of `session` get the first one, also if it comes as a wait begins."""
        self._session = session
        before = signal.set_wakeup_fd(session.wakeup_descriptor, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            self._session = None

    def renew(self) -> None:
        """Let the next one be a first one again."""
        self._told.clear()

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT and SIGQUIT; raise KeyboardInterrupt or Terminated."""
        if number in self._told or not self._tell(number):
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
        self._told.add(number)

    def forward(self, number: int, _frame: FrameType | None) -> None:
        """Handle SIGUSR1 and SIGUSR2, each of which goes to the command; raise Terminated without one."""
        if not self._tell(number):
            raise Terminated(number)

    def terminate(self, number: int, _frame: FrameType | None) -> None:
        """Handle SIGTERM and SIGHUP; raise Terminated, or give the running command a moment before."""
        if self._ending or not self._tell(number):
            raise Terminated(number)
        if not hasattr(signal, "setitimer"):  # nothing would end the moment
            raise Terminated(number)
        self._ending = number
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)

    def give_up(self, number: int, _frame: FrameType | None) -> None:
        """Handle the end of that moment; raise Terminated. The server ends the command."""
        raise Terminated(self._ending or number)

    def _tell(self, number: int) -> bool:
        """Send a signal to the running command; return whether there is one."""
        if self._session is None or not self._session.is_running:
            return False
        self._session.signal(signal.Signals(number).name)
        return True


@contextlib.contextmanager
def handling(interrupts: Interrupts) -> Iterator[None]:
    """Handle signals while the program runs; one that was ignored (nohup) stays so."""
    handlers = {
        "SIGINT": interrupts.interrupt,
        "SIGQUIT": interrupts.interrupt,
        "SIGUSR1": interrupts.forward,
        "SIGUSR2": interrupts.forward,
        "SIGTERM": interrupts.terminate,
        "SIGHUP": interrupts.terminate,
        _TIMER: interrupts.give_up,
    }
    # Not every platform has all of them.
    wanted = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
    before = {number: signal.getsignal(number) for number in wanted}
    for number, handler in wanted.items():
        if before[number] not in (signal.SIG_IGN, None) or number == getattr(signal, _TIMER, None):
            signal.signal(number, handler)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, previous in before.items():
            if previous is not None:
                signal.signal(number, previous)
