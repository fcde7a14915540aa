"""The two programs: what the exposed one cannot do, and what happens when either goes away."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rexecd.cli import operate, rexecd
from rexecd.errors import Unavailable
from rexecd.seam import messages as seam
from rexecd.seam.channel import connect
from rexecd.wire import messages as wire
from tests.commands import begin, processes_of
from tests.harness import PATIENCE, Daemon, is_alive, wait_for

TRUSTED = ("policy", "identity", "execution", "audit", "monitor", "client")


def _run_gateway(daemon: Daemon, *python: str) -> subprocess.Popen[str]:
    """Start a gateway of its own beside the daemon's."""
    verb = ["rexecd", "gateway", "--config", str(daemon.made.config), "--listen", "127.0.0.1:0"]
    return subprocess.Popen(
        [sys.executable, "-I", *python, *([] if "-c" in python else ["-m"]), *verb],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_running_gateway_holds_no_code_that_decides_executes_or_records(own_daemon: Daemon) -> None:
    """Every import of the real process, as the interpreter itself tells it, with sessions served."""
    own_daemon.start()
    with _apart(own_daemon, "-X", "importtime") as (port, _, gateway):
        own_daemon.port = port
        served = [own_daemon.rexec("cat", input="x"), own_daemon.rexec("brief"), own_daemon.rexec("nosuch")]
        listed = own_daemon.rexec("--list", "HOST")
        gateway.terminate()
        _, complaints = gateway.communicate(timeout=PATIENCE)
    imported = set(re.findall(r"\| +(\S+)$", complaints, re.MULTILINE))

    assert [0, 124, 126, 0] == [done.returncode for done in [*served, listed]]

    assert "rexecd.gateway.relay" in imported
    assert not [name for name in imported if name.startswith(tuple(f"rexecd.{wing}" for wing in TRUSTED))]
    assert not imported & {"subprocess", "sqlite3", "structlog", "cryptography", "multiprocessing"}


def test_a_running_gateway_cannot_exec(daemon: Daemon) -> None:
    """A thread inside the real program tries, once it serves, every way to start another one."""
    program = """
import os, sys, threading, rexecd.cli.rexecd
from rexecd.cli import say
def attempt():
    for how in (
        lambda: os.execv("/bin/true", ["true"]),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: os.execve(os.open("/bin/true", os.O_RDONLY), ["true"], {}),
    ):
        try:
            how()
        except OSError as error:
            print(error.errno, flush=True)
said = say.out
def out(line):
    said(line)
    threading.Thread(target=attempt).start()
say.out = out
sys.exit(rexecd.cli.rexecd.main(sys.argv[2:]))
"""
    with _run_gateway(daemon, "-c", program) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(4)]
        process.terminate()

    assert lines[0].startswith("rexecd: ready on")
    assert ["1\n"] * 3 == lines[1:]


def test_the_gateways_confinement_is_in_force_as_the_kernel_tells_it(daemon: Daemon) -> None:
    """A seccomp filter, no new privileges, no state or trail open."""
    status = Path(f"/proc/{daemon.gateway_pid}/status").read_text()
    assert re.search(r"^Seccomp:\s2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE)
    directory = Path(f"/proc/{daemon.gateway_pid}/fd")
    if os.geteuid():
        # Not dumpable: the kernel shows its descriptors to nobody but root.
        with pytest.raises(PermissionError):
            list(directory.iterdir())
    else:
        opened = [str(link.readlink()) for link in directory.iterdir()]
        assert not [name for name in opened if str(daemon.settings.state) in name or "audit" in name]


def test_a_process_that_is_not_the_gateway_gets_no_answer_on_the_seam(daemon: Daemon) -> None:
    """Commands may run as the daemon's own user: the user alone proves nothing under serve."""
    channel = connect(daemon.settings.seam_socket, seam.SEAM, timeout=5)
    answer = None
    try:
        with contextlib.suppress(Unavailable):  # closed before we have said a word
            channel.send(seam.Authenticate("127.0.0.1", 1, "none", daemon.tokens["ann"].encode()))
            answer = channel.receive()
    finally:
        channel.close()

    assert answer is None
    why = f"process {os.getpid()} of user {os.getuid()} is not the gateway"
    daemon.wait_for_record("seam-violated", reason=why)


@pytest.mark.parametrize("victim", ["monitor", "gateway"])
def test_serve_notices_when_either_process_dies_and_says_so(own_daemon: Daemon, victim: str) -> None:
    """It ends the other, leaves nothing behind and exits with 1."""
    own_daemon.start()
    pids = {"monitor": own_daemon.monitor_pid, "gateway": own_daemon.gateway_pid}
    os.kill(pids[victim], signal.SIGKILL)
    assert own_daemon.process
    status = own_daemon.process.wait(PATIENCE)

    assert 1 == status
    assert f"{victim} was ended by signal 9 (SIGKILL); the service stops" in own_daemon.complaints()
    assert not any(map(is_alive, pids.values()))


def test_serve_leaves_alone_what_was_there_before_it(own_daemon: Daemon) -> None:
    """`sh -c 'helper & exec rexecd serve'` is a usual entry point of a container."""
    line = ["-I", "-m", "rexecd", "serve", "--config", str(own_daemon.made.config)]
    script = '/bin/sleep 60 & echo $!; exec "$0" "$@"'
    with subprocess.Popen(
        ["/bin/sh", "-c", script, sys.executable, *line], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        helper = int(process.stdout.readline())
        assert process.stdout.readline().startswith("rexecd: ready on")
        process.terminate()
        process.wait(PATIENCE)
        survived = is_alive(helper)
        os.kill(helper, signal.SIGKILL)

    assert survived


def test_killing_serve_itself_ends_both_processes(own_daemon: Daemon) -> None:
    """Their lifelines end with it."""
    own_daemon.start()
    pids = [own_daemon.monitor_pid, own_daemon.gateway_pid]
    assert own_daemon.process
    own_daemon.process.kill()

    wait_for(lambda: not any(map(is_alive, pids)), "the end of both")


def test_commands_do_not_outlive_a_killed_monitor(own_daemon: Daemon) -> None:
    """Their workers end them, also what ignores TERM and what left its group, before `serve` ends itself."""
    own_daemon.start()
    with begin(own_daemon, "stubborn") as begun:
        assert b"up\n" == begun.line()
        os.kill(own_daemon.monitor_pid, signal.SIGKILL)
        assert own_daemon.process
        own_daemon.process.wait(PATIENCE)
        left = processes_of(begun.request_id)

    assert [] == left


def test_an_operator_is_not_held_by_a_hung_monitor(
    own_daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line after a while, and 1."""
    own_daemon.start()
    monitor = own_daemon.monitor_pid
    monkeypatch.setattr(operate, "_ANSWER_TIME", 0.2)
    os.kill(monitor, signal.SIGSTOP)
    try:
        status = rexecd.main(["status", "--config", str(own_daemon.made.config)])
    finally:
        os.kill(monitor, signal.SIGCONT)

    assert 1 == status
    assert "the monitor does not answer in 200ms" in capsys.readouterr().err


def test_a_hung_monitor_does_not_hold_the_places_of_callers_who_left(own_daemon: Daemon) -> None:
    """The gateway hears a hang-up while it waits for an answer, and a stop too."""
    own_daemon.start()
    monitor = own_daemon.monitor_pid
    own_daemon.rexec("echo", "warm")
    before = _threads(own_daemon.gateway_pid)
    os.kill(monitor, signal.SIGSTOP)
    try:
        for _ in range(5):
            with own_daemon.caller(None) as caller:
                caller.say(wire.Authenticate(own_daemon.tokens["ann"].encode()))
        wait_for(lambda: _threads(own_daemon.gateway_pid) <= before, "the threads' end")
    finally:
        os.kill(monitor, signal.SIGCONT)

    assert "on\n" == own_daemon.rexec("echo", "on").stdout


def _threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_the_operators_door_is_private_bounded_and_strict(own_daemon: Daemon) -> None:
    """Mode 0600; garbage ends the connection; idle ones do not lock the operator out for long."""
    own_daemon.start()
    path = own_daemon.settings.admin_socket
    idle = [connect(path, seam.SEAM, timeout=5) for _ in range(12)]
    garbage = connect(path, seam.SEAM, timeout=5)
    wait_for(lambda: own_daemon.rexecd("status").returncode == 0, "a free place")
    garbage.close()
    strict = connect(path, seam.SEAM, timeout=5)
    strict.send(seam.Renounce(seam.Parting.GOODBYE, ""))
    answer = strict.receive()
    for channel in [*idle, strict]:
        channel.close()

    assert 0o600 == path.stat().st_mode & 0o777
    assert answer is None


def test_a_monitor_that_goes_away_ends_sessions_with_try_later(own_daemon: Daemon) -> None:
    """The open session, and one that comes while it is away: both 125, both told."""
    own_daemon.start()
    with _apart(own_daemon) as (port, monitor, _):
        own_daemon.port = port
        with own_daemon.caller() as caller:
            monitor.kill()
            monitor.wait()
            closed = caller.hear()
        late = own_daemon.rexec("echo", "x")

    assert 8 == closed.code
    assert 125 == late.returncode
    assert "try later" in late.stderr


def test_gateway_and_monitor_run_apart_and_a_monitor_may_be_restarted(own_daemon: Daemon) -> None:
    """A caller that comes while the monitor is away is served as soon as it is back."""
    own_daemon.start()
    with _apart(own_daemon) as (port, monitor, _):
        own_daemon.port = port
        before = own_daemon.rexec("echo", "before")
        monitor.terminate()
        monitor.wait(PATIENCE)
        answers: list[str] = []
        waiting = threading.Thread(target=lambda: answers.append(own_daemon.rexec("echo", "after").stdout))
        again = _monitor(own_daemon)
        waiting.start()
        waiting.join()
        again.terminate()
        again.communicate()

    assert "before\n" == before.stdout
    assert ["after\n"] == answers


class _apart:  # noqa: N801 - reads as a phrase
    """Stop `serve`, and run both programs by themselves."""

    def __init__(self, daemon: Daemon, *python: str) -> None:
        self._daemon = daemon
        self._python = python

    def __enter__(self) -> tuple[int, subprocess.Popen[str], subprocess.Popen[str]]:
        self._daemon.stop()
        self._monitor = _monitor(self._daemon)
        self._gateway = _run_gateway(self._daemon, *self._python)
        assert self._gateway.stdout
        port = int(self._gateway.stdout.readline().rpartition(":")[2])
        return port, self._monitor, self._gateway

    def __exit__(self, *_: object) -> None:
        for process in (self._gateway, self._monitor):
            process.terminate()
            if process.stdout and not process.stdout.closed:
                process.communicate(timeout=PATIENCE)


def _monitor(daemon: Daemon) -> subprocess.Popen[str]:
    """Start a monitor by itself and wait until it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "rexecd", "monitor", "--config", str(daemon.made.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert "monitor ready" in process.stdout.readline()
    return process


def test_a_second_monitor_on_the_same_state_is_refused(daemon: Daemon) -> None:
    """One writer of the trail, always."""
    done = daemon.rexecd("monitor")

    assert 1 == done.returncode
    assert "held by another process" in done.stderr


def test_a_port_in_use_is_one_clear_line(daemon: Daemon) -> None:
    """Place and remedy, no traceback, and nothing left running."""
    done = daemon.rexecd("gateway", "--listen", f"127.0.0.1:{daemon.port}")

    assert 1 == done.returncode
    assert f"cannot listen on 127.0.0.1:{daemon.port}: Address already in use" in done.stderr
    assert 1 == len(done.stderr.strip().splitlines())


def test_reload_puts_a_changed_policy_in_force_for_open_sessions(own_daemon: Daemon) -> None:
    """A faulty one leaves the old one, tells the operator where, and is recorded."""
    own_daemon.start()
    policy = own_daemon.settings.policy
    good = policy.read_text()
    with own_daemon.caller() as caller:
        policy.write_text(good.replace("deny: [forbidden]", "deny: [both]"))
        reloaded = own_daemon.rexecd("reload")
        allowed, refused = caller.run("forbidden"), caller.run("both")
        policy.write_text(good + "  broken: {sumary: x}\n")
        faulty = own_daemon.rexecd("reload")
        still = caller.run("forbidden")

    assert 0 == reloaded.returncode
    assert b"forbidden\n" == allowed[1].data == still[1].data
    assert 2 == refused[-1].code
    assert 1 == faulty.returncode
    assert "did you mean 'summary'?" in faulty.stderr
    assert "the old policy stays in force" in faulty.stderr
    assert f"{policy}:" in faulty.stderr
    own_daemon.wait_for_record("policy-rejected")


def test_a_hangup_signal_reloads_as_well(own_daemon: Daemon) -> None:
    """What service managers send, to the monitor or to `serve`."""
    own_daemon.start()
    os.kill(own_daemon.monitor_pid, signal.SIGHUP)
    wait_for(lambda: len(own_daemon.records("policy-loaded")) == 2, "the reload")
    assert own_daemon.process
    own_daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(own_daemon.records("policy-loaded")) == 3, "the second reload")

    assert 0 == own_daemon.rexec("echo", "x").returncode


def test_status_says_how_the_service_is(daemon: Daemon) -> None:
    """For people and, as JSON, for programs; exit status 1 when nothing runs."""
    done = daemon.rexecd("status")

    assert 0 == done.returncode
    assert re.search(r"^trail.healthy +True$", done.stdout, re.MULTILINE)


def test_whether_it_is_up_is_not_how_much_it_runs(daemon: Daemon) -> None:
    """Both are asked for by monitoring, and neither hides the other."""
    with daemon.caller() as caller:
        caller.say(wire.Run("sleep", wire.Offer.NONE, ""))
        caller.hear()
        busy = daemon.status()
    wait_for(lambda: daemon.status()["running"] == 0, "the end of the command")

    assert (True, 1) == (busy["up"], busy["running"])
    assert True is daemon.status()["up"]


def test_status_of_a_service_that_does_not_run(own_daemon: Daemon) -> None:
    """One line, and 1."""
    done = own_daemon.rexecd("status")

    assert 1 == done.returncode
    assert "rexecd does not run here" in done.stderr
