"""What a service manager hands over (sd_listen_fds(3)). Without one, everything here is empty."""

import os
import socket
from collections.abc import MutableMapping
from typing import Final

_FIRST_DESCRIPTOR: Final = 3


def inherited_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets passed to this very process, and forget the variables.

    They are made close-on-exec and taken out of `environment`, so that nothing started from
    here believes they are its own.
    """
    pid = environment.pop("LISTEN_PID", "")
    number = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not number.isdecimal():
        return []
    sockets = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(number)):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the library's own signature
        sockets.append(socket.socket(fileno=descriptor))
    return sockets
