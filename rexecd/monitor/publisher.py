"""Checkpoints on their way out: to a file beside the trail, to the journal, to the operator's own command.

The command is started here and not through execution/: it is the operator's, and runs as the monitor itself.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from rexecd.audit.checkpoint import Signer
from rexecd.audit.seal import Chain
from rexecd.errors import ConfigError
from rexecd.files import program_fault, write_file
from rexecd.log import Log

#: The newest checkpoint, beside the trail.
FILE_NAME: Final = "checkpoint"
NO_CHECKPOINTS: Final = "the trail has no checkpoints: 'rexecd audit init-key' makes a key for them"
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
#: How long the command may take for one.
_PATIENCE: Final = 30.0
#: The same for the last one, so that no stop is delayed.
_LAST_SECONDS: Final = 2.0


#: Runs what starts a process, and sees to it that this process alone ends it.
Starting = Callable[[Callable[[], subprocess.Popen[bytes]]], AbstractContextManager[subprocess.Popen[bytes]]]


class Publisher:
    """Signs what the trail has reached, and sends it where it is wanted."""

    def __init__(
        self, signer: Signer, path: Path, command: tuple[str, ...], *, starting: Starting, log: Log
    ) -> None:
        self._signer = signer
        self._path = path
        self._log = log
        self._command = _Command(command, starting, log=log) if command else None
        self._file_error: str | None = None

    @property
    def error(self) -> str | None:
        """Return what keeps checkpoints from where they are wanted, None if nothing does."""
        return self._file_error or (None if self._command is None else self._command.error)

    def publish(self, chain: Chain) -> None:
        """Sign a place in the trail and send that; what goes wrong is logged."""
        note = self._signer.sign(chain.sequence - 1, chain.digest)
        try:
            write_file(self._path, note.encode(), mode=0o644, durable=False)
            self._file_error = None
        except ConfigError as error:
            if self._file_error is None:
                self._log.warning(f"a checkpoint was not written: {error}")
            self._file_error = f"a checkpoint was not written: {error}"
        if self._log.has_fields:  # a line a second on a terminal helps nobody
            self._log.info("checkpoint of the trail", records=chain.sequence - 1, checkpoint=note)
        if self._command is not None:
            self._command.give(note)

    def close(self) -> None:
        """Wait until the last checkpoint has been sent, but not for ever."""
        if self._command is not None:
            self._command.close()


class _Command:
    """The operator's command, one at a time, in a thread; meanwhile only the newest note waits for it."""

    def __init__(self, argv: tuple[str, ...], starting: Starting, *, log: Log) -> None:
        self._argv = argv
        self._starting = starting
        self._log = log
        self._changed = threading.Condition()
        self._note: str | None = None
        self._is_closed = False
        self._fault: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    @property
    def error(self) -> str | None:
        return None if self._fault is None else f"checkpoint_command: {self._argv[0]}: {self._fault}"

    def give(self, note: str) -> None:
        with self._changed:
            self._note = note
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(_LAST_SECONDS)
        process = self._process
        if process is not None and self._thread.is_alive():
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            self._thread.join(_LAST_SECONDS)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._note is not None or self._is_closed)
                note, self._note = self._note, None
            if note is None:
                return
            self._take_note(self._run(note))

    def _run(self, note: str) -> str | None:
        """Run the command with a note; return what went wrong."""
        fault = program_fault(self._argv[0])
        if fault is not None:
            return fault
        try:
            with self._starting(self._start) as self._process:
                return _talk(self._process, note)
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        finally:
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )

    def _take_note(self, fault: str | None) -> None:
        """Log once what is wrong, and once that nothing is any more."""
        if fault and fault != self._fault:
            self._log.warning(f"checkpoint_command: {self._argv[0]}: {fault}")
        elif self._fault and not fault:
            self._log.info("checkpoint_command: takes checkpoints again")
        self._fault = fault


def _talk(process: subprocess.Popen[bytes], note: str) -> str | None:
    """Give a process its note and wait for its end; return what went wrong."""
    try:
        process.communicate(note.encode(), timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"ended after {_PATIENCE:.0f}s"
    return None if process.returncode == 0 else f"exit status {process.returncode}"
