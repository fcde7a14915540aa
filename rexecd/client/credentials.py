"""The caller's token: where it is found, and whether it is whole.

A token is `rxt_`, 8 characters that name it, `_`, 43 of secret and 6 of checksum, so that one
that was mistyped or cut is noticed here, before any network. It is never part of a message.
"""

import os
import re
import stat
import zlib
from collections.abc import Mapping
from typing import Final

from rexecd.client.errors import UsageError
from rexecd.limits import MAX_TOKEN

_TOKEN: Final = re.compile(r"rxt_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}")
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM_SIZE: Final = 6
#: Whitespace around a token is forgiven, a file of something else is not read to its end.
_MAX_FILE: Final = 4 * MAX_TOKEN
_STDIN: Final = 0


def check_token(text: str) -> bytes:
    """Return the token as it is sent; raise UsageError if it cannot be a token."""
    token = text.strip()
    body, checksum = token[:-_CHECKSUM_SIZE], token[-_CHECKSUM_SIZE:]
    if not _TOKEN.fullmatch(token) or _checksum(body) != checksum:
        raise UsageError(
            "that is not a complete token (mistyped or cut)",
            hint="a token is 'rxt_' and 58 more characters; copy it again from where it was handed to you",
        )
    return token.encode("ascii")


def find_token(option: str | None, file: str | None, environ: Mapping[str, str]) -> str:
    """Return the first token found, unchecked, or raise UsageError.

    The order: --token, --token-file, $REXEC_TOKEN, $REXEC_TOKEN_FILE, the credentials directory.
    """
    if option is not None:
        return option
    if file is not None:
        return _first_line() if file == "-" else _read(file)
    if environ.get("REXEC_TOKEN"):
        return environ["REXEC_TOKEN"]
    if environ.get("REXEC_TOKEN_FILE"):
        return _read(environ["REXEC_TOKEN_FILE"])
    given = environ.get("CREDENTIALS_DIRECTORY")
    path = os.path.join(given, "rexec-token") if given else ""  # noqa: PTH118 - pathlib starts slowly
    if path and os.path.exists(path):  # noqa: PTH110
        return _read(path, is_guarded=True)
    raise UsageError(
        "there is no token", hint="give --token-file FILE, or set REXEC_TOKEN or REXEC_TOKEN_FILE"
    )


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("utf-8", "surrogateescape"))
    digits = ""
    for _ in range(_CHECKSUM_SIZE):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _read(path: str, *, is_guarded: bool = False) -> str:
    """Read a token file. `is_guarded`: the directory protects it, as systemd's credentials are."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not is_guarded and stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise UsageError(
                    f"token file {path!r}: others can read it (mode {stat.S_IMODE(status.st_mode):04o})",
                    hint=f"chmod 600 {path!r}",
                )
            data = os.read(descriptor, _MAX_FILE)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise UsageError(f"token file {path!r}: {getattr(error, 'strerror', None) or error}") from None
    return data.decode("ascii", "replace")


def _first_line() -> str:
    """Take one line off standard input, and not one byte more: the rest belongs to the command."""
    line = bytearray()
    try:
        while len(line) < _MAX_FILE:
            byte = os.read(_STDIN, 1)
            if byte in (b"", b"\n"):
                break
            line += byte
    except OSError as error:
        raise UsageError(f"standard input: {error.strerror}") from None
    return line.decode("ascii", "replace")
