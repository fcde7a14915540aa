"""An interactive session at the terminal, or with lines from a pipe: its voice and its ears."""

import contextlib
import signal
import sys
from typing import Final

from rexecd.cli import say
from rexecd.cli.interrupts import Interrupts, Terminated
from rexecd.client.configuration import Configuration
from rexecd.client.errors import CallerError, UsageError
from rexecd.client.interactive import Shell, Voice
from rexecd.client.session import Session
from rexecd.limits import MAX_LINE
from rexecd.printable import printable

_PROMPT: Final = "->> "


def interact(session: Session, interrupts: Interrupts, reason: str, using: Configuration) -> int:
    """Hold a session to its end and return the exit status; raise CallerError, OSError, Terminated."""
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    ask = _ask_terminal if is_terminal else _ask_pipe
    if is_terminal:
        _prepare_editing(session)

    def next_line() -> str | None:
        interrupts.renew()
        return ask()

    voice = Voice(
        ask=next_line,
        answer=say.answer,
        complain=lambda error: say.error("rexec", str(error), error.hint),
        note=_drop if using.is_quiet else say.aside,
        clean=printable,
        sink=say.write,
    )
    Shell(session, voice, reason=reason, timeout=using.timeout).run()
    return 0


def _drop(_note: str) -> None:
    pass


def _ask_terminal() -> str | None:
    try:
        return input(_PROMPT)
    except EOFError:
        say.answer("\n")
        return None
    except UnicodeDecodeError:
        raise UsageError("the line is not valid UTF-8") from None


def _ask_pipe() -> str | None:
    """Read one line, holding no more of it than may be sent."""
    if sys.stdin is None:
        return None
    most = MAX_LINE + 1
    try:
        data = sys.stdin.buffer.readline(most)
        if len(data) == most and not data.endswith(b"\n"):
            while (more := sys.stdin.buffer.readline(most)) and not more.endswith(b"\n"):
                pass
            raise UsageError(f"the line is longer than {MAX_LINE} bytes")
        return data.decode() if data else None
    except UnicodeDecodeError:
        raise UsageError("the line is not valid UTF-8") from None
    except KeyboardInterrupt:  # no person is there to begin the line anew
        raise Terminated(signal.SIGINT) from None
    except OSError as error:
        raise UsageError(f"standard input: {error.strerror}") from None


def _prepare_editing(session: Session) -> None:
    """Give the prompt line editing, history, and command names on the tabulator key."""
    try:
        import readline  # noqa: PLC0415 - only for a terminal, and not every Python has it
    except ImportError:
        return
    names: list[str] = []

    def complete(text: str, state: int) -> str | None:
        if not names:
            with contextlib.suppress(CallerError):
                names.extend(["help ", "exit", *(f"{entry.name} " for entry in session.list())])
        fitting = [name for name in names if name.startswith(text)]
        return fitting[state] if state < len(fitting) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n")
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
