"""Persisted steps: what was written since the last one, bring it to the disk, forget the keys of it.

No locks here: the trail says what was written while it is locked, and takes one step at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rexecd import files
from rexecd.audit.keys import save_chain
from rexecd.audit.seal import Broken, Chain
from rexecd.audit.trailfile import TrailFile
from rexecd.errors import ConfigError


class Stretch(NamedTuple):
    """What was written to one file since the last step: everything from a place on."""

    file: TrailFile
    start: int


class Pending(NamedTuple):
    """What a step is about: the chain behind it, and where in the last of the files that is."""

    chain: Chain
    stretches: tuple[Stretch, ...]
    end: int
    is_nothing: bool


class Steps:
    """How far the trail is on the disk, and its past keys forgotten."""

    def __init__(self, chain: Chain, file: TrailFile, size: int, *, key_path: Path, sync: str) -> None:
        self._key_path = key_path
        self._syncs = sync != "none"
        #: The chain at the last step, and what was written since.
        self.persisted = chain
        self._stretches = [Stretch(file, size)]
        #: The number of the record that comes after those on the disk; and whether its step is to be taken.
        self.durable = 0
        self._is_new = True
        #: Whether a sync has failed, so that nobody knows what is on the disk.
        self.is_doubtful = False

    def begun(self, file: TrailFile) -> None:
        """Take note of a file that is written from now on."""
        if self._stretches[-1:] != [Stretch(file, 0)]:
            self._stretches.append(Stretch(file, 0))

    def emptied(self, file: TrailFile, chain: Chain) -> None:
        """Take note of a file that was cut: what was written to it since the last step is gone from it."""
        self.persisted = chain
        self._stretches = [stretch for stretch in self._stretches if stretch.file is not file]

    @property
    def files(self) -> set[TrailFile]:
        """Return what is open."""
        return {stretch.file for stretch in self._stretches}

    def pending(self, chain: Chain, end: int) -> Pending:
        """Return what a step would be about now."""
        is_nothing = chain.sequence == self.persisted.sequence and not self._is_new
        return Pending(chain, tuple(self._stretches), end, is_nothing)

    def take(self, pending: Pending) -> None:
        """Bring everything to the disk and forget the keys; raise OSError, ConfigError."""
        self.sync(pending)
        save_chain(self._key_path, pending.chain, durable=self._syncs)

    def finish(self, pending: Pending) -> set[TrailFile]:
        """Take note of a step that was taken, and return the files that are over."""
        before = self.files
        later = self._stretches[len(pending.stretches) - 1 :]
        if later and later[0] is pending.stretches[-1]:
            later[0] = Stretch(later[0].file, pending.end)
        self._stretches, self.persisted, self._is_new = later, pending.chain, False
        return before - self.files

    def sync(self, pending: Pending) -> None:
        """Bring everything to the disk; raise OSError, ConfigError."""
        if self._syncs:
            self.is_doubtful = True  # until all of it has gone well
            for stretch in pending.stretches:
                stretch.file.sync()
            if pending.stretches[-1].start == 0:
                files.sync_directory(pending.stretches[-1].file.path.parent)
            self.is_doubtful = False
        self.durable = pending.chain.sequence

    def renew(self, pending: Pending) -> Iterator[tuple[TrailFile, TrailFile]]:
        """Write what a sync that failed may have lost to new files; yield each, and which one is the old.

        They are on the disk in the end. Raise OSError, and ConfigError if something was lost.
        """
        chain = self.persisted
        sizes = {stretch.file: stretch.file.size for stretch in pending.stretches}
        sizes[pending.stretches[-1].file] = pending.end
        try:
            for file, start in pending.stretches:
                for line in file.read(start, sizes[file]).splitlines(keepends=True):
                    chain = chain.check(line)
        except Broken as broken:
            raise ConfigError(f"what was written is not there any more: {broken.text}") from None
        for file, size in sizes.items():
            if not file.is_removed:  # what has no name is lost to whoever reads, whatever the disk has
                yield file, file.renewed(size)
        files.sync_directory(pending.stretches[-1].file.path.parent)

    def replaced(self, old: TrailFile, new: TrailFile) -> None:
        """Take note of a file that took the place of another."""
        self._stretches = [
            stretch._replace(file=new) if stretch.file is old else stretch for stretch in self._stretches
        ]
