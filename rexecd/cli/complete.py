"""`rexec --complete SHELL [WORD...]`: what the completion files ask, a line for each candidate.

Rule 1: the tabulator key asks nobody anything: no question, no program for the token, no complaint.
Rule 2: a server is asked rarely, and not for long; what it listed is kept for a while.
"""

import contextlib
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rexecd.cli import say
from rexecd.client import known_hosts
from rexecd.client.arguments import parse_arguments
from rexecd.client.configfile import names
from rexecd.client.configuration import SYSTEM_FILE, Configuration, settle
from rexecd.client.credentials import config_directory, take_token
from rexecd.client.errors import CallerError
from rexecd.client.listcache import keep, path_of, recall
from rexecd.client.session import connect
from rexecd.client.suggesting import Sources, Suggestion, suggest
from rexecd.printable import printable
from rexecd.wire.messages import Entry

#: Seconds a server may take to say what there is.
_PATIENCE: Final = 2.0
_PORT: Final = ":7512"


def complete(words: Sequence[str]) -> int:
    """Print what the last word can become, each with what it is behind a tabulator; return 0."""
    shell, *line = words or ["", ""]
    if shell == "bash":  # which hands its words over as they were typed
        line = [_without_quotes(word) for word in line]
    found = suggest(line, Sources(_hosts, _listing))
    say.answer("".join(f"{_line(each)}\n" for each in found if each.text.isprintable()))
    return 0


def _line(each: Suggestion) -> str:
    return f"{each.text}\t{printable(each.about)}" if each.about else each.text


def _without_quotes(word: str) -> str:
    """Return what a shell would make of a word, also of one whose quote is still open."""
    for whole in (word, word.removesuffix("\\"), f"{word}'", f'{word}"'):
        try:
            return " ".join(shlex.split(whole))
        except ValueError:
            continue
    return word


def _hosts() -> Iterator[str]:
    """Return the hosts of the configuration, the known ones, and those with a stored token."""
    directory = config_directory(os.environ)
    files = [(SYSTEM_FILE, True), *([(f"{directory}/config", False)] if directory else [])]
    for path, is_system in files:
        yield from _or_nothing(path, is_system=is_system)
    if directory:
        with contextlib.suppress(OSError):
            yield from os.listdir(f"{directory}/tokens")  # noqa: PTH208 - pathlib starts slowly
    known = known_hosts.default_path(os.environ)
    if known is not None:
        yield from (name.removesuffix(_PORT) for name in known_hosts.hosts(known))


def _or_nothing(path: str, *, is_system: bool) -> Iterable[str]:
    try:
        return names(path, is_system=is_system)
    except CallerError:
        return ()


def _listing(words: Sequence[str]) -> Sequence[Entry]:
    try:
        using = settle(parse_arguments(words), os.environ)
        path = path_of(using, os.environ)
        if path is None or not using.completion_cache:
            return ()
        entries = recall(path, using.completion_cache, time.time())
        if entries is None:
            entries = _ask(using)
            keep(path, entries)
    except (CallerError, OSError):
        return ()
    return entries


def _is_known(using: Configuration) -> bool:
    """Return whether something says how to recognise the server; no other one is even connected to."""
    if using.ca is not None or using.pin is not None:
        return True
    return using.known_hosts is not None and bool(known_hosts.load(using.known_hosts, using.address).keys)


def _ask(using: Configuration) -> list[Entry]:
    """Return what a server lists; nothing where that would need somebody."""
    token = using.token
    if token is None or token.command or token.file == "-":
        return []
    try:
        if not _is_known(using):
            return []
        with connect(
            str(using.address),
            token=take_token(token, using.address),
            ca=using.ca,
            pin=using.pin,
            known_hosts=using.known_hosts,
            cert=using.cert,
            key=using.key,
            connect_timeout=min(_PATIENCE, using.connect_timeout),
            answer_timeout=min(_PATIENCE, using.answer_timeout),
            family=using.family,
        ) as session:
            return session.list()
    except CallerError:
        return []
