"""The parts of the richer prompt that need no terminal."""

import contextlib
import json
import os
import signal
from pathlib import Path

import prompt_toolkit
import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import to_plain_text
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from rexecd.cli.interrupts import Terminated
from rexecd.cli.lines import Memory
from rexecd.cli.tui import RichEditor
from rexecd.client.completing import Known
from rexecd.client.results import Outcome
from rexecd.wire.messages import Entry


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """Return the lines of a person who has typed none yet."""
    return Memory({"XDG_STATE_HOME": str(tmp_path)}, is_wanted=True)


def ended(
    returncode: int, *, outcome: str = "exited", name: str | None = None, seconds: float = 0.25
) -> Outcome:
    """Return how a command ended."""
    return Outcome(outcome, returncode, name, truncated=False, duration=seconds, request_id="r")


@pytest.mark.parametrize(
    ("outcome", "style", "text"),
    [
        (ended(0), "class:good", "ok, 250 ms"),
        (ended(0, seconds=12.34), "class:good", "ok, 12.3 s"),
        (ended(3), "class:bad", "exit status 3, 250 ms"),
        (ended(143, name="TERM"), "class:bad", "signal TERM, 250 ms"),
        (ended(124, outcome="timed_out", seconds=30), "class:bad", "timed out after 30 s"),
    ],
)
def test_the_last_ending_stands_beside_the_prompt(
    memory: Memory, outcome: Outcome, style: str, text: str
) -> None:
    """How, and how long it took; nothing for a line that nothing came of."""
    editor = RichEditor(memory)
    editor.note(outcome)
    assert [(style, text)] == editor._ended
    editor.note(None)
    assert [] == editor._ended


def test_candidates_are_shown_escaped(memory: Memory) -> None:
    """What the menu shows, says of it, and inserts."""
    evil = "\x1b]0;x\x07\u202e"
    schema = json.dumps({"properties": {"x": {"enum": [evil, "my choice"]}, evil: {}}})
    editor = RichEditor(memory)
    editor.learn(
        Known([Entry("disk", evil, evil, evil, (f"x: {evil}",), schema), Entry(evil, "", "", "", (), "")])
    )
    for line in ("", "disk ", "disk --"):
        found = list(editor._completer.get_completions(Document(line), CompleteEvent()))
        assert found
        for each in found:
            shown = to_plain_text(each.display) + to_plain_text(each.display_meta) + each.text
            assert shown.isprintable()
    assert "'my choice' " in [
        each.text for each in editor._completer.get_completions(Document("disk "), CompleteEvent())
    ]


def test_only_what_is_remembered_comes_back(memory: Memory, tmp_path: Path) -> None:
    """The prompt itself puts nothing into the history, in memory or in the file."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        editor = RichEditor(memory)
        pipe.send_text("secret\n")
        assert "secret" == editor.ask()
        assert [] == editor._lines.get_strings()
        assert editor.remember("kept", is_kept=True)
        assert editor.remember("for now", is_kept=False)
        assert ["kept", "for now"] == editor._lines.get_strings()

    assert "kept\n" == (tmp_path / "rexec" / "history").read_text()


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_ctrl_c_and_ctrl_d_are_what_they_are_elsewhere(memory: Memory, key: str) -> None:
    """Ctrl-C begins the line anew, Ctrl-D on an empty one is the end of input."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        editor = RichEditor(memory)
        pipe.send_text(key)
        if key == "\x04":
            assert editor.ask() is None
        else:
            with pytest.raises(KeyboardInterrupt):
                editor.ask()


def test_the_tabulator_is_heard_of_who_types_quickly(memory: Memory) -> None:
    """Also before the menu of the last letter is there."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        editor = RichEditor(memory)
        editor.learn(Known([Entry("disk", "", "", "", (), ""), Entry("deploy", "", "", "", (), "")]))
        pipe.send_text("di\t/srv\n")
        assert "disk /srv" == editor.ask()


@pytest.mark.parametrize(
    "keys",
    [
        "\x1b[31m",
        "\x1b[<0;1;1M",
        "\x1b[;m",
        f"\x1b[{5000 * '9'};1R",
        "\x1b[3;1R",
        "\x1b[200~\x1b[201~",
    ],
)
def test_keys_that_nobody_has_are_passed_over(memory: Memory, keys: str) -> None:
    """What a terminal answers to a command's output, and what is pasted with its colours."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        editor = RichEditor(memory)
        pipe.send_text(f"di{keys}sk\n")
        assert "disk" == editor.ask()


def test_a_signal_ends_the_prompt_and_everything_is_as_it_was(memory: Memory) -> None:
    """Handlers and the descriptor that signals wake, also where it came before the prompt."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handlers = {number: lambda *_: None for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    wakeup = signal.set_wakeup_fd(writer)
    try:
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            editor = RichEditor(memory)
            editor._end(signal.SIGTERM)
            with pytest.raises(Terminated) as caught:
                editor.ask()
        assert signal.SIGTERM == caught.value.number
        assert handlers == {number: signal.getsignal(number) for number in handlers}
        assert writer == signal.set_wakeup_fd(wakeup)
    finally:
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def test_what_is_too_old_is_not_used(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not there; older ones say their version in texts."""
    monkeypatch.setattr(prompt_toolkit, "VERSION", ("3", "0", "35"))
    with pytest.raises(ImportError, match="is too old"):
        RichEditor(memory)
    monkeypatch.setattr(prompt_toolkit, "VERSION", ("3", "0", "36"))
    RichEditor(memory)
