"""`rexec login HOST`: a server is recognised, and a token is tried and kept, once for all calls after it.

Rule 1: a token is asked for only when the server has proved itself, and kept only when it was accepted.
Rule 2: nothing is written over that nobody was asked about.
"""

import functools
import os
from collections.abc import Mapping
from typing import Final

from rexecd.cli import say
from rexecd.cli.asking import ask_secret, ask_yes
from rexecd.cli.firstuse import is_trusted, remember, tracing
from rexecd.client.arguments import Options
from rexecd.client.configuration import COMMAND_LINE, Configuration, settle
from rexecd.client.credentials import Source, check_token, stored_file, take_token
from rexecd.client.deadline import Deadline
from rexecd.client.dial import Dialling, dial
from rexecd.client.errors import UnknownHost, UsageError
from rexecd.client.identity import make_identity
from rexecd.client.known_hosts import default_path, load
from rexecd.client.ownfile import is_stored, store
from rexecd.client.session import connect
from rexecd.client.times import spell_span
from rexecd.client.trust import fingerprint_of, make_trust
from rexecd.printable import printable

_STDIN: Final = 0


def login(options: Options, environ: Mapping[str, str]) -> int:
    """Set a server up and return the exit status; raise CallerError."""
    using = settle(options, environ)
    path = stored_file(environ, using.address)
    if path is None:
        raise UsageError(
            "there is no home to store a token in", hint="set HOME, or XDG_CONFIG_HOME to a directory"
        )
    given = _given(using)
    is_new = not is_stored(path)
    fingerprint = _recognise(using)
    if not is_new:
        _ask_to_replace(using, path)
    token = take_token(given, using.address) if given is not None else _ask_token(using)
    check_token(token)
    said = _try(using, fingerprint, token)
    store(path, check_token(token) + b"\n")
    _tell(using, said)
    _tell(using, f"the token is stored in {path}")
    _remember_for_later(using, environ, fingerprint)
    return 0


def _tell(using: Configuration, what: str) -> None:
    if not using.is_quiet:
        say.note("rexec", what)


def _given(using: Configuration) -> Source | None:
    """Return where the command line says the token is; raise UsageError if a stored one would not count."""
    setting = using.token_setting
    if setting is None or not setting.block:  # none, or the stored one
        return None
    if setting.origin == COMMAND_LINE:
        return using.token
    raise UsageError(
        f"{setting.origin}: the token is taken from there, and not from where login would store one",
        hint="take it away there first, or leave it and do without login",
    )


def _recognise(using: Configuration) -> str:
    """Return the key of a server that has proved itself, or that somebody says yes to; raise CallerError."""
    place = str(using.address)
    known = None if using.ca or using.pin else using.known_hosts
    trust = make_trust(using.ca, using.pin, None if known is None else load(known, using.address))
    identity = make_identity(using.cert, using.key)
    how = Dialling(using.family, tracing(using))
    try:
        with dial(using.address, trust, Deadline(using.connect_timeout), identity, how) as sock:
            fingerprint = fingerprint_of(sock, place)
    except UnknownHost as unknown:
        if using.is_batch or not is_trusted(place, unknown):
            raise
        remember(using, unknown.fingerprint)
        return unknown.fingerprint
    _tell(using, f"{place} is known by {trust.basis}. The server's key is {fingerprint}")
    return fingerprint


def _ask_to_replace(using: Configuration, path: str) -> None:
    """Raise UsageError unless somebody says that the stored token may go."""
    question = f"rexec: a token for {printable(str(using.address))} is stored already.\nReplace it? (yes/no) "
    try:
        is_yes = not using.is_batch and ask_yes(question)
    except OSError:
        is_yes = False
    if not is_yes:
        raise UsageError(
            f"{path}: a token is stored already, and stays", hint="remove the file to have no question"
        )


def _ask_token(using: Configuration) -> str:
    """Return the token: typed unseen, or the first line of an input that is no terminal; raise UsageError."""
    if not os.isatty(_STDIN):
        return take_token(Source(file="-"), using.address)
    try:
        token = ask_secret(f"Token for {printable(str(using.address))} (it is not shown): ")
    except OSError:
        token = None
    if token is None:
        raise UsageError("no token was given; nothing is stored", hint="the operator hands out tokens")
    return token


def _try(using: Configuration, fingerprint: str, token: str) -> str:
    """Return what to say of a token that the server accepts; raise CallerError."""
    with connect(
        str(using.address),
        token=token,
        ca=using.ca,
        pin=using.pin or fingerprint,
        cert=using.cert,
        key=using.key,
        connect_timeout=using.connect_timeout,
        answer_timeout=using.answer_timeout,
        family=using.family,
        trace=tracing(using),
    ) as session:
        commands = say.count(len(session.list()), "command")
        seconds = session.token_expires_in
    ends = "" if seconds is None else f"; the token expires in {spell_span(seconds)}"
    return f"{using.address} knows you as {session.principal}, who may run {commands}{ends}"


def _remember_for_later(using: Configuration, environ: Mapping[str, str], fingerprint: str) -> None:
    """Let later calls do without what was typed for this one."""
    typed = functools.partial(_is_typed, using)
    if typed("CA") or typed("Pin"):
        usual = default_path(environ)
        if usual is not None:
            remember(using._replace(known_hosts=usual), fingerprint)
    name = str(using.address) if typed("Port") or typed("HostName") else using.name
    _tell(using, f"from now on: rexec {name} COMMAND")


def _is_typed(using: Configuration, key: str) -> bool:
    return key in using.settings and using.settings[key].origin == COMMAND_LINE
