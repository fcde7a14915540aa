"""What a loaded policy is: frozen, complete, and independent of the files it came from.

Places are for messages and records; two rules that say the same are equal wherever they stand.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from rexecd.networks import Network

# Whoever reads a rule needs this module only.
# ruff: noqa: PLC0414
from rexecd.policy.bounds import NetworkAccess as NetworkAccess
from rexecd.policy.bounds import OnDisconnect as OnDisconnect
from rexecd.policy.bounds import Quota as Quota
from rexecd.policy.bounds import Rate as Rate
from rexecd.policy.bounds import Resources as Resources
from rexecd.policy.bounds import Sandbox as Sandbox
from rexecd.policy.parameters import Parameter
from rexecd.policy.template import Template
from rexecd.wire.messages import SignalName
from rexecd.yamltext import Place


class Stdin(enum.Enum):
    """Whether a rule takes input."""

    REFUSE = "refuse"
    ACCEPT = "accept"
    REQUIRE = "require"


class Justification(enum.Enum):
    """Whether a caller has to say why."""

    OPTIONAL = "optional"
    REQUIRED = "required"


class Identity(NamedTuple):
    """Who a command runs as, resolved when the policy was loaded."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def __str__(self) -> str:
        groups = ",".join(map(str, self.groups)) or "none"
        return f"{self.user} (uid {self.uid}, gid {self.gid}, groups {groups})"


class Example(NamedTuple):
    """One of a policy's own tests: who asks for what, from where, and what has to come of it."""

    place: Place
    principal: str
    #: Empty: from an address that every `from` admits.
    address: str
    line: str
    justification: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One allowed command."""

    name: str
    place: Place = field(compare=False)
    summary: str
    description: str
    template: Template
    #: In declared order.
    parameters: Mapping[str, Parameter]
    stdin: Stdin
    #: Seconds.
    timeout: float
    resources: Resources
    #: Over all who run it.
    quota: Quota
    #: None: only what its user may not do.
    sandbox: Sandbox | None
    #: Those a caller may send.
    signals: frozenset[SignalName]
    on_disconnect: OnDisconnect
    environment: Mapping[str, str]
    working_directory: str
    umask: int
    #: None: the daemon's own.
    identity: Identity | None
    #: Where callers have to come from; empty for anywhere.
    sources: tuple[Network, ...]
    justification: Justification
    #: Whether listings leave it out.
    hidden: bool
    #: Bytes of stdout and stderr together; None means no ceiling.
    output_ceiling: int | None
    #: Bytes of standard input; None means no ceiling.
    input_ceiling: int | None
    #: Seconds that stand in the file, where the daemon's ceiling made `timeout` shorter than that.
    cut_from: float | None = field(compare=False)
    examples: tuple[Example, ...] = field(compare=False)
    #: Codes of lint that are meant, with the reason.
    silenced: Mapping[str, str] = field(compare=False)
    #: Keys that stand in the file: whether a default was chosen is for lint.
    written: frozenset[str] = field(compare=False)

    @property
    def has_secret(self) -> bool:
        """Return whether a line for it may hold what no record may."""
        return any(parameter.is_secret for parameter in self.parameters.values())


class Term(NamedTuple):
    """One name, `prefix.*` or `*` in a role, and the commands it stands for."""

    pattern: str
    place: Place
    commands: frozenset[str]


@dataclass(frozen=True, slots=True)
class Role:
    """What those who hold it may run, and what they may not, whatever else they hold."""

    name: str
    place: Place
    allow: tuple[Term, ...]
    deny: tuple[Term, ...]

    @property
    def allowed(self) -> frozenset[str]:
        """Return the commands it allows."""
        return frozenset[str]().union(*(term.commands for term in self.allow))

    @property
    def denied(self) -> frozenset[str]:
        """Return the commands it denies."""
        return frozenset[str]().union(*(term.commands for term in self.deny))


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who may run something: the rules its roles permit, by name."""

    name: str
    place: Place = field(compare=False)
    roles: tuple[str, ...]
    #: Where it has to come from; empty for anywhere.
    sources: tuple[Network, ...]
    #: Whether a token alone is not enough.
    requires_certificate: bool
    #: Over everything it runs; where it sets no `concurrency` the settings do.
    quota: Quota
    rules: Mapping[str, Rule]


class Guarded(NamedTuple):
    """What shows that a line may hold a secret."""

    #: Commands that take one.
    commands: frozenset[str]
    #: How the names of the parameters that are secrets begin, in small letters.
    parameters: frozenset[str]


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole allowlist. What is not in here is not allowed."""

    principals: Mapping[str, Principal]
    rules: Mapping[str, Rule]
    roles: Mapping[str, Role]
    #: SHA-256 of the files it was loaded from, one after the other, in hex.
    digest: str
    #: None: no rule takes a secret, so that lines can be recorded as they are.
    guarded: Guarded | None = None
    #: The text of each file, by its name in messages.
    texts: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


class Defaults(NamedTuple):
    """What the daemon's settings say of every rule."""

    #: Who a rule without `run_as` runs as; None: the daemon's own.
    identity: Identity | None = None
    #: Seconds no rule's `timeout` is above; None: any time.
    max_timeout: float | None = None


#: Of what nothing is said.
UNLIMITED: Final = Resources()
UNCOUNTED: Final = Quota()

#: Allows nothing to nobody.
NO_POLICY: Final = Policy(MappingProxyType({}), MappingProxyType({}), MappingProxyType({}), digest="none")


class PassedText(NamedTuple):
    """A secret for the program: through a pipe whose number ends an argument, or as its stdin (None)."""

    argument: int | None
    data: bytes

    def __repr__(self) -> str:
        return f"PassedText(argument={self.argument!r})"


class PassedFile(NamedTuple):
    """A file for the program, opened for reading without following any link; its number ends an argument."""

    argument: int
    path: str
    #: Whose value it is.
    parameter: str


@dataclass(frozen=True, slots=True)
class Invocation:
    """A permission: one program with everything it will be started with.

    Only `policy.decide.decide` makes one, and nothing is started without one.
    """

    rule: str
    #: Where the rule stands: `policy.yaml:12:3`.
    place: str
    #: Complete but for the numbers of descriptors, which are put behind the arguments `passed` names.
    argv: tuple[str, ...]
    #: Complete: nothing of the daemon's own environment is added. It may hold secrets.
    environment: Mapping[str, str] = field(repr=False)
    working_directory: str
    umask: int
    #: None: the daemon's own.
    identity: Identity | None
    #: Seconds.
    timeout: float
    takes_input: bool
    #: Bytes of stdout and stderr together; None means no ceiling.
    output_ceiling: int | None
    #: Bytes of standard input; None means no ceiling.
    input_ceiling: int | None
    passed: tuple[PassedText | PassedFile, ...]
    resources: Resources = UNLIMITED
    #: Of the rule, over all who run it.
    quota: Quota = UNCOUNTED
    #: None: only what its user may not do.
    sandbox: Sandbox | None = None
    #: Those the caller may send.
    signals: frozenset[SignalName] = frozenset(SignalName)
    on_disconnect: OnDisconnect = OnDisconnect.KILL

    def recorded_argv(self) -> tuple[str, ...]:
        """Return the arguments as a record shows them: what stands behind each descriptor, but no secret."""
        argv = list(self.argv)
        for passed in self.passed:
            if passed.argument is not None:
                argv[passed.argument] += f"[{passed.path if isinstance(passed, PassedFile) else 'secret'}]"
        return tuple(argv)
