"""Leave a child that is stopped; end, or `stay`: stop oneself, too."""

import os
import signal
import sys

child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
os.write(1, b"left\n")
if sys.argv[1:] == ["stay"]:
    os.kill(os.getpid(), signal.SIGSTOP)
