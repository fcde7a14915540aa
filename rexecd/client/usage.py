"""What `rexec --help` says."""

import textwrap
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

from rexecd.client.options import OPTIONS, Option

_USAGE: Final = """\
usage: rexec [--token-file FILE] [--ca FILE | --pin sha256:HEX] [OPTIONS] HOST[:PORT] [COMMAND [ARG...]]
       rexec [OPTIONS] --list HOST[:PORT]
       rexec [OPTIONS] login HOST[:PORT]
"""
_EPILOG: Final = (
    "'rexec login HOST' sets a host up once. "
    "Without COMMAND: an interactive session. One word alone is the whole line, several are quoted; "
    "there is no shell on the other side. Exit status: the command's own; 124 deadline, 125 try later, "
    "126 refused, 127 not started, 128+N signal N, 255 anything that is rexec's own. This is not the "
    "BSD rexec."
)
_WIDTH: Final = 79
_COLUMN: Final = 24


def make_usage() -> str:
    """Return the whole help, with a newline at its end."""
    options = "".join(f"{line}\n" for option in OPTIONS for line in _lines(option))
    return f"{_USAGE}\noptions:\n{options}\n{textwrap.fill(_EPILOG, _WIDTH)}\n"


def read_completion(shell: str) -> str:
    """Return the completion file of a shell."""
    return (files("rexecd") / "completions" / f"rexec.{shell}").read_text("utf-8")


def spelled(option: Option) -> str:
    """Return an option as help and manual write it: `-p PORT`, `--json=lines`, `-q, --quiet`."""
    value = f"={option.choice}" if option.choice else f" {option.value}" if option.value else ""
    return ", ".join(f"{name}{value}" for name in option.names)


def _lines(option: Option) -> Iterator[str]:
    name = f"  {spelled(option)}"
    about = textwrap.wrap(option.about, _WIDTH - _COLUMN)
    if len(name) > _COLUMN - 2:
        yield name
        name = ""
    for line in about:
        yield f"{name:{_COLUMN}}{line}"
        name = ""
