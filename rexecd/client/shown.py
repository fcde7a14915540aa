"""What `-G` prints: each value as a line of a configuration, and behind it where it came from.

Rule 1: what is printed can be read again, and says the same.
Rule 2: a token is never in it.
"""

import os
from collections.abc import Iterator

from rexecd.client.configuration import Configuration, Setting
from rexecd.client.keywords import KEYWORDS, escape
from rexecd.client.words import join
from rexecd.printable import printable, without_tokens


def show(using: Configuration) -> str:
    """Return the lines for a host."""
    return "".join(f"{printable(without_tokens(line))}\n" for line in _lines(using))


def _lines(using: Configuration) -> Iterator[str]:
    yield f"# {using.name}: files read: {', '.join(using.files) or 'none'}"
    for keyword in KEYWORDS:
        if keyword.name in using.settings:
            setting = using.settings[keyword.name]
            yield f"{keyword.name} {join(_words(setting))}  # {setting.origin}"
        elif keyword.name == "TokenFile" and "Token" in using.settings:
            yield f"# the token itself, which is not shown: {using.settings['Token'].origin}"
        elif keyword.name == "TokenFile" and using.token is None:
            yield "# no token: 'rexec login HOST' sets one up"


def _words(setting: Setting) -> list[str]:
    form, value = setting.keyword.form, setting.value
    if form.is_path and value != "-":
        return [escape(os.path.join(os.getcwd(), value))]  # noqa: PTH109, PTH118 - pathlib starts slowly
    shown = [form.show(each) for each in (value if form.is_many else [value])]
    return [escape(word) for word in shown] if form.is_expanded else shown
