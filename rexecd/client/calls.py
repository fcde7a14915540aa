"""The two functions people begin with: `connect` and `run`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from rexecd.client import session
from rexecd.client.captured import perform
from rexecd.client.request import line_of
from rexecd.client.results import MAX_OUTPUT, Outcome
from rexecd.client.session import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Session
from rexecd.client.signatures import Connecting

if TYPE_CHECKING:
    from rexecd.client.completed import Result
    from rexecd.client.dial import Trace
    from rexecd.client.signatures import Calling, Readable


def connect(
    host: str,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    pin: str | None = None,
    known_hosts: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    connect_timeout: float | None = None,
    answer_timeout: float | None = None,
    family: Literal["any", "inet", "inet6"] | None = None,
    trace: "Trace | None" = None,
) -> Session:
    r"""Return an authenticated session with the rexecd at `host` (`name[:port]`, `[ipv6]:port`).

    >>> with rexecd.client.connect(host, token=token, ca=ca) as session:
    ...     session.run("echo hello").stdout
    b'hello\n'

    With `token`, everything is as it is given here. Without, what is not given is found as rexec(1) finds it:
    in the environment, in the configuration (rexec.conf(5); `host` may be a name from there), and where
    `rexec login` stored it. Nobody is asked, and standard input is not read.

    `ca` is a file with the certificate of the server's authority, `pin` its key as `sha256:HEX`; of both
    both have to hold. Else `known_hosts` is a file with keys that somebody said yes to; it is never
    written. `cert` and `key` are files with a client certificate and its key, which may be in the same
    file. `connect_timeout` (15 s) is for TCP, TLS and the answer to the token together, but for looking the
    name up; `answer_timeout` (60 s) for the first answer to each request. `family` is `any`, `inet` or
    `inet6`; `trace` is called with a line of text for each step.

    Raise UsageError, ConnectFailed, Untrusted (UnknownHost and ChangedKey have the `fingerprint` that was
    found), AuthenticationFailed, SessionClosed or ProtocolBroken.
    """
    given = Connecting(
        ca=ca,
        pin=pin,
        known_hosts=known_hosts,
        cert=cert,
        key=key,
        connect_timeout=connect_timeout,
        answer_timeout=answer_timeout,
        family=family,
        trace=trace,
    )
    return _open_configured(host, given) if token is None else _open(host, token, given)


def _open_configured(host: str, given: "Connecting") -> Session:
    from rexecd.client.configured import settled  # noqa: PLC0415 - not for who has a token

    return _open(*settled(host, given))


def _open(host: str, token: str, given: "Connecting") -> Session:
    """Return a session with what is given, and the usual times where none are."""
    return session.connect(
        host,
        token=token,
        ca=given.get("ca"),
        pin=given.get("pin"),
        known_hosts=given.get("known_hosts"),
        cert=given.get("cert"),
        key=given.get("key"),
        connect_timeout=_or(given.get("connect_timeout"), CONNECT_TIMEOUT),
        answer_timeout=_or(given.get("answer_timeout"), ANSWER_TIMEOUT),
        family=given.get("family") or "any",
        trace=given.get("trace"),
    )


def _or(seconds: float | None, usual: float) -> float:
    return usual if seconds is None else seconds


@overload
def run(
    host: str,
    command: str | Sequence[str],
    *,
    input: bytes | None = ...,
    capture_output: Literal[True] = ...,
    text: Literal[False] | None = ...,
    encoding: None = ...,
    errors: None = ...,
    **calling: "Unpack[Calling]",
) -> "Result[bytes]": ...
@overload
def run(
    host: str,
    command: str | Sequence[str],
    *,
    input: str | None = ...,
    capture_output: Literal[True] = ...,
    text: Literal[True],
    encoding: str | None = ...,
    errors: str | None = ...,
    **calling: "Unpack[Calling]",
) -> "Result[str]": ...
@overload
def run(
    host: str,
    command: str | Sequence[str],
    *,
    input: str | None = ...,
    capture_output: Literal[True] = ...,
    text: bool | None = ...,
    encoding: str,
    errors: str | None = ...,
    **calling: "Unpack[Calling]",
) -> "Result[str]": ...
@overload
def run(
    host: str,
    command: str | Sequence[str],
    *,
    input: bytes | str | None = ...,
    capture_output: Literal[False],
    text: bool | None = ...,
    encoding: str | None = ...,
    errors: str | None = ...,
    **calling: "Unpack[Calling]",
) -> "Result[None]": ...
@overload
def run(
    host: str,
    command: str | Sequence[str],
    *,
    input: None = ...,
    capture_output: bool = ...,
    text: bool | None,
    encoding: str | None = ...,
    errors: str | None = ...,
    **calling: "Unpack[Calling]",
) -> "Result[Any]": ...
def run(
    host: str,
    command: str | Sequence[str],
    *,
    input: bytes | str | None = None,  # noqa: A002 - as subprocess.run calls it
    stdin: "Readable | None" = None,
    capture_output: bool = True,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    check: bool = False,
    reason: str = "",
    timeout: float | None = None,
    max_output: int = MAX_OUTPUT,
    **connecting: "Unpack[Connecting]",
) -> "Result[Any]":
    r"""Connect, run one command to its end, disconnect.

    Everything is as in `Session.run`, and what says how to connect as in `connect`, which is also where the
    errors are named. A program that runs several commands saves most of the time with a session, or with a
    `Pool`.

    >>> rexecd.client.run(host, ["echo", "hello"], token=token, ca=ca, text=True, check=True).stdout
    'hello\n'
    """

    def execute(line: str, **how: Any) -> Outcome:  # noqa: ANN401 - what `Session.execute` takes
        with connect(host, **connecting) as opened:
            return opened.execute(line, **how)

    return perform(
        execute,
        line_of(command),
        given=input,
        stdin=stdin,
        is_captured=capture_output,
        codec=(text, encoding, errors),
        check=check,
        reason=reason,
        timeout=timeout,
        max_output=max_output,
    )
