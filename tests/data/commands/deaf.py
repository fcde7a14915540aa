"""Ignore every signal that can be ignored, with a child in another group that does so too; end, or `stay`."""

import os
import signal
import sys
import time

for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, signal.SIG_IGN)
told, tell = os.pipe()
if os.fork() == 0:
    os.setpgid(0, 0)
    os.write(tell, b"x")
    time.sleep(300)
os.read(told, 1)
os.write(1, b"left\n")
if sys.argv[1:] == ["stay"]:
    time.sleep(300)
