"""What the word at the cursor of a shell's command line can become, where that line begins with `rexec`.

Pure: who knows the hosts and the commands of one is lent by the door.
Rule: what a server lists is its word: `completing` lets nothing through that cannot be printed.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from rexecd.client.arguments import LOGIN
from rexecd.client.completing import WORDS, Known
from rexecd.client.keywords import KEYWORDS
from rexecd.client.options import OPTIONS, SHELLS, Option, awaited, find_option
from rexecd.wire.messages import Entry

#: The shell knows its files best. Whatever else has this name is left out.
FILES: Final = ":files"


class Suggestion(NamedTuple):
    """A candidate, as it is without quotes, and what it is. One that ends with `=` goes on."""

    text: str
    about: str = ""


class Sources(NamedTuple):
    """Who is asked."""

    #: Hosts that somebody has called by a name.
    hosts: Callable[[], Iterable[str]]
    #: What may be run on a host, for the words up to it.
    listing: Callable[[Sequence[str]], Sequence[Entry]]


def suggest(words: Sequence[str], sources: Sources) -> list[Suggestion]:
    """Return what the last of the words behind `rexec` can become; it may be empty."""
    *before, typed = words or [""]
    at = 0
    while at < len(before) and before[at].startswith("-") and before[at] != "--":
        option = awaited(before[at])
        at += 1
        if option is not None:
            if at == len(before):
                return list(_values(option, typed))
            at += 1
    is_behind_dashes = before[at : at + 1] == ["--"]
    at += is_behind_dashes
    if at < len(before):
        return list(_remote(before, at, typed, sources))
    if typed.startswith("-") and not is_behind_dashes:
        return list(_options(typed))
    return list(_hosts(typed, sources, with_login=not is_behind_dashes))


def _options(typed: str) -> Iterator[Suggestion]:
    name, equals, value = typed.partition("=")
    option = find_option(name)
    if equals and option is not None and option.value:
        yield from (
            Suggestion(each.text if each.text == FILES else f"{name}={each.text}", each.about)
            for each in _values(option, value)
        )
        return
    for each in OPTIONS:
        for spelled in each.names:
            text = f"{spelled}={each.choice}" if each.choice else spelled
            if text.startswith(typed) and (spelled.startswith("--") or typed in ("-", spelled)):
                yield Suggestion(text, each.about)


def _values(option: Option, typed: str) -> Iterator[Suggestion]:
    """Return what can stand as an option's value."""
    if option.value == "FILE" or (option.value == "NAME=FILE" and "=" in typed):
        yield Suggestion(FILES)
    elif option.value == "SHELL":
        yield from (Suggestion(shell) for shell in SHELLS if shell.startswith(typed))
    elif option.value == "KEY=VALUE":
        yield from (
            Suggestion(f"{keyword.name}=", keyword.form.about.replace("`", ""))
            for keyword in KEYWORDS
            if keyword.name.lower().startswith(typed.lower())
        )


def _hosts(typed: str, sources: Sources, *, with_login: bool) -> Iterator[Suggestion]:
    for host in sorted(set(sources.hosts())):
        if host.startswith(typed) and host != FILES:
            yield Suggestion(host)
    if with_login and LOGIN.startswith(typed):
        yield Suggestion(LOGIN, "set a host up once")


def _remote(before: Sequence[str], at: int, typed: str, sources: Sources) -> Iterator[Suggestion]:
    """Return what can stand behind HOST, which is at that place."""
    host, command = before[at], before[at + 1 :]
    if command[:1] == ["--"]:
        command = command[1:]
    elif host == LOGIN and not command:
        yield from _hosts(typed, sources, with_login=False)
        return
    line = f"{shlex.join(command)} " if command else ""
    known = Known(sources.listing(before[: at + 1]))
    for candidate in known.complete(f"{line}{shlex.quote(typed) if typed else ''}").candidates:
        text = "".join(shlex.split(candidate.text))
        if text != FILES and (command or text not in WORDS):
            yield Suggestion(text, candidate.about)
