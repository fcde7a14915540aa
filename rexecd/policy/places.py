"""Parameter types that name a place: a file, a host, a network, a port. The rules are those of `kinds.py`."""

import ipaddress
import posixpath
import re
from dataclasses import dataclass
from typing import Final

from rexecd.forms import is_printable
from rexecd.networks import Network, is_inside, parse_address
from rexecd.policy.kinds import Integer, Resolve, Schema, Unfit

#: Bytes of a path the kernel takes.
_PATH: Final = 4096
#: Of a name (RFC 1035, 2.3.4).
_LONGEST_HOST: Final = 253
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#: RFC 1123, 2.1. A last label that is a number, in hexadecimal too, would be read as an address
#: by somebody: inet_aton(3) takes `0x7f000001`.
_HOST: Final = re.compile(rf"(?:{_LABEL}\.)*(?!(?:[0-9]+|0[xX][0-9A-Fa-f]*)\Z){_LABEL}")
#: Neither netmasks nor zones: `ipaddress` would take both.
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_NETWORK: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}/(?:0|[1-9][0-9]{0,2})")
LAST_PORT: Final = 65535


def is_clean_path(path: str) -> bool:
    """Return whether a path is absolute and written without empty, `.` and `..` parts."""
    parts = path[1:].split("/")
    clean = path == "/" or not any(part in ("", ".", "..") for part in parts)
    return path.startswith("/") and clean and is_printable(path)


def is_clean_directory(path: str) -> bool:
    """Return the same of a directory, which may be written with a '/' behind it."""
    return path == "/" or (path != "//" and is_clean_path(path.removesuffix("/")))


@dataclass(frozen=True, slots=True)
class Path:
    """A path at or below one of some directories, links and `..` resolved."""

    roots: tuple[str, ...]
    takes: str = "an absolute path below a directory this command may use"

    @property
    def schema(self) -> Schema:
        """Say that it is a text: which directories is not for callers."""
        return {"type": "string", "minLength": 1, "maxLength": _PATH}

    def check(self, value: str, resolve: Resolve) -> str:
        """Return the resolved path; raise Unfit.

        What lies there can change until the command looks at it: a directory that others
        may write to is no safe root, unless the path is passed as a descriptor (ATTACKS POL-12).
        """
        if not value.startswith("/") or not is_printable(value) or len(value.encode()) > _PATH:
            raise Unfit("not an absolute path of printable characters")
        roots = [found for root in self.roots if (found := _resolved(root, resolve)) is not None]
        # `..` takes away what stands before it, as in a text: behind a link it would lead to another
        # directory, and the answer would tell where. For the same reason what is not written below a
        # root is not even looked at.
        written = posixpath.normpath("/" + value.lstrip("/"))
        if not any(is_below(written, root) for root in (*self.roots, *roots)):
            raise Unfit("not below an allowed directory")
        path = _resolved(written, resolve)
        if path is None:
            raise Unfit("cannot be resolved")
        if not any(is_below(path, root) for root in roots) or not is_printable(path):
            raise Unfit("not below an allowed directory")
        return path


def _resolved(path: str, resolve: Resolve) -> str | None:
    """Return where a path leads; None if that cannot be found out."""
    try:
        return resolve(path)
    except (OSError, ValueError):
        return None


def is_below(path: str, root: str) -> bool:
    """Return whether `path` is `root` or in it, part by part: `/srv-evil` is not in `/srv`."""
    parts, outer = path.split("/"), root.rstrip("/").split("/")
    return parts[: len(outer)] == outer


@dataclass(frozen=True, slots=True)
class Hostname:
    """A host's name in the form of RFC 1123; whether it exists is not asked."""

    takes: str = "a host name, such as web1.example.org"

    @property
    def schema(self) -> Schema:
        """Say the form."""
        return {"type": "string", "format": "hostname", "maxLength": _LONGEST_HOST}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002 - as in Kind
        """Return the name as it came; raise Unfit."""
        if len(value) > _LONGEST_HOST or not _HOST.fullmatch(value):
            raise Unfit("not a host name")
        return value


@dataclass(frozen=True, slots=True)
class HostAddress:
    """An IPv4 or IPv6 address, in one of some networks if any are named."""

    within: tuple[Network, ...]

    @property
    def takes(self) -> str:
        """Say the form; which networks is not for callers."""
        return "an IPv4 or IPv6 address" + (" this command may use" if self.within else "")

    @property
    def schema(self) -> Schema:
        """Say the form."""
        return {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the address as it came; raise Unfit."""
        try:
            if not _ADDRESS.fullmatch(value):
                raise Unfit("not an address")
            address = parse_address(value)
        except ValueError:
            raise Unfit("not an address") from None
        if self.within and not any(address in network for network in self.within):
            raise Unfit("in none of the allowed networks")
        return value


@dataclass(frozen=True, slots=True)
class HostNetwork:
    """A network as `address/bits`, inside one of some networks if any are named."""

    within: tuple[Network, ...]

    @property
    def takes(self) -> str:
        """Say the form."""
        return "a network such as 10.1.0.0/16" + (" this command may use" if self.within else "")

    @property
    def schema(self) -> Schema:
        """Say the form."""
        return {"type": "string", "pattern": f"^(?:{_NETWORK.pattern})$"}

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the network as it came; raise Unfit."""
        if not _NETWORK.fullmatch(value):
            raise Unfit("not a network")
        try:
            network = ipaddress.ip_network(value)
        except ValueError:
            raise Unfit("not a network, or with bits behind its mask") from None
        if self.within and not any(is_inside(network, outer) for outer in self.within):
            raise Unfit("in none of the allowed networks")
        return value


def port(least: int, most: int) -> Integer:
    """Return the type of a port number: an integer from 1 to 65535."""
    return Integer(least, most, "a port number")
