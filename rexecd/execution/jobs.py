"""What the monitor and the processes that start its commands say to each other.

Over packet sockets that nobody else can reach. To the launcher goes a Preparation; to a worker goes
a Job and then orders; from a worker come reports. Texts are JSON, the rest is one fixed structure.
"""

import array
import enum
import json
import os
import resource
import socket
import struct
from typing import Final, NamedTuple

from rexecd.policy.bounds import NetworkAccess, Resources, Sandbox

#: Longest packet: what one send buffer of the kernel holds by default, less its own bookkeeping.
MAX_PACKET: Final = 192 * 1024
#: The same of a report: what its reader makes room for.
MAX_REPORT: Final = 4096
#: A command's three and one for each parameter that is passed so; far below the kernel's 253.
MAX_DESCRIPTORS: Final = 80
_SPACE: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
# As numbers: `&` of the enumeration costs as much as reading the packet.
_CUT: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_RIGHTS: Final = (int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS))
_REPORT: Final = struct.Struct("=BiiQQ")
_MAX_TEXT: Final = MAX_REPORT - _REPORT.size
_KIB: Final = 1024
#: More microseconds, or bytes, than any command can have used: 285 years.
_MOST: Final = 2**53


class Ids(NamedTuple):
    """The numbers a process becomes, all of them together."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class Profile(NamedTuple):
    """What a worker is prepared for, once; every command it then serves has it."""

    #: None: those of the monitor.
    ids: Ids | None = None
    resources: Resources = Resources()
    sandbox: Sandbox | None = None

    @property
    def serves_once(self) -> bool:
        """Return whether a second command would find something of the first."""
        return self.sandbox is not None and self.sandbox.private_tmp


class Preparation(NamedTuple):
    """A profile, and the control group that was made for it (its `cgroup.procs`; empty: none)."""

    profile: Profile
    group: str

    def encode(self) -> bytes:
        """Return it as a packet."""
        sandbox = self.profile.sandbox
        if sandbox is not None:
            network = None if sandbox.network is None else sandbox.network.value
            told = {**sandbox._asdict(), "network": network}
        else:
            told = None
        return json.dumps([self.profile.ids, self.profile.resources, told, self.group]).encode()


def decode_preparation(packet: bytes) -> Preparation:
    """Return what was encoded; nobody but the monitor can have sent it."""
    ids, resources, told, group = json.loads(packet)
    sandbox = None
    if told is not None:
        network = None if told["network"] is None else NetworkAccess(told["network"])
        paths = {key: None if told[key] is None else tuple(told[key]) for key in ("read", "write")}
        sandbox = Sandbox(**{**told, "network": network, **paths})
    found = None if ids is None else Ids(ids[0], ids[1], tuple(ids[2]))
    return Preparation(Profile(found, Resources(*resources), sandbox), group)


class Job(NamedTuple):
    """One command; its descriptors come with it and become 0, 1, 2, 3 and so on."""

    argv: list[str]
    environment: dict[str, str]
    working_directory: str
    umask: int

    def encode(self) -> bytes:
        """Return it as a packet."""
        return json.dumps(self).encode()


def decode_job(packet: bytes) -> Job:
    """Return what was encoded."""
    return Job(*json.loads(packet))


def may_begin(claim: int) -> bool:
    """Take the permission to start a command; return whether it was there.

    There is one for each job, in an eventfd that monitor and worker share: the worker takes it before it
    starts anything, the monitor when it gives the job to another one. Nobody needs to be woken for that.
    """
    try:
        os.eventfd_read(claim)
    except BlockingIOError:
        return False
    return True


class Order(enum.IntEnum):
    """What a worker with a command is told; one byte, and one for the number of a signal."""

    #: Send the signal to the command's process group.
    SIGNAL = 1
    #: Kill everything the command has started.
    END = 2


class Kind(enum.IntEnum):
    """What a worker says."""

    #: It is prepared; `text` says what of a best-effort sandbox is missing, a line each.
    READY = 1
    #: It cannot be prepared, and ends; `text` says why.
    UNFIT = 2
    #: The command runs; `number` is its process id.
    STARTED = 3
    #: It could not be started: `number` is the errno, `text` what it is about ("" for the program).
    FAILED = 4
    #: All is over: `number` is the wait status, `detail` is 0 if something could not be ended, and `usage`
    #: what it used.
    ENDED = 5
    #: Somebody has changed the worker; it ends, and the command was not started.
    SPOILED = 6
    #: The launcher, of a worker it has just forked: `number` is the process id, and its pidfd comes along.
    BORN = 7


class Usage(NamedTuple):
    """What processes have used that were collected."""

    #: Microseconds of processor time, user and system, of all of them and of what they had waited for.
    cpu: int = 0
    #: Bytes of the largest one's resident set, at its largest.
    memory: int = 0

    def plus(self, used: resource.struct_rusage) -> "Usage":
        """Return it with one more process (wait4(2))."""
        cpu = round((used.ru_utime + used.ru_stime) * 1e6)
        return Usage(self.cpu + cpu, max(self.memory, used.ru_maxrss * _KIB))


class Report(NamedTuple):
    """One packet from a worker, or from the launcher in its place."""

    kind: Kind
    number: int = 0
    detail: int = 0
    text: str = ""
    #: Of a command that has ended.
    usage: Usage = Usage()

    def encode(self) -> bytes:
        """Return it as a packet."""
        return _REPORT.pack(*self[:3], *self.usage) + self.text.encode(errors="replace")[:_MAX_TEXT]


def decode_report(packet: bytes) -> Report:
    """Return what was encoded; raise ValueError for anything else."""
    try:
        kind, number, detail, cpu, memory = _REPORT.unpack_from(packet)
    except struct.error:
        raise ValueError("a report that is cut") from None
    if max(cpu, memory) > _MOST:
        raise ValueError("more than a command can use")
    text = packet[_REPORT.size :].decode(errors="replace")
    return Report(Kind(kind), number, detail, text, Usage(cpu, memory))


def receive(sock: socket.socket, most: int = MAX_PACKET) -> tuple[bytes, list[int]]:
    """Return the next packet and its descriptors, which are close-on-exec; empty at end-of-file.

    Room for `most` bytes is made, so say so where a packet is short.

    Raise OSError; a packet that was cut is one.
    """
    packet, ancillary, flags, _ = sock.recvmsg(most, _SPACE, _CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == _RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if flags & _CUT:
        raise OSError("a packet was cut")
    return packet, list(descriptors)
