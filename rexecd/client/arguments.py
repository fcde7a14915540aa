"""What stands on `rexec`'s command line: options, HOST, and everything behind it untouched.

The line is cut at HOST before argparse sees it: what follows belongs to the remote side, options
included, and argparse's own REMAINDER differs between Python versions in what it does with `--`.
"""

import argparse
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Never

from rexecd import __version__
from rexecd.client.address import parse_place
from rexecd.client.errors import UsageError
from rexecd.client.keywords import QUIET, VERBOSE, Keyword, parse_port, parse_seconds, parse_timeout
from rexecd.client.session import CONNECT_TIMEOUT, check_reason
from rexecd.client.values import ValueFile, parse_value_file

_USAGE: Final = (
    "rexec [--token-file FILE] [--ca FILE | --pin sha256:HEX] [--cert FILE [--key FILE]] [OPTIONS] "
    "HOST[:PORT] [COMMAND [ARG...]]"
)
_EPILOG: Final = (
    "'rexec login HOST' sets a host up once. "
    "Without COMMAND: an interactive session. One word alone is the whole line, several are quoted; "
    "there is no shell on the other side. Exit status: the command's own; 124 deadline, 125 try later, "
    "126 refused, 127 not started, 128+N signal N, 255 anything that is rexec's own. This is not the "
    "BSD rexec."
)

_HELP: Final = "--help"
#: In place of HOST, with one word behind it. A host of that name is `login:7512`.
LOGIN: Final = "login"


class Options(NamedTuple):
    """The command line, understood."""

    token: str | None
    token_file: str | None
    ca: str | None
    pin: str | None
    #: Where keys that somebody said yes to are; None for the usual place.
    known_hosts: str | None
    #: Nobody is to be asked anything.
    is_batch: bool
    cert: str | None
    key: str | None
    is_list: bool
    is_json: bool
    #: Why the commands are run; empty for no reason.
    reason: str
    value_files: tuple[ValueFile, ...]
    #: None for what the configuration says, here and below.
    connect_timeout: float | None
    host: str
    #: Empty for an interactive session.
    command: tuple[str, ...]
    #: Most seconds each command may run; None for as long as its rule says.
    timeout: float | None = None
    port: int | None = None
    #: `inet` or `inet6`.
    family: str | None = None
    #: `quiet` or `verbose`.
    level: str | None = None
    #: Commands get no input.
    is_null_input: bool = False
    #: The one file to read, or `none`; None for the usual ones.
    config: str | None = None
    #: What each -o says, in order.
    settings: tuple[tuple[Keyword, Any], ...] = ()
    #: Show what would be used, and do nothing.
    is_show: bool = False
    #: `login HOST`: set a server up.
    is_login: bool = False
    #: What --help or --version answers; then nothing else is done.
    answer: str = ""

    @property
    def help_for(self) -> str | None:
        """Return NAME where the command is exactly `NAME --help`, as two words or as one line."""
        name, *rest = _words(self.command) or ("",)
        return name if rest == [_HELP] else None


def _words(command: tuple[str, ...]) -> Sequence[str]:
    """Return the words of a command; one word alone is a line."""
    if len(command) != 1 or not command[0].rstrip().endswith(_HELP):
        return command
    try:
        return shlex.split(command[0])
    except ValueError:  # an open quote: the server says so
        return command


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises instead of ending the program with 2."""

    def error(self, message: str) -> Never:
        """Raise UsageError."""
        raise UsageError(message, hint="'rexec --help' shows the options")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before HOST."""
    parser = _Parser(prog="rexec", usage=_USAGE, epilog=_EPILOG, allow_abbrev=False, add_help=False)
    add = parser.add_argument
    add("-h", "--help", action="store_true", dest="is_help", help="show this help and exit")
    add("-V", "--version", action="store_true", dest="is_version", help="show the version and exit")
    add(
        "--token", metavar="TOKEN", help="the token; it shows for a moment, and in the history: prefer a file"
    )
    add("--token-file", metavar="FILE", help="file with the token; '-' is the first line of standard input")
    _add_letters(add)
    add("--ca", metavar="FILE", help="trust a server whose certificate this authority issued")
    add("--pin", metavar="sha256:HEX", help="trust a server with this public key")
    add("--known-hosts", metavar="FILE", help="keys of servers you said yes to; without --ca and --pin")
    add("--batch", action="store_true", dest="is_batch", help="never ask whether to trust a server")
    add("--cert", metavar="FILE", help="your certificate, for a server that wants one")
    add("--key", metavar="FILE", help="its private key, where that is in another file")
    add("--list", action="store_true", dest="is_list", help="show what you may run on HOST")
    add("--json", action="store_true", dest="is_json", help="print one JSON value when all is over")
    add("--reason", metavar="TEXT", type=_reason, help="why you run it, for the audit trail")
    add(
        "--timeout",
        metavar="DURATION",
        type=_reading(parse_timeout),
        help="end the command after 30s, 5m, ... at the latest",
    )
    add(
        "--value-file",
        metavar="NAME=FILE",
        action="append",
        default=[],
        type=_value_file,
        dest="value_files",
        help="give parameter NAME what FILE holds; may be repeated",
    )
    add(
        "--connect-timeout",
        metavar="S",
        type=_reading(parse_seconds),
        help=f"seconds until the server must have answered ({CONNECT_TIMEOUT:g})",
    )
    return parser


def _add_letters(add: Callable[..., argparse.Action]) -> None:
    """Add the options that are called as in ssh(1)."""
    add("-p", metavar="PORT", type=_reading(parse_port), dest="port", help="the port, where HOST has none")
    add("-n", action="store_true", dest="is_null_input", help="give commands /dev/null as their input")
    add("-q", action="store_const", const=QUIET, dest="level", help="say nothing but errors")
    add("-v", action="store_const", const=VERBOSE, dest="level", help="say what is tried, on standard error")
    add("-4", action="store_const", const="inet", dest="family", help="IPv4 only")
    add("-6", action="store_const", const="inet6", dest="family", help="IPv6 only")
    add(
        "-o",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_setting,
        dest="settings",
        help="as in a configuration file (rexec.conf(5)); may be repeated",
    )
    add("-F", metavar="FILE", dest="config", help="the one configuration file to read; 'none' for none")
    add("-G", action="store_true", dest="is_show", help="show what would be used for HOST, and from where")


def parse_arguments(argv: Sequence[str]) -> Options:
    """Return what `argv` (without the program's name) asks for; raise UsageError."""
    parser = make_parser()
    at = _find_host(parser, argv)
    known = vars(parser.parse_args([word for word in argv[:at] if word != "--"]))
    is_help, is_version = known.pop("is_help"), known.pop("is_version")
    known["reason"] = known["reason"] or ""
    known["value_files"] = tuple(known["value_files"])
    known["settings"] = tuple(known["settings"])
    if is_help or is_version:
        answer = parser.format_help() if is_help else f"rexec {__version__}\n"
        return Options(**known, host="", command=(), answer=answer)
    if at == len(argv):
        parser.error("HOST is missing")
    command = tuple(argv[at + 1 :])
    if argv[at] == LOGIN and len(command) == 1 and not command[0].startswith("-"):
        options = Options(**known, host=command[0], command=(), is_login=True)
        if options.is_list or options.is_json or options.reason or options.timeout or options.is_show:
            parser.error("login takes options of the connection only: whom to trust, certificate, token")
        _check(parser, options)
        return options
    options = Options(**known, host=argv[at], command=command[1:] if command[:1] == ("--",) else command)
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: Options) -> None:
    """Raise UsageError for options that do not go together."""
    if options.known_hosts is not None and (options.ca is not None or options.pin is not None):
        parser.error("--known-hosts is for servers without --ca and --pin")
    if options.key is not None and options.cert is None:
        parser.error("--key needs --cert")
    if options.is_list and options.command:
        parser.error("--list takes no command")
    if options.is_json and not options.is_list and not options.command:
        parser.error("--json needs a command or --list")
    if options.value_files and (options.help_for is not None or not options.command):
        parser.error("--value-file needs a command")
    if options.timeout is not None and (options.is_list or options.help_for is not None):
        parser.error("--timeout is for commands; what waits for the server is --connect-timeout")
    if options.port is not None and parse_place(options.host)[1] is not None:
        parser.error("-p: HOST has a port already")
    if options.is_show and (options.command or options.is_list):
        parser.error("-G takes no command: it connects to nobody")


def _find_host(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Return where HOST stands: the first word that is no option and no option's value."""
    takes_value = _options_with_value(parser)
    at = 0
    while at < len(argv):
        if argv[at] == "--":
            return at + 1
        if not argv[at].startswith("-"):
            return at
        at += 2 if argv[at] in takes_value or _ends_open(argv[at], takes_value) else 1
    return len(argv)


def _ends_open(word: str, takes_value: set[str]) -> bool:
    """Return whether letters that stand together (`-np`) end with one whose value is the next word."""
    if word.startswith("--"):
        return False
    first = next((at for at, letter in enumerate(word) if f"-{letter}" in takes_value), -1)
    return 0 < first == len(word) - 1


def _options_with_value(parser: argparse.ArgumentParser) -> set[str]:
    actions: list[Any] = parser._actions  # noqa: SLF001 - stable for fifteen years, and the one list of options
    return {name for action in actions if action.nargs is None for name in action.option_strings}


def _reading(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return what argparse can call, and repeats the complaint of."""

    def called(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return called


def _setting(text: str) -> tuple[Keyword, Any]:
    from rexecd.client.configfile import parse_option  # noqa: PLC0415 - not for who has no file and no -o

    return parse_option(text)


def _reason(text: str) -> str:
    check_reason(text)
    return text


def _value_file(text: str) -> ValueFile:
    try:
        file = parse_value_file(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if file.path == "-":
        what = f"standard input is written {file.name}=/dev/stdin, a file of that name {file.name}=./-"
        raise argparse.ArgumentTypeError(f"{text!r}: {what}")
    return file
