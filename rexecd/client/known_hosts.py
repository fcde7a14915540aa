"""The keys a caller has said yes to: one line `HOST:PORT sha256:HEX` each, in a file of its own.

Rule 1: a file that cannot be read to its end, or that others can write to, is a fault: a host is unknown
only where a sound file does not name it.
Rule 2: lines are added, in one write under a lock, and never changed or taken away; what a person wrote
there, comments too, stays as it is.
Rule 3: whoever reads or writes here has been given the path; nothing here asks anybody.
"""

import contextlib
import errno
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Final

from rexecd.client.address import Address, ascii_host, parse_address
from rexecd.client.errors import UsageError
from rexecd.client.soundfile import What, fault, make_directory, opened, read_all
from rexecd.client.trust import Known
from rexecd.portable import flags, lock, set_mode

_LINE: Final = re.compile(rb"[ \t]*([!-~]+:[0-9]+)[ \t]+sha256:([0-9A-Fa-f]{64})[ \t]*\r?")
_WHAT: Final = What(
    "known hosts", "put any key", "name a file of your own with --known-hosts FILE"
)  # of at most some ten thousand hosts


def default_path(environ: Mapping[str, str]) -> str | None:
    """Return where the file is unless another is named; None where there is no home."""
    directory = state_directory(environ)
    return None if directory is None else f"{directory}/known_hosts"


def state_directory(environ: Mapping[str, str]) -> str | None:
    """Return where what is remembered from call to call is; None where there is no home."""
    base = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 - a relative one has to be ignored, by the XDG's own word
        home = os.path.expanduser("~")  # noqa: PTH111 - pathlib starts slowly
        base = f"{home}/.local/state"
    return f"{base}/rexec" if os.path.isabs(base) else None  # noqa: PTH117


def name_of(address: Address) -> str:
    """Return how a host is written in the file: as the caller typed it, in lower case, with the port."""
    return str(Address(ascii_host(address), address.port)).lower()


def load(path: str, address: Address) -> Known:
    """Return what the file says of a host, which is nothing where there is no file; raise UsageError."""
    try:
        with opened(_WHAT, path) as descriptor:
            with contextlib.suppress(OSError):  # without locks a line that is being added may look cut
                lock(descriptor, is_shared=True)
            data = read_all(_WHAT, descriptor, path)
    except FileNotFoundError:
        return Known(path, ())
    except (OSError, ValueError) as error:
        raise fault(_WHAT, path, error) from None
    return Known(path, parse(data, path).get(name_of(address), ()))


def hosts(path: str) -> list[str]:
    """Return the hosts a file names, as they stand there; none where it cannot be read."""
    try:
        with opened(_WHAT, path) as descriptor:
            return list(parse(read_all(_WHAT, descriptor, path), path))
    except (OSError, ValueError, UsageError):
        return []


def parse(data: bytes, path: str) -> Mapping[str, tuple[tuple[int, bytes], ...]]:
    """Return the keys of each host, with their lines; raise UsageError for a line that is none."""
    found: dict[str, tuple[tuple[int, bytes], ...]] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip() or line.lstrip(b" \t").startswith(b"#"):
            continue
        match = _LINE.fullmatch(line)
        name = match[1].decode("ascii").lower() if match is not None else ""
        if match is None or not _is_whole(name):
            raise UsageError(
                f"{path}:{number}: not a line 'HOST:PORT sha256:HEX'",
                hint=f"correct it, or take it away: sed -i {number}d {shlex.quote(path)}",
            )
        found[name] = (*found.get(name, ()), (number, bytes.fromhex(match[2].decode("ascii"))))
    return found


def _is_whole(name: str) -> bool:
    """Return whether a name is written as `name_of` writes it: no port left out, no bare IPv6 address."""
    try:
        return name_of(parse_address(name)) == name
    except UsageError:
        return False


def remember(path: str, address: Address, fingerprint: str) -> None:
    """Add a host's key to the file, which is made if need be; raise OSError or UsageError."""
    name = name_of(address)
    line = f"{name} {fingerprint}\n".encode("ascii")
    key = bytes.fromhex(fingerprint.removeprefix("sha256:"))
    make_directory(os.path.dirname(path) or ".")  # noqa: PTH120
    with _opened_or_made(path) as descriptor:
        lock(descriptor)
        data = read_all(_WHAT, descriptor, path)
        if any(key == other for _, other in parse(data, path).get(name, ())):
            return  # another rexec has heard the same answer
        if parse(line, path).get(name) is None:  # a name like '#web1' would be a comment
            raise UsageError(f"host {name!r} cannot be written into {path}")
        if data and not data.endswith(b"\n"):
            line = b"\n" + line
        _append(descriptor, line, len(data))


def _append(descriptor: int, line: bytes, size: int) -> None:
    """Add a line whole or not at all."""
    try:
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, size)
        raise


@contextlib.contextmanager
def _opened_or_made(path: str) -> Iterator[int]:
    mode = os.O_RDWR | os.O_APPEND
    try:
        made = os.open(path, mode | os.O_CREAT | os.O_EXCL | flags(), 0o600)
    except FileExistsError:
        pass
    else:
        try:
            set_mode(made, 0o600)
        finally:
            os.close(made)
    with opened(_WHAT, path, mode) as descriptor:
        yield descriptor
