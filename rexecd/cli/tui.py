"""The prompt of a session where prompt_toolkit is installed: completion as one types, and the last ending.

Rule: prompt_toolkit takes the signals while it waits for keys; before and after they are what they were.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Final

import prompt_toolkit
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, get_common_complete_suffix
from prompt_toolkit.document import Document
from prompt_toolkit.filters import completion_is_selected
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from rexecd.cli import say
from rexecd.cli.interrupts import Terminated
from rexecd.cli.lines import PROMPT, Memory
from rexecd.client.completing import Known
from rexecd.client.endings import ending_notes
from rexecd.client.results import Outcome
from rexecd.client.times import spell_seconds
from rexecd.printable import printable

#: What Debian 12 packages.
_OLDEST: Final = (3, 0, 36)
_STYLE: Final = {
    "prompt": "bold",
    "good": "ansigreen",
    "bad": "ansired",
    "rprompt": "",
}
_MOST_ROW_DIGITS: Final = 5
#: What else ends the program while nothing runs; SIGINT is prompt_toolkit's own.
_ENDING: Final = (signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
#: What prompt_toolkit and its event loop put handlers of their own on.
_TAKEN: Final = (signal.SIGINT, signal.SIGWINCH, signal.SIGTSTP, *_ENDING)


class RichEditor:
    """A prompt with completion as one types; raise ImportError for a prompt_toolkit that is too old."""

    def __init__(self, memory: Memory) -> None:
        if tuple(map(int, prompt_toolkit.VERSION[:3])) < _OLDEST:  # once they were texts
            raise ImportError(f"prompt_toolkit {prompt_toolkit.__version__} is too old")
        self._memory = memory
        self._lines = _Lines(memory.load())
        self._completer = _Completer()
        self._ended: StyleAndTextTuples = []
        self._signal = 0
        self._session: prompt_toolkit.PromptSession[str] = prompt_toolkit.PromptSession(
            history=self._lines,
            completer=self._completer,
            complete_while_typing=True,
            color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
            style=Style.from_dict(_STYLE),
            enable_suspend=True,
            key_bindings=self._make_bindings(),
        )

        # A terminal that does not say where its cursor is has a smaller menu, and that is all.
        self._session.app.renderer.cpr_not_supported_callback = None

    def ask(self) -> str | None:
        """Ask for one line."""
        prompt: StyleAndTextTuples = [("class:prompt", PROMPT)]
        ended, self._ended = self._ended, []  # once, or it would stand beside what it is not of
        try:
            say.answer("\r")  # what was typed before the prompt is shown again behind it
            with _signals_apart(self._end):
                return str(self._session.prompt(prompt, rprompt=ended, pre_run=self._leave_if_told))
        except EOFError:
            return None
        finally:
            if self._signal:
                raise Terminated(self._signal)

    def remember(self, line: str, *, is_kept: bool) -> bool:
        """Have arrow-up bring it back, and write it down if it may be kept."""
        if self._memory.is_new(line):
            self._lines.add(line)
            if is_kept:
                self._memory.add(line)
        return True

    def learn(self, known: Known) -> None:
        """Complete from this."""
        self._completer.known = known

    def note(self, outcome: Outcome | None) -> None:
        """Show beside the next prompt how a command ended, and how long it took."""
        self._ended = [] if outcome is None else _spell(outcome)

    def _make_bindings(self) -> KeyBindings:
        """Have Enter take what is selected in the menu, and send nothing yet; Tab as below; and no mouse.

        The library takes every `ESC [ 31 m` that comes as keys for a mouse, and fails, with a traceback on
        the screen, at those that are none; and at a place of the cursor that is no number Python reads.
        """
        bindings = KeyBindings()
        bindings.add("enter", filter=completion_is_selected)(_take_selected)
        bindings.add("tab")(self._complete)
        bindings.add(Keys.Vt100MouseEvent)(_ignore)
        bindings.add(Keys.CPRResponse, save_before=lambda _event: False)(_hear_of_cursor)
        return bindings

    def _complete(self, event: KeyPressEvent) -> None:
        """Insert what is certain, as readline does, else go through the menu.

        At once: prompt_toolkit's own key is lost while the menu of the last letter is still made.
        """
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_next()
            return
        asked = CompleteEvent(completion_requested=True)
        found = list(self._completer.get_completions(buffer.document, asked))
        common = get_common_complete_suffix(buffer.document, found)
        if len(found) == 1:
            buffer.apply_completion(found[0])
        elif common:
            buffer.insert_text(common)
        elif buffer.complete_state is not None:
            buffer.complete_next()
        else:
            buffer.start_completion()

    def _end(self, number: int) -> None:
        self._signal = number
        self._leave_if_told()

    def _leave_if_told(self) -> None:
        if self._signal:
            with contextlib.suppress(Exception):  # not begun yet, or over already
                self._session.app.exit(exception=EOFError)


def _spell(outcome: Outcome) -> StyleAndTextTuples:
    notes = [note.strip("[]") for note in ending_notes(outcome)]
    if outcome.reason is None:  # which says how long it took
        spent = outcome.duration
        notes.append(f"{spent * 1000:.0f} ms" if spent < 1 else spell_seconds(spent))
    is_good = not outcome.returncode and not outcome.truncated
    text = printable(", ".join(["ok", *notes] if is_good else notes))
    return [("class:good" if is_good else "class:bad", text)]


class _Lines(InMemoryHistory):
    """What arrow-up brings back; the session says what gets in, not the prompt."""

    def append_string(self, string: str) -> None:
        """Do nothing: it may hold what nobody should find again."""

    def add(self, line: str) -> None:
        """Put a line behind the others."""
        super().append_string(line)


class _Completer(Completer):
    """Candidates of the core, all of them printable."""

    def __init__(self) -> None:
        self.known = Known()

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """Return what the line up to the cursor can go on with."""
        line = document.text_before_cursor
        found = self.known.complete(line)
        for each in found.candidates:
            yield Completion(
                each.text + (" " if each.is_whole else ""),
                start_position=found.start - len(line),
                display=each.text,
                display_meta=each.about,
            )


def _take_selected(event: KeyPressEvent) -> None:
    event.current_buffer.complete_state = None


def _ignore(_event: KeyPressEvent) -> None:
    pass


def _hear_of_cursor(event: KeyPressEvent) -> None:
    row = event.data[2:].partition(";")[0]
    if len(row) <= _MOST_ROW_DIGITS:
        event.app.renderer.report_absolute_cursor_row(int(row))


@contextlib.contextmanager
def _signals_apart(end: Callable[[int], None]) -> Iterator[None]:
    """Keep our handlers, and the descriptor that signals wake, from what prompt_toolkit does with them.

    An exception that a handler raises inside an event loop can be lost: what ends us is told to the prompt.
    """
    handlers: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _TAKEN}
    wakeup = signal.set_wakeup_fd(-1)

    def tell(number: int, _frame: FrameType | None) -> None:
        end(number)

    try:
        for number in _ENDING:
            if callable(handlers[number]):
                signal.signal(number, tell)
        yield
    finally:
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
