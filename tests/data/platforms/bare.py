"""Run `rexec`, or with `-c` a program, without `fcntl`, `termios`, poll(2) and what else Windows lacks.

Of what is hidden every use fails, also one in the standard library; select(2) refuses all but sockets.
"""

import os
import select
import signal
import stat
import sys
from typing import Any

MODULES = ("fcntl", "termios", "resource", "pwd", "grp", "readline", "tty", "pty", "syslog", "curses")
SIGNALS = (
    "SIGHUP",
    "SIGQUIT",
    "SIGUSR1",
    "SIGUSR2",
    "SIGALRM",
    "SIGPIPE",
    "setitimer",
    "ITIMER_REAL",
    "alarm",
)
FLAGS = ("O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK")
CALLS = ("geteuid", "getuid", "getgid", "getegid", "fchmod", "set_blocking", "get_blocking", "fork", "mkfifo")

for name in MODULES:
    sys.modules[name] = None  # type: ignore[assignment]
for module, names in ((signal, SIGNALS), (os, FLAGS + CALLS)):
    for name in names:
        delattr(module, name)
for name in [
    name for name in dir(select) if name != "select" and not name.startswith("_") and name != "error"
]:
    delattr(select, name)
os.supports_dir_fd.clear()
os.supports_fd.clear()
_select = select.select


def _sockets_only(*lists: Any) -> Any:
    for each in lists[:3]:
        for descriptor in each:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                raise OSError(10038, "an operation was attempted on something that is not a socket")
    return _select(*lists)


select.select = _sockets_only

sys.path.insert(
    0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
)

from rexecd import portable  # noqa: E402

portable.ONLY_SOCKETS = True  # type: ignore[misc]

if sys.argv[1] == "-c":  # a program, as for Python itself
    exec(sys.argv[2])
else:
    from rexecd.cli.rexec import main

    sys.exit(main(sys.argv[1:]))
