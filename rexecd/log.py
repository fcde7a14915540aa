"""The daemon's own log: what an operator wants to know of a running service. It is not the trail.

An event is a message and fields. Where standard error is the journal's, it is sent there by the journal's own
protocol, so that fields can be searched for (`REXECD_CONTAINMENT=subreaper`); else it is one line on standard
error.

Rule 1: nothing secret is logged: tokens are masked in all that is. Foreign text is made printable.
Rule 2: logging never fails, and waits for the journal no more than a moment: threads of callers log, and
there is no better place to complain.

structlog, which the trail is built on, would bring asyncio and with that subprocess into the gateway, which
may hold nothing that starts a program.
"""

import contextlib
import enum
import os
import select
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

from rexecd.journal import JOURNAL, connect_journal, entry
from rexecd.printable import printable, quoted, without_tokens

#: Milliseconds that one line waits for its reader.
_MOMENT: Final = 100
#: Longest text of one event or field; a datagram holds some hundred of them.
_MOST: Final = 2048


class Level(enum.Enum):
    """How much an event matters: its word, and the number that syslog(3) has for it."""

    DEBUG = "debug", 7
    INFO = "info", 6
    WARNING = "warning", 4
    ERROR = "error", 3

    @property
    def word(self) -> str:
        """Return the level as settings and lines write it."""
        return self.value[0]

    @property
    def priority(self) -> int:
        """Return the number; the smaller, the more it matters."""
        return self.value[1]


class Log:
    """Where one program logs, from a level on. Any thread may use it."""

    def __init__(self, program: str, *, level: str = "info", journal: socket.socket | None = None) -> None:
        self._program = program
        self._most = next(each.priority for each in Level if each.word == level)
        self._journal = journal

    @property
    def has_fields(self) -> bool:
        """Return whether events go to the journal, where their fields can be searched for."""
        return self._journal is not None

    def debug(self, message: str, **fields: object) -> None:
        """Log what helps to follow one connection."""
        self._log(Level.DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Log what is as it should be."""
        self._log(Level.INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Log what is not wrong and still deserves a look."""
        self._log(Level.WARNING, message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Log what is wrong."""
        self._log(Level.ERROR, message, fields)

    def _log(self, level: Level, message: str, fields: Mapping[str, object]) -> None:
        if level.priority > self._most:
            return
        texts = {name: _text(value) for name, value in fields.items()}
        words = [_line(message), *(f"{name}={quoted(text)}" for name, text in texts.items() if text)]
        line = " ".join(words)
        if not self._sent(level, line, texts):
            prefix = "" if level is Level.INFO else f"{level.word}: "
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none at all
                if self._journal is None or _takes(sys.stderr):
                    sys.stderr.write(f"rexecd: {prefix}{line}\n")
                    sys.stderr.flush()

    def _sent(self, level: Level, line: str, texts: Mapping[str, str]) -> bool:
        """Send an event to the journal; return whether it took it."""
        if self._journal is None:
            return False
        fields = {"MESSAGE": line, "PRIORITY": str(level.priority), "SYSLOG_IDENTIFIER": self._program}
        fields |= {f"REXECD_{name.upper()}": text for name, text in texts.items() if text}
        try:
            self._journal.send(entry(fields), socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True


def _takes(stream: TextIO) -> bool:
    """Return whether a line can be written in a moment: where the journal hangs its stream does, too."""
    try:
        descriptor = stream.fileno()
    except OSError:  # it is none of the kernel's
        return True
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return bool(poller.poll(_MOMENT))


def open_log(program: str, level: str, *, journal: Path = JOURNAL) -> Log:
    """Return the log of a program: the journal if that is where standard error leads, else standard error.

    To be called before the process confines itself: the socket is opened once, and outlives the journal's
    restart.
    """
    log = Log(program, level=level)
    if not _leads_to_journal():
        return log
    try:
        sock = connect_journal(journal)
    except OSError as error:
        log.warning("the journal cannot be reached: events have no fields", reason=error.strerror)
        return log
    return Log(program, level=level, journal=sock)


def _leads_to_journal() -> bool:
    """Return whether standard error is the stream that systemd has connected to the journal."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _text(value: object) -> str:
    """Return a field's value as text; lines stay lines, everything else that steers is escaped."""
    if value is None:
        return ""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple | set | frozenset) else str(value)
    return "\n".join(map(_line, text[:_MOST].split("\n")))


def _line(text: str) -> str:
    return printable(without_tokens(text[:_MOST]))
