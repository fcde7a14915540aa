"""The process from which workers are forked. It has one thread, no secret, and does nothing else.

The monitor has threads, so it must not fork; starting a Python anew takes fifty times as long.
Every packet is a Preparation with one end of a new socket; whoever holds the other end owns the
worker. When the monitor is gone the socket ends, and with it this process and every worker.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from rexecd.confine import hide_memory
from rexecd.execution.jobs import Kind, Preparation, Report, decode_preparation, receive
from rexecd.execution.worker import Worker
from rexecd.log import Log

#: See proc_pid_oom_score_adj(5).
_OOM_SCORE: Final = Path("/proc/self/oom_score_adj")
_OOM_MORE: Final = 200
_OOM_MOST: Final = 1000


def main() -> None:
    """Serve the monitor at the other end of the descriptor that is the first argument."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(orders.fileno(), False)  # noqa: FBT003 - its only parameter
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # for the monitor, which ends us by closing the socket
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects workers
    _volunteer()  # as long as our files in /proc are ours
    hide_memory()
    # What is here now is never freed, and a worker that does not touch it shares it.
    gc.collect()
    gc.freeze()
    gc.disable()
    while True:
        packet, descriptors = receive(orders)
        if not packet:
            return
        sock, claim = descriptors
        if _is_worker(sock):
            orders.close()
            _serve(sock, claim, decode_preparation(packet))
            os._exit(0)
        os.close(sock)
        os.close(claim)


def _volunteer() -> None:
    """Be taken, with all that is started from here, rather than the monitor, when memory runs out."""
    now = int(_OOM_SCORE.read_text(encoding="ascii"))
    _OOM_SCORE.write_text(str(min(_OOM_MOST, now + _OOM_MORE)), encoding="ascii")


def _is_worker(descriptor: int) -> bool:
    """Fork; return whether this is the child.

    At the other end say which one it is, before anybody can have stopped it, or that none is to be had.
    """
    try:
        pid = os.fork()
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(descriptor, Report(Kind.FAILED, error.errno or 0).encode())
        return False
    if pid == 0:
        return True
    with contextlib.suppress(OSError):  # it has ended already, which its socket says
        _introduce(descriptor, pid)
    return False


def _introduce(descriptor: int, pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        with socket.socket(fileno=os.dup(descriptor)) as far:
            socket.send_fds(far, [Report(Kind.BORN, pid).encode()], [pidfd])
    finally:
        os.close(pidfd)


def _serve(descriptor: int, claim: int, preparation: Preparation) -> None:
    """Be a worker to the end; whatever goes wrong here must not come back to the launcher's loop."""
    sock = socket.socket(fileno=descriptor)
    try:
        Worker(sock, claim, preparation).run()
    except ConnectionError:
        return  # whoever asked for it has gone meanwhile
    except BaseException as error:  # noqa: BLE001 - also SystemExit: this process ends in `main`
        Log("rexecd-monitor").error(f"worker: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
