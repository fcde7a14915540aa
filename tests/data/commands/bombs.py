"""Use up `processes`, `memory`, `files` or `time`, for ten seconds at most, and say how much there was."""

import os
import signal
import sys
import time

MOST = {"processes": 300, "files": 5000, "memory": 2048}


def take(kind: str, held: "list[object]") -> None:
    """Take one more; memory by the MiB."""
    if kind == "processes":
        child = os.fork()
        if child == 0:
            time.sleep(10)
            os._exit(0)
        held.append(child)
    elif kind == "files":
        held.append(os.open("/dev/null", os.O_RDONLY))
    else:
        held.append(bytearray(b"x" * 1024 * 1024))


signal.alarm(10)
os.write(1, b"begun\n")
kind = sys.argv[1]
held: "list[object]" = []
if kind == "time":
    while True:
        pass
try:
    while len(held) < MOST[kind]:
        take(kind, held)
except (OSError, MemoryError) as error:
    name = type(error).__name__
    taken = len(held)
    held.clear()
    print(taken, name, flush=True)
else:
    print(len(held), flush=True)
if sys.argv[2:] == ["stay"]:
    time.sleep(10)
