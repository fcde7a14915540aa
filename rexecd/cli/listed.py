"""What a caller may run, printed: all of it, or the help of one command."""

import os
from collections.abc import Sequence

from rexecd.cli import say
from rexecd.client.arguments import Options
from rexecd.client.configuration import Configuration
from rexecd.client.errors import Refused
from rexecd.client.listcache import keep, path_of
from rexecd.client.listing import as_object, find_entry, make_help, make_table
from rexecd.client.report import dump
from rexecd.client.results import Stream
from rexecd.client.session import Session
from rexecd.printable import printable
from rexecd.wire.messages import Entry


def answer_listing(session: Session, options: Options, using: Configuration) -> int:
    """Print everything, or one command's help, and return the exit status; raise CallerError or OSError."""
    name, entries = options.help_for, session.list()
    _keep(entries, using)
    return _list(entries, options) if name is None else _help(entries, name, is_json=options.is_json)


def _keep(entries: Sequence[Entry], using: Configuration) -> None:
    """Keep the list for completion in a shell, which itself asks a server only where nobody is needed."""
    path = path_of(using, os.environ)
    if path is not None and using.completion_cache:
        keep(path, entries)


def _list(entries: Sequence[Entry], options: Options) -> int:
    if options.is_lines:
        for entry in entries:
            say.write(Stream.STDOUT, dump(as_object(entry)))
    elif options.is_json:
        say.write(Stream.STDOUT, dump([as_object(entry) for entry in entries]))
    else:
        say.answer(make_table(entries, printable))
    return 0


def _help(entries: Sequence[Entry], name: str, *, is_json: bool) -> int:
    entry = find_entry(entries, name)
    if entry is None:
        raise Refused(f"{name!r} is unknown or not permitted", hint="'rexec --list HOST' shows what is")
    if is_json:
        say.write(Stream.STDOUT, dump(as_object(entry)))
    else:
        say.answer(make_help(entry, printable))
    return 0
