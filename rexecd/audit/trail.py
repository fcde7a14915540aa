"""The trail: append, make durable, carry the chain on, from file to file.

Rule 1: a record has been written when `append` returns; if it raises TrailError nothing of it stays in the
file and the chain has not moved, so that the next append simply continues.
Rule 2: one writer. Who opens a trail holds the lock of the state directory.
Rule 3: at each persisted step the past keys are gone from memory and from the key file.
Rule 4: while what was recorded cannot be made durable, nothing is recorded: acts do not happen.
Rule 5: an end is recorded even if it cannot be written now: it is owed, and written before anything else.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple, Self

from rexecd.audit.events import NO_CONTEXT, Action, Context
from rexecd.audit.keys import load_chain
from rexecd.audit.recorder import Recorder, recorder
from rexecd.audit.recover import recover
from rexecd.audit.seal import Chain
from rexecd.audit.steps import Steps
from rexecd.audit.trailfile import TrailFile
from rexecd.audit.writer import Due, Head, Watcher, Writer
from rexecd.clock import Clock
from rexecd.errors import ConfigError, TrailError

#: So many records after a persisted step the next one is due, whatever the clock says.
MOST_BEHIND: Final = 1000
#: So many seconds one waits for a disk that does not answer.
PATIENCE: Final = 5.0


class Terms(NamedTuple):
    """What holds of a trail, as its settings say."""

    sync: str = "interval"
    max_size: int = 2**62


_USUAL: Final = Terms()


class Trail:
    """An open trail, to which any thread may append.

    `sequence` is the number of the last record, `lost` how many could not be written,
    `last_error` what is wrong now (None: nothing).
    """

    def __init__(self, head: Head, key_path: Path, *, clock: Clock, terms: Terms) -> None:
        self._path = head.file.path
        self._clock = clock
        self._waits_for_disk = terms.sync == "always"
        self._lock = threading.Lock()
        self._writer = Writer(head, clock=clock, max_size=terms.max_size)
        self._owed: deque[Due] = deque()
        self._persisting = threading.Lock()
        self._steps = Steps(head.chain, head.file, head.size, key_path=key_path, sync=terms.sync)
        self._writer.on_begun, self._writer.on_emptied = self._begun, self._steps.emptied
        #: Since when there is something for the next step; since when one is being taken.
        self._behind_since: float | None = None
        self._syncing_since: float | None = None
        #: Set when a step is due before its time.
        self.is_pressing = threading.Event()
        #: Called with the chain after each persisted step, one at a time.
        self.on_step: Callable[[Chain], None] = lambda _: None
        self._closed = False
        self._append_fault: str | None = None
        self._persist_fault: str | None = None
        #: What is to be recorded when it is over, and how many acts did not happen for it.
        self._trouble: str | None = None
        self._refused = 0
        self.lost = 0

    @classmethod
    def open(
        cls,
        path: Path,
        key_path: Path,
        *,
        clock: Clock,
        terms: Terms = _USUAL,
        watchers: Iterable[Watcher] = (),
        **context: object,
    ) -> Self:
        """Return the trail at `path`, made ready to be continued; `context` is for records of that.

        Each of the `watchers` is told of every record, in their order, once it is written.
        A missing or empty file is begun with `trail-opened`; a last line without its end is cut
        off and recorded as `trail-repaired`. Raise ConfigError for unsafe files and for a trail
        that does not continue the persisted chain, TrailError if it cannot be written.
        """
        chain = load_chain(key_path)
        file = TrailFile.open(path)
        try:
            chain, torn = recover(file, chain)
            head = Head(chain, file, file.size)
            trail = cls(head, key_path, clock=clock, terms=terms)
            trail.know(**context)
            trail._writer.watchers = tuple(watchers)
            if head.size == 0:
                trail._writer.begin()
            if torn is not None:
                fields = {"cut_bytes": torn.size, "cut_digest": torn.digest}
                trail._writer.put(trail._writer.about_the_trail(Action.TRAIL_REPAIRED, **fields))
            trail._persist()
        except OSError as error:
            file.close()
            raise TrailError(f"{path}: cannot be written: {error.strerror or error}") from None
        except BaseException:
            file.close()
            raise
        return trail

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sequence(self) -> int:
        """Return the number of the last record."""
        return self._writer.head.chain.sequence - 1

    @property
    def begun(self) -> datetime:
        """Return when the first record of the file was written."""
        return self._writer.begun

    @property
    def aside_error(self) -> str | None:
        """Return why a file could not be set aside, None if it could; the trail goes on in it."""
        return self._writer.aside_error

    @property
    def behind(self) -> float:
        """Return for how many seconds there are records whose keys are not forgotten; 0 if there are none."""
        since = self._behind_since
        return 0.0 if since is None else self._clock.monotonic() - since

    @property
    def owed(self) -> int:
        """Return how many ends are still to be written."""
        return len(self._owed)

    @property
    def last_error(self) -> str | None:
        """Return what keeps records from being written or kept, None if nothing does."""
        silence = self._silence(self._writer.waiting_since) or self._silence(self._syncing_since)
        return silence or self._append_fault or self._persist_fault

    @property
    def healthy(self) -> bool:
        """Return whether the last append and the last persist worked; for status only."""
        return self.last_error is None

    def append(self, action: Action, context: Context = NO_CONTEXT, /, **fields: object) -> None:
        """Write one record; raise TrailError if that cannot be done, ValueError for a bug in `fields`.

        With `sync: always` it is on the disk when this returns. If it could not be brought there it stands in
        the file all the same, and TrailError says so (`is_written`): what it began needs an end.
        """
        try:
            self._acquire()
            try:
                self._write(self._writer.made(action, fields, context))
                sequence = self._writer.head.chain.sequence
            finally:
                self._lock.release()
            if self._waits_for_disk:
                try:
                    self._make_durable(sequence)
                except TrailError as error:
                    raise TrailError(str(error), is_written=True) from None
        except TrailError:
            self.lost += 1
            self._refused += 1
            raise

    def note(self, action: Action, /, **fields: object) -> None:
        """Write a record of the trail itself; raise as `append` does."""
        self.append(action, thread=threading.current_thread().name, **self._writer.context, **fields)

    def owe(self, action: Action, context: Context = NO_CONTEXT, /, **fields: object) -> None:
        """Record an end: now, or as soon as that can be done; raise ValueError for a bug in `fields`.

        How many are owed is bounded: for each there was a beginning, and none can be recorded meanwhile.
        """
        due = self._writer.made(action, fields, context)
        try:
            self._acquire()
        except TrailError:
            self._owed.append(due)
            return
        try:
            self._write(due)
        except TrailError:
            self._owed.append(due)
        finally:
            self._lock.release()

    def know(self, **context: object) -> None:
        """Say what stands from now on in records that the trail writes of itself."""
        with self._lock:
            self._writer.context = context

    def set_aside(self, why: str) -> None:
        """Begin a new file, if there is more in this one than its beginning; raise TrailError.

        If the file was moved away already, the new one is begun now and not with the next record.
        """
        self._acquire()
        try:
            self._refuse_if_unfit()
            self._writer.settle(why=why)
        except (OSError, ConfigError) as error:
            raise self._not_written(error) from None
        finally:
            self._lock.release()

    def persist(self) -> None:
        """Make all records so far durable and forget their keys; raise TrailError.

        After trouble this is where the trail finds out that it is over: what is owed is written then.
        """
        self._persist()
        if self._owed or self._trouble is not None:
            self._acquire()
            try:
                self._writer.settle()
                self._catch_up()
            except (OSError, ConfigError) as error:
                raise self._not_written(error) from None
            finally:
                self._lock.release()
            self._persist()

    def close(self) -> None:
        """Persist, and close the file; raise TrailError if the last persist failed. Once is enough."""
        if self._closed:
            return
        try:
            self.persist()
        finally:
            self._closed = True
            self.lost += len(self._owed)
            with self._one_at_a_time(), self._lock:  # or the disk does not answer, and they stay open
                for file in self._steps.files:
                    file.close()

    def recorder(self, **context: object) -> Recorder:
        """Return a recorder that adds `context` to each of its records."""
        return recorder(self, **context)

    # Writing: the lock is held

    def _acquire(self) -> None:
        """Take the lock; raise TrailError if whoever has it waits for the disk for too long."""
        if not self._lock.acquire(timeout=PATIENCE):
            raise TrailError(f"{self._path}: the disk has not answered for more than {PATIENCE:g}s")

    def _write(self, due: Due) -> None:
        """Write a record behind what is owed, in the file where it belongs; raise TrailError."""
        if self._closed or self._persist_fault is not None or self._syncing_since is not None:
            self._refuse_if_unfit()
        writer = self._writer
        try:
            writer.settle(len(due.prefix))
            if self._owed or self._trouble is not None:
                self._catch_up()
            writer.put(due)
        except (OSError, ConfigError) as error:
            raise self._not_written(error) from None
        self._append_fault = None
        if self._behind_since is None:
            self._behind_since = self._clock.monotonic()
        if writer.head.chain.sequence - self._steps.persisted.sequence >= MOST_BEHIND:
            self.is_pressing.set()

    def _not_written(self, error: OSError | ConfigError) -> TrailError:
        """Make a fault of writing one that status shows, and return it."""
        text = str(error)
        if isinstance(error, OSError):
            text = f"{self._path}: cannot be written: {error.strerror or error}"
        self._append_fault = text
        self._trouble = self._trouble or text
        return TrailError(text)

    def _catch_up(self) -> None:
        """Record that it can be recorded again, and what is owed; raise OSError."""
        if self._trouble is not None:
            fields = {"reason": self._trouble, "count": self._refused}
            self._writer.put(self._writer.about_the_trail(Action.TRAIL_RESUMED, **fields))
            self._trouble, self._refused = None, 0
        while self._owed:
            self._writer.put(self._owed[0])
            self._owed.popleft()
        self._append_fault = None

    def _begun(self, file: TrailFile) -> None:
        """Take note of a new file: its step, and with it a checkpoint, is due at once."""
        self._steps.begun(file)
        self.is_pressing.set()

    def _refuse_if_unfit(self) -> None:
        self._refuse_if_closed()
        fault = self._persist_fault or self._silence(self._syncing_since)
        if fault is not None:
            raise TrailError(fault)

    def _silence(self, since: float | None) -> str | None:
        """Return what is wrong where the disk has been asked since then, if it should have answered."""
        if since is None or time.monotonic() - since <= PATIENCE:
            return None
        return f"{self._path}: the disk has not answered for more than {PATIENCE:g}s"

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise TrailError(f"{self._path}: closed")

    # Making durable: one at a time, without the lock

    def _persist(self) -> None:
        with self._one_at_a_time():
            if self._steps.is_doubtful:
                self._renew()
            with self._lock:
                self._refuse_if_closed()
                pending = self._steps.pending(self._writer.head.chain, self._writer.head.size)
                taken = self._clock.monotonic()
                self.is_pressing.clear()
            if pending.is_nothing and self._persist_fault is None:
                return
            try:
                self._steps.take(pending)
            except (OSError, ConfigError) as error:
                raise self._not_durable(error) from None
            with self._lock:
                self._persist_fault = None
                is_behind = self._writer.head.chain.sequence > pending.chain.sequence
                self._behind_since = taken if is_behind else None
                over = self._steps.finish(pending)
            for file in over:
                file.close()
            self.on_step(pending.chain)

    def _renew(self) -> None:
        """Put new files in the place of those that a sync has failed for; nothing is written meanwhile."""
        with self._lock:
            self._refuse_if_closed()
            pending = self._steps.pending(self._writer.head.chain, self._writer.head.size)
        try:
            for old, new in self._steps.renew(pending):  # one is in its place before the next is made
                with self._lock:
                    head = self._writer.head
                    if head.file is old:
                        self._writer.head = head._replace(file=new)
                    self._steps.replaced(old, new)
                old.close()
        except (OSError, ConfigError) as error:
            raise self._not_durable(error) from None
        self._steps.is_doubtful = False

    def _make_durable(self, sequence: int) -> None:
        """Wait until what comes before a number is on the disk, together with others; raise TrailError."""
        with self._one_at_a_time():
            if self._steps.durable >= sequence:
                return
            if self._persist_fault is not None:  # a failed sync is said once: the next one proves nothing
                raise TrailError(self._persist_fault)
            with self._lock:
                pending = self._steps.pending(self._writer.head.chain, self._writer.head.size)
            try:
                self._steps.sync(pending)
            except (OSError, ConfigError) as error:
                raise self._not_durable(error) from None

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._persisting.acquire(timeout=PATIENCE):
            raise TrailError(f"{self._path}: the disk has not answered for more than {PATIENCE:g}s")
        self._syncing_since = time.monotonic()
        try:
            yield
        finally:
            self._syncing_since = None
            self._persisting.release()

    def _not_durable(self, error: Exception) -> TrailError:
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self._persist_fault = f"{self._path}: cannot be made durable: {text}"
        self._trouble = self._trouble or self._persist_fault
        return TrailError(self._persist_fault)
