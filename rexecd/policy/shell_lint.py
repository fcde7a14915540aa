"""Lint's RX111: what would mean something to a shell, in arguments that no shell reads.

Rule: only what looks meant is found. Patterns, scripts, and programs that read such characters
themselves are left alone.
"""

import itertools
import posixpath
import re
from collections.abc import Iterator
from typing import Final

from rexecd.policy.calls import Call, calls, head, literal
from rexecd.policy.model import Rule
from rexecd.policy.programs import Sort, find
from rexecd.policy.template import Element
from rexecd.yamltext import shown

#: A whole argument that joins commands or redirects: `|`, `&&`, `2>&1`, `>/dev/null`.
_OPERATOR: Final = re.compile(r"\|[|&]?|&&?|;|[0-9&]?(?:>[>|]?|<<?)(?:&[0-9-]|/.*)?")
#: `$HOME`, `$(date)`, `` `date` ``. A `$` at the end of a pattern, and `${field}` of a format, are none.
_EXPANSION: Final = re.compile(r"\$[A-Z_][A-Z0-9_]*|\$\([a-z/]|`[^`\s]+`|`[a-z/]+\Z")
#: `/srv/*.log`, `*.log`, `*`; but not `/api/.*`, which is a pattern.
_PATHS: Final = re.compile(r"(?!.*[.)\]\\][*?])(?:~?/|\.{1,2}/)[^\s]*[*?][^\s]*|\*(?:\.[A-Za-z0-9]+)?")
#: These read them themselves, or hand them to a shell elsewhere.
_READERS: Final = frozenset(
    {
        "[",
        "autossh",
        "envsubst",
        "expr",
        "jq",
        "ldapsearch",
        "logger",
        "mosh",
        "mosquitto_pub",
        "mosquitto_sub",
    }
).union({"ssh", "sshpass", "test", "tr", "grep", "egrep", "fgrep", "zgrep"})
#: Options behind which a lone `;` or `|` is what separates columns.
_SEPARATORS: Final = frozenset(
    {"-d", "-t", "-s", "-F", "--delimiter", "--field-separator", "--separator", "--comment"}
)
#: Known to be fond of patterns with a '*'.
_MATCHERS: Final = (Sort.TOOL, Sort.MANAGER)


def about_characters(rule: Rule) -> Iterator[tuple[str, str]]:
    """Yield the code and what there is to say of each argument that is more than text to a shell."""
    found = list(calls(rule.template, rule.parameters))
    is_marked = any(call.program is not None and call.program.marks for call in found)
    if any(_has_shell(call) for call in found):
        return
    for call in found:
        before = ""
        for element in call.arguments:
            text = "".join(map(str, element))
            ends_exec = is_marked and text == ";"
            if element not in call.scripts and not ends_exec and _is_meant(text, before, call):
                yield "RX111", f"argument {shown(text)} is text here: no shell reads it; {_REMEDY}"
            before = text


_REMEDY: Final = "write what it stands for, or a script that does the whole"


def _is_meant(text: str, before: str, call: Call) -> bool:
    if posixpath.basename(call.path) in _READERS:
        return False
    if _OPERATOR.fullmatch(text):
        return before not in _SEPARATORS
    if _EXPANSION.search(text):
        return True
    # `-name *.log`, `--exclude *.o`: an option's value is a pattern.
    is_value = before.startswith("-") and before != "--"
    is_matcher = call.program is not None and call.program.sort in _MATCHERS and not text.startswith("/")
    return _PATHS.fullmatch(text) is not None and not is_value and not is_matcher


def _has_shell(call: Call) -> bool:
    """Return whether it is a shell, or is told to start one: then a shell reads what stands behind."""
    told = itertools.takewhile(lambda element: not _OPERATOR.fullmatch(head(element)), call.arguments)
    return _is_shell((call.path,)) or any(map(_is_shell, told))


def _is_shell(element: Element) -> bool:
    program = find(literal(element) or "")
    return program is not None and program.sort is Sort.SHELL
