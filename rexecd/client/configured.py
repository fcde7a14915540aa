"""How `rexec` would connect: what is not given comes from the environment and the configuration.

Rule: nobody is asked anything, nothing is read from standard input, and nothing is written.
"""

import os
from typing import Literal, cast

from rexecd.client.arguments import Options
from rexecd.client.configuration import Configuration, settle
from rexecd.client.credentials import take_token
from rexecd.client.errors import UsageError
from rexecd.client.signatures import Connecting


def settled(host: str, given: Connecting) -> tuple[str, str, Connecting]:
    """Return where to connect to, the token, and how: what is given, else what is found; raise UsageError."""
    using = settle(_options(host, given), os.environ)
    answer_timeout = given.get("answer_timeout")
    found = Connecting(
        ca=using.ca,
        pin=using.pin,
        known_hosts=using.known_hosts,
        cert=using.cert,
        key=using.key,
        connect_timeout=using.connect_timeout,
        answer_timeout=using.answer_timeout if answer_timeout is None else answer_timeout,
        family=cast("Literal['any', 'inet', 'inet6']", using.family),
        trace=given.get("trace"),
    )
    return str(using.address), _token(using), found


def _options(host: str, given: Connecting) -> Options:
    """Return what is given as a command line would say it."""
    return Options(
        host=host,
        command=(),
        token=None,
        token_file=None,
        ca=_path(given.get("ca")),
        pin=given.get("pin"),
        known_hosts=_path(given.get("known_hosts")),
        cert=_path(given.get("cert")),
        key=_path(given.get("key")),
        family=given.get("family"),
        connect_timeout=given.get("connect_timeout"),
        is_batch=True,
        is_list=False,
        is_json=False,
        reason="",
        value_files=(),
    )


def _token(using: Configuration) -> str:
    if using.token is not None and using.token.file == "-":
        raise UsageError(
            "token file '-': standard input is not read for a token here", hint="name a file, or give token="
        )
    return take_token(using.token, using.address)


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.fspath(path)
