"""The caller's token: where it is found, and whether it is whole.

A token is `rxt_`, 8 characters that name it, `_`, 43 of secret and 6 of checksum, so that one
that was mistyped or cut is noticed here, before any network. It is never part of a message.
"""

import binascii
import errno
import os
import re
import stat
from collections.abc import Mapping

from rexecd.client.address import Address, ascii_host
from rexecd.client.deadline import Deadline
from rexecd.client.errors import UsageError
from rexecd.limits import MAX_TOKEN
from rexecd.portable import HAS_OWNERS, file_name, flags
from rexecd.typed import TYPE_CHECKING, Final, NamedTuple
from rexecd.wire.transport import PORT

if TYPE_CHECKING:
    import subprocess

_TOKEN: Final = re.compile(r"rxt_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}")
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM_SIZE: Final = 6
#: Whitespace around a token is forgiven, a file of something else is not read to its end.
_MAX_FILE: Final = 4 * MAX_TOKEN
_STDIN: Final = 0
#: Seconds a program's start may take before nobody waits to end it.
_MOMENT: Final = 2.0
#: Seconds a program has to print the token; somebody may have to unlock a password store first.
COMMAND_TIMEOUT: Final = 120.0
#: Seconds for the rest of what it printed, once it has ended and its line is here.
_AFTERWARDS: Final = 0.5


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


class Source(NamedTuple):
    """Where a token is; exactly one of them says something."""

    text: str | None = None
    #: `-` for the first line of standard input.
    file: str | None = None
    #: A program that prints it, and its arguments.
    command: tuple[str, ...] = ()
    #: The directory protects the file, as systemd's credentials are.
    is_guarded: bool = False


def take_token(source: Source | None, address: Address) -> str:
    """Return the token, unchecked; raise UsageError where there is none. A program is told the host."""
    if source is None:
        raise UsageError(
            f"there is no token for {address}",
            hint="'rexec login HOST' sets one up; or give --token-file FILE, or set REXEC_TOKEN_FILE",
        )
    if source.text is not None:
        return source.text
    if source.command:
        return _ask_program(source.command, address.host)
    if source.file == "-":
        return _first_line()
    return _read(str(source.file), is_guarded=source.is_guarded)


def guarded_file(environ: Mapping[str, str]) -> str | None:
    """Return the token's file in systemd's credentials directory, where there is one."""
    given = environ.get("CREDENTIALS_DIRECTORY")
    path = os.path.join(given, "rexec-token") if given else ""  # noqa: PTH118 - pathlib starts slowly
    return path if path and os.path.exists(path) else None  # noqa: PTH110


def stored_file(environ: Mapping[str, str], address: Address) -> str | None:
    """Return where `rexec login` stores a server's token; None where there is no home."""
    directory = config_directory(environ)
    if directory is None:
        return None
    host = ascii_host(address).lower()
    name = host if address.port == PORT else str(Address(host, address.port))
    return f"{directory}/tokens/{file_name(name)}"


def config_directory(environ: Mapping[str, str]) -> str | None:
    """Return where the caller's configuration is; None where there is no home."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 - a relative one has to be ignored, by the XDG's own word
        base = os.path.expanduser("~") + "/.config"  # noqa: PTH111
    return f"{base}/rexec" if os.path.isabs(base) else None  # noqa: PTH117


def _ask_program(command: tuple[str, ...], host: str) -> str:
    """Return the first line a program prints. It gets no input; its complaints are shown."""
    import subprocess  # noqa: PLC0415 - a start can do without it

    program = f"TokenCommand {command[0]!r}"
    try:
        status, printed = _Asked(command, host).answer(Deadline(COMMAND_TIMEOUT))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise UsageError(f"{program}: it did not end within {COMMAND_TIMEOUT:g} s") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{program}: {getattr(error, 'strerror', None) or error}") from None
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        raise UsageError(f"{program}: it failed ({how})", hint="does it work by hand?")
    return printed.partition(b"\n")[0].decode("ascii", "replace")


class _Asked:
    """A program under way, started and read by a thread.

    A pipe cannot be waited for on every platform; and no signal reaches a thread between the program's start
    and the moment somebody could end it again.
    """

    def __init__(self, command: tuple[str, ...], host: str) -> None:
        import threading  # noqa: PLC0415 - a start can do without it

        self._command = command
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None
        self._printed = b""
        self._error: Exception | None = None
        self._is_begun = threading.Event()
        #: All that counts was printed: a line, or everything.
        self._is_read = threading.Event()
        self._thread = threading.Thread(target=self._run, name="token", daemon=True)

    def answer(self, deadline: Deadline) -> tuple[int, bytes]:
        """Return the exit status and what was printed.

        Raise TimeoutError or TimeoutExpired, OSError, or ValueError for too much; the program is ended then.
        """
        try:
            self._begin()
            if not self._is_read.wait(deadline.remaining()):
                raise TimeoutError
            if self._error is not None or self._process is None:
                raise self._error or OSError
            status = self._process.wait(deadline.remaining())
            # What it left behind, such as an agent, may hold its output open for as long as it likes.
            self._thread.join(_AFTERWARDS)
            if len(self._printed) > _MAX_FILE:
                raise ValueError(f"it prints more than {_MAX_FILE} bytes")
            return status, self._printed
        except BaseException:
            self._end()
            raise

    def _begin(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:  # no room for another one
            self._is_begun.set()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None

    def _run(self) -> None:
        import subprocess  # noqa: PLC0415 - as above

        environment = {**os.environ, "REXEC_HOST": self._host}
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        try:
            # Standard input is the remote command's, and standard output too: neither is the program's.
            self._process = subprocess.Popen(self._command, stdin=null, stdout=pipe, env=environment)
            self._is_begun.set()
            if self._process.stdout is not None:
                with self._process.stdout as printed:
                    self._read(printed.fileno())
                if len(self._printed) > _MAX_FILE:
                    self._process.kill()
        except (OSError, ValueError) as error:
            self._error = error
        finally:
            self._is_begun.set()
            self._is_read.set()

    def _read(self, descriptor: int) -> None:
        while piece := os.read(descriptor, _MAX_FILE + 1 - len(self._printed)):
            self._printed += piece
            if b"\n" in piece:
                self._is_read.set()

    def _end(self) -> None:
        self._is_begun.wait(_MOMENT)  # for ever only if the interrupt came before the thread was one
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _checksum(body: str) -> str:
    number = binascii.crc32(body.encode("utf-8", "surrogateescape"))
    digits = ""
    for _ in range(_CHECKSUM_SIZE):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _read(path: str, *, is_guarded: bool = False) -> str:
    """Read a token file. `is_guarded`: the directory protects it, as systemd's credentials are."""
    try:
        descriptor = os.open(path, flags())
        try:
            status = os.fstat(descriptor)
            if HAS_OWNERS and not is_guarded and stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
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
