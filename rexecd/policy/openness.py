"""Types that take more than the operator can have thought of.

Rule: what a pattern takes is asked of the pattern, or tried; no type is open because of its name.
"""

from collections.abc import Iterable
from typing import Final

from rexecd.policy.kinds import Matching, Text, Word
from rexecd.policy.parameters import Parameter
from rexecd.policy.places import Path

#: Odd enough that no pattern with a purpose matches one of them.
_ODD: Final = ("~", "; ~#", "; ~/# $(x) `y` & | * ?")
_OPTIONS: Final = ("-x", "-oX", "--exec", "--output=x", "-oProxyCommand=x")


def is_free(parameter: Parameter) -> bool:
    """Return whether it takes any text: a text, or a pattern that matches everything."""
    kind = parameter.kind
    return isinstance(kind, Text) or (isinstance(kind, Matching) and any(map(kind.pattern.is_match, _ODD)))


def is_open(parameter: Parameter) -> bool:
    """Return whether it takes any text or any word."""
    return isinstance(parameter.kind, Word) or is_free(parameter)


def is_dashed(parameter: Parameter, before: str = "") -> bool:
    """Return whether a value can be an option nobody thought of, with the dashes before it."""
    kind = parameter.kind
    options = [option.removeprefix(before) for option in _OPTIONS if option.startswith(before)]
    is_narrow = isinstance(kind, Matching) and not any(map(kind.pattern.is_match, options))
    is_begun = parameter.leading_dash or bool(before)
    return is_begun and isinstance(kind, Text | Word | Matching) and not is_narrow


def is_lettered(parameter: Parameter, options: Iterable[str]) -> bool:
    """Return whether a value can have the letter of one of some options in it."""
    kind = parameter.kind
    letters = [option[1] for option in options if len(option) == len("-x")]
    is_wide = isinstance(kind, Matching) and any(map(kind.pattern.can_hold, letters))
    return is_wide or is_open(parameter)


def leads_out(parameter: Parameter, before: str, behind: str) -> bool:
    """Return whether '..' in a value can lead out of the directory that stands before it."""
    kind = parameter.kind
    if not isinstance(kind, Matching):
        return isinstance(kind, Text)
    can_hold, is_begun, is_ended = kind.pattern.can_hold, before[-1:] in ("", "/"), behind[:1] in ("", "/")
    return (
        can_hold("/../")
        or (is_begun and can_hold("../", first=True))
        or (is_ended and can_hold("/..", last=True))
        or (is_begun and is_ended and kind.pattern.is_match(".."))
    )


def is_any_path(parameter: Parameter) -> bool:
    """Return whether a value can name a file of the system, from '/' on or with '..'."""
    is_rooted = isinstance(parameter.kind, Matching) and parameter.kind.pattern.is_match("/etc/passwd")
    return is_rooted or leads_out(parameter, "", "")


#: What ends or starts a word or a command for a shell, or stands for something else.
_SPECIAL: Final = " ;&|<>()$`\\\"'*?[{~#!"


def is_special(parameter: Parameter) -> bool:
    """Return whether a value can mean more to a shell than one word."""
    kind = parameter.kind
    is_wide = isinstance(kind, Matching) and any(map(kind.pattern.can_hold, _SPECIAL))
    return is_wide or isinstance(kind, Text | Path)
