"""Tell the monitor of peers that never became sessions, on a channel of its own.

A storm of strangers must neither block a connection's thread nor fill the trail: the queue is
bounded, and what is shed at the door is summed up (`count`) once a second.
"""

import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from rexecd.errors import Unavailable
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel, connect

#: Most reports that wait; further ones are only counted.
_MOST: Final = 1000
_SUMMED_FOR: Final = 1.0
_SEND_TIMEOUT: Final = 10.0


class Reporter:
    """A bounded queue and the thread that empties it into the seam."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: deque[seam.Report] = deque()
        self._shed: seam.Report | None = None
        self._changed = threading.Condition()
        self._channel: Channel | None = None
        self._thread = threading.Thread(target=self._work, name="reporter", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Start the thread; not before the process has confined itself."""
        self._thread.start()

    def report(self, trouble: seam.Trouble, address: str, port: int, detail: str) -> None:
        """Take one report; never blocks, never fails."""
        with self._changed:
            if trouble is seam.Trouble.SHED or len(self._queue) >= _MOST:
                count = self._shed.count + 1 if self._shed else 1
                self._shed = seam.Report(seam.Trouble.SHED, address, port, count, detail)
            else:
                self._queue.append(seam.Report(trouble, address, port, 1, detail))
            self._changed.notify()

    def stop(self, seconds: float) -> None:
        """Send what waits, within `seconds`."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)

    def _work(self) -> None:
        summed = 0.0
        while True:
            with self._changed:
                due = bool(self._shed) and time.monotonic() >= summed + _SUMMED_FOR
                if not (self._queue or due or self._stopping):
                    self._changed.wait(_SUMMED_FOR if self._shed else None)
                batch = list(self._queue)
                self._queue.clear()
                if self._shed and (self._stopping or time.monotonic() >= summed + _SUMMED_FOR):
                    batch.append(self._shed)
                    self._shed, summed = None, time.monotonic()
                finished = self._stopping
            for index, report in enumerate(batch):
                if not self._send(report) and not finished:
                    self._keep(batch[index:])
                    break
            if finished:
                self._close()
                return

    def _keep(self, unsent: list[seam.Report]) -> None:
        """Hold what could not be sent until a monitor is there again; look a second later."""
        with self._changed:
            for report in reversed(unsent):
                if report.trouble is seam.Trouble.SHED:
                    count = self._shed.count if self._shed else 0
                    self._shed = report._replace(count=report.count + count)
                else:
                    self._queue.appendleft(report)
            self._changed.wait_for(lambda: self._stopping, _SUMMED_FOR)

    def _send(self, report: seam.Report) -> bool:
        """Send one report over the open channel, or a new one if the monitor was restarted."""
        for _ in range(2):
            try:
                if self._channel is None:
                    self._channel = connect(self._path, seam.SEAM, timeout=_SEND_TIMEOUT)
                self._channel.send(report)
                return True
            except Unavailable:
                self._close()
        return False

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
