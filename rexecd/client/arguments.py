"""What stands on `rexec`'s command line: options, HOST, and everything behind it untouched.

What follows HOST belongs to the remote side, options included.
"""

import shlex
from collections.abc import Sequence

from rexecd import __version__
from rexecd.client.address import parse_place
from rexecd.client.keywords import Keyword
from rexecd.client.options import read_options, wrong
from rexecd.typed import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from rexecd.client.values import ValueFile

_HELP: Final = "--help"
#: In place of HOST, with one word behind it. A host of that name is `login:7512`.
LOGIN: Final = "login"


class Options(NamedTuple):
    """The command line, understood; None is for what the configuration says."""

    host: str
    #: Empty for an interactive session.
    command: tuple[str, ...] = ()
    token: str | None = None
    token_file: str | None = None
    ca: str | None = None
    pin: str | None = None
    #: Where keys that somebody said yes to are.
    known_hosts: str | None = None
    cert: str | None = None
    key: str | None = None
    #: Nobody is to be asked anything.
    is_batch: bool = False
    is_list: bool = False
    #: Answer in JSON: one value when all is over, or, with `is_lines`, an object a line.
    is_json: bool = False
    is_lines: bool = False
    #: Why the commands are run; empty for no reason.
    reason: str = ""
    value_files: "tuple[ValueFile, ...]" = ()
    connect_timeout: float | None = None
    #: Most seconds each command may run.
    timeout: float | None = None
    #: How often to try again where nothing can have run twice.
    retry: int | None = None
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


def parse_arguments(argv: Sequence[str]) -> Options:
    """Return what `argv` (without the program's name) asks for; raise UsageError."""
    found, at = read_options(argv)
    if found.pop("is_help", False):
        from rexecd.client.usage import make_usage  # noqa: PLC0415 - only for who asks

        return Options("", answer=make_usage())
    if found.pop("is_version", False):
        return Options("", answer=f"rexec {__version__}\n")
    if "completion" in found:
        from rexecd.client.usage import read_completion  # noqa: PLC0415 - once

        return Options("", answer=read_completion(found["completion"]))
    if at == len(argv):
        raise wrong("HOST is missing")
    host, *command = argv[at:]
    if host == LOGIN and len(command) == 1 and not command[0].startswith("-"):
        found.update(is_login=True)
        host = command.pop()
    if command[:1] == ["--"]:
        command = command[1:]
    options = Options(host, tuple(command), **found)
    _check(options)
    return options


def _check(options: Options) -> None:
    """Raise UsageError for options that do not go together."""
    is_about_commands = options.is_list or options.help_for is not None
    more_than_login = (options.is_list, options.is_json, options.reason, options.timeout, options.is_show)
    complaints = (
        (
            options.is_login and any(more_than_login),
            "login takes options of the connection only: whom to trust, certificate, token",
        ),
        (
            options.known_hosts is not None and (options.ca is not None or options.pin is not None),
            "--known-hosts is for servers without --ca and --pin",
        ),
        (options.key is not None and options.cert is None, "--key needs --cert"),
        (options.is_list and options.command, "--list takes no command"),
        (
            options.is_json and not options.is_list and not options.command,
            "--json needs a command or --list",
        ),
        (
            options.value_files and (options.help_for is not None or not options.command),
            "--value-file needs a command",
        ),
        (
            options.timeout is not None and is_about_commands,
            "--timeout is for commands; what waits for the server is --connect-timeout",
        ),
        (
            options.port is not None and parse_place(options.host)[1] is not None,
            "-p: HOST has a port already",
        ),
        (
            options.is_show and (options.command or options.is_list),
            "-G takes no command: it connects to nobody",
        ),
    )
    for is_so, complaint in complaints:
        if is_so:
            raise wrong(complaint)
