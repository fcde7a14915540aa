"""What a trail needs while it is open: its steps, its next file, and old files compressed and removed.

Two threads, so that compressing delays no step.
"""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from rexecd.audit import archive
from rexecd.audit.events import Action
from rexecd.audit.trail import PATIENCE, Trail
from rexecd.clock import Clock
from rexecd.errors import TrailError
from rexecd.log import Log

#: Between two looks at old files.
_TIDY_EVERY: Final = 60.0
#: Compressing takes what processor time is left.
_NICE: Final = 10


class Care(NamedTuple):
    """How a trail is looked after; seconds."""

    step: float = 1.0
    #: None: whatever the age of its file.
    max_age: float | None = None
    compress: bool = True
    #: None: for ever.
    keep: float | None = None


class Keeper:
    """The threads; `start` and `stop` once each."""

    def __init__(self, trail: Trail, path: Path, care: Care, *, clock: Clock, log: Log) -> None:
        self._trail = trail
        self._path = path
        self._care = care
        self._clock = clock
        self._log = log
        self._stopping = threading.Event()
        self._untidy = threading.Event()
        self._told: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=self._keep, name="trail-keeper", daemon=True),
            threading.Thread(target=self._tidy, name="trail-archive", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what is being compressed is finished at the next start."""
        self._stopping.set()
        self._trail.is_pressing.set()
        self._untidy.set()
        self._threads[0].join(2 * PATIENCE)  # it may wait for a disk that does not answer

    def _keep(self) -> None:
        begun = self._trail.begun
        while True:
            self._trail.is_pressing.wait(self._care.step)
            if self._stopping.is_set():
                return
            self._trail.is_pressing.clear()  # also where the step fails: it is tried again in its time
            self._attempt(self._step, "a step of the trail was not taken")
            if self._trail.begun != begun:
                begun = self._trail.begun
                self._untidy.set()

    def _step(self) -> None:
        self._trail.persist()  # first: a trail in trouble finds out here that it is over
        max_age = self._care.max_age
        if max_age is not None and self._clock.now() - self._trail.begun > timedelta(seconds=max_age):
            self._trail.set_aside(f"the one before was set aside after {max_age:g}s")

    def _tidy(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._stopping.is_set():
            self._untidy.clear()
            self._attempt(self.tidy, "old files of the trail stay as they are")
            self._untidy.wait(_TIDY_EVERY)

    def tidy(self) -> None:
        """Remove what was kept long enough, and compress the rest; raise OSError, TrailError."""
        if self._care.keep is not None:
            self._prune(self._clock.now().timestamp() - self._care.keep)
        if self._care.compress:
            archive.pack(self._path)

    def _prune(self, before: float) -> None:
        dead = archive.dead(self._path, before)
        if not dead:
            return
        kept = next((each for each in archive.asides(self._path) if each.first > dead[-1].first), None)
        if kept is None:  # nothing but a file and its compressed copy
            return
        reason = f"kept for {self._care.keep:g}s, as 'audit: keep' says"
        self._trail.note(Action.TRAIL_PRUNED, removed_until=kept.first - 1, count=len(dead), reason=reason)
        self._trail.persist()  # or a crash could leave neither the files nor the record
        for each in dead:
            each.path.unlink()

    def _attempt(self, work: Callable[[], None], what: str) -> None:
        """Do something that must not end the thread; what went wrong is said once."""
        try:
            work()
        except TrailError:
            return  # status and log say what is wrong with the trail
        except Exception as error:  # noqa: BLE001 - the edge of a thread
            text = f"{what}: {error}"
            if text != self._told.get(what):
                self._log.warning(text)
            self._told[what] = text
        else:
            self._told.pop(what, None)
