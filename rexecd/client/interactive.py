"""The interactive session: ask for a line, answer it, ask again.

Rule 1: an answer of no, a mistake in a line and an unknown command leave the session open.
Rule 2: nothing here reads or prints; the door lends it a voice.
Rule 3: a line is sent once. When the connection is lost, what is said of it is whether it was sent, and a
new connection begins with nothing to do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from rexecd.client.completing import Known
from rexecd.client.endings import ending_notes
from rexecd.client.errors import CallerError, UsageError
from rexecd.client.exchange import Sink
from rexecd.client.history import is_memorable
from rexecd.client.listing import Clean, find_entry, make_help, make_table
from rexecd.client.menu import HELP, make_menu
from rexecd.client.results import Outcome
from rexecd.client.scanning import scan
from rexecd.client.session import Session
from rexecd.wire.messages import Entry, Offer

_NOT_SENT: Final = "[the line was not sent]"
_BROUGHT_BACK: Final = "[the line was not sent; arrow-up brings it back]"
_NOBODY_KNOWS: Final = "[whether it was done is not known here; it is not sent again]"


class Editor(Protocol):
    """Who asks a person for lines."""

    def ask(self) -> str | None:
        """Return the next line without its end, None when there are no more.

        Raise UsageError for one that cannot be read, KeyboardInterrupt when the person wants to start
        the line anew; the cursor is at the beginning of a line then.
        """

    def remember(self, line: str, *, is_kept: bool) -> bool:
        """Keep a line, for later sessions too if it may be; return whether this one can bring it back."""

    def learn(self, known: Known) -> None:
        """Hear what lines can go on with from now on."""

    def note(self, outcome: Outcome | None) -> None:
        """Hear how a command ended; None for a line that none came of."""


class Voice(NamedTuple):
    """How the session speaks."""

    #: Make ready for another line.
    ready: Callable[[], None]
    #: Answer with text that is safe to print.
    answer: Callable[[str], None]
    #: Say something on the side, with a possible remedy; this escapes.
    complain: Callable[[CallerError], None]
    note: Callable[[str], None]
    #: Escape foreign text.
    clean: Clean
    #: Take a command's output.
    sink: Sink


class Person(NamedTuple):
    """What there is besides where somebody sits at a terminal."""

    #: Columns of the terminal, now.
    width: Callable[[], int]
    #: Return whether to connect again.
    is_connecting_again: Callable[[], bool]
    #: Return another session; raise CallerError.
    reconnect: Callable[[], Session]


class Action(Protocol):
    """What the words of the session do."""

    def __call__(self, rest: str) -> None:
        """Do it; raise CallerError."""


class Shell:
    """One interactive session; `reason` and `timeout` are given for each of its commands."""

    def __init__(
        self,
        session: Session,
        editor: Editor,
        voice: Voice,
        *,
        person: Person | None = None,
        is_quiet: bool = False,
        reason: str = "",
        timeout: float | None = None,
    ) -> None:
        self._session = session
        self._editor = editor
        self._voice = voice
        self._person = person
        self._is_quiet = is_quiet
        self._reason = reason
        self._timeout = timeout
        self._known = Known()
        #: What to say of the line that is dealt with, should the connection be lost.
        self._fate = ""
        self._words: Mapping[str, Action] = {"help": self._help}

    def run(self) -> int:
        """Go on until `exit` or the end of input and return the exit status.

        Raise CallerError when the session is lost and there is nobody to ask.
        """
        step: Callable[[], bool] = self._begin
        while True:
            try:
                if not step():
                    return 0
            except KeyboardInterrupt:
                if self._session.is_closed:  # a command was given up, and the connection with it
                    raise
            except CallerError as error:
                self._editor.note(None)
                if not self._session.is_closed:
                    self._voice.complain(error)
                elif (status := self._lose(error)) is not None:
                    return status
            step = self._next

    def _begin(self) -> bool:
        self._greet()
        if self._person is not None:
            entries = self._list()
            if not self._is_quiet:
                self._voice.answer(make_menu(entries, self._voice.clean, self._person.width()))
        return True

    def _greet(self) -> None:
        banner = "" if self._is_quiet else self._session.banner.rstrip("\n")
        if banner:
            lines = banner.split("\n")
            self._voice.answer("".join(f"{self._voice.clean(line)}\n" for line in lines))

    def _next(self) -> bool:
        """Deal with one line; return whether there may be another."""
        self._fate = ""
        self._voice.ready()
        line = self._editor.ask()
        if line is None or line.strip() == "exit":
            return False
        if line.strip():
            self._do(line)
        return True

    def _do(self, typed: str) -> None:
        line = typed.strip()
        is_back = is_memorable(typed.rstrip()) and self._editor.remember(
            line, is_kept=self._known.may_be_kept(line)
        )
        check_plain(line)
        self._fate = _BROUGHT_BACK if is_back else _NOT_SENT
        self._session.check()
        word, _, rest = line.partition(" ")
        if rest.strip() == "--help":
            self._help(word)
        elif word in self._words:
            self._words[word](rest.strip())
        else:
            self._command(line)

    def _help(self, rest: str) -> None:
        self._fate = ""
        entries = self._list()
        if not rest:
            self._voice.answer(make_table(entries, self._voice.clean) + HELP)
            return
        self._voice.answer(make_help(pick(entries, rest), self._voice.clean))

    def _list(self) -> Sequence[Entry]:
        entries = self._session.list()
        self._known = Known(entries)
        self._editor.learn(self._known)
        return entries

    def _command(self, line: str) -> None:
        self._fate = _NOBODY_KNOWS
        # Standard input is where the next lines come from, so a command gets none.
        outcome = self._session.execute(
            line, offer=Offer.NONE, sink=self._voice.sink, reason=self._reason, timeout=self._timeout
        )
        self._editor.note(outcome)
        for note in ending_notes(outcome):
            self._voice.note(note)

    def _lose(self, error: CallerError) -> int | None:
        """Say that the session is lost; return None once there is another, or the exit status.

        Raise the error where there is nobody to ask.
        """
        person = self._person
        if person is None:
            raise error
        self._voice.complain(error)
        if self._fate:
            self._voice.note(self._fate)
        while person.is_connecting_again():
            try:
                self._session = person.reconnect()
                self._greet()
                self._list()
                return None
            except CallerError as failure:
                error = failure
                self._voice.complain(error)
        return error.exit_status


def check_plain(line: str) -> None:
    """Raise UsageError for what only a shell would understand."""
    if "\n" in line:
        raise UsageError("several lines at once are not taken, nothing was sent")
    operator = scan(line).operator
    if operator:
        raise UsageError(f"no shell here, nothing was sent; quote {operator} to pass it on as it is")


def pick(entries: Sequence[Entry], name: str) -> Entry:
    """Return the entry of that name; raise UsageError."""
    entry = find_entry(entries, name)
    if entry is None:
        raise UsageError(
            f"{name!r} is unknown or not permitted", hint="'help' or 'rexec --list HOST' shows what is"
        )
    return entry
