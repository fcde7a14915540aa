"""What stands on `rexec`'s command line, and its manual."""

import re
from pathlib import Path

import pytest

from rexecd.client.arguments import Options, parse_arguments
from rexecd.client.errors import UsageError
from rexecd.client.options import OPTIONS
from rexecd.client.usage import make_usage, spelled
from rexecd.client.values import ValueFile

MANUAL = Path(__file__).parents[3] / "docs" / "man" / "rexec.1.md"

DEFAULTS = Options("web1")


@pytest.mark.parametrize(
    ("line", "expected"),
    {
        "web1": DEFAULTS,
        "--token T web1": DEFAULTS._replace(token="T"),
        "--token=T --ca ca.pem --pin P web1": DEFAULTS._replace(token="T", ca="ca.pem", pin="P"),
        "--known-hosts F --batch web1": DEFAULTS._replace(known_hosts="F", is_batch=True),
        "--cert C --key K web1": DEFAULTS._replace(cert="C", key="K"),
        "--token-file - web1": DEFAULTS._replace(token_file="-"),
        "--list web1": DEFAULTS._replace(is_list=True),
        "--list --json web1": DEFAULTS._replace(is_list=True, is_json=True),
        "--json web1 disk": DEFAULTS._replace(is_json=True, command=("disk",)),
        "--connect-timeout 0.5 web1": DEFAULTS._replace(connect_timeout=0.5),
        "--reason upgrade web1": DEFAULTS._replace(reason="upgrade"),
        "--value-file a=b --value-file c=/d=e web1 x": DEFAULTS._replace(
            value_files=(ValueFile("a", "b"), ValueFile("c", "/d=e")), command=("x",)
        ),
        "--json=lines web1 x": DEFAULTS._replace(is_json=True, is_lines=True, command=("x",)),
        "-np 7513 web1": DEFAULTS._replace(is_null_input=True, port=7513),
        "-vp7513 web1": DEFAULTS._replace(level="verbose", port=7513),
        "--quiet --retry 3 web1": DEFAULTS._replace(level="quiet", retry=3),
        "-46 web1": DEFAULTS._replace(family="inet6"),
        "--reason -x web1": DEFAULTS._replace(reason="-x"),
        "--token -- web1": DEFAULTS._replace(token="--"),
        "--ca= web1": DEFAULTS._replace(ca=""),
        "-- web1": DEFAULTS,
        "--token T -- web1 x": DEFAULTS._replace(token="T", command=("x",)),
        "web1 disk --token X --list -V": DEFAULTS._replace(command=("disk", "--token", "X", "--list", "-V")),
        "web1 -- disk -- x": DEFAULTS._replace(command=("disk", "--", "x")),
        "web1 --help": DEFAULTS._replace(command=("--help",)),
        "--token web1 web1": DEFAULTS._replace(token="web1"),
        "login web1": DEFAULTS._replace(is_login=True),
        "--pin P login web1": DEFAULTS._replace(is_login=True, pin="P"),
        "login": DEFAULTS._replace(host="login"),
        "login disk /srv": DEFAULTS._replace(host="login", command=("disk", "/srv")),
        "login -- disk": DEFAULTS._replace(host="login", command=("disk",)),
        "login --help": DEFAULTS._replace(host="login", command=("--help",)),
        "login:7512 disk": DEFAULTS._replace(host="login:7512", command=("disk",)),
    }.items(),
)
def test_a_command_line_is_understood(line: str, expected: Options) -> None:
    """Everything behind HOST belongs to the other side."""
    assert expected == parse_arguments(line.split())


@pytest.mark.parametrize(
    ("line", "said"),
    {
        "": "HOST is missing",
        "--list": "HOST is missing",
        "--": "HOST is missing",
        "--token": "--token needs a value: --token TOKEN",
        "-p": "-p needs a value: -p PORT",
        "--tok T web1": "unknown option --tok",
        "--tok=T web1": "unknown option --tok$",
        "-x web1": "unknown option -x",
        "-nx web1": "unknown option -nx",
        "-token T web1": "unknown option -token",
        "- web1": "'-' is no option",
        "--list=all web1": "--list takes no value$",
        "--json=line web1 x": "--json takes no value but lines",
        "--json= web1 x": "--json takes no value but lines",
        "--retry 1001 web1 x": "--retry: '1001' is not a number from 0 to 1000",
        "--retry -1 web1 x": "--retry: '-1' is not a number from 0 to 1000",
        "--list login web1": "login takes options of the connection only",
        "--timeout 1s login web1": "login takes options of the connection only",
        "-p 1 login web1:2": "-p: HOST has a port already",
        "--list web1 disk": "--list takes no command",
        "--known-hosts F --ca ca.pem web1": "--known-hosts is for servers without --ca and --pin",
        "--known-hosts F --pin P web1": "--known-hosts is for servers without --ca and --pin",
        "--key K web1": "--key needs --cert",
        "--json web1": "--json needs a command or --list",
        "--reason= web1": "the reason is empty",
        "--reason web1": "HOST is missing",
        "--value-file x=y web1": "--value-file needs a command",
        "--value-file x=y web1 disk --help": "--value-file needs a command",
        "--value-file x=y --list web1": "--value-file needs a command",
        "--value-file x web1 disk": "'x' is not NAME=FILE",
        "--value-file x= web1 disk": "'x=' is not NAME=FILE",
        "--value-file =x web1 disk": "'=x' is not NAME=FILE",
        "--value-file x-y=z web1 disk": "'x-y=z' is not NAME=FILE",
        "--value-file \u00e4=z web1 disk": "is not NAME=FILE",
        "--connect-timeout 0 web1": "'0' is not a number of seconds above 0",
        "--connect-timeout nan web1": "'nan' is not",
        "--connect-timeout inf web1": "'inf' is not",
        "--connect-timeout soon web1": "'soon' is not",
        "--connect-timeout 1_0 web1": "'1_0' is not",
        "--connect-timeout \u0661 web1": "'\u0661' is not",
        f"--connect-timeout {5000 * '9'} web1": "is not a number of seconds above 0$",
        f"--timeout {5000 * '9'}s web1 x": "is not a duration",
        f"--retry {5000 * '9'} web1 x": "is not a number from 0 to 1000$",
        f"-p {5000 * '9'} web1": "is not a port, a number from 1 to 65535$",
        "-p \u0661 web1": "'\u0661' is not a port",
    }.items(),
)
def test_a_mistake_is_one_error_with_a_hint(line: str, said: str) -> None:
    """Usage errors end with 255, as all of rexec's own."""
    with pytest.raises(UsageError, match=said) as caught:
        parse_arguments(line.split())

    assert caught.value.exit_status == 255
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("line", "start"),
    {"--help": "usage: rexec ", "-h": "usage: rexec ", "-V": "rexec ", "--version web1": "rexec "}.items(),
)
def test_help_and_version_need_no_host(line: str, start: str) -> None:
    """They are answered, and nothing else is done."""
    assert parse_arguments(line.split()).answer.startswith(start)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["disk", "--help"], "disk"),
        (["disk"], None),
        ([], None),
        (["disk --help"], "disk"),
        (["'disk' --help "], "disk"),
        (["disk x --help"], None),
        (["disk '--help"], None),
        (["--help"], None),
        (["disk", "x", "--help"], None),
    ],
)
def test_help_for_a_command_is_exactly_its_name_and_help(words: list[str], expected: str | None) -> None:
    """Everything else is the command's own."""
    assert expected == parse_arguments(["web1", *words]).help_for


def test_a_dash_is_no_file_of_a_value() -> None:
    """Whoever means standard input is told how to write it."""
    with pytest.raises(UsageError, match=re.escape("'p=-': standard input is written p=/dev/stdin")):
        parse_arguments(["--value-file", "p=-", "web1", "disk"])


def test_the_manual_names_every_option() -> None:
    """An option nobody can read about does not exist."""
    manual = MANUAL.read_text()
    names = [name for option in OPTIONS for name in option.names]

    assert [] == [name for name in names if f"**{name}**" not in manual]


def test_the_manual_and_the_help_have_the_same_options() -> None:
    """Each with its value, by one table; and the manual knows none that there is not."""
    manual = MANUAL.read_text()
    headings = [
        line.replace("\\", "").replace("*", "")
        for line in manual.partition("\n# OPTIONS\n")[2].partition("\n# ")[0].splitlines()
        if line.startswith("**-")
    ]
    merged = {"-4, -6"}

    assert {spelled(option) for option in OPTIONS} - {"-4", "-6"} | merged == set(headings)
    assert [] == [spelled(option) for option in OPTIONS if f"\n  {spelled(option)}" not in make_usage()]


def test_the_help_fits_a_terminal() -> None:
    """Eighty columns."""
    assert [] == [line for line in make_usage().splitlines()[3:] if len(line) > 79]


@pytest.mark.parametrize(
    "section",
    [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "LOGIN",
        "INTERACTIVE SESSION",
        "TOKEN",
        "TRUST",
        "EXIT STATUS",
        "ENVIRONMENT",
        "JSON",
        "EXAMPLES",
        "NOT THE BSD REXEC",
        "SEE ALSO",
    ],
)
def test_the_manual_is_complete(section: str) -> None:
    """Every section a reader looks for."""
    assert f"\n# {section}\n" in f"\n{MANUAL.read_text()}"


def test_the_manual_names_every_variable() -> None:
    """As the program reads them."""
    manual = MANUAL.read_text()

    assert [] == [
        name
        for name in ("REXEC_TOKEN", "REXEC_TOKEN_FILE", "CREDENTIALS_DIRECTORY", "REXEC_CA", "REXEC_PIN")
        if f"**{name}**" not in manual
    ]
