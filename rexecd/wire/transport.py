"""What carries the protocol (PROTOCOL 2), as far as both ends have to agree on it."""

from rexecd.typed import Final

#: The protocol's name in the TLS handshake. A changed protocol is another name.
ALPN: Final = "rexec/1"

#: The port of a host without one.
PORT: Final = 7512
