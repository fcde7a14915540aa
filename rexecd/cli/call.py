"""`rexec`: run a permitted command on another host, or hold an interactive session with it.

This is the door: it reads the command line, the environment and the standard descriptors, and
turns every error into one line and an exit status (DESIGN: 128+N, 124 to 127, 255).
"""

import functools
import os
import signal
from collections.abc import Sequence

from rexecd.cli import say
from rexecd.cli.firstuse import open_session
from rexecd.cli.interrupts import Interrupts, Terminated, handling
from rexecd.cli.running import Command, open_events, report_end, run, run_to_json, run_to_lines
from rexecd.client.arguments import Options, parse_arguments
from rexecd.client.configuration import Configuration, settle
from rexecd.client.credentials import take_token
from rexecd.client.errors import OWN_FAULT, CallerError
from rexecd.client.request import line_of_words
from rexecd.client.results import SIGNAL_BASE
from rexecd.client.session import Session
from rexecd.typed import Final

_STDIN: Final = 0
#: What the completion files ask; the only word that is no option of the table.
_COMPLETE: Final = "--complete"
#: Also where no signal has this name.
_SIGPIPE: Final = 13
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
    return _SIGPIPE if isinstance(ending, BrokenPipeError) else signal.SIGINT


def _serve(argv: Sequence[str], interrupts: Interrupts, *, has_input: bool) -> int:
    if argv[:1] == [_COMPLETE]:
        from rexecd.cli.complete import complete  # noqa: PLC0415 - only for a shell

        return complete(argv[1:])
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
        report_end(error, is_lines=options.is_lines)
        return error.exit_status


def _perform(options: Options, interrupts: Interrupts, *, has_input: bool) -> int:
    using = settle(options, os.environ)
    if options.is_show:
        from rexecd.client.shown import show  # noqa: PLC0415 - for this one

        say.answer(show(using))
        return 0
    if using.is_null_input:
        _leave_input()
    line = _make_line(options)
    if using.is_verbose:
        _tell_plan(using)
    token = take_token(using.token, using.address)
    command = Command(line, options.reason, using, has_input=has_input)

    connect = functools.partial(open_session, using, token)

    def once() -> int:
        with connect() as session, interrupts.attending(session):
            if not using.is_quiet:
                _warn_of_end(session.token_expires_in)
            if not options.command and not options.is_list:
                from rexecd.cli.interact import interact  # noqa: PLC0415 - a command can do without it

                return interact(session, interrupts, options.reason, using, connect=connect)
            return _use(session, options, command)

    if not using.retry or not (options.command or options.is_list):
        return once()
    from rexecd.cli.attempts import attempt, tell_person  # noqa: PLC0415 - only for who wants more than one

    tell = open_events().retrying if options.is_lines else tell_person
    return attempt(
        once,
        retries=using.retry,
        tell=_tell_nobody if using.is_quiet else tell,
        is_given_up=lambda: interrupts.is_given_up,  # the signal went down with the request
    )


def _make_line(options: Options) -> str:
    """Return the line for the words of a command; raise UsageError."""
    if options.value_files:
        from rexecd.client.values import make_line  # noqa: PLC0415 - not for who has none

        return make_line(options.command, options.value_files)
    return line_of_words(options.command)


def _use(session: Session, options: Options, command: Command) -> int:
    if options.is_list or options.help_for is not None:
        from rexecd.cli.listed import answer_listing  # noqa: PLC0415 - a command can do without it

        return answer_listing(session, options, command.using)
    if options.is_lines:
        return run_to_lines(session, command)
    return (run_to_json if options.is_json else run)(session, command)


def _tell_nobody(_error: CallerError, _seconds: float) -> None:
    pass


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
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(null, _STDIN)
    finally:
        os.close(null)


def _warn_of_end(seconds: float | None) -> None:
    """Say when the token expires, if that is soon."""
    if seconds is not None and seconds <= _SOON:
        from rexecd.client.times import spell_span  # noqa: PLC0415 - seldom

        say.warning("rexec", f"the token expires in {spell_span(seconds)}: ask the operator for a new one")


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
