"""Wait for the file PATH.go, write SIZE bytes, as many errors, and then, as PATH, how many that were.

usage: writes_on.py PATH SIZE
"""

import os
import signal
import sys
import time

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
path, size = sys.argv[1], int(sys.argv[2])
os.write(1, b"ready\n")
while not os.path.exists(f"{path}.go"):
    time.sleep(0.01)
written = 0
while written < size:
    written += os.write(1, bytes(min(65536, size - written)))
    os.write(2, bytes(65536))
with open(f"{path}.new", "w") as file:
    file.write(str(written))
os.rename(f"{path}.new", path)
