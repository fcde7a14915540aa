"""What is in effect for one call: the first found of command line, environment, files and defaults.

Rule 1: whom to trust is never a mixture: the first place that says anything of CA, Pin and KnownHostsFile
says it all; the same is true of Cert and Key, and of where the token is. A place is the command line, the
environment, or one `Host` block.
Rule 2: every value remembers where it came from.
Rule 3: nothing here connects, runs or asks; no token is read.
"""

import os
from collections.abc import Iterator, Mapping

from rexecd.client.address import Address, make_address, parse_place
from rexecd.client.arguments import Options
from rexecd.client.credentials import Source, config_directory, guarded_file, stored_file
from rexecd.client.errors import UsageError
from rexecd.client.keywords import (
    KEYWORDS,
    QUIET,
    VERBOSE,
    Form,
    Keyword,
    escape,
    expand,
    find_keyword,
    make_marks,
)
from rexecd.typed import Any, Final, NamedTuple

SYSTEM_FILE: Final = "/etc/rexec/config"
COMMAND_LINE: Final = "command line"
_DEFAULT: Final = "default"
#: `-F` for no file at all.
NO_FILE: Final = "none"
#: Options that have a key, by their name in `Options`.
_OPTIONS: Final = {
    "port": "Port",
    "family": "AddressFamily",
    "ca": "CA",
    "pin": "Pin",
    "known_hosts": "KnownHostsFile",
    "cert": "Cert",
    "key": "Key",
    "token_file": "TokenFile",
    "connect_timeout": "ConnectTimeout",
    "timeout": "Timeout",
    "retry": "Retry",
    "level": "LogLevel",
}
_VARIABLES: Final = {
    "REXEC_TOKEN_FILE": "TokenFile",
    "REXEC_CA": "CA",
    "REXEC_PIN": "Pin",
    "REXEC_CERT": "Cert",
    "REXEC_KEY": "Key",
}
#: Not a key of files: a token that was handed over itself.
_TOKEN: Final = Keyword("Token", Form("a token", str), "", group="token")


class Setting(NamedTuple):
    """A value, and where it came from."""

    keyword: Keyword
    value: Any
    #: For people: `user:/home/ann/.config/rexec/config:3`, `environment: REXEC_CA`, `command line`.
    origin: str
    #: Which place it is, for what belongs together.
    block: str
    is_guarded: bool = False


class Configuration(NamedTuple):
    """What is in effect, understood."""

    #: The host as it was typed, without a port.
    name: str
    address: Address
    ca: str | None
    pin: str | None
    #: A file of known hosts, where neither of the others says anything; None where there is no home.
    known_hosts: str | None
    cert: str | None
    key: str | None
    #: None where there is none.
    token: Source | None
    family: str
    connect_timeout: float
    answer_timeout: float
    timeout: float | None
    #: How often a command that cannot have run is tried again.
    retry: int
    #: How long a list is kept for completion, in seconds; 0 for not at all.
    completion_cache: float
    is_batch: bool
    is_null_input: bool
    #: Whether lines of interactive sessions are kept in a file.
    has_history: bool
    level: str
    #: By the names of their keys.
    settings: Mapping[str, Setting]
    #: The files that were read.
    files: tuple[str, ...]

    @property
    def token_setting(self) -> Setting | None:
        """Return what says where the token is, None where nothing does."""
        names = ("Token", "TokenFile", "TokenCommand")
        return next((self.settings[name] for name in names if name in self.settings), None)

    @property
    def is_quiet(self) -> bool:
        """Return whether only errors are to be said."""
        return self.level == QUIET

    @property
    def is_verbose(self) -> bool:
        """Return whether to say what is tried."""
        return self.level == VERBOSE


def settle(options: Options, environ: Mapping[str, str]) -> Configuration:
    """Return what is in effect for a command line; raise UsageError."""
    name, port = parse_place(options.host)
    files: list[str] = []
    found = [*_typed(options, port), *_exported(environ), *_written(options, environ, name, files)]
    settings = _choose(found)
    for keyword in KEYWORDS:
        if keyword.default is not None and keyword.name not in settings:
            settings[keyword.name] = Setting(keyword, keyword.default, _DEFAULT, "")
    address = _place(name, settings)
    marks = make_marks(address.host, name, str(address.port))
    settings = {key: _expanded(setting, marks) for key, setting in settings.items()}
    host = settings.get("HostName", Setting(_keyword("HostName"), "", _DEFAULT, ""))
    settings["HostName"] = host._replace(value=address.host)
    _add_places(settings, address, environ)
    return _make(name, address, settings, tuple(files))


def _make(
    name: str, address: Address, settings: Mapping[str, Setting], files: tuple[str, ...]
) -> Configuration:
    def value(key: str) -> Any:
        return settings[key].value if key in settings else None

    return Configuration(
        name=name,
        address=address,
        ca=value("CA"),
        pin=value("Pin"),
        known_hosts=value("KnownHostsFile"),
        cert=value("Cert"),
        key=value("Key"),
        token=_source(settings),
        family=value("AddressFamily"),
        connect_timeout=value("ConnectTimeout"),
        answer_timeout=value("AnswerTimeout"),
        timeout=value("Timeout"),
        retry=value("Retry"),
        completion_cache=value("CompletionCache"),
        is_batch=value("BatchMode"),
        is_null_input=value("StdinNull"),
        has_history=value("History"),
        level=value("LogLevel"),
        settings=settings,
        files=files,
    )


def _source(settings: Mapping[str, Setting]) -> Source | None:
    if "Token" in settings:
        return Source(text=settings["Token"].value)
    if "TokenFile" in settings:
        setting = settings["TokenFile"]
        return Source(file=setting.value, is_guarded=setting.is_guarded)
    if "TokenCommand" in settings:
        return Source(command=settings["TokenCommand"].value)
    return None


def _keyword(name: str) -> Keyword:
    keyword = find_keyword(name)
    if keyword is None:
        raise LookupError(name)
    return keyword


def _setting(keyword: Keyword, value: object, origin: str, *, is_guarded: bool = False) -> Setting:
    """Return a value that was not written in a file: `%` and `~` mean nothing special in it."""
    plain = escape(value) if isinstance(value, str) and keyword.form.is_expanded else value
    return Setting(keyword, plain, origin, origin.partition(":")[0], is_guarded)


def _typed(options: Options, port: int | None) -> Iterator[Setting]:
    """Return what the command line says: its options, and then each `-o`."""
    if options.token is not None:
        yield _setting(_TOKEN, options.token, COMMAND_LINE)
    given = options._asdict() | ({} if port is None else {"port": port})
    for option, key in _OPTIONS.items():
        if given[option] is not None:
            yield _setting(_keyword(key), given[option], COMMAND_LINE)
    for is_given, key in ((options.is_batch, "BatchMode"), (options.is_null_input, "StdinNull")):
        if is_given:
            yield _setting(_keyword(key), True, COMMAND_LINE)  # noqa: FBT003 - the value
    for keyword, value in options.settings:
        yield Setting(keyword, value, COMMAND_LINE, COMMAND_LINE)


def _exported(environ: Mapping[str, str]) -> Iterator[Setting]:
    """Return what the environment says; an empty variable says nothing."""
    if environ.get("REXEC_TOKEN"):
        yield _setting(_TOKEN, environ["REXEC_TOKEN"], "environment: REXEC_TOKEN")
    for variable, key in _VARIABLES.items():
        if environ.get(variable):
            yield _setting(_keyword(key), environ[variable], f"environment: {variable}")
    guarded = guarded_file(environ)
    if guarded is not None:
        yield _setting(_keyword("TokenFile"), guarded, "environment: CREDENTIALS_DIRECTORY", is_guarded=True)


def _written(options: Options, environ: Mapping[str, str], name: str, files: list[str]) -> Iterator[Setting]:
    """Return what the files say of a host, and note which there are; raise UsageError."""
    if options.config == NO_FILE:
        return
    for source, path in _paths(options, environ):
        if options.config is None and not os.path.lexists(path):
            continue
        from rexecd.client.configfile import load  # noqa: PLC0415 - not for who has no file

        files.append(path)
        for found in load(path, name, is_system=source == "system"):
            yield Setting(
                found.keyword, found.value, f"{source}:{path}:{found.line}", f"{source}:{found.block}"
            )


def _paths(options: Options, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if options.config is not None:
        yield "user", options.config
        return
    directory = config_directory(environ)
    if directory is not None:
        yield "user", f"{directory}/config"
    yield "system", SYSTEM_FILE


def _choose(found: list[Setting]) -> dict[str, Setting]:
    """Return the first of each key; of a group, only those of the place that was first (rule 1)."""
    chosen: dict[str, Setting] = {}
    deciding: dict[str, str] = {}
    for setting in found:
        name, group = setting.keyword.name, setting.keyword.group
        # There is one token: the first source is it.
        place = f"{setting.block} {name}" if group == "token" else setting.block
        if not group or deciding.setdefault(group, place) == place:
            chosen.setdefault(name, setting)
    _check_pairs(chosen)
    return chosen


def _check_pairs(chosen: Mapping[str, Setting]) -> None:
    if "KnownHostsFile" in chosen and (other := chosen.get("CA") or chosen.get("Pin")):
        raise UsageError(
            f"{chosen['KnownHostsFile'].origin}: KnownHostsFile is for servers without CA and Pin",
            hint=f"take it or the other ({other.origin}) away, or put them into Host blocks of their own",
        )
    no_input, file = chosen.get("StdinNull"), chosen.get("TokenFile")
    if no_input is not None and no_input.value and file is not None and file.value == "-":
        raise UsageError(
            f"{no_input.origin}: -n leaves no standard input for --token-file -",
            hint="name a file, or a pipe: --token-file /dev/fd/N",
        )
    if "Key" in chosen and "Cert" not in chosen:
        raise UsageError(
            f"{chosen['Key'].origin}: a key without its certificate is of no use",
            hint="say in the same place where the certificate is",
        )


def _place(name: str, settings: Mapping[str, Setting]) -> Address:
    port = str(settings["Port"].value)
    host = name
    if "HostName" in settings:
        host = expand(settings["HostName"].value, make_marks(name, name, port))
    return make_address(f"[{host}]" if ":" in host and not host.startswith("[") else host, port)


def _expanded(setting: Setting, marks: Mapping[str, str]) -> Setting:
    form = setting.keyword.form
    if not form.is_expanded or setting.keyword.name == "HostName":
        return setting
    if form.is_many:
        return setting._replace(value=tuple(expand(word, marks) for word in setting.value))
    return setting._replace(value=expand(setting.value, marks))


def _add_places(settings: dict[str, Setting], address: Address, environ: Mapping[str, str]) -> None:
    """Add the usual places, where nothing says another."""
    if not any(key in settings for key in ("CA", "Pin", "KnownHostsFile")):
        from rexecd.client.known_hosts import default_path  # noqa: PLC0415 - not for who said whom to trust

        path = default_path(environ)
        if path is not None:
            settings["KnownHostsFile"] = Setting(_keyword("KnownHostsFile"), path, _DEFAULT, "")
    if not any(key in settings for key in ("Token", "TokenFile", "TokenCommand")):
        stored = stored_file(environ, address)
        if stored is not None and os.path.lexists(stored):
            settings["TokenFile"] = Setting(_keyword("TokenFile"), stored, _DEFAULT, "")
