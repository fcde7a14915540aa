"""Say the name of every signal that comes, and end with 7 after USR2."""

import os
import signal
import sys
from types import FrameType

NAMES = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"]


def say(number: int, _frame: "FrameType | None") -> None:
    """Write one line."""
    name = signal.Signals(number).name[3:]
    os.write(1, f"{name}\n".encode())
    if name == "USR2":
        sys.exit(7)


for name in NAMES:
    signal.signal(signal.Signals[f"SIG{name}"], say)
os.write(1, b"ready\n")
while True:
    signal.pause()
