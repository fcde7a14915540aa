"""Leave the control group if that is possible, and a child; with `kill` end the worker; end, or `stay`."""

import contextlib
import os
import re
import signal
import sys
import time

with open("/proc/self/mountinfo") as mounts, open("/proc/self/cgroup") as file:
    points = re.findall(r"^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 ", mounts.read(), re.MULTILINE)
    own = next((line[3:].strip() for line in file if line.startswith("0::")), "")
for point in points:
    for depth in range(len(own.split("/"))):
        parent = "/".join(own.split("/")[: depth + 1])
        with contextlib.suppress(OSError):
            with open(f"{point}{parent}/cgroup.procs", "w") as procs:
                procs.write("0")
            break
worker = os.getppid()
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(tell, b"x")
    time.sleep(300)
os.read(told, 1)
os.write(1, b"left\n")
if "kill" in sys.argv[1:]:
    os.kill(worker, signal.SIGKILL)
if "stay" in sys.argv[1:]:
    time.sleep(300)
