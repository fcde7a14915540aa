"""Send the signal of the first argument to the parent, which is the worker; end, or `stay`, with a child."""

import os
import signal
import sys
import time

worker = os.getppid()
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(tell, b"x")
    time.sleep(300)
os.read(told, 1)
os.write(1, b"left\n")
os.kill(worker, signal.Signals[f"SIG{sys.argv[1]}"])
if sys.argv[2:] == ["stay"]:
    time.sleep(300)
