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

from rexecd.confine import hide_memory
from rexecd.execution.jobs import Kind, Preparation, Report, decode_preparation, receive
from rexecd.execution.worker import Worker


def main() -> None:
    """Serve the monitor at the other end of the descriptor that is the first argument."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(orders.fileno(), False)  # noqa: FBT003 - its only parameter
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # for the monitor, which ends us by closing the socket
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects workers
    hide_memory()
    # What is here now is never freed, and a worker that does not touch it shares it.
    gc.collect()
    gc.freeze()
    gc.disable()
    while True:
        packet, descriptors = receive(orders)
        if not packet:
            return
        if _is_worker(descriptors[0]):
            orders.close()
            _serve(descriptors[0], decode_preparation(packet))
            os._exit(0)
        os.close(descriptors[0])


def _is_worker(descriptor: int) -> bool:
    """Fork; return whether this is the child. Where there is none to be had, say so at the other end."""
    try:
        return os.fork() == 0
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(descriptor, Report(Kind.FAILED, error.errno or 0).encode())
        return False


def _serve(descriptor: int, preparation: Preparation) -> None:
    """Be a worker to the end; whatever goes wrong here must not come back to the launcher's loop."""
    sock = socket.socket(fileno=descriptor)
    try:
        Worker(sock, preparation).run()
    except BaseException as error:  # noqa: BLE001 - also SystemExit: this process ends in `main`
        sys.stderr.write(f"rexecd: worker: {type(error).__name__}: {error}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    main()
