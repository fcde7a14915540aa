"""Tell the monitor of peers that never became sessions, on a channel of its own.

A storm of strangers must neither block a connection's thread nor fill the trail: the queue is bounded,
what is shed at the door is summed up (`count`) once a second, and so is what comes too often of any other
kind. One source does not get that far, since it is refused before (throttle.py); many together do.
"""

import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Final

from rexecd.errors import Unavailable
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel, connect

#: Most reports that wait; further ones are summed up.
_MOST: Final = 1000
_SUMMED_FOR: Final = 1.0
#: Most reports of one kind in that time that are sent as they are.
_SINGLY: Final = 50
#: As many as the message can say.
_MOST_COUNTED: Final = 2**32 - 1
_SEND_TIMEOUT: Final = 10.0


class Reporter:
    """A bounded queue and the thread that empties it into the seam."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: deque[seam.Report] = deque()
        #: At most one of each kind, for as many as its `count` says.
        self._sums: dict[seam.Trouble, seam.Report] = {}
        #: How many were sent singly since `_counted`.
        self._singly: Counter[seam.Trouble] = Counter()
        self._counted = 0.0
        self._changed = threading.Condition()
        self._channel: Channel | None = None
        self._thread = threading.Thread(target=self._work, name="reporter", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Start the thread; not before the process has confined itself."""
        self._thread.start()

    def report(self, trouble: seam.Trouble, address: str, port: int, detail: str, *, count: int = 1) -> None:
        """Take one report, or what stands for several; never blocks, never fails."""
        with self._changed:
            if self._is_one_too_many(trouble):
                is_news = not self._sums  # else the thread knows, and a storm does not wake it each time
                self._sum_up(seam.Report(trouble, address, port, count, detail))
            else:
                is_news = True
                self._singly[trouble] += 1
                self._queue.append(seam.Report(trouble, address, port, count, detail))
            if is_news:
                self._changed.notify()

    def _is_one_too_many(self, trouble: seam.Trouble) -> bool:
        if trouble is seam.Trouble.SHED or len(self._queue) >= _MOST:
            return True
        now = time.monotonic()
        if now >= self._counted + _SUMMED_FOR:
            self._counted = now
            self._singly.clear()
        return self._singly[trouble] >= _SINGLY

    def _sum_up(self, report: seam.Report) -> None:
        """Count a report with the others of its kind; address and detail are those of the last."""
        before = self._sums.get(report.trouble)
        count = report.count + (before.count if before else 0)
        self._sums[report.trouble] = report._replace(count=min(count, _MOST_COUNTED))

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
                due = bool(self._sums) and time.monotonic() >= summed + _SUMMED_FOR
                if not (self._queue or due or self._stopping):
                    self._changed.wait(_SUMMED_FOR if self._sums else None)
                batch = list(self._queue)
                self._queue.clear()
                if self._sums and (self._stopping or time.monotonic() >= summed + _SUMMED_FOR):
                    batch += self._sums.values()
                    self._sums.clear()
                    summed = time.monotonic()
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
                is_full = len(self._queue) >= _MOST  # of what has come meanwhile
                if report.trouble is seam.Trouble.SHED or report.count > 1 or is_full:
                    later = self._sums.pop(report.trouble, None)
                    self._sum_up(report)
                    if later is not None:
                        self._sum_up(later)
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
