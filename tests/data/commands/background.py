"""Leave a child in a session of its own that holds the output open, and end."""

import os
import time

told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(tell, b"x")
    time.sleep(7)
else:
    os.read(told, 1)
    os.write(1, b"left\n")
