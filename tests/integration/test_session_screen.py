"""Interactive sessions in a real terminal, with Python's own line editor and with the `tui` extra."""

import functools
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.harness import POLICY, Daemon, wait_for
from tests.tmux import Screen, needs_tmux
from tests.unit.client.fake_server import EVIL, Authority, FakeServer, attack, make_token, welcoming

pytestmark = needs_tmux

_POLICY: Final = (
    POLICY.replace("tester]}\n", "person]}\n", 1).replace(
        "roles:\n", "roles:\n  person: {allow: [echo, many, both, sleep, partly, account]}\n", 1
    )
    + """\
  partly:
    summary: Write half a line
    run: [/usr/bin/printf, half]
  account:
    summary: Take a secret
    run: [/bin/sh, -c, "cat >/dev/null; echo set for $0", "{name}"]
    parameters:
      name: {type: word}
      password: {type: secret, pass: stdin}
"""
)
#: Without the extra: as where it is not installed.
_PLAIN: Final = (
    "import sys; sys.modules['prompt_toolkit'] = None; from rexecd.cli.rexec import main; sys.exit(main())"
)
Visit = Callable[..., Screen]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon with a few commands for a person."""
    made = Daemon(tmp_path_factory.mktemp("screen"), policy=_POLICY).start()
    yield made
    made.stop()


@pytest.fixture(params=["plain", "tui"])
def edition(request: pytest.FixtureRequest) -> str:
    """Return which prompt is used."""
    return str(request.param)


@pytest.fixture
def visit(daemon: Daemon, edition: str, tmp_path: Path) -> Iterator[Visit]:
    """Open sessions of one person in terminals."""
    with ExitStack() as stack:

        def begin(*options: str, of: Daemon = daemon, **variables: str) -> Screen:
            line = of.rexec_line(*options, "HOST")
            if edition == "plain":
                line[line.index("-m") : line.index("-m") + 2] = ["-c", _PLAIN]
            home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "screen"}
            return stack.enter_context(Screen(line, environment={**home, **variables}))

        yield begin


def history(home: Path) -> Path:
    """Return where the lines of sessions are kept."""
    return home / ".local/state/rexec/history"


def test_a_visit(visit: Visit) -> None:
    """Banner, menu, completion of a name, a choice and a parameter, an ending, and the way out."""
    screen = visit()
    shown = screen.expect_last("->>")
    assert shown == (
        "Welcome to the test house.\n"
        "You may run:\n"
        "  account <name> <password>  Take a secret\n"
        "  both                       Write to both streams and exit with 3\n"
        "  echo <word>                Print one word\n"
        "  many <color> <count> <name> <tag> [place] [note=none] [--loud]\n"
        "                             Every type of parameter of this version\n"
        "  partly                     Write half a line\n"
        "  sleep                      Sleep for long\n"
        "'help NAME' shows one command, 'exit' leaves.\n"
        "->>"
    )

    screen.type("he")
    screen.press("Tab")
    screen.type("ma")
    screen.press("Tab", "Enter")
    screen.expect("usage: many <color>")

    screen.type("ma")
    screen.press("Tab")
    screen.expect("->> many")
    screen.type("gr")
    screen.press("Tab")
    screen.expect("->> many green")
    screen.type("--cou")
    screen.press("Tab")
    screen.expect("->> many green --count=")
    screen.enter("7 ann v1.2")
    screen.expect('"--count=7"')

    screen.expect_last("->>")  # before there is a prompt, nobody hears the key
    screen.press("C-d")
    screen.expect("ended with 0")


def test_a_choice_is_completed_behind_its_parameters_name(visit: Visit) -> None:
    """Both ways to write it."""
    screen = visit()
    screen.expect_last("->>")
    for line in ("many --color=gr", "many --color gr"):
        screen.type(line)
        screen.press("Tab")
        screen.expect(f"->> {line}een")
        screen.interrupt()
    screen.enter("exit")

    screen.expect("ended with 0")


@pytest.mark.parametrize("edition", ["tui"], indirect=True)
def test_a_menu_opens_while_one_types(visit: Visit) -> None:
    """Enter takes what is selected there, and sends nothing before it is pressed again."""
    screen = visit()
    screen.expect_last("->>")
    screen.type("slee")
    screen.expect("Sleep for long", times=2)
    screen.press("C-u")
    screen.type("many ")
    screen.expect("green")
    screen.press("Down", "Enter")
    screen.expect("->> many red")
    screen.enter("9 ann v1")
    screen.expect('"--count=9"')


def test_endings_are_told(visit: Visit, edition: str) -> None:
    """A note for what did not succeed; the extra also shows how long it took."""
    screen = visit()
    screen.expect_last("->>")
    screen.enter("both")
    shown = screen.expect("[exit status 3]\n->>")
    if edition == "tui":
        screen.expect("exit status 3, ")
    assert "\nout\n" in shown
    assert "\nerr\n" in shown

    screen.enter("echo fine")
    screen.expect("\nfine\n->>")
    assert ("  ok, " in screen.read()) == (edition == "tui")


def test_a_prompt_begins_a_line(visit: Visit) -> None:
    """Also behind a command that left its last one open."""
    screen = visit()
    screen.expect_last("->>")
    screen.enter("partly")

    screen.expect("\nhalf\n->>")


def test_pipes_and_redirections_are_told_that_there_is_no_shell(visit: Visit, daemon: Daemon) -> None:
    """Nothing is sent; in quotes they are text."""
    screen = visit()
    screen.expect_last("->>")
    screen.enter("echo piped | less")
    screen.expect("\nrexec: error: no shell here, nothing was sent; quote | to pass it on as it is\n->>")
    screen.enter("echo '>piped'")
    screen.expect("\n>piped\n->>")
    screen.enter("help")
    screen.expect("'help NAME' shows one command", times=2)

    assert [] == [
        found
        for found in daemon.records("command-allowed")
        if "piped |" in str(found["process"].get("command_line"))
    ]


def has_more(daemon: Daemon, started: int) -> bool:
    """Return whether more commands were started than these."""
    return len(daemon.records("command-started")) > started


def test_ctrl_c_ends_the_command_and_the_line_and_not_the_session(visit: Visit, daemon: Daemon) -> None:
    """Twice, and the session goes on."""
    screen = visit()
    screen.expect_last("->>")
    for number in (1, 2):
        started = len(daemon.records("command-started"))
        screen.enter("sleep")
        wait_for(functools.partial(has_more, daemon, started))
        screen.press("C-c")
        screen.expect("[signal INT]", times=number)
        screen.expect("[signal INT]\n->>", times=number)
        screen.type("half a line")
        screen.expect("half a line", times=number)
        screen.interrupt()
    screen.enter("echo alive")
    screen.expect("\nalive\n->>")


def test_lines_are_kept_for_the_next_session_and_secrets_are_not(visit: Visit, tmp_path: Path) -> None:
    """In a file for its owner alone, in a directory likewise."""
    token = make_token()
    screen = visit()
    screen.expect_last("->>")
    for line in (
        "echo one",
        "echo one",
        f"echo {token}",
        " echo behind-a-blank",
        "account ann hunter2",
        "account --password=hunter2 ann",
        "nosuch --password hunter2",
        "echo two",
    ):
        screen.enter(line)
        screen.expect(line.split()[1].partition("=")[0])
    screen.expect("\ntwo\n->>")
    screen.press("Up", "Up", "Up")
    screen.expect("->> account --password=hunter2 ann", times=2)  # for this session only
    screen.interrupt()
    screen.enter("exit")
    screen.expect("ended with 0")

    assert "echo one\necho two\n" == history(tmp_path).read_text()
    assert 0o600 == stat.S_IMODE(history(tmp_path).stat().st_mode)
    assert 0o700 == stat.S_IMODE(history(tmp_path).parent.stat().st_mode)

    screen = visit()
    screen.expect_last("->>")
    screen.press("Up", "Up")
    screen.expect("->> echo one")
    screen.press("Enter")
    screen.expect("\none\n->>")


def test_no_history_is_kept_where_that_is_said(visit: Visit, tmp_path: Path) -> None:
    """By a key of the configuration."""
    screen = visit("-oHistory=no")
    screen.expect_last("->>")
    screen.enter("echo one")
    screen.expect("\none\n->>")
    screen.press("Up")
    screen.expect("->> echo one", times=2)

    assert not history(tmp_path).exists()


def test_quiet_sessions_have_no_banner_and_no_menu(visit: Visit) -> None:
    """Only the prompt, and completion all the same."""
    screen = visit("-q")
    assert "->>" == screen.expect_last("->>")

    screen.type("ec")
    screen.press("Tab")
    screen.expect("->> echo")


def listen_again(daemon: Daemon) -> None:
    """Start a daemon on the port that it had."""
    settings = daemon.made.config.read_text()
    daemon.made.config.write_text(settings.replace('"127.0.0.1:0"', f'"127.0.0.1:{daemon.port}"'))
    daemon.start()


def lose(daemon: Daemon) -> None:
    """Kill both processes; first the one that could still say something."""
    for pid in (daemon.gateway_pid, daemon.monitor_pid):
        os.kill(pid, signal.SIGKILL)
    daemon.wait()


def test_a_lost_connection_is_said_and_made_again(visit: Visit, own_daemon: Daemon) -> None:
    """Nothing is repeated; a line that was not sent comes back on arrow-up."""
    daemon = own_daemon.start()
    screen = visit(of=daemon)
    screen.expect_last("->>")
    screen.enter("sleep")
    daemon.wait_for_record("command-started")
    lose(daemon)
    shown = screen.expect_last("Connect again? (yes/no)")
    assert "the connection was lost; the server ends a running command" in shown
    assert "[whether it was done is not known here; it is not sent again]" in shown

    screen.enter("yes")
    screen.expect("connection refused")
    screen.expect("Connect again? (yes/no)", times=2)
    listen_again(daemon)
    screen.enter("yes")
    shown = screen.expect("Welcome to the test house.", times=2)
    screen.expect_last("->>")
    assert 1 == shown.count("You may run:")
    assert 1 == len(daemon.records("command-started"))

    screen.enter("echo alive")
    screen.expect("\nalive\n->>")
    lose(daemon)
    screen.enter("echo unsent")
    screen.expect("[the line was not sent; arrow-up brings it back]")
    daemon.start()
    screen.enter("yes")
    screen.expect("Welcome to the test house.", times=3)
    screen.expect_last("->>")
    screen.press("Up")
    screen.expect("->> echo unsent", times=2)
    screen.press("Enter")
    screen.expect("\nunsent\n->>")


@pytest.mark.parametrize("answer", ["no", "C-d"])
def test_who_does_not_want_another_connection_leaves_with_the_status(
    visit: Visit, own_daemon: Daemon, answer: str
) -> None:
    """Of what ended the session."""
    daemon = own_daemon.start()
    screen = visit(of=daemon)
    screen.expect_last("->>")
    lose(daemon)
    screen.enter("help")
    screen.expect_last("Connect again? (yes/no)")
    screen.press(*([answer] if answer == "C-d" else [answer, "Enter"]))

    screen.expect("\nended with 255")


def test_a_signal_ends_a_waiting_session(visit: Visit) -> None:
    """With its status, and the terminal as it was."""
    screen = visit()
    screen.expect_last("->>")
    screen.kill_program("TERM")
    screen.expect("ended with 143")
    screen.enter("typed behind it")

    screen.expect("typed behind it", times=2)  # by the terminal, and by cat


@pytest.mark.parametrize(("variables", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_can_be_declined(
    visit: Visit, edition: str, variables: dict[str, str], is_coloured: bool
) -> None:
    """By the usual variable; the plain prompt has none."""
    screen = visit(**variables)
    screen.expect_last("->>")
    screen.enter("both")
    screen.expect("[exit status 3]\n->>")
    if edition == "tui":
        screen.expect("exit status 3, ")

    assert (edition == "tui" and is_coloured) == ("\x1b[31m" in screen.bytes_shown())


def test_a_hostile_server_does_not_steer_the_terminal(edition: str, tmp_path: Path) -> None:
    """Its banner, menu, completion, help and refusals stand there escaped."""
    authority = Authority(tmp_path)
    with FakeServer(authority.issue(), welcoming(attack, f"{EVIL}\nbanner")) as server:
        program = ["-c", _PLAIN] if edition == "plain" else ["-m", "rexecd.cli.rexec"]
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "screen"}
        environment |= {"LANG": "C.UTF-8", "REXEC_TOKEN": make_token(), "REXEC_CA": authority.path}
        with Screen([sys.executable, "-I", *program, server.address], environment=environment) as screen:
            screen.expect_last("->>")
            screen.type("attack ")
            screen.press("Tab", "Tab")
            screen.expect("good")
            screen.interrupt()
            screen.enter("help attack")
            screen.expect("usage: ")
            screen.enter("attack")
            screen.expect("\\x0aforged")
            screen.enter("exit")
            shown = screen.expect("ended with 0")
            title = screen.title()

    assert "owned" != title
    assert shown.startswith("\\x1b]0;owned\\x07\\x9b2J\\u202e\nbanner\nYou may run:\n")
    assert "\u202e" not in shown


def test_a_terminal_that_can_do_nothing_gets_the_plain_prompt(daemon: Daemon, tmp_path: Path) -> None:
    """Also where the extra is installed."""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "dumb"}
    with Screen(daemon.rexec_line("HOST"), environment=environment) as screen:
        screen.expect_last("->>")
        screen.enter("both")
        shown = screen.expect("[exit status 3]\n->>")

    assert "exit status 3, " not in shown


def test_a_broken_extra_is_no_reason_not_to_work(daemon: Daemon, tmp_path: Path) -> None:
    """The plain prompt takes its place in silence; -v says why."""
    broken = _PLAIN.replace("= None", "= type(sys)('prompt_toolkit')")
    line = daemon.rexec_line("-v", "HOST")
    line[line.index("-m") : line.index("-m") + 2] = ["-c", broken]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "screen"}
    with Screen(line, environment=environment) as screen:
        screen.expect_last("->>")
        shown = screen.read()

    assert "rexec: the prompt is the plain one: " in shown
