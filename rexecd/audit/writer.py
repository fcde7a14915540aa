"""Write sealed records to the files of a trail, one behind the other, and begin the next one where it is due.

No locks here, and no memory of faults: that is the trail's. When something raises, nothing has moved.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from rexecd import limits
from rexecd.audit import archive, seal
from rexecd.audit.events import NO_CONTEXT, Action, Context, compose
from rexecd.audit.seal import Broken, Chain
from rexecd.audit.trailfile import Place, TrailFile, taken
from rexecd.clock import Clock

#: Before it is tried again to set a file aside that could not be.
_REST: Final = 60.0
#: Why a file was begun, as its first record says.
_NEW: Final = "there was none"

#: Hears of a record: its action, its fields by our names, and its line. It must neither raise nor wait: the
#: trail is locked meanwhile.
Watcher = Callable[[Action, Mapping[str, object], bytes], None]


class Due(NamedTuple):
    """A record that is to be written: as it was told, and as it was at that time."""

    action: Action
    fields: Mapping[str, object]
    prefix: bytes


class Head(NamedTuple):
    """Where the trail stands. One value, so that all of it moves together, whatever comes out of nowhere."""

    chain: Chain
    file: TrailFile
    size: int


class Writer:
    """Where the trail stands, and the file it is in."""

    def __init__(self, head: Head, *, clock: Clock, max_size: int) -> None:
        self.head = head
        self._path = head.file.path
        self._clock = clock
        self._max_size = max_size
        #: The number of the file's first record, and when that was written.
        self._first, self.begun = _beginning(head, clock)
        self._why = _NEW
        #: What stands in all records of our own.
        self.context: Mapping[str, object] = {}
        #: Told of each record once it is written.
        self.watchers: tuple[Watcher, ...] = ()
        #: Called with a file that is begun, and with one that was emptied.
        self.on_begun: Callable[[TrailFile], None] = lambda _: None
        self.on_emptied: Callable[[TrailFile, Chain], None] = lambda _file, _chain: None
        #: Since when it is waited for the disk.
        self.waiting_since: float | None = None
        self._aside_not_before = 0.0
        #: Why a file could not be set aside; the trail goes on in it.
        self.aside_error: str | None = None

    def made(self, action: Action, fields: Mapping[str, object], context: Context = NO_CONTEXT) -> Due:
        """Return a record as it is now; raise ValueError for a bug in its fields."""
        prefix = compose(action, fields, now=self._clock.now(), context=context)
        return Due(action, {**context, **fields}, prefix)

    def about_the_trail(self, action: Action, **fields: object) -> Due:
        """Return a record of our own, as it is now."""
        return self.made(action, {"thread": threading.current_thread().name, **self.context, **fields})

    def settle(self, length: int = 0, *, why: str | None = None) -> None:
        """See to it that the file is ours and has room for so many bytes; raise OSError, ConfigError.

        With `why` the next one is begun in any case, unless there is nothing in this one but its beginning.
        """
        chain, file, size = self.head
        place = file.look(size)
        if place is Place.OURS and size:
            if size + length + limits.SEALING > self._max_size:
                why = f"the one before was set aside at {size} bytes"
            if why is None or chain.sequence <= self._first + 1 or not self._move_aside():
                return
        elif place is Place.CHANGED:
            raise taken(self._path)
        elif place is Place.EMPTIED:
            why = "the one before was cut to nothing"
        elif place is Place.MOVED:
            why = f"the one before was {'removed' if file.is_removed else 'moved away'}"
        self._why = why or self._why
        if place is Place.EMPTIED:
            self.on_emptied(file, chain)
            self.head = Head(chain, file, 0)
        elif place is Place.MOVED or size:
            new = TrailFile.open(self._path)
            if new.size:
                new.close()
                raise taken(self._path)
            self.head = Head(chain, new, 0)
        self.begin()

    def begin(self) -> None:
        """Write the first record of an empty file; raise OSError."""
        chain, file, _ = self.head
        self.on_begun(file)
        self._first, self.begun = chain.sequence, self._clock.now()
        self.put(
            self.about_the_trail(Action.TRAIL_OPENED, previous_digest=chain.digest.hex(), reason=self._why)
        )

    def _move_aside(self) -> bool:
        """Give the file another name; return whether that could be done."""
        if self._clock.monotonic() < self._aside_not_before:
            return False
        target = archive.aside(self._path, self._first)
        try:
            if any(map(os.path.lexists, archive.names(target))):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._path.rename(target)
        except OSError as error:
            self._aside_not_before = self._clock.monotonic() + _REST
            self.aside_error = f"{target}: cannot be set aside: {error.strerror}"
            return False
        self.aside_error = None
        return True

    def put(self, due: Due) -> None:
        """Seal a record and write it; raise OSError, and then nothing has moved."""
        chain, file, size = self.head
        line, after = chain.seal(due.prefix)
        self.waiting_since = time.monotonic()
        try:
            file.append(line, size)
        finally:
            self.waiting_since = None
        self.head = Head(after, file, size + len(line))
        for watcher in self.watchers:
            watcher(due.action, due.fields, line)


def _beginning(head: Head, clock: Clock) -> tuple[int, datetime]:
    """Return the number and the time of the first record of a file; those of the next for an empty one."""
    line = head.file.read(0, limits.MAX_RECORD).partition(b"\n")[0] + b"\n"
    try:
        return seal.number(line), datetime.fromisoformat(json.loads(line)["@timestamp"])
    except (Broken, ValueError, TypeError, KeyError):
        return head.chain.sequence, clock.now()
