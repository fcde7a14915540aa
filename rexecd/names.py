"""What the names of things may look like. A name is checked once, where it enters.

All are ASCII, start with a letter or digit and stay short, so that they can stand in
records, file names, environment variables and terminals without quoting.
"""

import re
from typing import Final

from rexecd.limits import MAX_NAME

#: A principal or a role: `ci`, `grafana-eu`, `ann@example.org`.
PRINCIPAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
#: A command: dotted words, `service.restart`.
COMMAND: Final = re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*")
#: A parameter, and the name in a hole: `{unit}`.
PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: An environment variable.
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: A warning of `rexecd check`.
LINT_CODE: Final = re.compile(r"RX[0-9]{3}")

#: Words the interactive session keeps for itself.
RESERVED_COMMANDS: Final = frozenset({"help", "exit"})
#: `rexec HOST NAME --help` shows the usage of NAME.
RESERVED_PARAMETERS: Final = frozenset({"help"})


def is_name(pattern: re.Pattern[str], text: str) -> bool:
    """Return whether the whole of `text` is a name of the given form."""
    return len(text) <= MAX_NAME and pattern.fullmatch(text) is not None
