"""Both programs by themselves, as a service manager runs them, and the listener it keeps for the gateway."""

import os
import signal
import socket
import subprocess
import sys
from typing import Any, Final, Self

from tests.harness import PATIENCE, Daemon

#: What a service manager does between fork and exec (sd_listen_fds(3)).
_PASS: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Apart:
    """A monitor and a gateway of one daemon's directory, to be stopped and started one by one."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        daemon.port = self._listener.getsockname()[1]
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        for verb in ("monitor", "gateway"):
            self.start(verb)
        return self

    def __exit__(self, *_: object) -> None:
        for verb in ("gateway", "monitor"):
            if verb in self.processes:
                self.kill(verb)
        self._listener.close()

    def start(self, verb: str) -> None:
        """Start one, and wait until it is ready."""
        line = ["-I", "-m", "rexecd", verb, "--config", str(self.daemon.made.config)]
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
        if verb == "gateway":
            line = ["-c", _PASS, str(self._listener.fileno()), *line]
            how["pass_fds"] = [self._listener.fileno()]
        with (self.daemon.made.config.parent / "stderr").open("a") as errors:
            process = subprocess.Popen([sys.executable, *line], stderr=errors, **how)
        self.processes[verb] = process
        assert process.stdout
        assert "ready on" in process.stdout.readline(), self.daemon.complaints()

    def signal(self, verb: str, number: int = signal.SIGTERM) -> None:
        """Send a signal to one."""
        os.kill(self.processes[verb].pid, number)

    def wait(self, verb: str) -> int:
        """Return how one ended, once it has."""
        process = self.processes[verb]
        status = process.wait(PATIENCE)
        del self.processes[verb]
        if process.stdout:
            process.stdout.close()
        return status

    def stop(self, verb: str) -> int:
        """Let one drain and stop, and return its status."""
        self.signal(verb)
        return self.wait(verb)

    def kill(self, verb: str) -> None:
        """Kill one."""
        self.signal(verb, signal.SIGKILL)
        self.wait(verb)
