"""The keys of the caller's configuration: one table for files, `-o`, `-G` and the manual.

Rule 1: what a value is worth is said here and nowhere else; options of the command line read with the same
functions.
Rule 2: a value is kept with `%h` and the like in it; `expand` is the last step, when HOST is known.
Rule 3: a token never stands in a configuration.
"""

import math
import os
from collections.abc import Callable, Mapping

from rexecd.client.address import make_address
from rexecd.client.request import check_timeout
from rexecd.client.session import ANSWER_TIMEOUT, CONNECT_TIMEOUT
from rexecd.client.trust import parse_pin
from rexecd.typed import Any, Final, NamedTuple
from rexecd.wire.transport import PORT

_LAST_PORT: Final = 65535
#: Python itself refuses those of more than some thousand, in words of its own.
_MOST_DIGITS: Final = 20
#: More than the system's timers hold would be no time at all.
_MOST_SECONDS: Final = 1e6
#: More would be a loop that nobody waits for.
MOST_RETRIES: Final = 1000
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


class Form(NamedTuple):
    """What a value looks like. `read` raises ValueError or UsageError, and undoes `show`."""

    about: str
    read: Callable[[str], Any]
    show: Callable[[Any], str] = str
    #: The value is all words of the line; `read` and `show` are for each.
    is_many: bool = False
    #: Whether `%h` and the like are filled in.
    is_expanded: bool = False
    is_path: bool = False


class Keyword(NamedTuple):
    """A key. Of a `group`, the first place that says anything decides for the whole group."""

    name: str
    form: Form
    about: str
    default: Any = None
    group: str = ""


def _parse_duration(text: str) -> float:
    from rexecd.client.times import parse_duration  # noqa: PLC0415 - not for who says nothing of times

    return parse_duration(text)


def parse_seconds(text: str) -> float:
    """Return a number of seconds above 0, or a duration with a unit; raise ValueError."""
    try:
        seconds = _parse_duration(text) if text[-1:].isalpha() else float(text)
    except ValueError:
        seconds = math.nan
    if not text.isascii() or "_" in text:  # which Python takes for numbers too
        seconds = math.nan
    if not 0 < seconds <= _MOST_SECONDS:
        raise ValueError(f"{text!r} is not a number of seconds above 0")
    return seconds


def parse_timeout(text: str) -> float:
    """Return a command's longest time; raise ValueError or UsageError."""
    timeout = _parse_duration(text)
    check_timeout(timeout)
    return timeout


def parse_port(text: str) -> int:
    """Return a port's number; raise ValueError or UsageError."""
    port = _parse_number(text)
    if port is None or not 0 < port <= _LAST_PORT:
        raise ValueError(f"{text!r} is not a port, a number from 1 to {_LAST_PORT}")
    return port


def parse_retry(text: str) -> int:
    """Return how often to try again; raise ValueError."""
    times = _parse_number(text)
    if times is None or times > MOST_RETRIES:
        raise ValueError(f"{text!r} is not a number from 0 to {MOST_RETRIES}")
    return times


def _parse_number(text: str) -> int | None:
    """Return a number in plain digits, None for what is none or has more of them than any that is allowed."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def expand(text: str, marks: Mapping[str, str]) -> str:
    """Return a text with `%h` and the like filled in; raise ValueError for what is none of them."""
    done: list[str] = []
    at = 0
    while at < len(text):
        size = 1
        if text[at] == "%":
            size = 2
            if text[at : at + 2] not in marks:
                raise ValueError(f"{text[at : at + 2]!r} is none of %h, %n, %p and %%")
        done.append(marks.get(text[at : at + size], text[at]))
        at += size
    return "".join(done)


def make_marks(host: str, name: str, port: str) -> Mapping[str, str]:
    """Return what `%` and a letter stand for: where the connection goes to, what was typed, the port."""
    return {"%h": host, "%n": name, "%p": port, "%%": "%"}


def escape(text: str) -> str:
    """Return a text that `expand` leaves as this one."""
    return text.replace("%", "%%")


#: To see whether a value could be one.
_ANY: Final = make_marks("host", "host", "1")


def _show_duration(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    unit, size = next((unit, size) for unit, size in _UNITS if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"


def _read_lifetime(text: str) -> float:
    return 0.0 if text.lower() == "no" else _parse_duration(text)


def _show_lifetime(seconds: float) -> str:
    return _show_duration(seconds) if seconds else "no"


def _show_seconds(seconds: float) -> str:
    return f"{seconds:g}" if float(f"{seconds:g}") == seconds else repr(seconds)


def _read_template(text: str) -> str:
    expand(text, _ANY)
    if not text:
        raise ValueError("the value is empty")
    return text


def _read_host(text: str) -> str:
    make_address(expand(text, _ANY), str(PORT))
    return text


def _read_path(text: str) -> str:
    _read_template(text)
    if "\0" in text:
        raise ValueError("a path holds no NUL")
    return escape(os.path.expanduser("~")) + text[1:] if text == "~" or text.startswith("~/") else text  # noqa: PTH111


def _choice(about: str, *words: str) -> Form:
    """Return the form of a few words, in upper or lower case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text.lower()

    return Form(about, read)


def _read_flag(text: str) -> bool:
    return bool(_YES_OR_NO.read(text) == "yes")


_PATH: Final = Form("a path", _read_path, is_expanded=True, is_path=True)
_YES_OR_NO: Final = _choice("`yes` or `no`", "yes", "no")
_FLAG: Final = Form(_YES_OR_NO.about, _read_flag, lambda value: "yes" if value else "no")
_SECONDS: Final = Form("seconds, or a duration such as `500ms` or `2m`", parse_seconds, _show_seconds)
_COMMAND: Final = Form("a program and its arguments", _read_template, is_many=True, is_expanded=True)
QUIET: Final = "quiet"
VERBOSE: Final = "verbose"


def _read_pin(text: str) -> str:
    parse_pin(text)
    return text


#: In the order of the manual and of `-G`.
KEYWORDS: Final = (
    Keyword(
        "HostName",
        Form("a host name or an address", _read_host, is_expanded=True),
        "The host to connect to where *HOST* is a name of your own. `%h` is what was typed.",
    ),
    Keyword(
        "Port",
        Form("a number from 1 to 65535", parse_port),
        "The port, where *HOST* does not say one.",
        PORT,
    ),
    Keyword(
        "AddressFamily",
        _choice("`any`, `inet` (IPv4 only) or `inet6` (IPv6 only)", "any", "inet", "inet6"),
        "Which addresses of the host are tried: **-4** and **-6**.",
        "any",
    ),
    Keyword(
        "CA",
        _PATH,
        "The certificate of the authority the server has to have its own from: **--ca**.",
        group="trust",
    ),
    Keyword(
        "Pin",
        Form("`sha256:` and 64 hexadecimal digits", _read_pin),
        "The SHA-256 of the server's public key: **--pin**.",
        group="trust",
    ),
    Keyword(
        "KnownHostsFile",
        _PATH,
        "The file of servers you said yes to: **--known-hosts**. "
        "Not with **CA** or **Pin** in the same place.",
        group="trust",
    ),
    Keyword("Cert", _PATH, "Your own certificate: **--cert**.", group="identity"),
    Keyword(
        "Key",
        _PATH,
        "Its private key, where that is in another file: **--key**. With **Cert** in the same place.",
        group="identity",
    ),
    Keyword("TokenFile", _PATH, "The file with the token: **--token-file**.", group="token"),
    Keyword(
        "TokenCommand",
        _COMMAND,
        "A program that prints the token, such as a password manager. See TOKEN COMMANDS.",
        group="token",
    ),
    Keyword(
        "ConnectTimeout",
        _SECONDS,
        "How long the server may take until it was reached, proved itself and answered the token: "
        "**--connect-timeout**.",
        CONNECT_TIMEOUT,
    ),
    Keyword(
        "AnswerTimeout",
        _SECONDS,
        "How long the server may take for its first answer to a request. How long the command itself may run "
        "is another matter.",
        ANSWER_TIMEOUT,
    ),
    Keyword(
        "Timeout",
        Form("a duration such as `30s` or `5m`", parse_timeout, _show_duration),
        "The longest a command may run, if its rule gives it more: **--timeout**. It is for commands, "
        "and not for **--list** and *NAME* **--help**.",
    ),
    Keyword(
        "Retry",
        Form(f"a number from 0 to {MOST_RETRIES}", parse_retry),
        "How often to try again where nothing can have run twice: **--retry**. It is for commands, not "
        "for the interactive session.",
        0,
    ),
    Keyword(
        "BatchMode",
        _FLAG,
        "Whether nobody is to be asked whether to trust a server: **--batch**.",
        default=False,
    ),
    Keyword(
        "StdinNull",
        _FLAG,
        "Whether commands get `/dev/null` as their input, whatever **rexec** has: **-n**.",
        default=False,
    ),
    Keyword(
        "History",
        _FLAG,
        "Whether the lines of interactive sessions are kept in a file for later ones; see FILES in rexec(1).",
        default=True,
    ),
    Keyword(
        "CompletionCache",
        Form("a duration such as `10m`, or `no`", _read_lifetime, _show_lifetime),
        "How long a server's list of commands is kept for the completion in a shell. With `no` none is kept, "
        "and the tabulator key connects to nobody.",
        600.0,
    ),
    Keyword(
        "LogLevel",
        _choice("`quiet`, `info` or `verbose`", QUIET, "info", VERBOSE),
        "How much **rexec** says on standard error: errors only (**-q**), what a person should notice, or "
        "also what it tries (**-v**).",
        "info",
    ),
)
_BY_NAME: Final = {keyword.name.lower(): keyword for keyword in KEYWORDS}


def find_keyword(name: str) -> Keyword | None:
    """Return a key by its name; `TokenFile`, `tokenfile` and `token_file` are the same."""
    return _BY_NAME.get(name.lower().replace("_", "").replace("-", ""))
