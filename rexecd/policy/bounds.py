"""What one run of a command is kept within: plain numbers and names, light enough for every process.

The processes that start commands import this and nothing else of the policy.
"""

import enum
from typing import NamedTuple


class Resources(NamedTuple):
    """What one run may use up, in force before its first instruction; None means no ceiling."""

    #: Bytes: of the whole tree with a control group, else of each process (RLIMIT_AS).
    memory: int | None = None
    #: Seconds of processor time, of each process (RLIMIT_CPU).
    cpu: int | None = None
    #: Processes and threads at once; needs a control group.
    processes: int | None = None
    #: Descriptors of each process (RLIMIT_NOFILE).
    open_files: int | None = None
    #: Bytes of each file it writes (RLIMIT_FSIZE).
    file_size: int | None = None
    #: 0 to 19 (nice(2)).
    nice: int | None = None


class Rate(NamedTuple):
    """At most `count` in any `seconds`."""

    count: int  # type: ignore[assignment]  # nobody counts in it, which is what a tuple's own is for
    seconds: int


class Quota(NamedTuple):
    """How often something may run; None means no ceiling."""

    concurrency: int | None = None
    rate: Rate | None = None


class NetworkAccess(enum.Enum):
    """What a sandboxed command reaches of the network."""

    #: No sockets at all.
    NONE = "none"
    #: A network of its own, with nothing in it but its own loopback.
    LOOPBACK = "loopback"


class Sandbox(NamedTuple):
    """What a command is kept from, besides what its user may not do."""

    #: Files and directories that may be read and executed; None: as its user may.
    read: tuple[str, ...] | None = None
    #: Files and directories that may be read, executed and written; None: as its user may.
    write: tuple[str, ...] | None = None
    #: None: all of it.
    network: NetworkAccess | None = None
    #: An empty `/tmp` and `/var/tmp` of its own.
    private_tmp: bool = False
    #: Of `/dev` only null, zero, full, random and urandom.
    minimal_devices: bool = False
    #: Whether it runs with what this host can give.
    best_effort: bool = False


class OnDisconnect(enum.Enum):
    """What becomes of a command whose caller has gone."""

    KILL = "kill"
    FINISH = "finish"
