"""The interactive session: ask for a line, answer it, ask again.

Rule 1: an answer of no, a mistake in a line and an unknown command leave the session open.
Rule 2: nothing here reads or prints; the door lends it a voice.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from rexecd.client.errors import CallerError, UsageError
from rexecd.client.exchange import Sink
from rexecd.client.listing import Clean, find_entry, make_help, make_table
from rexecd.client.results import Outcome
from rexecd.client.session import Session
from rexecd.wire.messages import Entry, Offer

_HELP: Final = "'help NAME' shows one command, 'exit' leaves.\n"


class Voice(NamedTuple):
    """How the session hears and speaks."""

    #: Return the next line without its end, None when there are no more; raise UsageError for one
    #: that cannot be read, KeyboardInterrupt when the person wants to start the line anew.
    ask: Callable[[], str | None]
    #: Answer with text that is safe to print.
    answer: Callable[[str], None]
    #: Say something on the side, with a possible remedy; this escapes.
    complain: Callable[[CallerError], None]
    note: Callable[[str], None]
    #: Escape foreign text.
    clean: Clean
    #: Take a command's output.
    sink: Sink


class Action(Protocol):
    """What the words of the session do."""

    def __call__(self, rest: str) -> None:
        """Do it; raise CallerError."""


class Shell:
    """One interactive session; `reason` and `timeout` are given for each of its commands."""

    def __init__(
        self, session: Session, voice: Voice, *, reason: str = "", timeout: float | None = None
    ) -> None:
        self._session = session
        self._reason = reason
        self._timeout = timeout
        self._voice = voice
        self._words: Mapping[str, Action] = {"help": self._help}

    def run(self) -> None:
        """Go on until `exit` or the end of input; raise CallerError when the session is lost."""
        self._greet()
        while True:
            try:
                line = self._voice.ask()
                if line is None or line.strip() == "exit":
                    return
                self._do(line.strip())
            except KeyboardInterrupt:
                if self._session.is_closed:  # a command was given up, and the connection with it
                    raise
                self._voice.answer("\n")
            except CallerError as error:
                if self._session.is_closed:
                    raise
                self._voice.complain(error)

    def _greet(self) -> None:
        banner = self._session.banner.rstrip("\n")
        if banner:
            lines = banner.split("\n")
            self._voice.answer("".join(f"{self._voice.clean(line)}\n" for line in lines))

    def _do(self, line: str) -> None:
        if not line:
            return
        word, _, rest = line.partition(" ")
        if rest.strip() == "--help":
            self._help(word)
        elif word in self._words:
            self._words[word](rest.strip())
        else:
            self._command(line)

    def _help(self, rest: str) -> None:
        entries = self._session.list()
        if not rest:
            self._voice.answer(make_table(entries, self._voice.clean) + _HELP)
            return
        self._voice.answer(make_help(pick(entries, rest), self._voice.clean))

    def _command(self, line: str) -> None:
        # Standard input is where the next lines come from, so a command gets none.
        outcome = self._session.execute(
            line, offer=Offer.NONE, sink=self._voice.sink, reason=self._reason, timeout=self._timeout
        )
        for note in ending_notes(outcome):
            self._voice.note(note)


def pick(entries: Sequence[Entry], name: str) -> Entry:
    """Return the entry of that name; raise UsageError."""
    entry = find_entry(entries, name)
    if entry is None:
        raise UsageError(
            f"{name!r} is unknown or not permitted", hint="'help' or 'rexec --list HOST' shows what is"
        )
    return entry


def ending_notes(outcome: Outcome) -> list[str]:
    """Return what a person should know of an ending that was not an ordinary success."""
    notes = ["[output or input was cut at its limit]"] if outcome.truncated else []
    if outcome.reason is not None:
        notes.append(f"[{outcome.reason}]")
    elif outcome.signal is not None:
        notes.append(f"[signal {outcome.signal}]")
    elif outcome.returncode:
        notes.append(f"[exit status {outcome.returncode}]")
    return notes
