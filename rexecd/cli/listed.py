"""What a caller may run, printed: all of it, or the help of one command."""

from rexecd.cli import say
from rexecd.client.arguments import Options
from rexecd.client.errors import Refused
from rexecd.client.listing import as_object, find_entry, make_help, make_table
from rexecd.client.report import dump
from rexecd.client.results import Stream
from rexecd.client.session import Session
from rexecd.printable import printable


def answer_listing(session: Session, options: Options) -> int:
    """Print everything, or one command's help, and return the exit status; raise CallerError or OSError."""
    name = options.help_for
    return _list(session, options) if name is None else _help(session, name, is_json=options.is_json)


def _list(session: Session, options: Options) -> int:
    entries = session.list()
    if options.is_lines:
        for entry in entries:
            say.write(Stream.STDOUT, dump(as_object(entry)))
    elif options.is_json:
        say.write(Stream.STDOUT, dump([as_object(entry) for entry in entries]))
    else:
        say.answer(make_table(entries, printable))
    return 0


def _help(session: Session, name: str, *, is_json: bool) -> int:
    entry = find_entry(session.list(), name)
    if entry is None:
        raise Refused(f"{name!r} is unknown or not permitted", hint="'rexec --list HOST' shows what is")
    if is_json:
        say.write(Stream.STDOUT, dump(as_object(entry)))
    else:
        say.answer(make_help(entry, printable))
    return 0
