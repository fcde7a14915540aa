"""Say as JSON what a command finds when it starts: arguments, environment, descriptors, session."""

import json
import os
import sys
from pathlib import Path


def has_terminal() -> bool:
    """Return whether there is a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def status(name: str) -> str:
    """Return one line of the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split("\t")[1] for line in lines if line.startswith(name + ":"))


descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))
json.dump(
    {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "descriptors": [number for number in descriptors if os.path.exists(f"/proc/self/fd/{number}")],
        "stdin": os.readlink("/proc/self/fd/0"),
        "leads_session": os.getsid(0) == os.getpid() == os.getpgid(0),
        "terminal": has_terminal(),
        "directory": os.getcwd(),
        "umask": os.umask(0),
        "ignored_signals": status("SigIgn"),
        "blocked_signals": status("SigBlk"),
    },
    sys.stdout,
)
