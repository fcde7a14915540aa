"""`rexec login HOST`: a real server, a real terminal, and somebody who types a token."""

import functools
import os
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
from tests.unit.client.fake_server import make_token

QUESTION = b"(yes/no) "
PROMPT = b"(it is not shown): "


class Home:
    """Where a caller lives who has a token in the head, and nothing else."""

    def __init__(self, directory: Path, daemon: Daemon) -> None:
        self.host = f"localhost:{daemon.port}"
        self.config = directory / "config" / "rexec"
        self.stored = self.config / "tokens" / self.host
        self.known = directory / "state" / "rexec" / "known_hosts"
        self.token = daemon.tokens["ann"]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REXEC_")},
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_STATE_HOME": str(directory / "state"),
        }

    def start(self, *words: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start `rexec`."""
        line = [sys.executable, "-I", "-m", "rexecd.cli.rexec", *words]
        return subprocess.Popen(line, env=self.environment, **how)

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run `rexec` where there is no terminal."""
        line = [sys.executable, "-I", "-m", "rexecd.cli.rexec", *words]
        return subprocess.run(
            line, env=self.environment, input=text, capture_output=True, text=True, check=False, timeout=30,
            start_new_session=True,
        )  # fmt: skip


@pytest.fixture
def home(daemon: Daemon, tmp_path: Path) -> Home:
    """Return a home with nothing in it."""
    return Home(tmp_path, daemon)


@pytest.fixture
def terminal(home: Home) -> Iterator[Callable[..., Terminal]]:
    """Open `rexec` in terminals, and hang up after the test."""
    with ExitStack() as stack:

        def begin(*words: str) -> Terminal:
            made = Terminal(functools.partial(home.start, *words))
            stack.callback(made.process.wait, 10)
            stack.callback(made.process.kill)
            stack.callback(made.close)
            return made

        yield begin


def test_a_host_is_set_up_once(daemon: Daemon, home: Home, terminal: Callable[..., Terminal]) -> None:
    """The key is shown, the token is not; both are kept for their owner alone, and nothing is asked again."""
    first = terminal("login", home.host)
    shown = first.expect(QUESTION)
    first.type(b"yes\n")
    first.expect(PROMPT)
    first.type(home.token.encode() + b"\n")
    seen = first.expect(b"COMMAND")

    assert first.process.wait(10) == 0
    assert f"sha256:{daemon.made.pin}".encode() in shown
    assert home.token.encode() not in seen
    assert b"knows you as ann, who may run " in seen
    assert home.token == home.stored.read_text().strip()
    assert [0o600, 0o700] == [stat.S_IMODE(path.stat().st_mode) for path in (home.stored, home.stored.parent)]
    assert [home.stored.name] == os.listdir(home.stored.parent)
    again = home.run(home.host, "echo", "hello")
    assert (0, "hello\n", "") == (again.returncode, again.stdout, again.stderr)


def test_a_server_that_nobody_says_yes_to_is_told_nothing(
    home: Home, terminal: Callable[..., Terminal]
) -> None:
    """The token is not even asked for."""
    first = terminal("login", home.host)
    first.expect(QUESTION)
    first.type(b"no\n")
    first.expect(b"is not trusted; nothing was sent")

    assert first.process.wait(10) == 255
    assert not home.config.exists()
    assert not home.known.exists()


def test_a_token_that_is_refused_is_not_kept(daemon: Daemon, home: Home) -> None:
    """Nor one that was cut; the token is in no message."""
    ca = ["--ca", str(daemon.made.authority)]
    wrong = home.run(*ca, "login", home.host, text=make_token())
    cut = home.run(*ca, "login", home.host, text=home.token[:-1])
    none = home.run(*ca, "login", home.host)

    assert [255] * 3 == [each.returncode for each in (wrong, cut, none)]
    assert "authentication-failed" in wrong.stderr
    assert "not a complete token" in cut.stderr
    assert "not a complete token" in none.stderr
    assert "rxt_" not in wrong.stderr + cut.stderr.replace("'rxt_' and", "")
    assert not home.stored.exists()


def test_a_token_can_be_piped_in(daemon: Daemon, home: Home) -> None:
    """And what was typed to recognise the server is not needed again."""
    done = home.run("--ca", str(daemon.made.authority), "login", home.host, text=f"{home.token}\n")
    again = home.run("--batch", home.host, "echo", "hello")

    assert done.returncode == 0, done.stderr
    assert f"{home.host} is known by a certificate of {daemon.made.authority}." in done.stderr
    assert f"{home.host} sha256:{daemon.made.pin}\n" == home.known.read_text()
    assert (0, "hello\n") == (again.returncode, again.stdout)


def test_a_stored_token_is_replaced_after_a_yes(
    daemon: Daemon, home: Home, terminal: Callable[..., Terminal]
) -> None:
    """And stays after a no, and where there is nobody to ask."""
    ca = ["--ca", str(daemon.made.authority)]
    assert home.run(*ca, "login", home.host, text=daemon.tokens["bob"]).returncode == 0
    before = home.stored.read_text()
    unasked = home.run(*ca, "login", home.host, text=home.token)
    no = terminal(*ca, "login", home.host)
    no.expect(QUESTION)
    no.type(b"no\n")
    no.expect(b"a token is stored already, and stays")

    assert (255, 255) == (unasked.returncode, no.process.wait(10))
    assert before == home.stored.read_text()
    yes = terminal(*ca, "login", home.host)
    yes.expect(QUESTION)
    yes.type(b"yes\n")
    yes.expect(PROMPT)
    yes.type(home.token.encode() + b"\n")
    yes.expect(b"COMMAND")
    assert yes.process.wait(10) == 0
    assert home.token == home.stored.read_text().strip()


def test_an_interrupted_login_leaves_the_terminal_as_it_was(
    daemon: Daemon, home: Home, terminal: Callable[..., Terminal]
) -> None:
    """What is typed is seen again, and nothing was stored."""
    begun = terminal("--ca", str(daemon.made.authority), "login", home.host)
    begun.expect(PROMPT)
    begun.type(b"\x03")

    assert begun.process.wait(10) == 130
    begun.type(b"seen\n")
    begun.expect(b"seen")
    assert not home.stored.exists()


def test_a_token_that_would_not_be_used_is_not_asked_for(home: Home) -> None:
    """The variable and the configuration come first."""
    home.environment["REXEC_TOKEN"] = home.token
    variable = home.run("login", home.host)
    del home.environment["REXEC_TOKEN"]
    home.config.mkdir(parents=True)
    (home.config / "config").write_text("TokenCommand pass show x\n")
    configured = home.run("login", home.host)

    assert (255, 255) == (variable.returncode, configured.returncode)
    assert "environment: REXEC_TOKEN: the token is taken from there" in variable.stderr
    assert f"user:{home.config}/config:1: the token is taken from there" in configured.stderr


def test_the_token_of_an_alias_is_kept_for_its_server(daemon: Daemon, home: Home) -> None:
    """Whatever it was called, the token goes to the one it was given for."""
    home.config.mkdir(parents=True)
    (home.config / "config").write_text(
        f"Host web\nHostName localhost\nPort {daemon.port}\nCA {daemon.made.authority}\n"
    )
    done = home.run("login", "web", text=home.token)

    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("from now on: rexec web COMMAND\n")
    assert home.stored.exists()
    assert home.run("web", "echo", "hello").stdout == "hello\n"
    assert not home.known.exists()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda path: path.symlink_to("/dev/null"), "not a file"),
        (lambda path: path.mkdir(), "not a file"),
        (lambda path: path.parent.chmod(0o777), "others can write to it (mode 0777)"),
        (lambda path: (path.parent.rmdir(), path.parent.symlink_to("/tmp")), "tokens"),
        (lambda path: (path.parent.rmdir(), path.parent.touch()), "Not a directory"),
    ],
)
def test_nothing_is_stored_where_a_stranger_may_have_been(
    daemon: Daemon, home: Home, prepare: Callable[[Path], object], said: str
) -> None:
    """No link is followed, and the token is not asked for."""
    home.stored.parent.mkdir(parents=True)
    prepare(home.stored)
    done = home.run("--ca", str(daemon.made.authority), "login", home.host, text=home.token)

    assert done.returncode == 255
    assert said in done.stderr
    assert "knows you" not in done.stderr


def test_a_typed_file_is_where_the_token_is_taken_from(daemon: Daemon, home: Home, tmp_path: Path) -> None:
    """For who sets up many hosts."""
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(home.token)
    done = home.run("--ca", str(daemon.made.authority), "--token-file", str(file), "login", home.host)

    assert done.returncode == 0, done.stderr
    assert home.token == home.stored.read_text().strip()
