"""Start what was decided: an argument vector, a world built from nothing, three descriptors.

Rule 1: `spawn` takes an `Invocation`, which only the decision makes; never a string, never a shell.
Rule 2: nothing of the daemon's own environment, descriptors, session or signal settings
reaches the command.
"""

import contextlib
import errno
import os
import signal
import subprocess
import time
from typing import Final, NamedTuple

from rexecd.errors import Code, Refused
from rexecd.execution.contain import Execution
from rexecd.policy.model import Invocation

#: Where the kernel or the user's quota has nothing left to give for now; everything else
#: is about the program itself.
_EXHAUSTED: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_UMASK: Final = 0o027


class Streams(NamedTuple):
    """The far ends of a command's pipes, in the order the seam passes them."""

    stdin: int | None
    stdout: int
    stderr: int

    def descriptors(self) -> tuple[int, ...]:
        """Return those there are: [stdin,] stdout, stderr."""
        return self[1:] if self.stdin is None else self[:]  # type: ignore[return-value] # stdin is there

    def close(self) -> None:
        """Give them up; with the last copy of stdout gone the command sees a broken pipe."""
        for descriptor in self.descriptors():
            os.close(descriptor)


def spawn(invocation: Invocation) -> tuple[Execution, Streams]:
    """Start the program and return it with the far ends of its pipes.

    Raise Refused: NOT_STARTED if the program cannot be started, BUSY if the machine is out of
    processes, memory or descriptors. The caller is told no more; `reason` has the detail.
    """
    with contextlib.ExitStack() as near_ends, contextlib.ExitStack() as on_failure:
        try:
            stdin_near, stdin_far = _input(invocation, near_ends, on_failure)
            stdout_far, stdout_near = _pipe(near=1, near_ends=near_ends, on_failure=on_failure)
            stderr_far, stderr_near = _pipe(near=1, near_ends=near_ends, on_failure=on_failure)
            started = time.monotonic()
            process = subprocess.Popen(
                invocation.argv,
                executable=invocation.argv[0],
                stdin=stdin_near,
                stdout=stdout_near,
                stderr=stderr_near,
                cwd=invocation.working_directory,
                env=invocation.environment,
                umask=_UMASK,
                start_new_session=True,
                close_fds=True,
            )
            try:
                execution = Execution(process, started=started, deadline=started + invocation.timeout)
            except OSError:  # no descriptor left to watch it by: it must not run unwatched
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        except (OSError, ValueError) as error:
            raise _refusal(error, invocation) from None
        on_failure.pop_all()
        return execution, Streams(stdin_far, stdout_far, stderr_far)


def _input(
    invocation: Invocation, near_ends: contextlib.ExitStack, on_failure: contextlib.ExitStack
) -> tuple[int, int | None]:
    """Return the command's stdin and its far end: a pipe if the rule takes input, else /dev/null."""
    if invocation.takes_input:
        return _pipe(near=0, near_ends=near_ends, on_failure=on_failure)
    null = os.open(os.devnull, os.O_RDONLY)
    near_ends.callback(os.close, null)
    return null, None


def _pipe(*, near: int, near_ends: contextlib.ExitStack, on_failure: contextlib.ExitStack) -> tuple[int, int]:
    """Return a close-on-exec pipe as (read, write); end number `near` closes here in any case."""
    ends = os.pipe()
    near_ends.callback(os.close, ends[near])
    on_failure.callback(os.close, ends[1 - near])
    return ends


def _refusal(error: OSError | ValueError, invocation: Invocation) -> Refused:
    """Return what the caller and the trail hear of a program that did not start."""
    number = getattr(error, "errno", None)
    if number in _EXHAUSTED:
        reason = f"cannot start a process: {os.strerror(number)}"
        return Refused(Code.BUSY, "the server is out of processes or memory; try later", reason=reason)
    what = getattr(error, "filename", None) or invocation.argv[0]
    why = os.strerror(number) if number else str(error)
    return Refused(Code.NOT_STARTED, "the program could not be started", reason=f"{what}: {why}")
