"""What a server listed last, kept for completion in a shell: a file for each server and token.

Rule 1: what is kept is as good as the files it stands among: one that others could have written is not read.
Rule 2: nothing here fails: what cannot be kept is asked for again.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Final

from rexecd.client.configuration import Configuration
from rexecd.client.errors import UsageError
from rexecd.client.ownfile import store
from rexecd.client.soundfile import What, opened, read_all
from rexecd.wire.messages import Entry

_WHAT: Final = What("list of commands", "name any command", "take it away", most=8 * 1024 * 1024)
#: Most lists that are kept.
_MOST_LISTS: Final = 100
#: Seconds an empty list is believed: mostly nobody could be asked, and the next keystroke need not wait.
_EMPTY: Final = 30.0


def path_of(using: Configuration, environ: Mapping[str, str]) -> str | None:
    """Return where the list for a server and a token is kept; None where there is no home, or no token."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 - pathlib starts slowly
        base = os.path.expanduser("~") + "/.cache"  # noqa: PTH111
    if using.token is None or not os.path.isabs(base):  # noqa: PTH117
        return None
    # The token itself, where it stands there, is in a digest of 256 bits that no one can turn back.
    whose = json.dumps([using.address, using.family, using.cert, using.token])
    return f"{base}/rexec/lists/{hashlib.sha256(whose.encode()).hexdigest()[:32]}"


def keep(path: str, entries: Sequence[Entry]) -> None:
    """Keep a list, unless it is larger than one that is read again."""
    data = json.dumps([list(entry) for entry in entries]).encode("ascii")
    if len(data) <= _WHAT.most:
        with contextlib.suppress(OSError, UsageError, ValueError):
            store(path, data)
            _forget_oldest(os.path.dirname(path))  # noqa: PTH120 - pathlib starts slowly


def _forget_oldest(directory: str) -> None:
    """Keep the newest lists: each new token begins a file of its own. Raise OSError."""
    with os.scandir(directory) as found:
        files = sorted(((entry.stat().st_mtime, entry.path) for entry in found), reverse=True)
    for _, path in files[_MOST_LISTS:]:
        os.unlink(path)  # noqa: PTH108


def recall(path: str, lifetime: float, now: float) -> list[Entry] | None:
    """Return a list that is not older than `lifetime` seconds, None where there is none."""
    try:
        with opened(_WHAT, path) as descriptor:
            age = now - os.fstat(descriptor).st_mtime
            found = json.loads(read_all(_WHAT, descriptor, path)) if 0 <= age < lifetime else None
    except (OSError, UsageError, ValueError, RecursionError):
        return None
    if not isinstance(found, list) or (not found and age >= _EMPTY):
        return None
    entries = [_entry(each) for each in found]
    return None if None in entries else [entry for entry in entries if entry is not None]


def _entry(found: object) -> Entry | None:
    match found:
        case [str(name), str(usage), str(summary), str(about), [*lines], str(schema)]:
            return Entry(name, usage, summary, about, tuple(map(str, lines)), schema)
    return None
