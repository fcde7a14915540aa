"""The tabulator key in bash, zsh and fish, in a real terminal, with a real server."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rexecd.cli.rexec import main
from tests.harness import PATIENCE, Daemon
from tests.tmux import Screen, needs_tmux

BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
SHELLS = ["bash", "zsh", "fish"]
Complete = Callable[..., list[str]]
Prompt = Callable[..., Screen]


class Home:
    """A home in which `web1` is a server, and `rexec` a program."""

    def __init__(self, directory: Path, daemon: Daemon) -> None:
        self.directory = directory
        self.daemon = daemon
        self.config = directory / "config/rexec/config"
        self.config.parent.mkdir(parents=True)
        self.write("TokenFile ~/token", "Host web1", "    HostName 127.0.0.1", f"    Port {daemon.port}",
                   f"    CA {daemon.made.authority}", "Host web2 web* !web3")  # fmt: skip
        (directory / "token").touch(0o600)
        (directory / "token").write_text(daemon.tokens["ann"])
        programs = directory / "bin"
        programs.mkdir()
        (programs / "rexec").write_text(f'#!/bin/sh\nexec {sys.executable} -I -m rexecd.cli.rexec "$@"\n')
        (programs / "rexec").chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_STATE_HOME": str(directory / "state"),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "LANG": "C.UTF-8",
            "TERM": "screen",
        }

    def write(self, *lines: str) -> None:
        """Write the configuration."""
        self.config.write_text("".join(f"{line}\n" for line in lines))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `rexec`."""
        return subprocess.run(
            ["rexec", *words], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=PATIENCE, cwd=self.directory,
        )  # fmt: skip

    @property
    def lists(self) -> list[Path]:
        """Return the lists that are kept."""
        return list((self.directory / "cache/rexec/lists").glob("*"))


@pytest.fixture
def home(daemon: Daemon, tmp_path: Path) -> Home:
    """Return a home of one's own."""
    return Home(tmp_path, daemon)


@pytest.fixture
def complete(home: Home) -> Complete:
    """Ask what the last word can become."""

    def ask(*words: str, shell: str = "fish") -> list[str]:
        done = home.run("--complete", shell, *words)
        assert (0, "") == (done.returncode, done.stderr)
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    return ask


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """Return a shell that is there."""
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def prompt(home: Home) -> Iterator[Prompt]:
    """Start a shell in a terminal, and have it read what makes it complete `rexec`."""
    lines = {
        "bash": ["bash", "--norc", "--noprofile", "-i"],
        "zsh": ["zsh", "-f", "-i"],
        "fish": ["fish", "--no-config", "-C", "function fish_prompt; echo -n '> '; end"],
    }
    with ExitStack() as stack:

        def begin(shell: str, *loads: str) -> Screen:
            screen = stack.enter_context(Screen(lines[shell], environment=home.environment))
            prompts = {"bash": "PS1='> '", "zsh": "PS1='> '", "fish": "true"}
            screen.enter("; ".join([*loads, prompts[shell], "clear"]))
            screen.expect_last(">")
            return screen

        yield begin


@needs_tmux
def test_a_line_is_completed_from_host_to_choice(shell: str, prompt: Prompt, home: Home) -> None:
    """Host, command, parameter and choice, each by the tabulator key; and what it makes, runs."""
    file = home.directory / f"completion.{shell}"
    file.write_text(home.run("--completion", shell).stdout)
    before = {"zsh": ["autoload -Uz compinit", "compinit -u -D"]}
    screen = prompt(shell, *before.get(shell, []), f"source {file}")
    screen.type("rexec we")
    screen.press("Tab")
    screen.expect("rexec web")
    screen.type("1 ma")
    screen.press("Tab")
    screen.expect("web1 many")
    screen.type("r")
    screen.press("Tab")
    screen.expect("many red")
    screen.type("--cou")
    screen.press("Tab")
    screen.expect("--count=")
    screen.type("3 name v1 /usr")
    screen.press("Enter")

    screen.expect('"red", "--count=3", "name"')


@needs_tmux
@pytest.mark.parametrize("has_package", [False, True])
def test_bash_takes_what_it_cuts_in_two_as_one_word(prompt: Prompt, home: Home, has_package: bool) -> None:
    """A host with its port, and a name with its value, with the package bash-completion and without it."""
    if has_package and not BASH_COMPLETION.exists():
        pytest.skip("bash-completion is not installed")
    file = home.directory / "completion.bash"
    file.write_text(home.run("--completion", "bash").stdout)
    home.write("TokenFile ~/token", f"CA {home.daemon.made.authority}")
    address = home.daemon.address
    screen = prompt("bash", *([f". {BASH_COMPLETION}"] if has_package else []), f"source {file}")
    screen.type(f"rexec {address} man")
    screen.press("Tab")
    screen.expect(f"rexec {address} many")
    screen.type("--col")
    screen.press("Tab")
    screen.expect("many --color=")
    screen.press("Tab", "Tab")
    screen.expect("green")
    screen.type("r")
    screen.press("Tab")
    screen.type("--count=3 name v1 /usr")
    screen.expect(f"rexec {address} many --color=red --count=3 name v1 /usr")
    screen.press("Enter")

    screen.expect('"--count=3", "name"')


@needs_tmux
def test_what_there_is_nothing_to_say_of_is_listed_alone(shell: str, prompt: Prompt, home: Home) -> None:
    """No dash with nothing behind it."""
    file = home.directory / f"completion.{shell}"
    file.write_text(home.run("--completion", shell).stdout)
    before = {"zsh": ["autoload -Uz compinit", "compinit -u -D"]}
    screen = prompt(shell, *before.get(shell, []), f"source {file}")
    screen.type("rexec we")
    screen.press("Tab", "Tab", "Tab")

    assert "--" not in screen.expect("web2").partition("rexec we")[2]


@needs_tmux
def test_a_shell_finds_the_file_where_it_looks_for_it(shell: str, prompt: Prompt, home: Home) -> None:
    """As a package installs it; a host with its port is one word."""
    places = {
        "bash": "share/bash-completion/completions/rexec",
        "zsh": "share/zsh/site-functions/_rexec",
        "fish": "share/fish/vendor_completions.d/rexec.fish",
    }
    loads = {
        "bash": [f". {BASH_COMPLETION}"],
        "zsh": [
            f"fpath=({home.directory}/share/zsh/site-functions $fpath)",
            "autoload -Uz compinit",
            "compinit -u -D",
        ],
        "fish": [
            f"set fish_complete_path {home.directory}/share/fish/vendor_completions.d $fish_complete_path"
        ],
    }
    if shell == "bash" and not BASH_COMPLETION.exists():
        pytest.skip("bash-completion is not installed")
    place = home.directory / places[shell]
    place.parent.mkdir(parents=True)
    place.write_text(home.run("--completion", shell).stdout)
    home.environment["XDG_DATA_HOME"] = str(home.directory / "share")
    screen = prompt(shell, *loads[shell])
    home.write("TokenFile ~/token", f"CA {home.daemon.made.authority}")
    address = home.daemon.address
    screen.type(f"rexec {address} descr")
    screen.press("Tab")
    screen.expect("describe")
    screen.press("C-u")
    (home.config.parent / "tokens").mkdir(mode=0o700)
    (home.config.parent / "tokens" / address).touch()
    screen.type(f"rexec {address[:-1]}")
    screen.press("Tab")
    screen.expect(f"rexec {address}")
    screen.type("bo")
    screen.press("Tab")

    screen.expect(f"rexec {address} both")


def test_hosts_of_all_places_are_known(complete: Complete, home: Home) -> None:
    """Names of the configuration but for patterns, known hosts, and those with a token."""
    (home.directory / "state/rexec").mkdir(parents=True)
    key = "sha256:" + 64 * "0"
    (home.directory / "state/rexec/known_hosts").write_text(f"db1:7512 {key}\ndb2:99 {key}\n")
    (home.config.parent / "tokens").mkdir(mode=0o700)
    (home.config.parent / "tokens/stored").touch()

    assert ["db1", "db2:99", "login", "stored", "web1", "web2"] == sorted(complete(""))


def test_a_broken_configuration_is_no_complaint_at_the_key(complete: Complete, home: Home) -> None:
    """It is for the call itself."""
    home.write("Nonsense", "Host web1")

    assert ["web1"] == complete("web")
    assert [] == complete("web1", "")


def test_the_list_is_kept_for_a_while(complete: Complete, home: Home) -> None:
    """For its owner alone; the server is asked again when it is old, by another token, or never."""
    first = complete("web1", "")
    (kept,) = home.lists

    assert "many" in first
    assert 0o600 == kept.stat().st_mode & 0o777
    connections = len(home.daemon.records("connection-opened"))
    assert first == complete("web1", "")
    assert connections == len(home.daemon.records("connection-opened"))

    os.utime(kept, (0, 0))
    assert first == complete("web1", "")
    assert connections + 1 == len(home.daemon.records("connection-opened"))

    (home.directory / "other").touch(0o600)
    (home.directory / "other").write_text(home.daemon.tokens["bob"])
    assert ["echo"] == complete("--token-file", str(home.directory / "other"), "web1", "")

    assert [] == complete("-o", "CompletionCache=no", "web1", "")


def test_the_newest_lists_are_kept(complete: Complete, home: Home) -> None:
    """A hundred of them."""
    complete("web1", "")
    (first,) = home.lists
    for number in range(150):
        other = first.with_name(f"old{number}")
        other.touch()
        os.utime(other, (number, number))
    os.utime(first, (0, 0))
    complete("web1", "")

    assert 100 == len(home.lists)
    assert {first.name, "old149", "old51"} < {each.name for each in home.lists}
    assert "old50" not in {each.name for each in home.lists}


def test_a_list_that_somebody_else_could_have_written_is_not_believed(complete: Complete, home: Home) -> None:
    """A name in it would be one that somebody runs."""
    complete("web1", "")
    (kept,) = home.lists
    kept.write_text('[["rm", "", "", "", [], ""]]')
    assert ["rm"] == complete("web1", "")
    kept.chmod(0o666)

    assert "many" in complete("web1", "")

    for text in ("", "{}", "[[1]]", "[" * 100_000, '[["x"]]', "\0"):
        kept.chmod(0o600)
        kept.write_text(text)
        assert "many" in complete("web1", ""), text


def test_the_key_asks_nobody(complete: Complete, home: Home, tmp_path: Path) -> None:
    """No program for the token, no question about an unknown server; what `--list` brought is there."""
    ran = tmp_path / "ran"
    script = f"touch {ran}; cat {home.directory}/token"
    home.write(
        f"TokenCommand /bin/sh -c '{script}'",
        "Host web1",
        "    HostName 127.0.0.1",
        f"    Port {home.daemon.port}",
        f"    CA {home.daemon.made.authority}",
        "Host new",
        "    HostName localhost",
        f"    Port {home.daemon.port}",
    )
    assert [] == complete("web1", "")
    assert [] == complete("new", "")
    assert not ran.exists()

    assert 0 == home.run("--list", "web1").returncode
    assert "many" in complete("web1", "")


def test_a_server_that_is_not_known_is_not_even_connected_to(complete: Complete, home: Home) -> None:
    """What is typed half can be anybody's name."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        home.write("TokenFile ~/token")

        assert [] == complete(address, "")
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_server_that_does_not_answer_is_asked_once_in_a_while(complete: Complete, home: Home) -> None:
    """The next press of the key is answered at once, with nothing."""
    home.write(
        "TokenFile ~/token", "Host away", "    HostName 127.0.0.1", "    Port 1", f"    Pin sha256:{64 * '0'}"
    )
    assert [] == complete("away", "")
    (kept,) = home.lists

    assert "[]" == kept.read_text()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["web1", "'ma"], ["many"]),
        (["web1", '"ma'], ["many"]),
        (["'web1'", "ma"], ["many"]),
        (["web1", "ma\\"], ["many"]),
        (["web1", "$(touch ran)", ""], []),
        (["$(touch ran)", ""], []),
        (["`touch ran`", ""], []),
    ],
)
def test_bash_hands_over_what_was_typed_and_nothing_of_it_is_run(
    complete: Complete, home: Home, typed: list[str], expected: list[str]
) -> None:
    """Quotes are understood, and a line is never evaluated."""
    assert expected == complete(*typed, shell="bash")
    assert not (home.directory / "ran").exists()


#: Names that a shell would run something for, wherever no quote keeps them from it.
ARMED = ("evil$(touch ran)", "evil`touch ran`", "evil;touch ran;", "evil';touch ran;'", 'evil";touch ran;"',
         "evil\\", "evil two words", "evil")  # fmt: skip
#: What readline makes of the one candidate: it closes the quote that began the word, if that is open.
PRESS = r"""
. "$1"
cd "$2"
compopt() { :; }
COMP_WORDS=(rexec "$3") COMP_CWORD=1 COMP_LINE="rexec $3" COMP_POINT=$((6 + ${#3}))
_rexec rexec
quote=$4
for reply in "${COMPREPLY[@]}"; do
    echo "$quote$reply$quote"
done
"""


@pytest.mark.parametrize(
    ("typed", "quote"), [("ev", ""), ('"ev', '"'), ("'ev", "'"), ('"ev"', ""), ("'ev'", ""), ("e\\v", "")]
)
@pytest.mark.parametrize("name", ARMED)
def test_a_word_that_bash_completes_is_one_word(home: Home, name: str, typed: str, quote: str) -> None:
    """Whatever quote it was begun in, and whether that is closed again; else nothing is offered."""
    file = home.directory / "completion.bash"
    file.write_text(home.run("--completion", "bash").stdout)
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    home.write(f'Host "{escaped}"')

    def bash(script: str, *words: str) -> str:
        return subprocess.run(
            ["bash", "-c", script, "bash", *words], env=home.environment, cwd=home.directory, text=True,
            capture_output=True, check=False, timeout=PATIENCE,
        ).stdout  # fmt: skip

    offered = bash(PRESS, str(file), str(home.directory), typed, quote).splitlines()

    assert [name] == [bash(f"printf %s {word}") for word in offered] or (quote and not offered)
    assert not (home.directory / "ran").exists()
    assert offered or name not in ("evil", "evil two words")


@needs_tmux
def test_the_shell_completes_names_of_files(shell: str, prompt: Prompt, home: Home) -> None:
    """Where an option takes one; it knows them best."""
    file = home.directory / f"completion.{shell}"
    file.write_text(home.run("--completion", shell).stdout)
    before = {"zsh": ["autoload -Uz compinit", "compinit -u -D"]}
    screen = prompt(shell, *before.get(shell, []), f"source {file}", f"cd {home.directory}")
    screen.type("rexec --token-file tok")
    screen.press("Tab")

    screen.expect("--token-file token")


def test_what_is_called_as_the_word_for_files_is_left_out(complete: Complete, home: Home) -> None:
    """A shell would offer its files in place of it."""
    home.write("Host :files web9")

    assert ["login", "web9"] == sorted(complete(""))


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_files_are_printed(capfd: pytest.CaptureFixture[str], shell: str) -> None:
    """Each is correct for its shell, where that is here."""
    assert 0 == main(["--completion", shell])
    text = capfd.readouterr().out
    assert f"--complete {shell}" in text
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True, timeout=PATIENCE)


def test_an_unknown_shell_is_an_error_with_those_that_are_known(capfd: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    assert 255 == main(["--completion", "csh"])
    assert "--completion: 'csh' is none of bash, zsh, fish" in capfd.readouterr().err
