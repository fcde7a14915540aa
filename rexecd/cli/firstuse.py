"""How `rexec` connects: whom it trusts, and the question on first use.

Rule: the connection that showed the key is closed before the question, because a server does not wait for
people; the one behind the answer has to show the same key.
"""

import functools
from collections.abc import Callable

from rexecd.cli import say
from rexecd.client.configuration import Configuration
from rexecd.client.errors import ChangedKey, UnknownHost, Untrusted, UsageError
from rexecd.client.session import Session, connect
from rexecd.typed import Final

_QUESTION: Final = """\
rexec: {place} is not known yet. The server's key is
  {fingerprint}
Compare it with the operator's: 'rexecd check' or 'rexecd cert show' on the server prints it.
Trust this key from now on? (yes/no) """


def open_session(using: Configuration, token: str) -> Session:
    """Return a session with the server, which somebody may have been asked about; raise CallerError."""
    place = str(using.address)
    dial = functools.partial(
        connect,
        place,
        token=token,
        cert=using.cert,
        key=using.key,
        connect_timeout=using.connect_timeout,
        answer_timeout=using.answer_timeout,
        family=using.family,
        trace=tracing(using),
    )
    try:
        return dial(ca=using.ca, pin=using.pin, known_hosts=using.known_hosts)
    except UnknownHost as unknown:
        if using.is_batch or not is_trusted(place, unknown):
            raise
        fingerprint = unknown.fingerprint
    remember(using, fingerprint)
    try:
        return dial(pin=fingerprint)
    except Untrusted as other:
        raise ChangedKey(
            f"{place}: now the server has another key than the one you said yes to: {other.fingerprint}",
            hint="someone may stand in between: ask the operator; nothing was sent",
            fingerprint=other.fingerprint,
        ) from None


def tracing(using: Configuration) -> Callable[[str], None] | None:
    """Return where it goes what is tried, if anybody wants to know."""
    return functools.partial(say.note, "rexec") if using.is_verbose else None


def is_trusted(place: str, unknown: UnknownHost) -> bool:
    """Ask the terminal; return False where there is none. Raise Untrusted for a no."""
    from rexecd.cli.asking import ask_yes  # noqa: PLC0415 - once for each server
    from rexecd.printable import printable  # noqa: PLC0415 - as above

    question = _QUESTION.format(place=printable(place), fingerprint=unknown.fingerprint)
    try:
        is_yes = ask_yes(question)
    except OSError:  # no terminal, or one that is not ours any more
        return False
    if not is_yes:
        raise Untrusted(
            f"{place}: the server's key is not trusted; nothing was sent", fingerprint=unknown.fingerprint
        )
    return True


def remember(using: Configuration, fingerprint: str) -> None:
    """Write a server's key into the known hosts; where that fails, say so, and go on."""
    from rexecd.client import known_hosts  # noqa: PLC0415 - not for who said whom to trust

    path = str(using.known_hosts)
    try:
        known_hosts.remember(path, using.address, fingerprint)
    except (OSError, UsageError) as error:
        what = getattr(error, "strerror", None) or error
        say.warning("rexec", f"the key could not be remembered in {path}: {what}")
    else:
        if not using.is_quiet:
            say.note("rexec", f"remembered in {path}")
