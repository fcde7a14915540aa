"""`rexec`: run a permitted command on another host, or hold an interactive session with it.

This is the door: it reads the command line, the environment and the standard descriptors, and
turns every error into one line and an exit status (DESIGN: 128+N, 124 to 127, 255).
"""

import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

from rexecd.cli import say
from rexecd.cli.firstuse import open_session
from rexecd.cli.interrupts import Interrupts, Terminated, handling
from rexecd.client.arguments import Options, parse_arguments
from rexecd.client.configuration import Configuration, settle
from rexecd.client.errors import OWN_FAULT, CallerError
from rexecd.client.results import MAX_OUTPUT, SIGNAL_BASE, Collector, Outcome, Stream
from rexecd.client.session import Session
from rexecd.client.times import spell_seconds, spell_span
from rexecd.client.values import make_line
from rexecd.wire.messages import Offer

_STDIN: Final = 0
#: Seconds: who calls once a week should hear of a token's end in time.
_SOON: Final = 7 * 86400.0


def main(argv: Sequence[str]) -> int:
    """Run `rexec` with the words behind its name and return its exit status; nothing is ever raised."""
    try:
        has_input = _fill_standard_descriptors()
        interrupts = Interrupts()
        with handling(interrupts):
            return _serve(argv, interrupts, has_input=has_input)
    except CallerError as error:
        say.error("rexec", str(error), error.hint)
        return error.exit_status
    except (KeyboardInterrupt, Terminated, BrokenPipeError) as ending:
        return SIGNAL_BASE + _signal_behind(ending)
    except OSError as error:
        say.error("rexec", f"the output cannot be written: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - a traceback could show the token
        say.error("rexec", f"internal error: {type(error).__name__}")
    return OWN_FAULT


def _signal_behind(ending: BaseException) -> int:
    if isinstance(ending, Terminated):
        return ending.number
    # Whoever read our output has enough: quietly, as if SIGPIPE had ended us.
    return signal.SIGPIPE if isinstance(ending, BrokenPipeError) else signal.SIGINT


def _serve(argv: Sequence[str], interrupts: Interrupts, *, has_input: bool) -> int:
    options = parse_arguments(argv)
    if options.answer:
        say.answer(options.answer)
        return 0
    if options.is_login:
        from rexecd.cli.login import login  # noqa: PLC0415 - once for each host

        return login(options, os.environ)
    if not options.is_json or options.is_list:
        return _perform(options, interrupts, has_input=has_input)
    try:
        return _perform(options, interrupts, has_input=has_input)
    except CallerError as error:
        from rexecd.client.report import dump, report_failure  # noqa: PLC0415 - a command can do without it

        say.write(Stream.STDOUT, dump(report_failure(error)))
        return error.exit_status


def _perform(options: Options, interrupts: Interrupts, *, has_input: bool) -> int:
    using = settle(options, os.environ)
    if options.is_show:
        from rexecd.client.shown import show  # noqa: PLC0415 - for this one

        say.answer(show(using))
        return 0
    if using.is_null_input:
        _leave_input()
    line = make_line(options.command, options.value_files)
    if using.is_verbose:
        _tell_plan(using)
    with open_session(using) as session, interrupts.attending(session):
        if not using.is_quiet:
            _warn_of_end(session.token_expires_in)
        if options.is_list or options.help_for is not None:
            from rexecd.cli.listed import answer_listing  # noqa: PLC0415 - a command can do without it

            return answer_listing(session, options.help_for, is_json=options.is_json)
        if not options.command:
            from rexecd.cli.interact import interact  # noqa: PLC0415 - as above

            return interact(session, interrupts, options.reason, using)
        run = _run_to_json if options.is_json else _run
        return run(session, line, options.reason, using, has_input=has_input)


def _tell_plan(using: Configuration) -> None:
    """Say what was settled before anything is tried."""
    say.note("rexec", f"configuration: {', '.join(using.files) or 'no file'}")
    say.note("rexec", f"{using.name} is {using.address}")
    if using.token_setting is not None:
        say.note("rexec", f"token: {using.token_setting.keyword.name} ({using.token_setting.origin})")
    if using.cert is not None:
        say.note("rexec", f"certificate, where the server asks for one: {using.cert}")


def _leave_input() -> None:
    """Put /dev/null where standard input is."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.dup2(null, _STDIN)
    finally:
        os.close(null)


def _warn_of_end(seconds: float | None) -> None:
    """Say when the token expires, if that is soon."""
    if seconds is not None and seconds <= _SOON:
        say.warning("rexec", f"the token expires in {spell_span(seconds)}: ask the operator for a new one")


def _run(session: Session, line: str, reason: str, using: Configuration, *, has_input: bool) -> int:
    outcome = _execute(session, line, say.write, reason, using, has_input=has_input)
    if (outcome.truncated or outcome.reason is not None) and not using.is_quiet:
        from rexecd.client.endings import ending_notes  # noqa: PLC0415 - seldom

        for note in ending_notes(outcome):
            say.note("rexec", note)
    return outcome.returncode


def _run_to_json(session: Session, line: str, reason: str, using: Configuration, *, has_input: bool) -> int:
    from rexecd.client.report import dump, report_failure, report_outcome  # noqa: PLC0415 - as above

    collector = Collector(MAX_OUTPUT)
    try:
        outcome = _execute(session, line, collector.take, reason, using, has_input=has_input)
        report, status = report_outcome(outcome, collector.stdout, collector.stderr), outcome.returncode
    except CallerError as error:
        report, status = report_failure(error, collector.stdout, collector.stderr), error.exit_status
    say.write(Stream.STDOUT, dump(report))
    return status


def _execute(
    session: Session,
    line: str,
    sink: Callable[[Stream, bytes], None],
    reason: str,
    using: Configuration,
    *,
    has_input: bool,
) -> Outcome:
    outcome = session.execute(
        line,
        offer=Offer.OPTIONAL if has_input else Offer.NONE,
        source=_STDIN if has_input else None,
        sink=sink,
        reason=reason,
        timeout=using.timeout,
    )
    if using.is_verbose:
        ended = f"exit status {outcome.returncode} after {spell_seconds(outcome.duration)}"
        say.note("rexec", f"request {outcome.request_id}: {outcome.outcome}, {ended}")
    return outcome


def _fill_standard_descriptors() -> bool:
    """Make sure 0, 1 and 2 are open, so that no socket of ours becomes a standard one.

    Return whether there was a standard input. Output to a closed descriptor stays the error it
    was; complaints to one are dropped.
    """
    missing = set()
    for descriptor, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            missing.add(os.open(os.devnull, flags))  # the lowest free number, which is this one
    return _STDIN not in missing
