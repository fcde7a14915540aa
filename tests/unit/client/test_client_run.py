"""`run` as people know it from `subprocess`: text, input, errors, and output that is passed on."""

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rexecd import client
from rexecd.client import Session, Stream
from rexecd.errors import Code
from rexecd.wire.messages import (
    Ending,
    ErrorOutput,
    Exit,
    Input,
    InputEnd,
    InputWanted,
    Message,
    Offer,
    Output,
    Refused,
    Run,
    Started,
)
from tests.unit.client.fake_server import (
    GOOD_END,
    TOKEN,
    Authority,
    FakeServer,
    Peer,
    answer,
    welcoming,
)

Call = Callable[..., Session]
Serve = Callable[..., FakeServer]

FAILED = Exit(Ending.EXITED, 3, truncated=False, duration=0)
KILLED = Exit(Ending.SIGNALLED, 9, truncated=False, duration=0)
LATE = Exit(Ending.TIMED_OUT, 143, truncated=False, duration=300_000)


def echo(peer: Peer) -> None:
    """Give every input back, for as long as commands come."""
    while isinstance(asked := peer.expect(object), Run):
        assert asked.offer is Offer.ESSENTIAL
        peer.send(Started("r-1"), InputWanted())
        while isinstance(message := peer.expect(object), Input):
            peer.send(Output(message.data))
        assert isinstance(message, InputEnd)
        peer.send(GOOD_END)


def again(*messages: Message) -> Callable[[Peer], None]:
    """Return a script that answers every command with the same."""

    def script(peer: Peer) -> None:
        while isinstance(peer.expect(object), Run):
            peer.send(*messages)

    return script


def test_text_is_utf_8_whatever_the_locale(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side's locale is not ours."""
    monkeypatch.setenv("LC_ALL", "C")
    session = call(answer(Started("r-1"), Output("grü".encode()[:3]), Output("grü".encode()[3:]), GOOD_END))

    assert session.run("x", text=True).stdout == "grü"


def test_line_ends_of_text_are_as_in_subprocess(call: Call) -> None:
    """Each becomes a line feed; bytes stay what they are."""
    session = call(again(Started("r-1"), Output(b"a\r\nb\rc\n"), ErrorOutput(b"\r"), GOOD_END))
    result = session.run("x", text=True)

    assert ("a\nb\nc\n", "\n") == (result.stdout, result.stderr)
    assert b"a\r\nb\rc\n" == session.run("x").stdout


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"encoding": "latin-1"}, "\xff"),
        ({"errors": "replace"}, "\ufffd"),
        ({"text": True, "errors": "surrogateescape"}, "\udcff"),
        ({"text": False}, b"\xff"),
        ({"text": None}, b"\xff"),
    ],
)
def test_an_encoding_or_errors_make_text_too(call: Call, how: dict[str, Any], expected: object) -> None:
    """Each of the three words is enough."""
    session = call(answer(Started("r-1"), Output(b"\xff"), GOOD_END))

    assert expected == session.run("x", **how).stdout


def test_what_is_no_text_is_an_error_that_has_the_bytes(call: Call) -> None:
    """The command ran; what it wrote is not lost, and the session goes on."""
    session = call(again(Started("r-1"), Output(b"good"), ErrorOutput(b"ab\xff"), FAILED))
    with pytest.raises(client.NotText, match=r"^the command's stderr is not utf-8 at byte 3$") as caught:
        session.run("x", text=True)

    assert caught.value.result == session.run("x")
    assert (True, "r-1") == (caught.value.may_have_run, caught.value.request_id)
    assert b"good" == session.run("x").stdout


@pytest.mark.parametrize("how", [{"encoding": "klingon"}, {"encoding": "hex"}, {"errors": "pray"}])
def test_a_codec_that_is_none_is_found_before_anything_is_sent(call: Call, how: dict[str, str]) -> None:
    """Behind the command its output would be lost."""
    session = call(answer(Started("r-1"), GOOD_END))
    with pytest.raises(client.UsageError, match="not known") as caught:
        session.run("x", **how)  # type: ignore[call-overload]

    assert not caught.value.may_have_run
    assert session.run("x").returncode == 0


def test_an_encoding_for_which_one_byte_is_no_text_is_one(call: Call) -> None:
    """UTF-16, for one."""
    session = call(answer(Started("r-1"), Output("é".encode("utf-16")), GOOD_END))

    assert session.run("x", encoding="utf-16").stdout == "é"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"input": b"a\xff"}, b"a\xff"),
        ({"input": bytearray(b"a")}, b"a"),
        ({"input": memoryview(b"a")}, b"a"),
        ({"input": "ü", "text": True}, "ü"),
        ({"input": "ü", "encoding": "latin-1"}, "ü"),
        ({"input": b""}, b""),
        ({"input": "", "text": True}, ""),
    ],
)
def test_input_is_bytes_or_with_text_a_text(call: Call, how: dict[str, Any], expected: object) -> None:
    """And an empty input is one: a command that takes none is refused."""
    assert expected == call(echo).run("cat", **how).stdout


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"input": "text"}, "the input is text"),
        ({"input": b"bytes", "text": True}, "the input is bytes"),
        ({"input": 7}, "the input is int"),
        ({"input": "€", "encoding": "latin-1"}, "cannot be written in latin-1 at character 1"),
        ({"input": "\udcff", "text": True}, "cannot be written in utf-8 at character 1"),
        ({"input": b"", "stdin": 0}, "two inputs"),
        ({"stdin": -1}, "no open file"),
        ({"stdin": object()}, "no open file"),
    ],
)
def test_input_that_cannot_be_sent_costs_nothing(call: Call, how: dict[str, Any], complaint: str) -> None:
    """It is refused here, and the session goes on."""
    session = call(answer(Started("r-1"), GOOD_END))
    with pytest.raises(client.UsageError, match=complaint):
        session.run("x", **how)

    assert session.run("x").returncode == 0


def test_what_cannot_be_sent_makes_no_connection() -> None:
    """Nobody listens at this port, and that is not what is complained about."""
    with pytest.raises(client.UsageError, match="the input is text"):
        client.run("127.0.0.1:1", "x", token=TOKEN, pin="sha256:" + "0" * 64, input="text")  # type: ignore[call-overload]


def test_stdin_is_a_file_or_a_descriptor(call: Call, tmp_path: Path) -> None:
    """Read from where it stands."""
    (tmp_path / "input").write_bytes(b"0123456789")
    session = call(echo)
    with (tmp_path / "input").open("rb", buffering=0) as file:
        file.seek(3)
        first = session.run("cat", stdin=file).stdout
        file.seek(8)
        second = session.run("cat", stdin=file.fileno()).stdout

    assert (b"3456789", b"89") == (first, second)


def test_output_can_be_passed_on(call: Call, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """To descriptors 1 and 2, in order and byte by byte; the result holds none."""
    session = call(answer(Started("r-1"), Output(b"a\xff"), ErrorOutput(b"e"), Output(b"b"), FAILED))
    result = session.run("x", capture_output=False)

    assert (3, None, None) == (result.returncode, result.stdout, result.stderr)
    assert (b"a\xffb", b"e") == capfdbinary.readouterr()


def test_output_that_nobody_takes_ends_the_command(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a closed pipe ends a command of this machine."""

    def fail(*_: object) -> int:
        raise BrokenPipeError

    session = call(answer(Started("r-1"), Output(b"x"), GOOD_END))
    monkeypatch.setattr("rexecd.client.captured.os.write", fail)
    with pytest.raises(BrokenPipeError):
        session.run("x", capture_output=False)
    monkeypatch.undo()

    assert session.is_closed


@pytest.mark.parametrize(
    ("ending", "error", "said"),
    [
        (FAILED, client.CommandFailed, "'disk' ended with exit status 3"),
        (KILLED, client.CommandFailed, "'disk' was ended by signal KILL"),
        (LATE, client.CommandTimedOut, "'disk' was ended by its deadline, after 0.3 s"),
        (
            Exit(Ending.TIMED_OUT, 0, truncated=False, duration=300_000),
            client.CommandTimedOut,
            "'disk' was ended by its deadline, after 0.3 s",
        ),
    ],
)
def test_check_makes_an_error_of_every_end_but_success(
    call: Call, ending: Exit, error: type[client.CommandFailed], said: str
) -> None:
    """With all that there is to know, and the session goes on."""
    session = call(again(Started("r-1"), Output(b"out"), ErrorOutput(b"err"), ending))
    result = session.run("disk /srv", text=True)
    with pytest.raises(client.CommandFailed) as caught:
        session.run("disk /srv", text=True, check=True)
    failed = caught.value

    assert (error, said, True) == (type(failed), str(failed), failed.may_have_run)
    assert result == failed.result
    assert (result.returncode, "disk /srv", "out", "out", "err", "r-1") == (
        failed.returncode,
        failed.cmd,
        failed.stdout,
        failed.output,
        failed.stderr,
        failed.request_id,
    )
    with pytest.raises(error):
        result.check_returncode()


def test_check_is_content_with_success(call: Call) -> None:
    """Output on standard error, or one that was cut, is none of its business."""
    ending = Exit(Ending.EXITED, 0, truncated=True, duration=0)
    result = call(answer(Started("r-1"), ErrorOutput(b"err"), ending)).run("x", check=True)

    assert result.truncated
    result.check_returncode()


def test_no_error_tells_output_or_arguments(call: Call) -> None:
    """A log of errors is no place for either; nor does a traceback have them."""
    secret = "hunter2"
    script = again(Started("r-1"), Output(secret.encode() * 9_000), ErrorOutput(b"\xff"), FAILED)
    session = call(script)
    said = ""
    for how in ({"check": True}, {"check": True, "capture_output": True}, {"text": True}):
        with pytest.raises(client.CallerError) as caught:
            session.run(["login", "--password", secret], **how)  # type: ignore[call-overload]
        said += "".join(traceback.format_exception(caught.value)).replace("secret]", "")
        said += repr(caught.value) + str(caught.value.hint)

    assert secret not in said
    assert len(said) < 10_000


def test_failures_survive_the_way_between_processes(call: Call) -> None:
    """With their results, as those of a process pool do."""
    session = call(again(Started("r-1"), Output(b"\xff"), LATE))
    with pytest.raises(client.CommandTimedOut) as late:
        session.run("x", check=True)
    with pytest.raises(client.NotText) as garbled:
        session.run("x", text=True)
    copy = pickle.loads(pickle.dumps(late.value))

    assert (client.CommandTimedOut, str(late.value), late.value.result) == (
        type(copy),
        str(copy),
        copy.result,
    )
    assert vars(late.value) == vars(copy)
    assert pickle.loads(pickle.dumps(garbled.value)).result == garbled.value.result


def test_a_keyboard_interrupt_ends_the_command(call: Call) -> None:
    """In the middle of `run`: the session is closed, which is how the server hears of it."""
    is_gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(Run)
        peer.send(Started("r-1"), Output(b"half"))
        os.kill(os.getpid(), signal.SIGINT)
        peer.wait_until_gone()
        is_gone.set()

    session = call(script)
    with pytest.raises(KeyboardInterrupt):
        session.run("x")

    assert session.is_closed
    assert is_gone.wait(10)
    with pytest.raises(client.ConnectionLost, match="session is closed"):
        session.run("x")


def test_one_request_at_a_time(call: Call) -> None:
    """Neither from inside another nor from another thread: both would read the other's answer."""
    session = call(answer(Started("r-1"), Output(b"x"), GOOD_END))
    caught: list[BaseException] = []

    def ask() -> None:
        for question in (session.list, lambda: session.run("y")):
            with pytest.raises(client.UsageError, match="under way") as failed:
                question()
            caught.append(failed.value)

    def sink(_stream: Stream, _data: bytes) -> None:
        ask()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    outcome = session.execute("x", offer=Offer.NONE, sink=sink)

    assert outcome.returncode == 0
    assert 4 == len(caught)
    assert not session.is_closed


def test_whether_a_session_is_ready_is_heard_from_the_server(call: Call) -> None:
    """One that was closed while nobody asked is none any more."""
    go_on, has_closed = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        assert go_on.wait(10)
        peer.sock.close()
        has_closed.set()

    session = call(script)
    first = session.is_ready()
    go_on.set()
    assert has_closed.wait(10)

    assert (True, False, True) == (first, session.is_ready(), session.is_closed)


def test_a_refusal_with_check_is_a_refusal(serve: Serve, authority: Authority) -> None:
    """Nothing ran that could have failed."""
    server = serve(welcoming(answer(Refused("r-1", Code.NOT_PERMITTED, "no"))))
    with pytest.raises(client.Refused):
        client.run(server.address, "x", token=TOKEN, ca=authority.path, check=True)


def test_a_server_that_starts_nothing_at_all_is_no_error_of_another_kind(call: Call) -> None:
    """An empty line has no first word to name."""
    with pytest.raises(client.CommandFailed, match=r"^'' ended with exit status 3$"):
        call(answer(Started("r-1"), FAILED)).run("", check=True)
