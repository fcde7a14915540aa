"""The options of `rexec`: one table for the command line, its help, the completion files and the manual.

Not argparse: loading it and filling it takes a seventh of the time a whole call takes, and the line has to be
cut at HOST before it sees it.

Rule: an option's value is the next word, whatever it looks like, as in ssh(1); nothing is abbreviated.
"""

from collections.abc import Callable, Sequence

from rexecd.client.errors import UsageError
from rexecd.client.keywords import (
    QUIET,
    VERBOSE,
    Keyword,
    parse_port,
    parse_retry,
    parse_seconds,
    parse_timeout,
)
from rexecd.client.request import check_reason
from rexecd.client.session import CONNECT_TIMEOUT
from rexecd.typed import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from rexecd.client.values import ValueFile

#: Which shells there are completion files for.
SHELLS: Final = ("bash", "zsh", "fish")


class Option(NamedTuple):
    """One option, by all its names."""

    names: tuple[str, ...]
    #: Which field of `Options` it fills.
    field: str
    about: str
    #: What its value is called, empty for one without.
    value: str = ""
    #: Raise ValueError or UsageError.
    read: Callable[[str], Any] = str
    #: What one without a value stands for.
    means: Any = True
    #: Of one without a value: what stands behind `=` all the same, as in `--json=lines`.
    choice: str = ""
    is_many: bool = False


def _setting(text: str) -> tuple[Keyword, Any]:
    from rexecd.client.configfile import parse_option  # noqa: PLC0415 - not for who has no file and no -o

    return parse_option(text)


def _reason(text: str) -> str:
    check_reason(text)
    return text


def _value_file(text: str) -> "ValueFile":
    from rexecd.client.values import parse_value_file  # noqa: PLC0415 - not for who has none

    file = parse_value_file(text)
    if file.path == "-":
        what = f"standard input is written {file.name}=/dev/stdin, a file of that name {file.name}=./-"
        raise ValueError(f"{text!r}: {what}")
    return file


def _shell(text: str) -> str:
    if text not in SHELLS:
        raise ValueError(f"{text!r} is none of {', '.join(SHELLS)}")
    return text


#: In the order of the help.
OPTIONS: Final = (
    Option(("-h", "--help"), "is_help", "show this help and exit"),
    Option(("-V", "--version"), "is_version", "show the version and exit"),
    Option(
        ("--completion",),
        "completion",
        "print the completion file for bash, zsh or fish, and exit",
        "SHELL",
        _shell,
    ),
    Option(
        ("--token",),
        "token",
        "the token; it shows for a moment, and in the history: prefer a file",
        "TOKEN",
    ),
    Option(
        ("--token-file",),
        "token_file",
        "file with the token; '-' is the first line of standard input",
        "FILE",
    ),
    Option(("-p",), "port", "the port, where HOST has none", "PORT", parse_port),
    Option(("-n",), "is_null_input", "give commands /dev/null as their input"),
    Option(("-q", "--quiet"), "level", "say nothing but errors", means=QUIET),
    Option(("-v", "--verbose"), "level", "say what is tried, on standard error", means=VERBOSE),
    Option(("-4",), "family", "IPv4 only", means="inet"),
    Option(("-6",), "family", "IPv6 only", means="inet6"),
    Option(
        ("-o",),
        "settings",
        "as in a configuration file (rexec.conf(5)); may be repeated",
        "KEY=VALUE",
        _setting,
        is_many=True,
    ),
    Option(("-F",), "config", "the one configuration file to read; 'none' for none", "FILE"),
    Option(("-G",), "is_show", "show what would be used for HOST, and from where"),
    Option(("--ca",), "ca", "trust a server whose certificate this authority issued", "FILE"),
    Option(("--pin",), "pin", "trust a server with this public key", "sha256:HEX"),
    Option(
        ("--known-hosts",), "known_hosts", "keys of servers you said yes to; without --ca and --pin", "FILE"
    ),
    Option(("--batch",), "is_batch", "never ask whether to trust a server"),
    Option(("--cert",), "cert", "your certificate, for a server that wants one", "FILE"),
    Option(("--key",), "key", "its private key, where that is in another file", "FILE"),
    Option(("--list",), "is_list", "show what you may run on HOST"),
    Option(("--json",), "is_json", "print one JSON value when all is over"),
    Option(("--json",), "is_lines", "print one JSON object a line, as things happen", choice="lines"),
    Option(("--reason",), "reason", "why you run it, for the audit trail", "TEXT", _reason),
    Option(
        ("--timeout",),
        "timeout",
        "end the command after 30s, 5m, ... at the latest",
        "DURATION",
        parse_timeout,
    ),
    Option(
        ("--value-file",),
        "value_files",
        "give parameter NAME what FILE holds; may be repeated",
        "NAME=FILE",
        _value_file,
        is_many=True,
    ),
    Option(
        ("--connect-timeout",),
        "connect_timeout",
        f"seconds until the server must have answered ({CONNECT_TIMEOUT:g})",
        "S",
        parse_seconds,
    ),
    Option(
        ("--retry",),
        "retry",
        "try again up to N times, where nothing can have run twice",
        "N",
        parse_retry,
    ),
)
_BY_NAME: Final = {(name, option.choice): option for option in OPTIONS for name in option.names}


def find_option(name: str) -> Option | None:
    """Return the option of that name, None if there is none."""
    return _BY_NAME.get((name, ""))


def awaited(word: str) -> Option | None:
    """Return the option whose value the next word is, None where that is no option's value."""
    if word.startswith("--"):
        option = find_option(word)
        return option if option is not None and option.value else None
    for position, letter in enumerate(word[1:], start=2):
        option = find_option(f"-{letter}")
        if option is None or option.value:
            return option if len(word) == position else None
    return None


def read_options(argv: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Return what the options before HOST say, and where HOST stands; raise UsageError."""
    found: dict[str, Any] = {}
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        word = argv[at]
        at += 1
        if word == "--":
            break
        read = _read_long if word.startswith("--") else _read_letters
        at += read(word, argv[at] if at < len(argv) else None, found)
    return found, at


def _read_long(word: str, after: str | None, found: dict[str, Any]) -> int:
    """Take `--name`, `--name value` or `--name=value`; return how many words behind it were taken."""
    name, has_value, text = word.partition("=")
    if text and (choice := _BY_NAME.get((name, text))) is not None:
        _put(found, choice, name, "")
        return 0
    option = _option(name)
    if option.value and not has_value:
        _put(found, option, name, after)
        return 1
    if has_value and not option.value:
        raise wrong(f"{name} takes no value{_or_a_choice(name)}")
    _put(found, option, name, text)
    return 0


def _read_letters(word: str, after: str | None, found: dict[str, Any]) -> int:
    """Take `-n`, `-p 7513`, `-p7513` or several at once: `-np 7513`; return as `_read_long`."""
    for position, letter in enumerate(word[1:], start=2):
        name = f"-{letter}"
        option = _option(name if len(word) == 2 or (name, "") in _BY_NAME else word)  # noqa: PLR2004 - a dash and a letter
        if not option.value:
            _put(found, option, name, "")
        elif word[position:]:
            _put(found, option, name, word[position:])
            return 0
        else:
            _put(found, option, name, after)
            return 1
    if len(word) == 1:
        raise wrong("'-' is no option")
    return 0


def _option(name: str) -> Option:
    option = find_option(name)
    if option is None:
        raise wrong(f"unknown option {name}")
    return option


def _or_a_choice(name: str) -> str:
    choices = [option.choice for option in OPTIONS if option.choice and name in option.names]
    return f" but {', '.join(choices)}" if choices else ""


def _put(found: dict[str, Any], option: Option, name: str, text: str | None) -> None:
    if not option.value:
        found[option.field] = option.means
        if option.choice:
            found[_option(name).field] = option.means
        return
    if text is None:
        raise wrong(f"{name} needs a value: {name} {option.value}")
    try:
        value = option.read(text)
    except ValueError as error:
        raise wrong(f"{name}: {error}") from None
    if option.is_many:
        found[option.field] = (*found.get(option.field, ()), value)
    else:
        found[option.field] = value


def wrong(message: str) -> UsageError:
    """Return what to raise for a command line that cannot be."""
    return UsageError(message, hint="'rexec --help' shows the options")
