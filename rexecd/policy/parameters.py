"""One declared slot of a rule: how often it may be filled, with what, and how the value travels."""

import enum
from dataclasses import dataclass

from rexecd.errors import Code, Refused
from rexecd.policy.kinds import Flag, Kind, Resolve, Schema, Secret, Unfit


class Pass(enum.Enum):
    """How a value reaches the program."""

    ARGUMENT = "argument"
    #: The program is given `/dev/fd/N`: a file opened for it, or a pipe with a secret.
    DESCRIPTOR = "descriptor"
    #: All of standard input, and then its end.
    STDIN = "stdin"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Repeat:
    """How many values a repetition takes."""

    least: int
    most: int

    @property
    def takes(self) -> str:
        """Say how many."""
        return f"{self.least} times" if self.least == self.most else f"{self.least} to {self.most} times"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared slot of a rule."""

    name: str
    kind: Kind
    summary: str = ""
    #: Taken when the caller sends nothing.
    default: str | None = None
    #: Whether it may be left out without a default; its argument is left out with it.
    optional: bool = False
    #: Whether a value may begin with '-' and so become an option of the program.
    leading_dash: bool = False
    #: None: one value.
    repeat: Repeat | None = None
    passed: Pass = Pass.ARGUMENT
    #: The environment variable it is passed in.
    variable: str = ""

    @property
    def is_flag(self) -> bool:
        """Return whether it is given without a value."""
        return isinstance(self.kind, Flag)

    @property
    def is_secret(self) -> bool:
        """Return whether its value may stand in no record."""
        return isinstance(self.kind, Secret)

    @property
    def is_required(self) -> bool:
        """Return whether a caller has to give it."""
        if self.repeat is not None:
            return self.repeat.least > 0
        return self.default is None and not self.optional and not self.is_flag

    @property
    def takes(self) -> str:
        """Say to a caller what fits."""
        return self.kind.takes if self.repeat is None else f"{self.kind.takes}, {self.repeat.takes}"

    @property
    def schema(self) -> Schema:
        """Return the JSON Schema of what a caller gives."""
        schema: dict[str, object] = dict(self.kind.schema)
        if self.repeat is not None:
            schema = {"type": "array", "items": schema, "minItems": self.repeat.least}
            schema["maxItems"] = self.repeat.most
        if self.summary:
            schema["description"] = self.summary
        return schema

    def check(self, value: str, resolve: Resolve) -> str:
        """Return the text for the program; raise Refused without the value in it."""
        hint = ""
        try:
            if value.startswith("-") and not self.leading_dash:  # CWE-88: not to become an option
                hint = ", and none that begins with '-'"
                raise Unfit("begins with '-'")
            return self.kind.check(value, resolve)
        except Unfit as unfit:
            text = f"parameter {self.name!r} takes {self.kind.takes}{hint}"
            raise Refused(Code.BAD_ARGUMENT, text, reason=f"parameter {self.name!r}: {unfit}") from None
