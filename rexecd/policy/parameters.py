"""Parameter types: a caller's text in, a checked text out.

Rule 1: a type says what is allowed, never what is forbidden (ATTACKS rule 12).
Rule 2: what `takes` says goes to callers, so it names no path and no pattern.
Rule 3: why a value does not fit is for the trail, and does not repeat the value.
To add a type: a class like the ones below, and its row in `declare.py`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from rexecd.errors import Code, Refused
from rexecd.limits import MAX_PATTERN_VALUE
from rexecd.policy.pattern import Pattern

#: Turn a path into one without links and `..`: `os.path.realpath`, handed in.
Resolve = Callable[[str], str]

#: Characters of alternatives that stand in one message.
_LISTED: Final = 300
#: Bytes of a path the kernel takes.
_PATH: Final = 4096
#: Bounds of an integer without bounds: what 64 bits hold.
LOWEST: Final = -(2**63)
HIGHEST: Final = 2**63 - 1
#: An integer has one spelling; `int` is never given more digits than 64 bits have.
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")
_WORD: Final = re.compile(r"[A-Za-z0-9._@:+-]{1,256}")


class Unfit(ValueError):
    """A value does not fit its type; the text says why, without the value."""


def is_printable(text: str) -> bool:
    """Return whether no character controls a terminal, hides, or ends a line."""
    return not any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in text)


def is_clean_path(path: str) -> bool:
    """Return whether a path is absolute and written without empty, `.` and `..` parts."""
    parts = path[1:].split("/")
    clean = path == "/" or not any(part in ("", ".", "..") for part in parts)
    return path.startswith("/") and clean and is_printable(path)


def is_clean_directory(path: str) -> bool:
    """Return the same of a directory, which may be written with a '/' behind it."""
    return path == "/" or (path != "//" and is_clean_path(path.removesuffix("/")))


def listed(words: Iterable[str]) -> str:
    """Return `a, b, c`, cut after some hundred characters."""
    whole = ", ".join(words)
    return whole if len(whole) <= _LISTED else whole[:_LISTED] + "..."


class Kind(Protocol):
    """One type of parameter, with what a declaration says about it."""

    @property
    def takes(self) -> str:
        """Say to a caller what fits: `one of nginx, postgresql`."""

    def check(self, value: str, resolve: Resolve) -> str:
        """Return the text to put into the argument; raise Unfit."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    @property
    def takes(self) -> str:
        """Say which words."""
        return f"one of {listed(self.options)}"

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002 - as in Kind
        """Return one of the options; raise Unfit."""
        if value not in self.options:
            raise Unfit("not one of the options")
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer in plain decimal, within bounds."""

    least: int
    most: int

    @property
    def takes(self) -> str:
        """Say the bounds, as far as there are any."""
        if self.most < HIGHEST:
            low = f" from {self.least} to" if self.least > LOWEST else " of at most"
            return f"an integer{low} {self.most}"
        return f"an integer of at least {self.least}" if self.least > LOWEST else "an integer"

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the digits as they came; raise Unfit."""
        if not _INTEGER.fullmatch(value):
            raise Unfit("not an integer in plain decimal")
        if not self.least <= int(value) <= self.most:
            raise Unfit("out of bounds")
        return value


@dataclass(frozen=True, slots=True)
class Word:
    """A word of harmless characters."""

    takes: str = "a word of at most 256 letters, digits and . _ @ : + -"

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the word; raise Unfit."""
        if not _WORD.fullmatch(value):
            raise Unfit("empty, too long, or with a character no word has")
        return value


@dataclass(frozen=True, slots=True)
class Matching:
    """A text that matches a pattern as a whole."""

    pattern: Pattern
    ascii_only: bool
    takes: str = "a text of the form this command asks for"

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the value; raise Unfit. An empty one never fits."""
        if not value or len(value) > MAX_PATTERN_VALUE:
            raise Unfit("empty or too long")
        if not is_printable(value) or (self.ascii_only and not value.isascii()):
            raise Unfit("with a character that is not allowed")
        if not self.pattern.is_match(value):
            raise Unfit("does not match the pattern")
        return value


@dataclass(frozen=True, slots=True)
class Path:
    """A path at or below one of some directories, links and `..` resolved."""

    roots: tuple[str, ...]
    takes: str = "an absolute path below a directory this command may use"

    def check(self, value: str, resolve: Resolve) -> str:
        """Return the resolved path; raise Unfit.

        What lies there can change until the command looks at it: a directory that others
        may write to is no safe root (ATTACKS POL-12).
        """
        if not value.startswith("/") or not is_printable(value) or len(value.encode()) > _PATH:
            raise Unfit("not an absolute path of printable characters")
        try:
            path = resolve(value)
            # At a loop of links realpath(3) of Python before 3.13 gives up and takes the rest as it is
            # spelled: only what resolves to itself has been resolved.
            if resolve(path) != path:
                raise Unfit("cannot be resolved")
            allowed = any(_is_below(path, resolve(root)) for root in self.roots)
        except (OSError, ValueError):
            raise Unfit("cannot be resolved") from None
        if not allowed or not is_printable(path):
            raise Unfit("not below an allowed directory")
        return path


def _is_below(path: str, root: str) -> bool:
    """Return whether `path` is `root` or in it, part by part: `/srv-evil` is not in `/srv`."""
    parts, outer = path.split("/"), root.rstrip("/").split("/")
    return path.startswith("/") and parts[: len(outer)] == outer


@dataclass(frozen=True, slots=True)
class Text:
    """Any printable text."""

    most: int

    @property
    def takes(self) -> str:
        """Say how long it may be."""
        return f"a text of at most {self.most} characters, without control characters"

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Return the text; raise Unfit. It may be empty."""
        if len(value) > self.most or not is_printable(value):
            raise Unfit("too long or with a control character")
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """Given or not; given, it adds fixed arguments."""

    adds: tuple[str, ...]
    takes: str = "no value"

    def check(self, value: str, resolve: Resolve) -> str:  # noqa: ARG002
        """Raise Unfit: there is no value to check."""
        raise Unfit("a flag was given a value")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared slot of a rule."""

    name: str
    kind: Kind
    #: Taken when the caller sends nothing; a parameter with one is optional.
    default: str | None
    #: Whether a value may begin with '-' and so become an option of the program.
    leading_dash: bool
    summary: str

    @property
    def is_flag(self) -> bool:
        """Return whether it is given without a value."""
        return isinstance(self.kind, Flag)

    def check(self, value: str, resolve: Resolve) -> str:
        """Return the text for the argument; raise Refused without the value in it."""
        hint = ""
        try:
            if value.startswith("-") and not self.leading_dash:  # CWE-88: not to become an option
                hint = ", and none that begins with '-'"
                raise Unfit("begins with '-'")
            return self.kind.check(value, resolve)
        except Unfit as unfit:
            text = f"parameter {self.name!r} takes {self.kind.takes}{hint}"
            raise Refused(Code.BAD_ARGUMENT, text, reason=f"parameter {self.name!r}: {unfit}") from None
