"""The real `rexec`, a real server, and a configuration, as a caller sees them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import PATIENCE, Daemon, is_alive, needs_ipv6, wait_for


class Desk:
    """Where a caller works: a home with a configuration in it."""

    def __init__(self, directory: Path, daemon: Daemon) -> None:
        self.daemon = daemon
        self.config = directory / "config" / "rexec" / "config"
        self.config.parent.mkdir(parents=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REXEC_")},
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config"),
        }
        self.token = directory / "token"
        self.token.touch(0o600)
        self.token.write_text(daemon.tokens["ann"])

    def write(self, *lines: str) -> None:
        """Write the configuration."""
        self.config.write_text("".join(f"{line}\n" for line in lines))
        self.config.chmod(0o600)

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run `rexec` with this input."""
        line = [sys.executable, "-I", "-m", "rexecd.cli.rexec", *words]
        return subprocess.run(
            line, env=self.environment, input=text, capture_output=True, text=True, check=False, timeout=30
        )


@pytest.fixture
def desk(daemon: Daemon, tmp_path: Path) -> Desk:
    """Return a desk where `web` is the server."""
    made = Desk(tmp_path, daemon)
    made.write(
        "# mine",
        "Host web",
        "    HostName 127.0.0.1",
        f"    Port {daemon.port}",
        f'    CA "{daemon.made.authority}"',
        "    TokenFile ~/token",
    )
    return made


def test_an_alias_is_all_a_call_needs(desk: Desk) -> None:
    """Host, port, authority and token are in the file."""
    done = desk.run("web", "echo", "hello")

    assert (0, "hello\n", "") == (done.returncode, done.stdout, done.stderr)


def test_the_command_line_comes_first(desk: Desk) -> None:
    """A value for this call, by its key or by its option."""
    done = [
        desk.run("-o", f"Pin=sha256:{'0' * 64}", "web", "echo", "x"),
        desk.run("-oConnectTimeout=x", "web", "echo", "x"),
        desk.run("-p", "1", "web", "echo", "x"),
        desk.run("-F", "none", "--batch", f"127.0.0.1:{desk.daemon.port}", "echo", "x"),
    ]

    assert [255] * 4 == [each.returncode for each in done]
    assert "the server's key is not the pinned one" in done[0].stderr
    assert "-o 'ConnectTimeout=x': 'x' is not a number of seconds above 0" in done[1].stderr
    assert "127.0.0.1:1: connection refused" in done[2].stderr
    assert "there is no token" in done[3].stderr


def test_what_would_be_used_is_shown_with_its_places(desk: Desk) -> None:
    """Nobody is connected to: the server may be away."""
    desk.environment["REXEC_CA"] = "/ca.pem"
    shown = desk.run("-G", "-o", "Timeout 5m", "web").stdout.splitlines()

    assert shown[0] == f"# web: files read: {desk.config}"
    assert f"HostName 127.0.0.1  # user:{desk.config}:3" in shown
    assert f"Port {desk.daemon.port}  # user:{desk.config}:4" in shown
    assert "CA /ca.pem  # environment: REXEC_CA" in shown
    assert f"TokenFile {desk.token}  # user:{desk.config}:6" in shown
    assert "Timeout 5m  # command line" in shown
    assert "ConnectTimeout 15  # default" in shown


def test_what_is_shown_is_a_configuration(desk: Desk) -> None:
    """It can be kept, and does the same."""
    kept = desk.config.parent / "kept"
    kept.write_text(desk.run("-G", "web").stdout)
    done = desk.run("-F", str(kept), "anything", "echo", "hello")

    assert (0, "hello\n", "") == (done.returncode, done.stdout, done.stderr)


def test_a_fault_in_the_file_is_said_before_anything_is_done(desk: Desk) -> None:
    """With its place, and also in JSON."""
    desk.write("Host other", "Prot 7")
    done, told = desk.run("web", "echo"), desk.run("--json", "web", "echo")

    assert done.returncode == told.returncode == 255
    assert (
        f"rexec: error: {desk.config}:2:1: unknown key 'Prot'\nrexec: hint: is 'Port' meant?\n" == done.stderr
    )
    assert "unknown key 'Prot'" in told.stdout


def test_a_password_manager_is_asked(desk: Desk) -> None:
    """It hears which host it is for, and gets none of the command's input."""
    desk.write(
        *desk.config.read_text().splitlines()[:-1],
        f"    token_command sh -c 'cat; test $REXEC_HOST:$0 = 127.0.0.1:web && cat {desk.token}' %n",
    )
    done = desk.run("web", "cat", text="for the command")

    assert (0, "for the command", "") == (done.returncode, done.stdout, done.stderr)


def test_a_password_manager_ends_with_rexec(desk: Desk, tmp_path: Path) -> None:
    """Whoever gives up leaves nothing behind that waits for a passphrase."""
    noted = tmp_path / "pid"
    line = [sys.executable, "-I", "-m", "rexecd.cli.rexec", "-o"]
    line += [f"TokenCommand sh -c 'echo $$ > {noted}; exec sleep 300'", "web", "echo"]
    with subprocess.Popen(line, env=desk.environment, stdin=subprocess.DEVNULL) as process:
        pid = int(wait_for(lambda: noted.exists() and noted.read_text()))
        process.terminate()

        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    wait_for(lambda: not is_alive(pid), "its end")


def test_n_leaves_the_input_alone(desk: Desk) -> None:
    """The command gets an empty one, as with ssh."""
    script = f"{sys.executable} -I -m rexecd.cli.rexec $1 web cat; cat"

    def left(option: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", option],
            env=desk.environment, input="a line\n", capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        return done.stdout

    assert left("-n") == "a line\n"
    assert desk.run("-n", "web", "count", text="xyz").stdout == "0\n"
    assert desk.run("web", "count", text="xyz").stdout == "3\n"


def test_q_says_errors_only(desk: Desk) -> None:
    """What is a note is left out; the status still tells."""
    loud, quiet = desk.run("web", "brief"), desk.run("-q", "web", "brief")
    wrong = desk.run("-q", "web", "nothing")

    assert (124, 124) == (loud.returncode, quiet.returncode)
    assert "timed out" in loud.stderr
    assert quiet.stderr == ""
    assert wrong.stderr.startswith("rexec: error: ")


def test_v_says_what_is_tried_and_no_secret(desk: Desk) -> None:
    """In the order in which it happens, on standard error."""
    done = desk.run("-v", "web", "echo", "hello")
    said = re.sub(r"[0-9]+ ms", "N ms", done.stderr.replace(str(desk.daemon.port), "PORT"))

    assert (0, "hello\n") == (done.returncode, done.stdout)
    assert [
        f"rexec: configuration: {desk.config}",
        "rexec: web is 127.0.0.1:PORT",
        f"rexec: token: TokenFile (user:{desk.config}:6)",
        "rexec: trying 127.0.0.1:PORT",
        "rexec: connected, N ms after the beginning",
        f"rexec: the server's key is sha256:{desk.daemon.made.pin}",
        f"rexec: the server proved itself by a certificate of {desk.daemon.made.authority}",
    ] == [line for line in said.splitlines()[:8] if "TLS" not in line]
    assert "rexec: TLSv1.3 with TLS_" in said
    assert "rexec: the token was accepted, as ann in connection " in said
    assert ": exited, exit status 0 after " in said
    assert "rxt_" not in said


@needs_ipv6
def test_a_family_that_the_host_has_not_is_an_error(desk: Desk) -> None:
    """-6 does not fall back on IPv4, nor the other way round."""
    six, four = desk.run("-6", "web", "echo", "x"), desk.run("-4", "-o", "HostName ::1", "web", "echo", "x")

    assert (255, 255) == (six.returncode, four.returncode)
    assert "(IPv6 only)" in six.stderr
    assert "(IPv4 only)" in four.stderr
    assert desk.run("-4", "web", "echo", "x").returncode == 0
