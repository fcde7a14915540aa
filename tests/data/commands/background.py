"""Leave a child in a session of its own that holds the output open; end, or `stay`."""

import os
import sys
import time

told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(tell, b"x")
    time.sleep(300)
else:
    os.read(told, 1)
    os.write(1, b"left\n")
    if sys.argv[1:] == ["stay"]:
        time.sleep(300)
