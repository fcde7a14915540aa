"""One command, run to its end: its bytes passed on, or told as JSON."""

import functools
import os
from collections.abc import Callable

from rexecd.cli import say
from rexecd.client.configuration import Configuration
from rexecd.client.errors import CallerError
from rexecd.client.exchange import Descriptor, Sink
from rexecd.client.results import MAX_OUTPUT, Collector, Outcome, Stream
from rexecd.client.session import Session
from rexecd.typed import TYPE_CHECKING, Final, NamedTuple
from rexecd.wire.messages import Offer

if TYPE_CHECKING:
    from rexecd.client.report import Events

_STDIN: Final = 0


class Command(NamedTuple):
    """What is to be run, and with what."""

    line: str
    reason: str
    using: Configuration
    #: Whether standard input is open, and may be the command's.
    has_input: bool


def run(session: Session, command: Command) -> int:
    """Pass on what the command writes; return its status, raise CallerError."""
    if command.using.is_quiet or not _is_looked_at():
        outcome = execute(session, command, say.write)
    else:
        from rexecd.cli.progress import Progress  # noqa: PLC0415 - only where somebody looks on

        with Progress(say.write, say.draw) as progress:
            outcome = execute(session, command, progress.take, source=progress.source())
    if (outcome.truncated or outcome.reason is not None) and not command.using.is_quiet:
        from rexecd.client.endings import ending_notes  # noqa: PLC0415 - seldom

        for note in ending_notes(outcome):
            say.note("rexec", note)
    return outcome.returncode


def run_to_json(session: Session, command: Command) -> int:
    """Print one object when all is over; return the exit status, raise what can be tried again."""
    from rexecd.client.report import dump, report_failure, report_outcome  # noqa: PLC0415 - a command can do without

    collector = Collector(MAX_OUTPUT)
    try:
        outcome = execute(session, command, collector.take)
        report, status = report_outcome(outcome, collector.stdout, collector.stderr), outcome.returncode
    except CallerError as error:
        if not error.may_have_run:
            raise
        report, status = report_failure(error, collector.stdout, collector.stderr), error.exit_status
    say.write(Stream.STDOUT, dump(report))
    return status


def run_to_lines(session: Session, command: Command) -> int:
    """Print one object a line, as things happen; return the exit status, raise what can be tried again."""
    events = open_events()
    try:
        outcome = execute(session, command, events.take, started=events.started)
    except CallerError as error:
        if not error.may_have_run:
            raise
        events.failed(error)
        return error.exit_status
    events.ended(outcome)
    return outcome.returncode


def report_end(error: CallerError, *, is_lines: bool) -> None:
    """Print as JSON why nothing was run."""
    if is_lines:
        open_events().failed(error)
        return
    from rexecd.client.report import dump, report_failure  # noqa: PLC0415 - as above

    say.write(Stream.STDOUT, dump(report_failure(error)))


def open_events() -> "Events":
    """Return what prints one object a line on standard output."""
    from rexecd.client.report import Events  # noqa: PLC0415 - as above

    return Events(functools.partial(say.write, Stream.STDOUT))


def execute(
    session: Session,
    command: Command,
    sink: Sink,
    *,
    started: Callable[[str], None] | None = None,
    source: Descriptor | None = None,
) -> Outcome:
    """Run a command with standard input, if there is one, and return how it ended; raise CallerError."""
    using = command.using
    outcome = session.execute(
        command.line,
        offer=Offer.OPTIONAL if command.has_input else Offer.NONE,
        source=(source or Descriptor(_STDIN)) if command.has_input else None,
        sink=sink,
        started=started,
        reason=command.reason,
        timeout=using.timeout,
    )
    if using.is_verbose:
        from rexecd.client.times import spell_seconds  # noqa: PLC0415 - only for who wants to know

        ended = f"exit status {outcome.returncode} after {spell_seconds(outcome.duration)}"
        say.note("rexec", f"request {outcome.request_id}: {outcome.outcome}, {ended}")
    return outcome


def _is_looked_at() -> bool:
    """Return whether somebody looks on while something that can be long goes on unseen."""
    return os.isatty(Stream.STDERR) and not (os.isatty(Stream.STDOUT) and os.isatty(_STDIN))
