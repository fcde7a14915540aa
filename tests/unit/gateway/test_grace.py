"""Strangers are cut from outside when their own thread cannot."""

import socket
import time

from rexecd.gateway.grace import Grace


def test_an_overdue_stranger_is_cut_and_nobody_else() -> None:
    """Its thread hears an end-of-file, whatever it is doing; the descriptor stays its own."""
    grace = Grace()
    pairs = [socket.socketpair() for _ in range(3)]
    (late, _), (early, _), (known, _) = pairs
    now = time.monotonic()
    with grace.until(now, known.fileno()):
        pass  # it presented its token in time
    with grace.until(now - 60, late.fileno()), grace.until(now + 60, early.fileno()):
        grace.enforce()
        late.settimeout(5)

        assert late.recv(1) == b""
        for other in (early, known):
            other.setblocking(False)
            other.send(b"still open")
        assert late.fileno() >= 0
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_thread_that_keeps_its_own_deadline_has_the_first_word() -> None:
    """It can still say why; so there is a second's patience."""
    grace = Grace()
    ours, theirs = socket.socketpair()
    with ours, theirs, grace.until(time.monotonic(), ours.fileno()):
        grace.enforce()
        ours.send(b"the reason")

        assert theirs.recv(99) == b"the reason"
