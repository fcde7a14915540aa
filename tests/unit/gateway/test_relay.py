"""The relay's one corner that no well-built caller reaches."""

import select

import pytest

from rexecd.gateway.relay import ConnectionLost, Relay


class _Stream:
    """A TLS connection whose read waits to write: its peer asked for new keys and does not read."""

    interest = select.POLLOUT

    def pending(self) -> bool:
        """Return that nothing is decrypted."""
        return False

    def read(self) -> bytes | None:
        """Give nothing yet."""
        return None


def test_a_half_gone_caller_that_does_not_read_is_lost_and_not_polled_for() -> None:
    """Its hang-up stays ready for ever: going on would spin until the command's own deadline."""
    relay = Relay.__new__(Relay)
    relay._in = memoryview(b"")
    relay._stream = _Stream()  # type: ignore[assignment] # a double

    with pytest.raises(ConnectionLost):
        relay._hear_caller(select.POLLRDHUP)
