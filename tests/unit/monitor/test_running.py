"""One command as the monitor sees it: handed over, recorded, and ended or finished when its caller goes."""

import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rexecd.audit.events import Action
from rexecd.errors import Code, RemoteProtocolError, TrailError
from rexecd.execution.spawn import spawn
from rexecd.execution.workers import Workers
from rexecd.monitor.conversation import Conversation, ServiceStopped, SessionOver
from rexecd.monitor.running import Running
from rexecd.policy.bounds import OnDisconnect
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.seam.messages import Parting, Stage
from rexecd.serving import CUT_SHORT, Stop
from rexecd.wire import messages as wire
from rexecd.wire.messages import Ending, SignalName
from tests.harness import is_alive
from tests.unit.execution.starting import going, invocation

FINISH = {"on_disconnect": OnDisconnect.FINISH}
#: More than a pipe holds, so that without a reader it would wait, and with a closed one die.
MUCH = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"


class Recording:
    """A trail that keeps its records, and can fail."""

    def __init__(self) -> None:
        self.records: list[tuple[Action, dict[str, Any]]] = []
        self.fails_on: Action | None = None

    def record(self, action: Action, **fields: Any) -> None:
        """Keep one, or raise TrailError."""
        if action is self.fails_on:
            raise TrailError("full")
        self.records.append((action, fields))

    def record_end(self, action: Action, **fields: Any) -> None:
        """Keep one, whatever is wrong with the trail."""
        self.records.append((action, fields))

    @property
    def last(self) -> tuple[Action, str | None]:
        """Return the last action, and the reason it gives."""
        action, fields = self.records[-1]
        return action, fields.get("reason")


class Watched:
    """A command that a thread watches as a session does; the gateway's end is in the test's hands."""

    def __init__(self, workers: Workers, script: str, **changes: Any) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.settimeout(10)
        self.channel = Channel(ours, seam.SEAM, timeout=5)
        self.gateway = Channel(theirs, seam.SEAM, timeout=5)
        self.stop = Stop()
        self.recording = Recording()
        self.result: seam.Exited | Exception | None = None
        self.descriptors: list[int] = []
        self._invocation = invocation("/bin/sh", "-c", script, **changes)
        self._execution, self._streams = spawn(self._invocation, workers)
        self._thread = threading.Thread(target=self._watch)

    def begin(self) -> "Watched":
        """Watch it from now on, and take what the gateway is given."""
        self._thread.start()
        started, descriptors = self.gateway.receive_with_descriptors()
        assert isinstance(started, seam.Started)
        self.descriptors += descriptors
        return self

    def begin_alone(self) -> "Watched":
        """Watch it from now on, whatever becomes of the gateway."""
        self._thread.start()
        return self

    def _watch(self) -> None:
        conversation = Conversation(self.channel, self.stop)
        conversation.enter(Stage.AUTHENTICATED)
        recorder: Any = self.recording
        running = Running(conversation, recorder, "r1", self._invocation, grace=0.2)
        try:
            ended = running.watch(self._execution, self._streams)
            if ended is not None:
                self.result = ended.told
                ended.record()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self.result = error

    def wait_for_end(self) -> None:
        """Return when the command has ended and nobody has looked."""
        poller = select.poll()
        poller.register(self._execution, select.POLLIN)
        assert poller.poll(10_000)

    def vanish(self) -> None:
        """Let the gateway be gone."""
        self.gateway.close()
        self.let_go()

    def let_go(self) -> None:
        """Close what the gateway was given."""
        while self.descriptors:
            os.close(self.descriptors.pop())

    def end(self) -> seam.Exited | Exception | None:
        """Return what came of it, once it is over and nothing of it is left."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert not is_alive(self._execution.pid)
        return self.result

    def close(self) -> None:
        """Give everything back."""
        self.vanish()
        self.stop.set()
        if self._thread.ident is not None:
            self._thread.join(20)
        self.channel.close()
        for flag in (self.stop, self.stop.draining):
            os.close(flag.fileno())


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    """Give a maker of watched commands, and look at what they leave behind."""
    before = set(os.listdir("/proc/self/fd"))
    made: list[Watched] = []
    with going() as workers:

        def make(script: str, **changes: Any) -> Watched:
            made.append(Watched(workers, script, **changes))
            return made[-1]

        yield make
        for one in made:
            one.close()
        assert 0 == workers.use.busy
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_command_is_handed_over_recorded_and_told(watched: Callable[..., Watched]) -> None:
    """Its end with it."""
    one = watched("echo out; exit 3").begin()
    exited = one.end()

    assert isinstance(exited, seam.Exited)
    assert (Ending.EXITED, 3) == exited[:2]
    assert b"out\n" == os.read(one.descriptors[0], 99)
    assert [Action.COMMAND_STARTED, Action.COMMAND_EXITED] == [action for action, _ in one.recording.records]
    ended = one.recording.records[-1][1]
    assert 3 == ended["exit_code"]
    assert 0 < ended["cpu_time"] < 60
    assert 1024 * 1024 < ended["peak_memory"] < 1024**3


def test_a_signal_reaches_the_command_if_its_rule_says_so(watched: Callable[..., Watched]) -> None:
    """Any other one is dropped: the gateway was told which there are."""
    script = "trap 'echo usr1' USR1; trap 'exit 7' USR2; echo up; while :; do sleep 0.01; done"
    one = watched(script, signals=frozenset({SignalName.USR2})).begin()
    assert b"up\n" == os.read(one.descriptors[0], 99)
    for name in (SignalName.USR1, SignalName.TERM, SignalName.USR2):
        one.gateway.send(wire.Signal(name))
    exited = one.end()

    assert isinstance(exited, seam.Exited)
    assert (Ending.EXITED, 7) == exited[:2]
    assert b"" == os.read(one.descriptors[0], 99)


def test_without_its_caller_a_command_ends(watched: Callable[..., Watched]) -> None:
    """And the record says why."""
    one = watched("trap '' TERM; sleep 60").begin()
    one.vanish()
    over = one.end()

    assert isinstance(over, SessionOver)
    assert (Action.COMMAND_KILLED, "connection-lost") == one.recording.last


def test_a_command_that_may_finish_does(watched: Callable[..., Watched], tmp_path: Path) -> None:
    """It writes as if somebody read it, and ends as it would have."""
    one = watched(f"read go; {MUCH}; touch {tmp_path}/done; exit 5", takes_input=True, **FINISH).begin()
    one.gateway.close()
    os.write(one.descriptors[0], b"go\n")
    one.let_go()
    over = one.end()

    assert isinstance(over, SessionOver)
    assert (tmp_path / "done").exists()
    assert (Action.COMMAND_EXITED, "finished without its caller: connection-lost") == one.recording.last
    assert 5 == one.recording.records[-1][1]["exit_code"]


def test_a_gateway_that_reads_no_more_does_not_hold_up_what_may_finish(
    watched: Callable[..., Watched], tmp_path: Path
) -> None:
    """It says that the caller is gone, and keeps its descriptors open."""
    one = watched(f"{MUCH}; touch {tmp_path}/done", **FINISH).begin()
    one.gateway.send(seam.Renounce(Parting.CONNECTION_LOST, "gone"))
    over = one.end()

    assert isinstance(over, SessionOver)
    assert (tmp_path / "done").exists()
    assert (Action.COMMAND_EXITED, f"finished without its caller: {over.reason}") == one.recording.last


def test_a_caller_that_was_never_reached_is_gone_too(watched: Callable[..., Watched], tmp_path: Path) -> None:
    """The command had been started by then."""
    one = watched(f"{MUCH}; touch {tmp_path}/done", **FINISH)
    one.gateway.close()
    one.begin_alone().end()

    assert (tmp_path / "done").exists()
    assert one.recording.last[0] is Action.COMMAND_EXITED


def test_while_there_is_a_caller_nothing_of_the_output_is_thrown_away(
    watched: Callable[..., Watched],
) -> None:
    """The monitor's own copy is for later."""
    one = watched("head -c 300000 /dev/zero", **FINISH).begin()
    size = 0
    while data := os.read(one.descriptors[0], 65536):
        size += len(data)
    exited = one.end()

    assert 300_000 == size
    assert isinstance(exited, seam.Exited)


def test_what_may_finish_has_a_deadline_all_the_same(watched: Callable[..., Watched]) -> None:
    """It is the rule's."""
    one = watched("trap '' TERM; sleep 60", timeout=0.4, **FINISH).begin()
    one.vanish()
    one.end()

    assert one.recording.last[0] is Action.COMMAND_TIMED_OUT


@pytest.mark.parametrize("caller", ["there", "gone"])
def test_a_stop_of_the_service_ends_what_may_finish(watched: Callable[..., Watched], caller: str) -> None:
    """Whether its caller is there or not."""
    one = watched("trap '' TERM; echo up; sleep 60", **FINISH).begin()
    assert b"up\n" == os.read(one.descriptors[0], 99)
    if caller == "gone":
        one.vanish()
    one.stop.set()
    over = one.end()

    assert isinstance(over, ServiceStopped)
    assert (Action.COMMAND_KILLED, "service stopped") == one.recording.last


def test_a_command_that_is_ended_with_the_service_says_its_last_before_its_session_is_closed(
    watched: Callable[..., Watched],
) -> None:
    """The gateway may still pass on signals meanwhile, and takes Closed when all output is in the pipe."""
    one = watched("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done", signals=frozenset())
    one.begin()
    assert b"up\n" == os.read(one.descriptors[0], 99)
    one.stop.set()
    one.gateway.send(wire.Signal(SignalName.INT))
    closed = one.gateway.receive()

    assert wire.Closed(Code.UNAVAILABLE, CUT_SHORT) == closed
    assert b"bye\n" == os.read(one.descriptors[0], 99)
    assert isinstance(one.end(), ServiceStopped)
    assert (Action.COMMAND_KILLED, "service stopped") == one.recording.last


def test_a_command_that_has_ended_when_the_service_stops_is_answered(
    watched: Callable[..., Watched],
) -> None:
    """Both are known in the same moment: it did exit."""
    one = watched("exit 5")
    one.wait_for_end()
    one.stop.set()
    one.begin()

    assert isinstance(one.end(), seam.Exited)
    assert Action.COMMAND_EXITED is one.recording.last[0]


def test_a_gateway_that_misspeaks_ends_what_may_finish(watched: Callable[..., Watched]) -> None:
    """That is no caller's going: the command may be another one's by now."""
    one = watched("sleep 60", **FINISH).begin()
    one.gateway.send(wire.List())

    assert isinstance(one.end(), RemoteProtocolError)
    assert one.recording.last[0] is Action.COMMAND_KILLED


@pytest.mark.parametrize("changes", [{}, FINISH], ids=["kill", "finish"])
def test_what_cannot_be_recorded_does_not_go_on(
    watched: Callable[..., Watched], changes: dict[str, Any]
) -> None:
    """Neither the command nor its session, whatever the rule says of callers that go."""
    one = watched("sleep 60", **changes)
    one.recording.fails_on = Action.COMMAND_STARTED
    over = one.begin().end()

    assert isinstance(over, SessionOver)
    assert Code.UNAVAILABLE is one.gateway.receive().code  # type: ignore[union-attr]  # it is a Closed
    assert (Action.COMMAND_KILLED, "the trail cannot be written") == one.recording.last


@pytest.mark.parametrize("changes", [{}, FINISH], ids=["kill", "finish"])
def test_a_command_nobody_could_be_told_of_is_ended_and_refused(
    watched: Callable[..., Watched], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many descriptors in flight: the caller may try later, and the session goes on."""
    send = Channel.send

    def full(channel: Channel, message: Any, descriptors: tuple[int, ...] = ()) -> None:
        if descriptors:
            raise OSError(errno.ETOOMANYREFS, "too many")
        send(channel, message)

    monkeypatch.setattr(Channel, "send", full)
    one = watched("sleep 60", **changes).begin_alone()

    assert one.end() is None
    refused = one.gateway.receive()
    assert isinstance(refused, wire.Refused)
    assert Code.BUSY is refused.code


def test_no_descriptor_for_what_may_finish_is_busy(
    watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended again: without a copy it would die of its caller's going."""

    def full(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "dup", full)
    one = watched("sleep 60", **FINISH).begin_alone()

    assert one.end() is None
    refused = one.gateway.receive()
    assert isinstance(refused, wire.Refused)
    assert Code.BUSY is refused.code
