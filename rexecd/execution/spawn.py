"""Start what was decided: an argument vector, a world built from nothing, three descriptors.

Rule 1: `spawn` takes an `Invocation`, which only the decision makes; never a string, never a shell.
Rule 2: nothing of the daemon's own environment, descriptors, session or signal settings
reaches the command. Besides 0, 1 and 2 it has the descriptors its arguments name, from 3 on.
Rule 3: the monitor starts no command itself: a worker does, which is what the command will be.
"""

import errno
import os
import stat
import time
from typing import Final, NamedTuple

from rexecd.errors import Code, Refused
from rexecd.execution.contain import Execution
from rexecd.execution.identity import all_groups, open_readable
from rexecd.execution.jobs import Ids, Job, Profile
from rexecd.execution.workers import Workers
from rexecd.files import trust_fault
from rexecd.policy.model import Identity, Invocation, PassedFile, PassedText, Rule

#: Where the kernel or the user's quota has nothing left to give for now; everything else
#: is about the program itself.
_EXHAUSTED: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
#: Behind stdin, stdout and stderr.
_FIRST_PASSED: Final = 3
_NOT_STARTED: Final = "the program could not be started"


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


class _Ends:
    """The descriptors of one start: near ends are closed in any case, far ends if it fails."""

    def __init__(self, *, is_for_others: bool) -> None:
        self.near: list[int] = []
        self.far: list[int] = []
        #: Whether somebody else will hold the near ends. Opening a pipe anew by name (`/dev/fd/N`,
        #: `/dev/stderr`) goes by its mode, and only who has it can name it.
        self._is_for_others = is_for_others

    def pipe(self, *, near: int) -> tuple[int, int]:
        """Return a close-on-exec pipe as (read, write); end number `near` is the command's."""
        ends = os.pipe()
        self.near.append(ends[near])
        self.far.append(ends[1 - near])
        self._give(ends[0])
        return ends

    def filled(self, data: bytes) -> int:
        """Return a pipe that holds `data` and then its end; raise ValueError if that does not fit."""
        read, write = os.pipe()
        self.near.append(read)
        try:
            self._give(read)
            os.set_blocking(write, False)
            if os.write(write, data) < len(data):
                raise ValueError("a secret does not fit a pipe")
        finally:
            os.close(write)
        return read

    def file(self, wanted: PassedFile, identity: Identity | None) -> int:
        """Return a regular file, opened for reading; raise Refused, or OSError where there is nothing left.

        What we may read and `identity` may not is not lent to it. The caller, who named the file, hears
        the same whatever is wrong with it.
        """
        try:
            descriptor = open_readable(wanted.path, identity)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            raise _no_file(wanted, os.strerror(error.errno or 0)) from None
        self.near.append(descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _no_file(wanted, "not a regular file")
        os.set_blocking(descriptor, True)
        return descriptor

    def _give(self, pipe: int) -> None:
        if self._is_for_others:
            os.fchmod(pipe, 0o666)


def spawn(invocation: Invocation, workers: Workers) -> tuple[Execution, Streams]:
    """Start the program and return it with the far ends of its pipes.

    Raise Refused: NOT_STARTED if the program cannot be started, or somebody else could have
    changed it, BAD_ARGUMENT for a file that cannot be passed to it, BUSY if the machine is out of
    processes, memory or descriptors. The caller is told no more; `reason` has the detail.
    """
    profile = profile_of(invocation)
    ends = _Ends(is_for_others=profile.ids is not None and profile.ids.uid != os.geteuid())
    try:
        _check_program(invocation.argv[0])
        stdin_near, stdin_far = _input(invocation, ends)
        stdout_far, stdout_near = ends.pipe(near=1)
        stderr_far, stderr_near = ends.pipe(near=1)
        argv, passed = _pass(invocation, ends)
        job = Job(argv, dict(invocation.environment), invocation.working_directory, invocation.umask)
        started = time.monotonic()
        worker, pid = workers.start(profile, job, [stdin_near, stdout_near, stderr_near, *passed])
    except BaseException as error:
        _close(ends.far)
        if isinstance(error, OSError | ValueError):
            raise _refusal(error, invocation) from None
        raise
    finally:
        _close(ends.near)
    execution = Execution(workers, worker, pid, started=started, deadline=started + invocation.timeout)
    return execution, Streams(stdin_far, stdout_far, stderr_far)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def profile_of(invocation: Invocation | Rule) -> Profile:
    """Return what a worker has to be prepared for to run this."""
    identity = invocation.identity
    ids = None if identity is None else Ids(identity.uid, identity.gid, all_groups(identity))
    return Profile(ids, invocation.resources, invocation.sandbox)


def _check_program(program: str) -> None:
    """Raise Refused if somebody else could have changed the program, OSError if it is not there."""
    try:
        fault = trust_fault(program)
    except OSError as error:  # of whichever part of its path is missing
        raise OSError(error.errno, error.strerror, program) from None
    if fault is not None:
        raise Refused(Code.NOT_STARTED, _NOT_STARTED, reason=fault)


def _input(invocation: Invocation, ends: _Ends) -> tuple[int, int | None]:
    """Return the command's stdin and its far end.

    A pipe with the secret for it, which has no far end any more; a pipe if the rule takes input;
    else /dev/null.
    """
    for passed in invocation.passed:
        if isinstance(passed, PassedText) and passed.argument is None:
            return ends.filled(passed.data), None
    if invocation.takes_input:
        return ends.pipe(near=0)
    null = os.open(os.devnull, os.O_RDONLY)
    ends.near.append(null)
    return null, None


def _pass(invocation: Invocation, ends: _Ends) -> tuple[list[str], list[int]]:
    """Return the complete argument vector, and the descriptors that its arguments name.

    Raise ValueError for a NUL, which no argument can hold.
    """
    argv = list(invocation.argv)
    descriptors: list[int] = []
    for passed in invocation.passed:
        if passed.argument is None:
            continue  # it is the stdin
        if isinstance(passed, PassedFile):
            descriptor = ends.file(passed, invocation.identity)
        else:
            descriptor = ends.filled(passed.data)
        argv[passed.argument] += str(_FIRST_PASSED + len(descriptors))
        descriptors.append(descriptor)
    if any("\0" in text for text in (*argv, *invocation.environment.values())):
        raise ValueError("embedded null byte")
    return argv, descriptors


def _no_file(wanted: PassedFile, why: str) -> Refused:
    text = f"parameter {wanted.parameter!r}: no file for this command"
    return Refused(Code.BAD_ARGUMENT, text, reason=f"parameter {wanted.parameter!r}: {wanted.path}: {why}")


def _refusal(error: OSError | ValueError, invocation: Invocation) -> Refused:
    """Return what the caller and the trail hear of a program that did not start."""
    number = getattr(error, "errno", None)
    if number in _EXHAUSTED:
        reason = f"cannot start a process: {os.strerror(number)}"
        return Refused(Code.BUSY, "the server is out of processes or memory; try later", reason=reason)
    what = getattr(error, "filename", None) or invocation.argv[0]
    why = os.strerror(number) if number else str(error)
    return Refused(Code.NOT_STARTED, _NOT_STARTED, reason=f"{what}: {why}")
