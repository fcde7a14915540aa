"""Where a server is: `name`, `name:port`, `192.0.2.1:port`, `[2001:db8::1]:port`."""

import re

from rexecd.client.errors import UsageError
from rexecd.typed import Final, NamedTuple
from rexecd.wire.transport import PORT

_PORT: Final = re.compile(r"[0-9]{1,5}")
_LAST_PORT: Final = 65535


class Address(NamedTuple):
    """A host (a name or an address, without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address `text` names; raise UsageError."""
    host, port = parse_place(text)
    return Address(host, PORT if port is None else port)


def parse_place(text: str) -> tuple[str, int | None]:
    """Return the host `text` names, and the port if it names one; raise UsageError."""
    host, port = _split(text)
    address = _checked(text, host, str(PORT) if port is None else port)
    return host, None if port is None else address.port


def make_address(host: str, port: str) -> Address:
    """Return the address of a host that has no port with it; raise UsageError."""
    if host.count(":") == 1:
        raise UsageError(f"host {host!r}: the port stands apart from it here", hint="write Port NUMBER")
    if host.startswith("[") and host.endswith("]") and ":" in host:
        return _checked(host, host[1:-1], port)
    return _checked(host, host, port)


def _checked(text: str, host: str, port: str) -> Address:
    if not host or not host.isprintable() or set(host) & set(" /@[]") or host.startswith(("-", ".")):
        raise UsageError(
            f"host {text!r}: not a host name or address", hint="write HOST, HOST:PORT or [IPV6]:PORT"
        )
    if not _PORT.fullmatch(port) or not 0 < int(port) <= _LAST_PORT:
        raise UsageError(f"host {text!r}: the port is not a number from 1 to {_LAST_PORT}")
    return Address(host, int(port))


def ascii_host(address: Address) -> str:
    """Return the host as the network knows it; raise UsageError."""
    try:
        return address.host if address.host.isascii() else address.host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UsageError(f"host {address.host!r}: not a host name") from None


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if closed and ":" in host and (not rest or rest.startswith(":")):
            return host, rest[1:] if rest else None
        return "", None
    host, colon, port = text.partition(":")
    if ":" in port:  # a bare IPv6 address: its colons are its own
        return text, None
    return host, port if colon else None
