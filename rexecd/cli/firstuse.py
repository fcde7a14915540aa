"""How `rexec` connects: whom it trusts, and the question on first use.

Rule 1: the question goes to the terminal, also where standard input is a pipe; only the whole word is a yes.
Rule 2: the connection that showed the key is closed before the question, because a server does not wait for
people; the one behind the answer has to show the same key.
"""

import functools
import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from rexecd.cli import say
from rexecd.client.address import parse_address
from rexecd.client.arguments import Options
from rexecd.client.credentials import find_token
from rexecd.client.errors import ChangedKey, UnknownHost, Untrusted, UsageError
from rexecd.client.session import Session, connect
from rexecd.printable import printable

_QUESTION: Final = """\
rexec: {place} is not known yet. The server's key is
  {fingerprint}
Compare it with the operator's: 'rexecd check' or 'rexecd cert show' on the server prints it.
Trust this key from now on? (yes/no) """
_AGAIN: Final = "Please type yes or no: "
_MAX_ANSWER: Final = 1024


class _Trust(NamedTuple):
    ca: str | None
    pin: str | None
    #: A file of known hosts, where neither of the others says anything.
    known_hosts: str | None


def open_session(options: Options, environ: Mapping[str, str]) -> Session:
    """Return a session with the server, which somebody may have been asked about; raise CallerError."""
    trust = _choose_trust(options, environ)
    cert, key = options.cert, options.key
    if cert is None:
        cert, key = environ.get("REXEC_CERT") or None, environ.get("REXEC_KEY") or None
    dial = functools.partial(
        connect,
        options.host,
        token=find_token(options.token, options.token_file, environ),
        cert=cert,
        key=key,
        connect_timeout=options.connect_timeout,
    )
    try:
        return dial(ca=trust.ca, pin=trust.pin, known_hosts=trust.known_hosts)
    except UnknownHost as unknown:
        place = str(parse_address(options.host))
        if options.is_batch or not _is_trusted(place, unknown):
            raise
        fingerprint = unknown.fingerprint
    _remember(str(trust.known_hosts), options.host, fingerprint)
    try:
        return dial(pin=fingerprint)
    except Untrusted as other:
        raise ChangedKey(
            f"{place}: now the server has another key than the one you said yes to: {other.fingerprint}",
            hint="someone may stand in between: ask the operator; nothing was sent",
            fingerprint=other.fingerprint,
        ) from None


def _choose_trust(options: Options, environ: Mapping[str, str]) -> _Trust:
    """Return what was typed, or else what was set up, or else the known hosts; never a mixture."""
    if options.ca is not None or options.pin is not None or options.known_hosts is not None:
        return _Trust(options.ca, options.pin, options.known_hosts)
    ca, pin = environ.get("REXEC_CA") or None, environ.get("REXEC_PIN") or None
    if ca is not None or pin is not None:
        return _Trust(ca, pin, None)
    from rexecd.client.known_hosts import default_path  # noqa: PLC0415 - not for who said whom to trust

    return _Trust(None, None, default_path(environ))


def _is_trusted(place: str, unknown: UnknownHost) -> bool:
    """Ask the terminal; return False where there is none. Raise Untrusted for a no."""
    question = _QUESTION.format(place=printable(place), fingerprint=unknown.fingerprint)
    try:
        is_yes = _ask(question)
    except OSError:  # no terminal, or one that is not ours any more
        return False
    if not is_yes:
        raise Untrusted(
            f"{place}: the server's key is not trusted; nothing was sent", fingerprint=unknown.fingerprint
        )
    return True


def _ask(question: str) -> bool:
    """Return whether somebody at the terminal types yes; raise OSError where there is nobody to ask."""
    import termios  # noqa: PLC0415 - only for a question

    terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        termios.tcflush(terminal, termios.TCIFLUSH)  # what was typed before the question does not answer it
        say.write(terminal, question.encode("ascii", "backslashreplace"))
        while (answer := _line(terminal)) not in (b"yes", b"no", None):
            say.write(terminal, _AGAIN.encode("ascii"))
    except termios.error as error:
        raise OSError(*error.args) from None
    finally:
        os.close(terminal)
    return answer == b"yes"


def _line(terminal: int) -> bytes | None:
    """Return one line, without the space around it; None for the end of input (Ctrl-D)."""
    line = b""
    while not line.endswith((b"\n", b"\r")) and len(line) < _MAX_ANSWER:
        piece = os.read(terminal, _MAX_ANSWER)
        if not piece:
            return None
        line += piece
    return line.strip()


def _remember(path: str, host: str, fingerprint: str) -> None:
    from rexecd.client.known_hosts import remember  # noqa: PLC0415 - as above

    try:
        remember(path, parse_address(host), fingerprint)
    except (OSError, UsageError) as error:
        what = getattr(error, "strerror", None) or error
        say.warning("rexec", f"the key could not be remembered in {path}: {what}")
    else:
        say.note("rexec", f"remembered in {path}")
