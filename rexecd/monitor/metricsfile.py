"""The metrics' file, for the node exporter's textfile collector: written again and again, and at the end.

Rule: nothing of it ends or delays anything else. What cannot be written is logged once, and tried again.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rexecd import files
from rexecd.errors import ConfigError
from rexecd.log import Log

_EVERY: Final = 15.0
#: How long the end of the service waits for the last one.
_LAST_SECONDS: Final = 2.0
#: For everybody: there is nothing of a caller in it, and the node exporter is another user.
_MODE: Final = 0o644


class MetricsFile:
    """A thread that writes what `describe` returns; its argument is whether the service is up."""

    def __init__(
        self, path: Path, describe: Callable[[bool], str], log: Log, *, interval: float = _EVERY
    ) -> None:
        self._path = path
        self._describe = describe
        self._log = log
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-file", daemon=True)
        #: Why it cannot be written; None: it can.
        self.error: str | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write it for the last time, saying that the service is up no more."""
        self._stopping.set()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while True:
            self._write(is_up=True)
            if self._stopping.wait(self._interval):
                break
        self._write(is_up=False)

    def _write(self, *, is_up: bool) -> None:
        try:
            files.write_file(self._path, self._describe(is_up).encode(), mode=_MODE, durable=False)
        except ConfigError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - the edge of a thread: metrics are worth nobody's end
            self._fail(f"{self._path}: internal error: {type(error).__name__}")
        else:
            if self.error is not None:
                self._log.info(f"{self._path}: written again")
            self.error = None

    def _fail(self, why: str) -> None:
        if self.error != why:
            remedy = f"make its directory and let uid {os.geteuid()} write there, or change metrics_file"
            self._log.warning(f"{why}: {remedy}")
        self.error = why
