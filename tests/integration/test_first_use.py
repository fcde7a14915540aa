"""A real server, a real terminal, and somebody who says yes or no."""

import functools
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Daemon
from tests.terminal import Terminal
from tests.unit.client.fake_server import Authority, FakeServer, Peer, leaf_pin, make_token

NOWHERE = "sha256:" + "0" * 64
QUESTION = b"(yes/no) "


class House:
    """Where a caller lives: a home, a token, and nothing that says whom to trust."""

    def __init__(self, directory: Path, token: str) -> None:
        self.state = directory / "state"
        self.known = self.state / "rexec" / "known_hosts"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REXEC_")},
            "HOME": str(directory),
            "XDG_STATE_HOME": str(self.state),
            "REXEC_TOKEN": token,
        }

    def know(self, *lines: str) -> None:
        """Write the file of known hosts."""
        self.known.parent.mkdir(parents=True, exist_ok=True)
        self.known.write_text("".join(f"{line}\n" for line in lines))
        self.known.chmod(0o600)

    def knows(self) -> list[str]:
        """Return the lines of the file."""
        return self.known.read_text().splitlines() if self.known.exists() else []

    def start(self, *words: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start `rexec`."""
        line = [sys.executable, "-I", "-m", "rexecd.cli.rexec", *words]
        return subprocess.Popen(line, env=self.environment, **how)

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run `rexec` where there is no terminal."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.start(*words, start_new_session=True, **pipes) as process:
            out, err = process.communicate(timeout=20)
        return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.fixture
def house(daemon: Daemon, tmp_path: Path) -> House:
    """Return a caller's house with ann's token."""
    return House(tmp_path, daemon.tokens["ann"])


@pytest.fixture
def terminal(house: House) -> Iterator[Callable[..., Terminal]]:
    """Open `rexec` in terminals, and hang up after the test."""
    with ExitStack() as stack:

        def begin(*words: str, **how: Any) -> Terminal:
            made = Terminal(functools.partial(house.start, *words), **how)
            stack.callback(made.process.wait, 10)
            stack.callback(made.process.kill)
            stack.callback(made.close)
            return made

        yield begin


def pin(daemon: Daemon) -> str:
    """Return the server's pin, as the operator's side knows it."""
    return f"sha256:{daemon.made.pin}"


def test_a_yes_is_remembered_and_never_asked_for_again(
    daemon: Daemon, house: House, terminal: Callable[..., Terminal]
) -> None:
    """The key that is shown is the operator's; file and directories are for their owner alone."""
    first = terminal(daemon.address, "echo", "hello")
    asked = first.expect(QUESTION)
    first.type(b"yes\n")
    first.expect(b"hello\r\n")

    assert 0 == first.process.wait(10)
    assert pin(daemon).encode() in asked
    assert b"rexecd check" in asked
    assert [f"{daemon.address} {pin(daemon)}"] == house.knows()
    assert 0o600 == stat.S_IMODE(house.known.stat().st_mode)
    assert 0o700 == stat.S_IMODE(house.known.parent.stat().st_mode)
    again = house.run(daemon.address, "echo", "again")
    assert (0, b"again\n", b"") == (again.returncode, again.stdout, again.stderr)


def test_the_question_waits_longer_than_the_server(
    daemon: Daemon, house: House, terminal: Callable[..., Terminal]
) -> None:
    """While somebody compares keys no connection is open: the server's grace time is not theirs."""
    asking = terminal(daemon.address, "echo", "hello")
    asking.expect(QUESTION)
    sockets = [
        os.readlink(f"/proc/{asking.process.pid}/fd/{number}")
        for number in os.listdir(f"/proc/{asking.process.pid}/fd")
    ]
    asking.type(b"yes\n")
    asking.expect(b"hello\r\n")

    assert [] == [name for name in sockets if name.startswith("socket:")]
    assert 0 == asking.process.wait(10)


@pytest.mark.parametrize("answer", [b"no\n", b"y\nYES\n\nyes please\nno\n", b"\x04", b"y\n\x04"])
def test_only_the_whole_word_is_a_yes(
    daemon: Daemon, house: House, terminal: Callable[..., Terminal], answer: bytes
) -> None:
    """Whatever is neither is asked again; the end of input is a no. Nothing is remembered."""
    asking = terminal(daemon.address, "echo", "hello")
    asking.expect(QUESTION)
    asking.type(answer)
    asking.expect(b"the server's key is not trusted; nothing was sent")

    assert 255 == asking.process.wait(10)
    assert not house.state.exists()


def test_what_was_typed_before_the_question_does_not_answer_it(
    daemon: Daemon, house: House, terminal: Callable[..., Terminal]
) -> None:
    """A yes has to be to something that was seen."""
    asking = terminal("--token-file", "/dev/fd/0", daemon.address, "echo", "x", stdin=subprocess.PIPE)
    assert asking.process.stdin is not None
    asking.type(b"yes\n")
    asking.expect(b"yes\r\n")  # the terminal has it; rexec waits for its token
    asking.process.stdin.write(house.environment["REXEC_TOKEN"].encode())
    asking.process.stdin.close()
    asking.expect(QUESTION)
    asking.type(b"no\n")
    asking.expect(b"not trusted")

    assert 255 == asking.process.wait(10)


def test_the_terminal_is_asked_also_where_input_is_a_pipe(
    daemon: Daemon, house: House, terminal: Callable[..., Terminal]
) -> None:
    """The input is the command's, to its last byte."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    asking = terminal(daemon.address, "cat", **pipes)
    asking.expect(QUESTION)
    asking.type(b"yes\n")
    out, err = asking.process.communicate(b"no\nyes\n", timeout=10)

    assert (0, b"no\nyes\n") == (asking.process.returncode, out)
    assert f"rexec: remembered in {house.known}\n".encode() == err


def test_ctrl_c_is_no_answer(daemon: Daemon, house: House, terminal: Callable[..., Terminal]) -> None:
    """It ends rexec as it would end anything."""
    asking = terminal(daemon.address, "echo", "hello")
    asking.expect(QUESTION)
    asking.type(b"\x03")

    assert 128 + signal.SIGINT == asking.process.wait(10)
    assert not house.state.exists()


@pytest.mark.parametrize("way", ["no terminal", "--batch"])
def test_where_nobody_is_asked_an_unknown_server_is_refused(
    daemon: Daemon, house: House, terminal: Callable[..., Terminal], way: str
) -> None:
    """The hint has the fingerprint, how to trust it, and that it is to be compared first."""
    if way == "--batch":
        asked = terminal("--batch", daemon.address, "echo", "hello")
        said = asked.expect(b"in a terminal\r\n").replace(b"\r", b"") + b"in a terminal\n"
        status = asked.process.wait(10)
    else:
        done = house.run(daemon.address, "echo", "hello")
        said, status = done.stderr, done.returncode
    error, hint = said.decode().splitlines()

    assert 255 == status
    assert f"rexec: error: {daemon.address}: the server is not known yet; its key is {pin(daemon)}" == error
    assert "compare it with the operator's ('rexecd check' or 'rexecd cert show' there prints it)" in hint
    assert f"--pin {pin(daemon)}" in hint
    assert not house.state.exists()


def test_a_changed_key_is_refused_loudly_and_never_asked_about(
    daemon: Daemon, house: House, terminal: Callable[..., Terminal]
) -> None:
    """The hint's own command makes rexec ask anew."""
    house.know("# ours", f"{daemon.address} {NOWHERE}")
    refused = terminal(daemon.address, "echo", "hello")
    said = refused.expect(b"known_hosts\r\n").decode() + "known_hosts\n"

    assert 255 == refused.process.wait(10)
    assert "THE SERVER'S KEY HAS CHANGED! Someone may stand in between." in said
    assert f"{house.known}, line 2" in said
    remedy = said.rpartition("right: ")[2].strip()
    assert f"sed -i '2d' {house.known}" == remedy
    subprocess.run(["/bin/sh", "-c", remedy], check=True)
    assert ["# ours"] == house.knows()
    assert 255 == house.run("--batch", daemon.address, "echo", "x").returncode


def test_a_key_among_several_is_good_while_keys_are_changed_over(daemon: Daemon, house: House) -> None:
    """The operator announces the next key; both lines stand until the old one is taken out."""
    house.know(f"{daemon.address} {NOWHERE}", f"{daemon.address} {pin(daemon)}")

    assert b"x\n" == house.run("--batch", daemon.address, "echo", "x").stdout


def test_what_is_given_is_not_mixed_with_what_is_known(daemon: Daemon, house: House) -> None:
    """Authority and pin leave the file alone, even a broken one; a named file beats what was set up."""
    house.know("broken")
    other = house.state / "other"
    other.write_text(f"{daemon.address} {pin(daemon)}\n")
    other.chmod(0o600)
    authority = str(daemon.made.authority)

    assert 0 == house.run("--ca", authority, daemon.address, "echo", "x").returncode
    assert 0 == house.run("--pin", pin(daemon), daemon.address, "echo", "x").returncode
    house.environment["REXEC_CA"] = authority
    assert 0 == house.run(daemon.address, "echo", "x").returncode
    house.environment["REXEC_CA"] = "/nonexistent"
    assert 0 == house.run("--known-hosts", str(other), daemon.address, "echo", "x").returncode
    del house.environment["REXEC_CA"]
    broken = house.run(daemon.address, "echo", "x")
    assert 255 == broken.returncode
    assert f"rexec: error: {house.known}:1: not a line".encode() in broken.stderr


def test_a_key_that_cannot_be_remembered_is_still_trusted_once(
    daemon: Daemon, house: House, terminal: Callable[..., Terminal]
) -> None:
    """Somebody said yes; that the file has no place is only a warning."""
    house.state.write_text("in the way")
    house.environment["XDG_STATE_HOME"] = f"{house.state}/below"
    refused = house.run(daemon.address, "echo", "hello")
    asked = terminal("--known-hosts", "/proc/none/known_hosts", daemon.address, "echo", "hello")
    asked.expect(QUESTION)
    asked.type(b"yes\n")
    said = asked.expect(b"hello\r\n")

    assert b"Not a directory" in refused.stderr
    assert b"rexec: warning: the key could not be remembered in /proc/none/known_hosts" in said
    assert 0 == asked.process.wait(10)


def _record(peer: Peer) -> None:
    peer.wait_until_gone()


def test_the_key_behind_the_answer_has_to_be_the_one_that_was_shown(
    tmp_path: Path, house: House, terminal: Callable[..., Terminal]
) -> None:
    """Who stands in between only sometimes gets nothing either."""
    authority = Authority(tmp_path)
    shown, other = authority.issue(), authority.issue()
    with FakeServer(shown, _record) as server:
        asking = terminal(server.address, "x")
        asked = asking.expect(QUESTION)
        other.configure_cert(server._context)
        asking.type(b"yes\n")
        said = asking.expect(b"nothing was sent\r\n")

        assert 255 == asking.process.wait(10)
    assert b"" == server.received
    assert 2 == len(server.peers)
    assert leaf_pin(shown).encode() in asked
    assert b"now the server has another key than the one you said yes to: " in said
    assert leaf_pin(other).encode() in said


def test_a_no_and_a_batch_send_nothing(
    tmp_path: Path, house: House, terminal: Callable[..., Terminal]
) -> None:
    """The server that was not trusted has the handshake and not one byte more."""
    house.environment["REXEC_TOKEN"] = make_token()
    with FakeServer(Authority(tmp_path).issue(), _record) as server:
        asking = terminal(server.address, "x")
        asking.expect(QUESTION)
        asking.type(b"no\n")
        asking.expect(b"not trusted")
        asking.process.wait(10)
        house.run(server.address, "x")
        house.know(f"{server.address} {NOWHERE}")
        house.run(server.address, "x")

    assert 3 == len(server.peers)
    assert b"" == server.received
