"""`rexec`'s first moments and its last: a secret is taken out of sight before anything slow is loaded.

Rule 1: next to nothing is imported here but inside `main`: every import is time in which the token shows.
Rule 2: what a platform or a sandbox does not allow is left undone without a word.
"""

import gc
import os
import sys
from collections.abc import Sequence

from rexecd.typed import Final, NoReturn

_OPTION: Final = b"--token"
#: Where /proc/self/stat has arg_start and arg_end, counted behind the process's name (proc(5): 48 and 49).
_ARG_START: Final = 45
_SIGINT_STATUS: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rexec` and return its exit status; nothing is ever raised."""
    try:
        if argv is None:
            gc.disable()  # what is loaded stays: looking for rubbish in it again and again finds none
            _hide_token()
            _leave_no_core()
        from rexecd.cli import call  # noqa: PLC0415 - rule 1

        if argv is None:
            gc.freeze()
            gc.enable()
        status = call.main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # also behind `call.main`'s own handlers, while its last word cannot be written
        status = _SIGINT_STATUS
    if argv is None:
        _leave(status)
    return status


def _leave(status: int) -> NoReturn:
    """End the program at once.

    All that was to be written has been written, and the system gives back what is left: taking the
    interpreter to pieces in order would cost an eighth of the whole call.
    """
    os._exit(status)


def _hide_token() -> None:
    """Overwrite --token's value in the list of processes, byte for byte; our own copy of it stays.

    Also behind HOST, where it is the other side's: what is shown of a command line is no use to anybody then.
    """
    try:
        memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # not Linux, or no /proc
        return
    try:
        start, end = _argument_area()
        for at, value in _token_values(os.pread(memory, end - start, start)):
            os.pwrite(memory, b"*" * len(value), start + at)
    except (OSError, ValueError, IndexError, OverflowError):
        pass
    finally:
        os.close(memory)


def _argument_area() -> tuple[int, int]:
    """Return where the kernel keeps the arguments it shows; raise OSError, ValueError or IndexError."""
    descriptor = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # The name in parentheses can hold anything, spaces and parentheses too.
        fields = os.read(descriptor, 4096).rpartition(b")")[2].split()
    finally:
        os.close(descriptor)
    return int(fields[_ARG_START]), int(fields[_ARG_START + 1])


def _token_values(area: bytes) -> list[tuple[int, bytes]]:
    """Return the values of --token in a list of arguments that end with NUL, and where each begins."""
    found: list[tuple[int, bytes]] = []
    at = 0
    before = b""
    for word in area.split(b"\0"):
        if before == _OPTION:
            found.append((at, word))
        elif word.startswith(_OPTION + b"="):
            found.append((at + len(_OPTION) + 1, word[len(_OPTION) + 1 :]))
        before = word
        at += len(word) + 1
    return found


def _leave_no_core() -> None:
    """Keep what we hold out of core files.

    Nought would still hand a core to a collector (systemd-coredump), because pipes have no limit; one byte
    makes the kernel dump nothing at all, and is less than the smallest file it would begin (core(5)).
    """
    try:
        import resource  # noqa: PLC0415 - not on every platform

        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))
    except (ImportError, OSError, ValueError):
        pass


if __name__ == "__main__":
    sys.exit(main())
