"""Say when TERM comes, and then end with 0, or with `stay` not at all."""

import os
import signal
import sys
from types import FrameType


def say(_number: int, _frame: "FrameType | None") -> None:
    """Write one line; then end, if that is how it is."""
    os.write(1, b"term\n")
    if sys.argv[1:] != ["stay"]:
        sys.exit(0)


signal.signal(signal.SIGTERM, say)
os.write(1, b"ready\n")
while True:
    signal.pause()
