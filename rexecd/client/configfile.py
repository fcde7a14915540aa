"""The caller's configuration files: what they say of one host, each value with its place.

    CA ~/ca.pem
    Host web* !web9
        Port 7513

Rule 1: the first value found is the one that holds; what stands before the first `Host` holds for all.
Rule 2: a fault is one also where it is about another host: a key that was mistyped could be the one that
says whom to trust.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Never

from rexecd.client.errors import UsageError
from rexecd.client.keywords import KEYWORDS, Keyword, find_keyword
from rexecd.client.soundfile import What, fault, opened, read_all
from rexecd.client.words import LineError, Word, split

_KEY: Final = re.compile(r"[ \t]*([^ \t=#\"']+)(?:[ \t]*=[ \t]*|[ \t]+|$)")
_HOST: Final = "host"
_WHAT: Final = What("configuration", "name any server and program", "use a file of your own: -F FILE")
_SYSTEM: Final = _WHAT._replace(
    is_roots=True, instead="chown root it, or use only a file of your own: -F FILE"
)
#: What people who know ssh_config(5) write, and what there is here.
_ELSEWHERE: Final = {
    "host": "a block stands in a file, -F FILE",
    "identityfile": "the private key of your certificate is 'Key' here, a token's file 'TokenFile'",
    "certificatefile": "your own certificate is 'Cert' here",
    "userknownhostsfile": "it is 'KnownHostsFile' here",
    "user": "there are no user names here: the token says who you are",
    "stricthostkeychecking": "'BatchMode yes' never asks, 'CA' and 'Pin' say whom to trust",
    "include": "there is one file here, and that of the system",
    "match": "there is only 'Host' here",
}


class Found(NamedTuple):
    """A value that holds for a host."""

    keyword: Keyword
    value: Any
    line: int
    #: Which block it stands in, by the line of its `Host`; 0 before the first.
    block: int


def load(path: str, host: str, *, is_system: bool = False) -> list[Found]:
    """Return what a file says of a host; raise UsageError."""
    return list(parse(_read_text(path, is_system=is_system), host, path))


def names(path: str, *, is_system: bool = False) -> list[str]:
    """Return the hosts a file names, without patterns; raise UsageError where it cannot be read."""
    found: list[str] = []
    for line in _read_text(path, is_system=is_system).split("\n"):
        with contextlib.suppress(LineError):
            key, words = _split_line(line.removesuffix("\r"))
            if key is not None and key.text.lower() == _HOST:
                found += [each for each in _patterns(key, words) if not set(each) & set("*?!")]
    return found


def _read_text(path: str, *, is_system: bool) -> str:
    what = _SYSTEM if is_system else _WHAT
    try:
        with opened(what, path) as descriptor:
            data = read_all(what, descriptor, path)
    except (OSError, ValueError) as error:
        raise fault(what, path, error) from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise UsageError(f"{path}:{line}:{column}: not valid UTF-8", hint="write it as UTF-8") from None


def parse(text: str, host: str, path: str) -> Iterator[Found]:
    """Return what a file's text says of a host, in its order; raise UsageError."""
    block, is_meant = 0, True
    for number, line in enumerate(text.split("\n"), 1):
        try:
            key, words = _split_line(line.removesuffix("\r"))
            if key is None:
                continue
            if key.text.lower() == _HOST:
                block, is_meant = number, matches(host, _patterns(key, words))
                continue
            keyword, value = _read(key, words, is_file=True)
        except LineError as error:
            place = f"{path}:{number}:{error.column}"
            raise UsageError(f"{place}: {error}", hint=error.hint) from None
        if is_meant:
            yield Found(keyword, value, number, block)


def parse_option(text: str) -> tuple[Keyword, Any]:
    """Return what `KEY=VALUE` or `KEY VALUE` says, as behind `-o`; raise UsageError."""
    try:
        key, words = _split_line(text)
        if key is None:
            raise LineError(1, "there is no key", "write -o KEY=VALUE")
        return _read(key, words, is_file=False)
    except LineError as error:
        raise UsageError(f"-o {text!r}: {error}", hint=error.hint) from None


def matches(host: str, patterns: Sequence[str]) -> bool:
    """Return whether a pattern fits a host, and none of those with `!` before them does."""
    host = host.lower()
    fitting = [pattern for pattern in patterns if _fits(host, pattern.removeprefix("!").lower())]
    return bool(fitting) and not any(pattern.startswith("!") for pattern in fitting)


def _fits(host: str, pattern: str) -> bool:
    """Compare with `*` and `?`; going back only to the last star, so that no pattern takes long."""
    at = seen = 0
    star = -1
    begun = 0
    while seen < len(host):
        if at < len(pattern) and pattern[at] == "*":
            star, begun = at, seen
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", host[seen]):
            at, seen = at + 1, seen + 1
        elif star >= 0:
            begun += 1
            at, seen = star + 1, begun
        else:
            return False
    return not pattern[at:].strip("*")


def _split_line(line: str) -> tuple[Word | None, list[Word]]:
    """Return the key of a line and the words behind it; no key where nothing stands there."""
    for column, character in enumerate(line, 1):
        if not (character.isprintable() or character == "\t"):
            raise LineError(
                column, f"{character!r} cannot stand here", "only printable characters, blanks and tabs can"
            )
    if not line.strip(" \t") or line.lstrip(" \t").startswith("#"):
        return None, []
    match = _KEY.match(line)
    if match is None:
        column = len(line) - len(line.lstrip(" \t")) + 1
        raise LineError(column, "not a line 'KEY VALUE'", "write KEY VALUE, or # before a comment")
    return Word(match[1], match.start(1) + 1), split(line, match.end())


def _patterns(key: Word, words: Sequence[Word]) -> list[str]:
    found: list[str] = []
    for word in words:
        for pattern in word.text.split(","):
            if not pattern.removeprefix("!"):
                raise LineError(
                    word.column, f"{word.text!r} holds an empty pattern", "write NAME, NA*E or !NAME"
                )
            found.append(pattern)
    if not found:
        raise LineError(key.column, "Host without a pattern", "write Host NAME, or Host * for all")
    return found


def _read(key: Word, words: Sequence[Word], *, is_file: bool) -> tuple[Keyword, Any]:
    keyword = find_keyword(key.text)
    if keyword is None:
        _refuse(key)
    if not words:
        raise LineError(key.column, f"{keyword.name} without a value", f"it takes {keyword.form.about}")
    if len(words) > 1 and not keyword.form.is_many:
        raise LineError(
            words[1].column, f"{keyword.name} takes one value", 'put a value with blanks in quotes: "..."'
        )
    values = [_read_word(keyword, word, is_file=is_file) for word in words]
    return keyword, tuple(values) if keyword.form.is_many else values[0]


def _read_word(keyword: Keyword, word: Word, *, is_file: bool) -> Any:  # noqa: ANN401 - of many types
    about = f"{keyword.name} takes {keyword.form.about}"
    try:
        value = keyword.form.read(word.text)
    except UsageError as error:
        raise LineError(word.column, str(error), error.hint or about) from None
    except ValueError as error:
        raise LineError(word.column, str(error), about) from None
    # From a file nobody knows what directory it would be relative to.
    if is_file and keyword.form.is_path and not os.path.isabs(value):  # noqa: PTH117
        raise LineError(word.column, f"{word.text!r} is relative", "begin a path with / or ~/")
    return value


def _refuse(key: Word) -> Never:
    name = key.text.lower().replace("_", "").replace("-", "")
    if name == "token":
        raise LineError(
            key.column,
            "the token itself cannot stand in a configuration",
            "write TokenFile FILE or TokenCommand PROGRAM; 'rexec login HOST' stores a token",
        )
    hint = _ELSEWHERE.get(name)
    if hint is None:
        import difflib  # noqa: PLC0415 - only for who mistyped

        names = {keyword.name.lower(): keyword.name for keyword in KEYWORDS} | {_HOST: "Host"}
        close = difflib.get_close_matches(name, names, 1)
        hint = f"is {names[close[0]]!r} meant?" if close else "rexec.conf(5) has all keys"
    raise LineError(key.column, f"unknown key {key.text!r}", hint)
