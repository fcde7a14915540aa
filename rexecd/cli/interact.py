"""An interactive session at the terminal, or with lines from a pipe: its voice and its ears."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Final, TextIO

from rexecd.cli import say
from rexecd.cli.asking import ask_yes
from rexecd.cli.interrupts import Interrupts
from rexecd.cli.lines import Margin, Memory, PipeEditor, TerminalEditor, columns
from rexecd.client.configuration import Configuration
from rexecd.client.interactive import Editor, Person, Shell, Voice
from rexecd.client.session import Session
from rexecd.printable import printable

_AGAIN: Final = "Connect again? (yes/no) "
#: Terminals that can do nothing but lines.
_DUMB: Final = ("", "dumb", "unknown")


def interact(
    session: Session,
    interrupts: Interrupts,
    reason: str,
    using: Configuration,
    *,
    connect: Callable[[], Session],
) -> int:
    """Hold a session to its end and return the exit status; raise CallerError, OSError, Terminated.

    `connect` opens another one where this one is lost.
    """
    is_typed = _is_terminal(sys.stdin)
    has_screen = is_typed and _is_terminal(sys.stdout)
    margin = Margin(say.write)

    def ready() -> None:
        interrupts.renew()
        margin.close_line()

    voice = Voice(
        ready=ready,
        answer=say.answer,
        complain=lambda error: say.error("rexec", str(error), error.hint),
        note=_drop if using.is_quiet else say.aside,
        clean=printable,
        sink=margin.take if has_screen else say.write,
    )

    def is_connecting_again() -> bool:
        # A token that came on standard input is not there any more.
        return (using.token is None or using.token.file != "-") and _is_yes(_AGAIN)

    with contextlib.ExitStack() as latest:

        def reconnect() -> Session:
            latest.close()  # what an earlier answer of yes has opened
            again = latest.enter_context(connect())
            latest.enter_context(interrupts.attending(again))
            return again

        return Shell(
            session,
            _make_editor(using, has_screen=has_screen) if is_typed else PipeEditor(),
            voice,
            person=Person(columns, is_connecting_again, reconnect) if has_screen else None,
            is_quiet=using.is_quiet,
            reason=reason,
            timeout=using.timeout,
        ).run()


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _make_editor(using: Configuration, *, has_screen: bool) -> Editor:
    """Return the best prompt there is here."""
    memory = Memory(os.environ, is_wanted=using.has_history)
    if has_screen and os.environ.get("TERM", "") not in _DUMB:
        try:
            from rexecd.cli.tui import RichEditor  # noqa: PLC0415 - an extra, and only for a terminal

            return RichEditor(memory)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, there is another prompt
            if using.is_verbose:
                say.note("rexec", f"the prompt is the plain one: {error}")
    return TerminalEditor(memory)


def _is_yes(question: str) -> bool:
    try:
        return ask_yes(question)
    except OSError:  # no terminal, or one that is not ours any more
        return False


def _drop(_note: str) -> None:
    pass
