"""Leave twenty processes that are never there for long: each forks its successor and ends; end, or `stay`.

Of each line there are two at a time, so this bomb stays small. By itself it ends after twenty seconds.
"""

import os
import sys
import time

LINES = 20

end = time.monotonic() + 20
told, tell = os.pipe()
for _ in range(LINES):
    if os.fork() == 0:
        os.setsid()
        os.write(tell, b"x")
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            time.sleep(0.005)
        os._exit(0)
for _ in range(LINES):
    os.read(told, 1)
os.write(1, b"left\n")
if sys.argv[1:] == ["stay"]:
    time.sleep(300)
