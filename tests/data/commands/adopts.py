"""Leave processes below a child subreaper of their own, which keeps them from ours; end, or `stay`."""

import ctypes
import os
import sys
import time

PR_SET_CHILD_SUBREAPER = 36

told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(tell, b"x")
                time.sleep(300)
            os._exit(0)
    time.sleep(300)
for _ in range(3):
    os.read(told, 1)
os.write(1, b"left\n")
if sys.argv[1:] == ["stay"]:
    time.sleep(300)
