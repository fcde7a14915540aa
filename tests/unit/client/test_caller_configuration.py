"""The caller's configuration: what a file says, which value holds, and what is shown of it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.client import configuration
from rexecd.client.address import Address, parse_address
from rexecd.client.arguments import parse_arguments
from rexecd.client.configfile import load, matches, parse, parse_option
from rexecd.client.configuration import Configuration, settle
from rexecd.client.credentials import Source, check_token, take_token
from rexecd.client.errors import UsageError
from rexecd.client.keywords import KEYWORDS, escape, expand, find_keyword, make_marks
from rexecd.client.shown import show
from rexecd.client.words import LineError, join, split
from tests.unit.client.fake_server import TOKEN

ROOT = Path(__file__).parents[3]
PIN = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home where nothing is configured, on a machine where nothing is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(configuration, "SYSTEM_FILE", str(tmp_path / "system"))
    return tmp_path


def write(path: Path, text: str, mode: int = 0o600) -> str:
    """Write a file, and the directory it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def using(*words: str, **environ: str) -> Configuration:
    """Return what is in effect for a command line."""
    return settle(parse_arguments(words), environ)


def values(text: str, host: str) -> list[tuple[str, object]]:
    """Return what a file says of a host."""
    return [(found.keyword.name, found.value) for found in parse(text, host, "FILE")]


@pytest.mark.parametrize(
    ("line", "expected"),
    {
        "": [],
        " \t# a remark": [],
        "Port 7": [("Port", 7)],
        "  port=7  ": [("Port", 7)],
        "PORT = 7 # why": [("Port", 7)],
        "Port\t7\r": [("Port", 7)],
        'CA "/my ca"': [("CA", "/my ca")],
        "CA '/my \"ca'": [("CA", '/my "ca')],
        'CA "/my \\"c\\\\a"': [("CA", '/my "c\\a')],
        "CA /my\\ ca": [("CA", "/my ca")],
        "CA /a=b#c": [("CA", "/a=b#c")],
        "token_command pass show 'a b' x": [("TokenCommand", ("pass", "show", "a b", "x"))],
        "Token-Command=pass": [("TokenCommand", ("pass",))],
        "BatchMode YES": [("BatchMode", True)],
        "LogLevel VERBOSE": [("LogLevel", "verbose")],
        "ConnectTimeout 500ms": [("ConnectTimeout", 0.5)],
        "Timeout 5m": [("Timeout", 300.0)],
    }.items(),
)
def test_a_line_is_understood(line: str, expected: list[tuple[str, object]]) -> None:
    """Key, value, quotes and remarks, as people know them from ssh."""
    assert expected == values(line, "web1")


@pytest.mark.parametrize(
    ("line", "column", "said"),
    [
        ("Prot 7", 1, "unknown key 'Prot'"),
        ("  Token rxt_x", 3, "the token itself cannot stand in a configuration"),
        ("IdentityFile /x", 1, "unknown key 'IdentityFile'"),
        ("Port", 1, "Port without a value"),
        ("Port 7 8", 8, "Port takes one value"),
        ("Port 0", 6, "'0' is not a port, a number from 1 to 65535"),
        ("Port 1\u0661", 6, "'1\u0661' is not a port"),
        ("Port =", 1, "Port without a value"),
        ("= 7", 1, "not a line 'KEY VALUE'"),
        ('CA"x"', 1, "not a line 'KEY VALUE'"),
        ('CA "/x', 4, 'the quote " is not closed'),
        ("CA ca.pem", 4, "'ca.pem' is relative"),
        ("CA ~ann/ca.pem", 4, "'~ann/ca.pem' is relative"),
        ("TokenFile -", 11, "'-' is relative"),
        ('CA ""', 4, "the value is empty"),
        ("CA /%x", 4, "'%x' is none of"),
        ("CA /%", 4, "'%' is none of"),
        ("Pin sha1:00", 5, "pin 'sha1:00': not"),
        ("HostName web1:7", 10, "host 'web1:7': the port stands apart"),
        ("HostName -x", 10, "not a host name"),
        ("BatchMode maybe", 11, "'maybe' is none of yes, no"),
        ("Timeout 5", 9, "has no unit"),
        ("ConnectTimeout 0", 16, "'0' is not a number of seconds above 0"),
        ("ConnectTimeout 1e300", 16, "is not a number of seconds"),
        ("Host", 1, "Host without a pattern"),
        ("Host a,,b", 6, "'a,,b' holds an empty pattern"),
        ("Host !", 6, "'!' holds an empty pattern"),
        ("Port 7\x1b", 7, "cannot stand here"),
        ("Port\u00a07", 5, "cannot stand here"),
    ],
    ids=repr,
)
def test_a_fault_is_said_with_its_place_and_a_remedy(line: str, column: int, said: str) -> None:
    """Also in a block that is not about this host: it could be the one that was meant."""
    with pytest.raises(UsageError) as caught:
        list(parse(f"Port 1\nHost other\n{line}\n", "web1", "FILE"))

    assert str(caught.value).startswith(f"FILE:3:{column}: ")
    assert said in str(caught.value)
    assert caught.value.hint
    assert "rxt_x" not in f"{caught.value}{caught.value.hint}"


@given(text=st.text(max_size=80) | st.text(alphabet=" \t\n\"'\\#=%!*,CAPinHostPort~/1", max_size=80))
@settings(max_examples=500)
def test_any_text_is_understood_or_a_fault_of_one_line(text: str) -> None:
    """Nothing else is raised, and no message has a second line of its own."""
    try:
        list(parse(text, "web1", "FILE"))
    except UsageError as error:
        assert str(error).startswith("FILE:")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


@given(
    words=st.lists(st.text(st.characters(exclude_characters="\n"), max_size=9), max_size=4),
    start=st.sampled_from(["", "CA "]),
)
@settings(max_examples=300)
def test_words_that_were_joined_are_split_again(words: list[str], start: str) -> None:
    """Whatever is in them, also before a comment."""
    assert words == [word.text for word in split(f"{start}{join(words)}  # x", len(start))]


@given(text=st.text(max_size=20))
def test_what_was_escaped_is_expanded_to_itself(text: str) -> None:
    """A path of the command line may hold a percent sign."""
    assert text == expand(escape(text), make_marks("h", "n", "1"))


@pytest.mark.parametrize(
    ("patterns", "hosts", "others"),
    [
        ("web1", "web1 WEB1", "web web12 xweb1"),
        ("web* db?", "web web1 db1", "db db12 xweb"),
        ("* !old !*.lab", "web1 a.b", "old OLD x.lab"),
        ("!old", "", "old web1"),
        ("*a*b*", "ab xaxbx aab", "ba a b"),
        ("[ab]", "[ab]", "a b"),
    ],
)
def test_patterns_fit_whole_names(patterns: str, hosts: str, others: str) -> None:
    """As in ssh_config: stars, question marks and exceptions, and nothing else."""
    assert [] == [host for host in hosts.split() if not matches(host, patterns.split())]
    assert [] == [host for host in others.split() if matches(host, patterns.split())]


def test_no_pattern_takes_long() -> None:
    """Neither its length nor its stars."""
    assert not matches("a" * 5_000, ["*a" * 500 + "*b"])


def test_the_first_value_found_holds() -> None:
    """What stands before the first Host is for all; blocks add what is missing."""
    text = "Port 1\nHost db web*,!web9\n  Port 2\n  CA /a\nHost *\n CA /b\n Timeout 1s\n"

    assert values(text, "web1") == [("Port", 1), ("Port", 2), ("CA", "/a"), ("CA", "/b"), ("Timeout", 1.0)]
    assert values(text, "web9") == [("Port", 1), ("CA", "/b"), ("Timeout", 1.0)]


def test_places_are_asked_in_their_order(home: Path) -> None:
    """Command line, its -o, user's file, system's file, default; each value says where it is from."""
    write(home / ".config/rexec/config", "Port 3\nAnswerTimeout 3\nConnectTimeout 3\nTimeout 3s\n")
    write(home / "system", "Port 4\nConnectTimeout 4\nTimeout 4s\nLogLevel quiet\nBatchMode no\n")
    found = using("-oConnectTimeout=2", "-o", "Timeout 2s", "--timeout=1s", "-oPort=2", "-oPort=9", "web1")

    user, system = f"user:{home}/.config/rexec/config", f"system:{home}/system"
    assert {
        "Port": (2, "command line"),
        "ConnectTimeout": (2.0, "command line"),
        "Timeout": (1.0, "command line"),
        "AnswerTimeout": (3.0, f"{user}:2"),
        "LogLevel": ("quiet", f"{system}:4"),
        "BatchMode": (False, f"{system}:5"),
    } == {
        name: (setting.value, setting.origin)
        for name, setting in found.settings.items()
        if setting.origin != "default"
    }
    assert (False, "default") == found.settings["StdinNull"][1:3]
    assert (f"{home}/.config/rexec/config", f"{home}/system") == found.files


@pytest.mark.parametrize(
    ("words", "environ", "expected"),
    [
        ("--pin P web1", {"REXEC_CA": "/e"}, (None, "P", None)),
        ("-oCA=/o --pin P web1", {}, ("/o", "P", None)),
        ("web1", {"REXEC_CA": "/e"}, ("/e", None, None)),
        ("web1", {}, (None, PIN, None)),
        ("web2", {}, ("/block", OTHER, None)),
        ("web3", {}, (None, None, "/known")),
        ("db", {}, ("/all", None, None)),
        ("-Fnone web1", {}, (None, None, "HOME/.local/state/rexec/known_hosts")),
    ],
)
def test_whom_to_trust_is_said_by_one_place(
    home: Path, words: str, environ: Mapping[str, str], expected: tuple[str | None, ...]
) -> None:
    """A pin for one host is not weakened, and not made impossible, by an authority for all."""
    text = f"Host web1\nPin {PIN}\nHost web2\nPin {OTHER}\nCA /block\nHost web3\nKnownHostsFile /known\n"
    write(home / ".config/rexec/config", f"{text}Host *\nCA /all\n")
    found = using(*words.split(), **environ)

    assert expected == tuple(
        value and value.replace(str(home), "HOME") for value in (found.ca, found.pin, found.known_hosts)
    )


def test_known_hosts_and_an_authority_in_one_place_are_a_fault(home: Path) -> None:
    """Which of them was meant cannot be known."""
    path = write(home / ".config/rexec/config", "KnownHostsFile /k\nCA /c\n")
    with pytest.raises(UsageError, match=f"user:{path}:1: KnownHostsFile is for servers without"):
        using("web1")


def test_a_key_needs_its_certificate_in_the_same_place(home: Path) -> None:
    """A certificate of another place has another key."""
    write(home / ".config/rexec/config", "Host web1\nKey /k\nHost *\nCert /c\n")
    with pytest.raises(UsageError, match="a key without its certificate"):
        using("web1")
    assert ("/c", None) == (using("db").cert, using("db").key)
    assert ("C", None) == (using("--cert", "C", "web1").cert, using("--cert", "C", "web1").key)


@pytest.mark.parametrize(
    ("words", "environ", "expected"),
    [
        ("--token T -oTokenFile=/o web1", {"REXEC_TOKEN": "E"}, Source(text="T")),
        ("-oTokenCommand=c --token-file F web1", {"REXEC_TOKEN": "E"}, Source(file="F")),
        ("-otoken_command=c web1", {"REXEC_TOKEN": "E"}, Source(command=("c",))),
        ("web1", {"REXEC_TOKEN": "E", "REXEC_TOKEN_FILE": "/e"}, Source(text="E")),
        ("web1", {"REXEC_TOKEN_FILE": "/e%h"}, Source(file="/e%h")),
        ("web1", {}, Source(command=("pass", "show", "web1.example", "web1", "7%"))),
        ("db", {}, Source(file="/all/db:7512")),
        ("-F none db", {}, None),
    ],
)
def test_one_place_says_where_the_token_is(
    home: Path, words: str, environ: Mapping[str, str], expected: Source | None
) -> None:
    """The command line, the environment, the files; in one block the key that stands first."""
    text = "Host web1\nTokenCommand pass show %h %n 7%%\nTokenFile /no\nHostName %h.example\n"
    write(home / ".config/rexec/config", f"{text}Host *\nTokenFile /all/%h:%p\n")

    assert expected == using(*words.split(), **environ).token


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("web1", "web1"),
        ("WEB1:70", "web1:70"),
        ("-p7512 ::1", "::1"),
        ("[::1]:70", "[::1]:70"),
        ("alias", "real"),
    ],
)
def test_a_stored_token_is_the_last_place(home: Path, words: str, name: str) -> None:
    """It belongs to the server that is connected to, whatever it was called."""
    write(home / ".config/rexec/config", "Host alias\nHostName real\n")
    stored = write(home / ".config/rexec/tokens" / name, "T")

    assert Source(file=stored) == using(*words.split()).token
    assert Source(text="E") == using(*words.split(), REXEC_TOKEN="E").token


@pytest.mark.parametrize(
    ("words", "address"),
    {
        "web1": "web1.example:7513",
        "web1:1": "web1.example:1",
        "-p 1 web1": "web1.example:1",
        "-vp 1 web1": "web1.example:1",
        "-np1 -46 web1": "web1.example:1",
        "db": "[2001:db8::1]:7512",
        "other": "other:7512",
        "-o HostName=x -o port=2 other": "x:2",
    }.items(),
)
def test_a_name_stands_for_a_host_and_a_port(home: Path, words: str, address: str) -> None:
    """What was typed comes first."""
    write(
        home / ".config/rexec/config",
        "Host web1\nHostName %h.example\nPort 7513\nHost db\nHostName 2001:db8::1",
    )

    assert address == str(using(*words.split()).address)


@pytest.mark.parametrize(
    ("words", "said"),
    {
        "-p 1 web1:2": "-p: HOST has a port already",
        "-p x web1": "-p: 'x' is not a port",
        "-o Prot=1 web1": "-o 'Prot=1': unknown key 'Prot'",
        "-o Host=x web1": "-o 'Host=x': unknown key 'Host'",
        "-o =7 web1": "not a line",
        "-n --token-file - web1": "-n leaves no standard input",
        "-G web1 disk": "-G takes no command",
        "-G": "HOST is missing",
        "-F /nonexistent web1": "configuration '/nonexistent': No such file",
    }.items(),
)
def test_a_wrong_option_is_a_usage_error(words: str, said: str) -> None:
    """One line, with what to do."""
    with pytest.raises(UsageError) as caught:
        using(*words.split())

    assert said in str(caught.value)


def _make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: write(path, "Port 7", 0o602), "others can write to it (mode 0602)"),
        (lambda path: write(path, "Port 7", 0o620), "others can write to it (mode 0620)"),
        (Path.mkdir, "not a file"),
        (_make_fifo, "not a file"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
        (lambda path: path.symlink_to(path), "Too many levels"),
        (lambda path: write(path, "#" * (1024 * 1024 + 1)), "more than 1048576 bytes"),
        (lambda path: path.write_bytes(b"Port 7\nCA \xff"), ":2:4: not valid UTF-8"),
    ],
)
def test_a_file_that_cannot_be_believed_is_refused(
    home: Path, make: Callable[[Path], object], said: str
) -> None:
    """Nobody is connected to then."""
    path = home / ".config/rexec/config"
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.raises(UsageError) as caught:
        using("web1")

    assert said in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_whose_file_it_is_matters(home: Path) -> None:
    """The user's may be root's too; the system's is root's alone."""
    path = write(home / ".config/rexec/config", "Port 7")
    system = write(home / "system", "TokenCommand x")
    os.chown(path, 12345, -1)
    with pytest.raises(
        UsageError, match="belongs to another user, who could name any server and program there"
    ):
        using("web1")
    os.chown(path, 0, -1)
    os.chown(system, 12345, -1)
    with pytest.raises(UsageError, match="does not belong to root"):
        using("web1")


def test_a_configuration_others_can_read_is_fine(home: Path) -> None:
    """No secret is in it."""
    write(home / ".config/rexec/config", "Port 7", 0o644)

    assert using("web1").address.port == 7


WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9)
VALUES = {
    "HostName": st.from_regex(r"[a-z][a-z0-9.-]{0,9}", fullmatch=True),
    "Port": st.integers(1, 65535).map(str),
    "AddressFamily": st.sampled_from(["any", "inet", "INET6"]),
    "CA": WORDS.map("/{}".format),
    "Pin": st.sampled_from([PIN, OTHER]),
    "Cert": WORDS.map("/ {}".format),
    "TokenFile": WORDS.map("/{}".format),
    "ConnectTimeout": st.floats(0.001, 1e5).map(str),
    "AnswerTimeout": st.sampled_from(["1", "500ms", "0.25", "1d"]),
    "Timeout": st.integers(1, 10**6).map("{}ms".format),
    "BatchMode": st.sampled_from(["yes", "no"]),
    "LogLevel": st.sampled_from(["quiet", "info", "verbose"]),
}


@given(chosen=st.fixed_dictionaries({}, optional=VALUES), words=st.lists(WORDS, min_size=1, max_size=3))
@settings(max_examples=100)
def test_what_is_shown_can_be_read_and_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, chosen: Mapping[str, str], words: list[str]
) -> None:
    """-G of a configuration, used as a configuration, is the same configuration."""
    directory = tmp_path_factory.mktemp("shown")
    lines = [f"{name} {join([escape(value) if '/' in value else value])}\n" for name, value in chosen.items()]
    command = f"TokenCommand {join([escape(word) for word in words])}\n" if "TokenFile" not in chosen else ""
    first = using("-F", write(directory / "first", "".join(lines) + command), "web1")
    second = using("-F", write(directory / "second", show(first)), "web1")

    assert first._replace(settings={}, files=()) == second._replace(settings={}, files=())
    if "TokenFile" not in chosen:
        assert Source(command=tuple(words)) == first.token


def test_no_token_is_shown(home: Path) -> None:
    """Only where it comes from."""
    shown = show(using("web1", REXEC_TOKEN=TOKEN)) + show(using("--token", TOKEN, "web1"))

    assert "rxt_" not in shown
    assert "# the token itself, which is not shown: environment: REXEC_TOKEN\n" in shown
    assert "# the token itself, which is not shown: command line\n" in shown


def test_every_key_is_found_by_its_name() -> None:
    """Also as options and YAML would write it."""
    assert {keyword.name: keyword for keyword in KEYWORDS} == {
        keyword.name: find_keyword(keyword.name.upper()) for keyword in KEYWORDS
    }
    assert find_keyword("token_command") is find_keyword("token-command") is find_keyword("TokenCommand")


def test_the_manual_has_every_key_and_its_example_is_one() -> None:
    """What it shows can be copied."""
    manual = (ROOT / "docs/man/rexec.conf.5.md").read_text()
    example = manual.partition("## EXAMPLES\n\n```\n")[2].partition("```")[0]

    assert [] == [keyword.name for keyword in KEYWORDS if f"\n**{keyword.name}**\n:   " not in manual]
    assert {"HostName", "Pin", "ConnectTimeout"} == {name for name, _ in values(example, "db")}
    assert {"CA", "TokenCommand", "ConnectTimeout"} == {name for name, _ in values(example, "a.example.com")}


def test_an_option_may_be_written_with_a_blank_or_a_sign() -> None:
    """As for ssh."""
    assert parse_option("Port=7") == parse_option("port 7") == (find_keyword("Port"), 7)
    assert parse_option("CA=relative") == (find_keyword("CA"), "relative")


def test_an_open_quote_is_said_with_its_column() -> None:
    """Where it was opened."""
    with pytest.raises(LineError) as caught:
        split("a 'b")

    assert caught.value.column == 3


def test_a_file_is_read_for_one_host(home: Path) -> None:
    """Each value with its line and its block."""
    found = load(write(home / "file", "Port 1\nHost a\nPort 2\n"), "a")

    assert [(1, 1, 0), (2, 3, 2)] == [(each.value, each.line, each.block) for each in found]


@pytest.mark.parametrize(
    ("script", "said"),
    {
        "exit 3": "it failed (exit status 3)",
        "kill -9 $$": "it failed (signal 9)",
        "yes": "it prints more than",
        "trap '' PIPE; while :; do echo x; done 2> /dev/null": "it prints more than",
        "": "not a complete token",
    }.items(),
)
def test_a_program_that_gives_no_token_is_named(script: str, said: str) -> None:
    """And nothing it printed is."""
    with pytest.raises(UsageError) as caught:
        check_token(take_token(Source(command=("/bin/sh", "-c", script)), parse_address("web1")))

    assert said in str(caught.value)


def test_a_program_prints_the_token_and_hears_the_host() -> None:
    """The first line only, as password managers print; no input is taken."""
    script = f"cat; test $REXEC_HOST = web1 && echo {TOKEN} && echo note"

    assert TOKEN == take_token(Source(command=("/bin/sh", "-c", script)), parse_address("web1"))


def test_a_program_may_leave_something_behind_that_holds_its_output(tmp_path: Path) -> None:
    """As an agent that was started with it; only the program itself is waited for."""
    # It ends when this test does: the pipe is opened, and nobody ever writes into it but at the end.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    holder = os.open(pipe, os.O_RDWR)
    try:
        script = f"cat {pipe} & echo {TOKEN}"
        assert TOKEN == take_token(Source(command=("/bin/sh", "-c", script)), Address("web1", 7512))
    finally:
        end = os.open(pipe, os.O_WRONLY)
        os.close(holder)
        os.close(end)


def test_a_program_that_is_not_there_is_said() -> None:
    """With its name."""
    with pytest.raises(UsageError, match="TokenCommand '/nonexistent': No such file"):
        take_token(Source(command=("/nonexistent",)), parse_address("web1"))


def test_a_program_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever."""
    monkeypatch.setattr("rexecd.client.credentials.COMMAND_TIMEOUT", 0.2)
    with pytest.raises(UsageError, match="it did not end within"):
        take_token(Source(command=("/bin/sleep", "300")), parse_address("web1"))
