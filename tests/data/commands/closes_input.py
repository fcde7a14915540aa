"""Close the input unread, then write a megabyte; the exit status is 3."""

import os
import sys

os.close(0)
sys.stdout.write("x" * 1_000_000)
sys.stdout.flush()
os._exit(3)
