"""Cut strangers whose time is over, from outside their own thread.

A connection's thread keeps its deadline by itself at every wait. One thing it cannot bound: OpenSSL
works off a flood of records without content (key updates) inside a single read for as long as they
keep coming. So the accept loop looks after the strangers, too, and shuts an overdue one's TCP
connection down underneath it, which ends that read. It touches no TLS object.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

#: A thread that keeps its own deadline gets the first chance to say why it ends.
_PATIENCE: Final = 1.0


class Grace:
    """The connections that have not presented a token yet, and until when they may take."""

    def __init__(self) -> None:
        self._deadlines: dict[int, float] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def until(self, deadline: float, descriptor: int) -> Iterator[None]:
        """Look after a connection inside the block, which must end before the descriptor is closed."""
        with self._lock:
            self._deadlines[descriptor] = deadline
        try:
            yield
        finally:
            with self._lock:
                del self._deadlines[descriptor]

    def enforce(self) -> None:
        """Shut down every connection whose time is over; called by the accept loop twice a second."""
        overdue = time.monotonic() - _PATIENCE
        with self._lock:  # while it is held no descriptor here is closed, and its number given to another
            for descriptor, deadline in self._deadlines.items():
                if deadline < overdue:
                    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as plain:
                        plain.shutdown(socket.SHUT_RDWR)
