"""Leave a daemon as books teach it: forked twice, a session of its own, nothing open; end, or `stay`."""

import os
import sys
import time

told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(tell, b"x")
        os.chdir("/")
        os.closerange(0, 256)
        time.sleep(300)
    os._exit(0)
os.wait()
os.read(told, 1)
os.write(1, b"left\n")
if sys.argv[1:] == ["stay"]:
    time.sleep(300)
