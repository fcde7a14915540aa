"""A stop in two steps: commands go on for a while, idle callers leave, nobody's answer is lost."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import pytest

from rexecd import client
from rexecd.serving import CUT_SHORT, RESTARTING
from rexecd.wire import messages as wire
from tests.apart import Apart
from tests.commands import begin, end_record, processes_of
from tests.harness import POLICY, SETTINGS, Daemon, wait_for

BOTH: Final = pytest.mark.parametrize("which", ["gateway", "monitor"])
#: Longer than any of these tests may take: who waits for it fails.
LONG: Final = SETTINGS.replace("drain: 0s", "drain: 50s").replace("monitor_wait: 1500ms", "monitor_wait: 12s")
SHORT: Final = SETTINGS.replace("drain: 0s", "drain: 1s")


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Apart]:
    """Give both processes, which drain for as long as it takes."""
    with Apart(Daemon(tmp_path, settings=LONG)) as made:
        yield made


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Apart]:
    """Give both processes, which drain for a second."""
    with Apart(Daemon(tmp_path, settings=SHORT)) as made:
        yield made


def _drain(apart: Apart, which: str) -> wire.Closed:
    """Let one process drain; return what an idle caller hears, by which it is known that it does."""
    with apart.daemon.caller() as idle:
        assert isinstance(idle.run("echo x")[-1], wire.Exit)
        apart.signal(which)
        closed = idle.hear()
    assert isinstance(closed, wire.Closed)
    return closed


class _Load:
    """Callers that come again and again, each with a connection and a command of its own."""

    def __init__(self, daemon: Daemon, callers: int) -> None:
        self._daemon = daemon
        self._is_over = threading.Event()
        self.answers: list[str] = []
        self.complaints: list[str] = []
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        made = self._daemon
        turn = 0
        while not self._is_over.is_set():
            turn += 1
            word = f"{number}-{turn}"
            try:
                done = client.run(
                    made.address, ["echo", word], token=made.tokens["ann"], ca=str(made.made.authority)
                )
                self.answers.append(done.stdout.decode().strip())
                if done.stdout.decode() != f"{word}\n":
                    self.complaints.append(f"{word}: {done}")
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                self.complaints.append(f"{word}: {error!r}")

    def wait_for_more(self, number: int) -> None:
        """Return when so many more have been answered."""
        goal = len(self.answers) + number
        wait_for(lambda: len(self.answers) >= goal or self.complaints, "answers")


@BOTH
def test_a_restart_under_load_loses_nothing(patient: Apart, which: str) -> None:
    """Not one connection refused, not one answer lost; the listener is the manager's, which keeps it open."""
    with _Load(patient.daemon, 4) as load:
        for _ in range(3):
            load.wait_for_more(20)
            assert 0 == patient.stop(which)
            patient.start(which)
        load.wait_for_more(20)

    assert [] == load.complaints
    assert len(load.answers) == len(set(load.answers))
    recorded = patient.daemon.records  # while the caller hears of an end it is recorded
    wait_for(lambda: len(load.answers) == len(recorded("command-exited")), "a record of each")


@BOTH
def test_an_idle_caller_is_asked_to_come_again_at_once(patient: Apart, which: str) -> None:
    """Nothing is lost with it, so that nothing is waited for."""
    closed = _drain(patient, which)

    assert (8, RESTARTING) == (closed.code, closed.text)
    assert 0 == patient.wait(which)


@BOTH
def test_a_caller_that_has_come_gets_its_first_answer(patient: Apart, which: str) -> None:
    """It was accepted, and does not know yet that it came too late."""
    with patient.daemon.caller() as late, patient.daemon.caller() as lister:
        _drain(patient, which)
        answers = late.run("both")
        lister.say(wire.List())
        listed = lister.hear()
        closed = late.hear()

    assert [b"out\n", b"err\n"] == sorted(
        (each.data for each in answers if isinstance(each, wire.Output | wire.ErrorOutput)), reverse=True
    )
    assert 3 == answers[-1].status
    assert isinstance(listed, wire.Entry)
    assert RESTARTING == closed.text
    assert 0 == patient.wait(which)


def test_a_token_may_still_be_presented_while_the_gateway_drains(patient: Apart) -> None:
    """From the handshake on, whoever was accepted is served."""
    with patient.daemon.caller(None) as stranger:
        _drain(patient, "gateway")
        stranger.say(wire.Authenticate(patient.daemon.tokens["ann"].encode()))
        accepted = stranger.hear()
        answers = stranger.run("echo late")

    assert isinstance(accepted, wire.Accepted)
    assert b"late\n" == answers[1].data
    assert 0 == patient.wait("gateway")


@BOTH
def test_a_command_that_ends_while_the_service_drains_is_answered_as_ever(patient: Apart, which: str) -> None:
    """Its input goes on as well."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with begin(patient.daemon, "cat", **pipes) as begun:
        _drain(patient, which)
        rest, complaints = begun.process.communicate(b"to the end", timeout=20)

    assert (0, b"to the end", b"") == (begun.process.returncode, rest, complaints)
    assert "command-exited" == end_record(patient.daemon, begun.request_id)["event"]["action"]
    assert 0 == patient.wait(which)


@BOTH
def test_a_long_command_is_ended_with_a_reason(brief: Apart, which: str) -> None:
    """The caller has its output so far, 125 and why; the trail has why; nothing of it is left."""
    with begin(brief.daemon, "stubborn", stderr=subprocess.PIPE) as begun:
        assert b"up\n" == begun.line()
        started = time.monotonic()
        brief.signal(which)
        _, complaints = begun.process.communicate(timeout=20)
        took = time.monotonic() - started
        ended = end_record(brief.daemon, begun.request_id)

    assert 125 == begun.process.returncode
    assert CUT_SHORT in complaints.decode()
    assert "command-killed" == ended["event"]["action"]
    assert "service stopped" in ended["event"]["reason"]
    assert took >= 1
    assert 0 == brief.wait(which)
    assert [] == processes_of(begun.request_id)


def test_what_a_command_writes_at_its_end_reaches_its_caller(brief: Apart) -> None:
    """The monitor ends the command first, and the session then."""
    with begin(brief.daemon, "farewell", stderr=subprocess.PIPE) as begun:
        assert b"ready\n" == begun.line()
        brief.signal("monitor")
        rest, complaints = begun.process.communicate(timeout=20)

    assert (125, b"bye\n") == (begun.process.returncode, rest)
    assert CUT_SHORT in complaints.decode()


def test_output_that_waits_when_the_gateway_stops_still_goes_out(brief: Apart) -> None:
    """A caller that was slow has the moment of last words to take it."""
    with brief.daemon.caller() as caller:
        caller.say(wire.Run("flood", wire.Offer.NONE, ""))
        assert isinstance(caller.hear(), wire.Started)
        brief.signal("gateway")
        last = caller.hear()
        while isinstance(last, wire.Output):
            last = caller.hear()

    assert isinstance(last, wire.Closed)
    assert CUT_SHORT == last.text
    assert 0 == brief.wait("gateway")


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(patient: Apart, which: str, number: int) -> None:
    """As a stop does that does not drain."""
    with begin(patient.daemon, "sleep", stderr=subprocess.PIPE) as begun, patient.daemon.caller() as waiting:
        _drain(patient, which)
        patient.signal(which, number)
        _, complaints = begun.process.communicate(timeout=20)
        closed = waiting.hear()

    assert 125 == begun.process.returncode
    assert CUT_SHORT in complaints.decode()
    assert "try later" in closed.text
    assert 0 == patient.wait(which)
    assert "command-killed" == end_record(patient.daemon, begun.request_id)["event"]["action"]


def test_nobody_is_accepted_while_a_gateway_drains_and_the_successor_takes_them(patient: Apart) -> None:
    """They wait in the backlog, which is the manager's; a second process serves them, the first goes on."""
    with begin(patient.daemon, "cat", stdin=subprocess.PIPE) as begun:
        _drain(patient, "gateway")
        old = patient.processes.pop("gateway")
        late = subprocess.Popen(
            patient.daemon.rexec_line("echo", "late"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        patient.start("gateway")
        said, _ = late.communicate(timeout=20)
        rest, _ = begun.process.communicate(b"early", timeout=20)
        status = old.wait(20)
        if old.stdout:
            old.stdout.close()

    assert (b"late\n", b"early", 0) == (said, rest, status)


def test_a_listener_of_its_own_is_closed_when_the_service_drains(tmp_path: Path) -> None:
    """Under `serve`: who comes now is refused by the machine, at once."""
    daemon = Daemon(tmp_path, settings=LONG).start()
    assert daemon.process
    with begin(daemon, "cat", stdin=subprocess.PIPE) as begun:
        with daemon.caller() as idle:
            idle.run("echo x")
            daemon.process.terminate()
            assert RESTARTING == idle.hear().text
        wait_for(lambda: _is_refused(daemon), "a closed door")
        rest, _ = begun.process.communicate(b"x", timeout=20)

    assert (0, b"x") == (begun.process.returncode, rest)
    assert 0 == daemon.wait()
    assert "service-stopped" == daemon.records()[-1]["event"]["action"]


def _is_refused(daemon: Daemon) -> bool:
    try:
        with daemon.caller(None):
            return False
    except ConnectionRefusedError:
        return True
    except ConnectionError:  # it was in the backlog as that was closed
        return False


def test_serve_ends_both_at_a_second_signal(tmp_path: Path) -> None:
    """The command is ended, in the caller's hand is why, and the trail closes in order."""
    daemon = Daemon(tmp_path, settings=LONG).start()
    assert daemon.process
    with begin(daemon, "sleep", stderr=subprocess.PIPE) as begun:
        with daemon.caller() as idle:
            idle.run("echo x")
            daemon.process.terminate()
            assert RESTARTING == idle.hear().text
        daemon.process.send_signal(signal.SIGINT)
        _, complaints = begun.process.communicate(timeout=20)

    assert 125 == begun.process.returncode
    assert CUT_SHORT in complaints.decode()
    assert 0 == daemon.wait()
    assert "service-stopped" == daemon.records()[-1]["event"]["action"]


def test_serve_drains_the_monitor_too(tmp_path: Path) -> None:
    """A command that finishes without its caller has the same time, and no caller to keep the gateway."""
    policy = "    summary: Sleep for long\n"
    made = Daemon(
        tmp_path, settings=SHORT, policy=POLICY.replace(policy, f"{policy}    on_disconnect: finish\n")
    )
    daemon = made.start()
    with begin(daemon, "sleep") as begun:
        begun.process.kill()
        assert 0 == daemon.stop()

    assert "service stopped" == end_record(daemon, begun.request_id)["event"]["reason"]


def test_a_new_caller_gets_an_answer_from_a_monitor_that_only_listens(tmp_path: Path) -> None:
    """A service manager's socket connects at once; whoever then does not answer is away."""
    daemon = Daemon(tmp_path)
    with Apart(daemon) as apart:
        apart.signal("monitor", signal.SIGSTOP)
        done = daemon.rexec("echo", "x")
        apart.signal("monitor", signal.SIGCONT)

    assert 125 == done.returncode
    assert "try later" in done.stderr


def test_a_caller_whose_channel_waits_for_the_next_monitor_is_served_by_it(patient: Apart) -> None:
    """One that was connected and not accepted presents its token again."""
    patient.signal("monitor", signal.SIGSTOP)
    line = patient.daemon.rexec_line("echo", "later")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as late:
        gateway = patient.processes["gateway"].pid
        wait_for(lambda: _has_channel(gateway), "the channel")
        patient.kill("monitor")
        patient.start("monitor")
        said, _ = late.communicate(timeout=20)

    assert b"later\n" == said


def _has_channel(pid: int) -> bool:
    """Return whether a gateway has more sockets than its listener and the channel of its reports."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.startswith("socket:") for link in links) > 2
