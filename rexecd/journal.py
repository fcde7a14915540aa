"""The journal's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram an entry, fields by name.

Whoever sends decides what to do when the journal is away or full; nothing here waits or tries again.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

JOURNAL: Final = Path("/run/systemd/journal/socket")


def connect_journal(path: Path = JOURNAL) -> socket.socket:
    """Return a socket that leads to the journal, and outlives its restart; raise OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def entry(fields: Mapping[str, str]) -> bytes:
    """Return an entry as the journal takes it; names are upper-case letters, digits and underscores.

    What has several lines comes with its length.
    """
    plain = [f"{name}={text}\n" for name, text in fields.items() if "\n" not in text]
    several = [_several(name, text) for name, text in fields.items() if "\n" in text]
    return b"".join(["".join(plain).encode("utf-8", "backslashreplace"), *several])


def _several(name: str, text: str) -> bytes:
    data = text.encode("utf-8", "backslashreplace")
    return b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
