"""What carries the protocol (PROTOCOL 2), as far as both ends have to agree on it."""

from rexecd.typed import Final

#: The protocol's name in the TLS handshake. A changed protocol is another name.
ALPN: Final = "rexec/1"

#: The port of a host without one.
PORT: Final = 7512

#: A TLS record holds at most this much, and a read returns no more than one. What reads so much takes a whole
#: one, and leaves nothing decrypted behind that no poll can see.
RECORD: Final = 16 * 1024
