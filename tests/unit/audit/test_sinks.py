"""Records reach whoever is asked for them, and nobody waits for that."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rexecd.audit.events import Action
from rexecd.audit.sinks import Sink, opened_sinks
from rexecd.audit.trail import Trail
from rexecd.clock import Clock
from tests.harness import wait_for
from tests.receivers import Journal, Receiver, Told
from tests.trails import new_key


@pytest.fixture
def log() -> Told:
    """Give a log."""
    return Told()


@pytest.fixture
def opened(tmp_path: Path, log: Told) -> Iterator[Callable[..., Sink]]:
    """Give what opens a sink of plain lines at `socket`."""
    sinks: list[Sink] = []

    def make(form: Callable[[bytes], bytes] = bytes, **how: int) -> Sink:
        sinks.append(Sink("test", tmp_path / "socket", form, log, **how))
        sinks[-1].start()
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close(0)


def _put(sink: Sink, *texts: str) -> None:
    for text in texts:
        sink.put(Action.COMMAND_ALLOWED, {}, text.encode())


KINDS = pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["datagram", "stream"])


@KINDS
def test_records_arrive_in_their_order(
    tmp_path: Path, opened: Callable[..., Sink], log: Told, kind: socket.SocketKind
) -> None:
    """At a socket of either kind."""
    with Receiver(tmp_path / "socket", kind) as receiver:
        sink = opened()
        _put(sink, *map(str, range(500)))

        assert [str(number).encode() for number in range(500)] == [receiver.next() for _ in range(500)]
        wait_for(lambda: sink.condition == (500, 0, 0, None), "an empty queue")
    assert [] == log.lines


@KINDS
def test_a_receiver_that_comes_late_gets_all_that_waited(
    tmp_path: Path, opened: Callable[..., Sink], log: Told, kind: socket.SocketKind
) -> None:
    """What is wrong is logged once, and once that nothing is any more."""
    sink = opened()
    _put(sink, "one", "two", "three")

    assert "No such file or directory" == sink.condition.error
    assert (0, 0, 11) == sink.condition[:3]
    with Receiver(tmp_path / "socket", kind) as receiver:
        assert [b"one", b"two", b"three"] == [receiver.next() for _ in range(3)]
        wait_for(lambda: sink.condition == (3, 0, 0, None), "an empty queue")
    place = tmp_path / "socket"
    missing = "No such file or directory: records wait, at most 4194304 bytes of them"
    assert [
        f"warning: trail-test: {place}: {missing} {{}}",
        f"info: trail-test: {place}: takes records again {{'dropped': 0}}",
    ] == log.lines


@KINDS
def test_a_receiver_that_is_started_anew_goes_on(
    tmp_path: Path, opened: Callable[..., Sink], kind: socket.SocketKind
) -> None:
    """Also as the other kind of socket."""
    others = {socket.SOCK_DGRAM: socket.SOCK_STREAM, socket.SOCK_STREAM: socket.SOCK_DGRAM}
    with Receiver(tmp_path / "socket", kind) as receiver:
        sink = opened()
        _put(sink, "one")
        assert b"one" == receiver.next()
    for again in (kind, others[kind]):
        with Receiver(tmp_path / "socket", again) as receiver:
            _put(sink, "two")
            assert b"two" == receiver.next()
    wait_for(lambda: sink.condition == (3, 0, 0, None), "an empty queue")


@KINDS
def test_what_finds_no_room_is_dropped_and_counted(
    tmp_path: Path, opened: Callable[..., Sink], log: Told, kind: socket.SocketKind
) -> None:
    """A receiver that does not read costs memory up to a bound, no time, and one line of the log."""
    with Receiver(tmp_path / "socket", kind) as receiver:
        sink = opened(most_waiting=64 * 1024)
        record = "x" * 1023
        begun = time.monotonic()
        for _ in range(20_000):
            _put(sink, record)
        took = time.monotonic() - begun
        wait_for(lambda: sink.condition.error, "a fault")
        sent, dropped, waiting, error = sink.condition

        assert "it does not read what is sent" == error
        assert 0 < waiting <= 64 * 1024
        assert 20_000 == sent + dropped + waiting // 1023
        assert took < 5  # 20,000 of them; one that waited would take a quarter of a second
        wait_for(lambda: any("too much waits" in line for line in log.lines), "the log")
        _put(sink, record)
        for _ in range(20_001 - sink.condition.dropped):
            assert record.encode() == receiver.next()
        wait_for(lambda: any("up to date again" in line for line in log.lines), "the log")
        assert 20_001 == sum(sink.condition[:2])
    assert 1 == sum("too much waits" in line for line in log.lines)
    assert f"up to date again {{'dropped': {sink.condition.dropped}}}" in log.lines[-1]


def test_the_end_sends_what_waits(tmp_path: Path, opened: Callable[..., Sink]) -> None:
    """A service that stops has told all of it."""
    with Receiver(tmp_path / "socket", socket.SOCK_STREAM) as receiver:
        sink = opened()
        _put(sink, *map(str, range(20)))
        sink.close()

        assert (20, 0, 0, None) == sink.condition
        assert b"19" == [receiver.next() for _ in range(20)][-1]


@pytest.mark.parametrize("how", ["absent", "deaf"])
def test_the_end_does_not_wait_for_who_does_not_come(
    tmp_path: Path, opened: Callable[..., Sink], how: str
) -> None:
    """What was not sent is counted, and no thread is left."""
    with contextlib.ExitStack() as stack:
        if how == "deaf":
            stack.enter_context(Receiver(tmp_path / "socket"))
        sink = opened()
        _put(sink, *["x" * 1000] * 3000)
        wait_for(lambda: sink.condition.error, "a fault")
        sink.close(0.1)
    wait_for(lambda: "trail-test" not in [thread.name for thread in threading.enumerate()], "its end")

    assert 3000 == sum(sink.condition[:2])
    assert 0 == sink.condition.waiting


def test_one_record_that_cannot_be_sent_ends_nothing(tmp_path: Path, opened: Callable[..., Sink]) -> None:
    """Neither one that is too large for a datagram nor a fault of ours."""

    def form(line: bytes) -> bytes:
        if line == b"bad":
            raise KeyError(line)
        return line

    with Receiver(tmp_path / "socket") as receiver:
        sink = opened(form, most_waiting=1 << 24)
        _put(sink, "x" * (1 << 23), "bad", "good")

        assert b"good" == receiver.next()
        wait_for(lambda: sink.condition == (1, 2, 0, None), "all of them")


def test_the_trail_goes_to_both_and_the_file_has_all(tmp_path: Path, log: Told) -> None:
    """What the receivers have is what stands in the file; a deaf one loses nothing there."""
    tmp_path.chmod(0o700)
    new_key(tmp_path)
    path = tmp_path / "audit.jsonl"
    with (
        Journal(tmp_path / "journal") as journal,
        Receiver(tmp_path / "syslog", socket.SOCK_STREAM) as syslog,
        opened_sinks(
            log, journal=True, syslog=tmp_path / "syslog", journal_path=tmp_path / "journal"
        ) as both,
    ):
        watchers = [sink.put for sink in both]
        with Trail.open(path, tmp_path / "trail.key", clock=Clock(), watchers=watchers) as trail:
            for number in range(49):
                trail.append(Action.COMMAND_ALLOWED, line=f"é {number}", principal="ci")
        got = [journal.entry()["REXECD_RECORD"] for _ in range(50)]
        messages = [syslog.next().decode().partition(" - ")[2] for _ in range(50)]
        lines = path.read_text().splitlines()
        wait_for(lambda: all(sink.condition.waiting == 0 for sink in both), "the last")

        assert lines == got == messages
        assert ["é 48", "journal", "syslog"] == [
            json.loads(lines[-1])["rexec"]["line"], *(sink.name for sink in both)
        ]  # fmt: skip
        assert [(50, 0, 0, None)] * 2 == [sink.condition for sink in both]


def test_without_receivers_nothing_is_opened(log: Told) -> None:
    """The default."""
    before = threading.active_count()
    with opened_sinks(log, journal=False, syslog=None) as sinks:
        assert ((), before) == (sinks, threading.active_count())
