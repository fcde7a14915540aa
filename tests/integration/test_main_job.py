"""A caller runs allowed commands over TLS, with the real programs."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rexecd import client
from tests.harness import Daemon


def test_output_of_a_command_is_printed(daemon: Daemon) -> None:
    """A word alone is the line; several are quoted for it."""
    done = daemon.rexec("echo", "two words; $HOME")

    assert (0, "two words; $HOME\n", "") == (done.returncode, done.stdout, done.stderr)


def test_streams_and_exit_status_are_the_commands_own(daemon: Daemon) -> None:
    """stdout, stderr and status arrive apart."""
    done = daemon.rexec("both")

    assert (3, "out\n", "err\n") == (done.returncode, done.stdout, done.stderr)


def test_unknown_and_forbidden_commands_look_alike(daemon: Daemon) -> None:
    """Nobody learns which commands exist."""
    unknown, forbidden = daemon.rexec("nosuch"), daemon.rexec("forbidden")

    assert 126 == unknown.returncode == forbidden.returncode
    assert unknown.stderr == forbidden.stderr
    assert "" == unknown.stdout


def test_a_program_that_cannot_be_started_is_127(daemon: Daemon) -> None:
    """The caller learns no fact about the server's files; the trail does."""
    done = daemon.rexec("missing")

    assert 127 == done.returncode
    assert "/nonexistent" not in done.stderr
    assert (
        "/nonexistent/program" in daemon.records("command-refused", code="not-started")[0]["event"]["reason"]
    )


def test_a_command_that_dies_of_a_signal_is_128_and_its_number(daemon: Daemon) -> None:
    """Death by signal is told apart from an exit status."""
    done = daemon.rexec("--json", "HOST", "self")
    told = json.loads(done.stdout)

    assert 128 + signal.SIGSEGV == done.returncode
    assert ("signalled", "SEGV") == (told["outcome"], told["signal"].removeprefix("SIG"))


def test_input_passes_to_a_command_that_takes_it(daemon: Daemon) -> None:
    """Bytes of any kind go in and come back, to the end of the file."""
    data = bytes(range(256)) * 4096
    done = daemon.rexec("cat", input=data, text=False)

    assert data == done.stdout


def test_input_is_not_offered_to_a_command_that_takes_none(daemon: Daemon) -> None:
    """A script's stdin stays the script's: here `cat` of the next line still finds it."""
    done = daemon.rexec("echo", "hi", input="ignored")

    assert (0, "hi\n") == (done.returncode, done.stdout)


def test_a_command_that_requires_input_is_refused_without(daemon: Daemon) -> None:
    """`stdin: require` means what it says."""
    with client.connect(daemon.address, token=daemon.tokens["ann"], ca=str(daemon.made.authority)) as session:
        with pytest.raises(client.Refused, match="input"):
            session.run("count")
        result = session.run("count", input=b"12345")

    assert b"5\n" == result.stdout


def test_essential_input_is_refused_by_a_command_that_takes_none(daemon: Daemon) -> None:
    """Input that was promised is never dropped in silence."""
    with (
        client.connect(daemon.address, token=daemon.tokens["ann"], ca=str(daemon.made.authority)) as session,
        pytest.raises(client.Refused, match="input"),
    ):
        session.run(["echo", "x"], input=b"data")


def test_the_library_runs_many_commands_on_one_connection(daemon: Daemon) -> None:
    """A session is used again and again, also after refusals."""
    with client.connect(daemon.address, token=daemon.tokens["ann"], ca=str(daemon.made.authority)) as session:
        results = [session.run(["echo", str(number)]) for number in range(20)]
        with pytest.raises(client.Refused):
            session.run("nosuch")
        last = session.run("both")

    assert [f"{number}\n".encode() for number in range(20)] == [result.stdout for result in results]
    assert (3, b"out\n", b"err\n") == (last.returncode, last.stdout, last.stderr)
    assert 22 == int(last.request_id.rpartition("-")[2])


def test_a_pin_stands_in_for_an_authority(daemon: Daemon) -> None:
    """`--pin` alone proves the server."""
    line = daemon.rexec_line("echo", "pinned")
    at = line.index("--ca")
    line[at : at + 2] = ["--pin", f"sha256:{daemon.made.pin}"]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=20)

    assert (0, "pinned\n") == (done.returncode, done.stdout)


def test_list_shows_what_this_caller_may_run_and_nothing_else(daemon: Daemon) -> None:
    """Two principals see two lists."""
    ann = [entry["name"] for entry in json.loads(daemon.rexec("--list", "--json", "HOST").stdout)]
    bob = [
        entry["name"] for entry in json.loads(daemon.rexec("--list", "--json", "HOST", token="bob").stdout)
    ]

    assert ["echo"] == bob
    assert "echo" in ann
    assert "forbidden" not in ann


def test_help_of_a_command_shows_its_usage(daemon: Daemon) -> None:
    """`rexec HOST NAME --help` needs no rule for it."""
    done = daemon.rexec("many", "--help")

    assert 0 == done.returncode
    assert "one of red, green" in done.stdout


def test_every_type_of_parameter_reaches_the_program_as_declared(daemon: Daemon) -> None:
    """Position, `--name value`, `--name=value`, a flag and defaults, in one call."""
    done = daemon.rexec("many", "red", "--count", "3", "web-1", "--tag=v1.2", "--loud")
    told = json.loads(done.stdout)

    assert [
        "red", "--count=3", "web-1", "v1.2", os.path.realpath("/usr/bin"), "--loud", "very", "none",
    ] == told["arguments"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    {
        "not a choice": (("blue", "3", "web", "v1"), "color"),
        "over the bound": (("red", "11", "web", "v1"), "count"),
        "no integer": (("red", "1e1", "web", "v1"), "count"),
        "no word": (("red", "3", "a b", "v1"), "name"),
        "an option": (("red", "3", "-rf", "v1"), "name"),
        "no match": (("red", "3", "web", "v1\n"), "tag"),
        "outside": (("red", "3", "web", "v1", "/etc/passwd"), "place"),
        "outside by dots": (("red", "3", "web", "v1", "/usr/../etc/passwd"), "place"),
        "missing": (("red", "3", "web"), "tag"),
    }.values(),
)
def test_a_wrong_argument_names_the_parameter_and_not_the_value(
    daemon: Daemon, arguments: tuple[str, ...], parameter: str
) -> None:
    """Who may use the rule learns which parameter was wrong."""
    done = daemon.rexec("many", *arguments)

    assert 126 == done.returncode
    assert repr(parameter) in done.stderr
    assert "passwd" not in done.stderr


def test_text_of_any_script_arrives_whole(daemon: Daemon) -> None:
    """However the bytes are cut into chunks."""
    done = daemon.rexec("script")

    assert "世界 мир שלום 🎈é" * 20000 + "\n" == done.stdout


def test_an_argument_of_any_script_arrives_whole(daemon: Daemon) -> None:
    """UTF-8 all the way to the program."""
    assert "世界 🎈 e\u0301\n" == daemon.rexec("echo", "世界 🎈 e\u0301").stdout


@pytest.mark.slow
def test_a_gigabyte_costs_no_memory_and_loses_no_byte(daemon: Daemon) -> None:
    """Both processes stay flat while the bytes pass."""
    before = highest = daemon.resident()
    line = daemon.rexec_line("zeros", str(10**9))
    size = others = 0
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout
        while data := process.stdout.read(1 << 20):
            size += len(data)
            others += len(data) - data.count(0)
            highest = max(highest, daemon.resident())

    assert (0, 10**9, 0) == (process.returncode, size, others)
    assert highest - before < 8 * 1024 * 1024


def test_the_interactive_session_of_the_lesson_works(daemon: Daemon) -> None:
    """Banner, empty line, unknown command, help, a command, exit."""
    done = daemon.rexec("HOST", input="\nnosuch\nhelp\necho 'still here'\nexit\n")

    assert 0 == done.returncode
    assert "Welcome to the test house." in done.stdout
    assert "still here" in done.stdout
    assert "both" in done.stdout
    assert "no such command" in done.stderr


def test_a_session_in_a_terminal_prompts_and_survives_an_interrupt(daemon: Daemon, tmp_path: Path) -> None:
    """Ctrl-C ends the remote command and not the session; the arrow brings the last line back."""
    pid, terminal = pty.fork()
    if pid == 0:
        line = daemon.rexec_line("HOST")
        os.execve(line[0], line, {**os.environ, "TERM": "dumb", "XDG_STATE_HOME": str(tmp_path)})
    screen = _Screen(terminal)
    try:
        screen.expect("->> ")
        screen.type("trap\n")
        screen.expect("ready")
        screen.type("\x03")
        screen.expect("int")
        screen.expect("->> ")
        screen.type("echo alive\n")
        screen.expect("\nalive")
        screen.expect("->> ")
        screen.type("\x1b[A\n")  # the arrow up: the line before
        screen.expect("\nalive")
        screen.expect("->> ")
        screen.type("exit\n")
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)

    assert 0 == os.waitstatus_to_exitcode(status)


class _Screen:
    """What a terminal shows, as text."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._shown = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._terminal, text.encode())

    def expect(self, text: str) -> None:
        """Wait until `text` is shown behind what was expected before."""
        deadline = time.monotonic() + 20
        while text not in self._shown:
            ready, _, _ = select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{text!r} not in {self._shown!r}"
            self._shown += os.read(self._terminal, 4096).decode(errors="replace").replace("\r", "")
        self._shown = self._shown.partition(text)[2]


def test_an_interrupt_reaches_the_one_shot_command(daemon: Daemon) -> None:
    """Ctrl-C of `rexec HOST COMMAND` interrupts the remote command, whose end it reports."""
    with subprocess.Popen(daemon.rexec_line("trap"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert (7, "int\n") == (process.returncode, rest)


def test_the_reader_that_goes_away_ends_the_command_quickly(daemon: Daemon) -> None:
    """`rexec HOST flood | head -1` does not linger."""
    begun = time.monotonic()
    line = daemon.rexec_line("flood")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read(10)
        process.stdout.close()
        complaint = process.stderr.read() if process.stderr else b""

    assert b"" == complaint
    assert time.monotonic() - begun < 10
    daemon.wait_for_record("command-killed")
