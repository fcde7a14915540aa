"""Typed messages over AF_UNIX packets, descriptors with them, and who is at the other end."""

import array
import contextlib
import errno
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from rexecd.codec import Catalogue
from rexecd.errors import RemoteProtocolError, Unavailable
from rexecd.limits import MAX_DESCRIPTORS, MAX_PACKET
from rexecd.seam.messages import Message

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid (unix(7))
#: CMSG_LEN and not CMSG_SPACE: the padding of the latter would let one descriptor more through.
_DESCRIPTORS_SPACE = socket.CMSG_LEN(MAX_DESCRIPTORS * array.array("i").itemsize)
# As numbers: `&` of the enumeration costs as much as reading the message.
_CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_RIGHTS = (int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS))


class PeerProcess(NamedTuple):
    """Who opened the other end, as the kernel says (SO_PEERCRED)."""

    pid: int
    uid: int


def listen(path: Path, *, mode: int, group: int = -1) -> socket.socket:
    """Return a listening packet socket at `path`, replacing a dead one; it belongs to `group`, if not -1.

    Raise OSError. Only a process holding the state directory's lock may call this: it is what
    makes sure that the socket it replaces is dead.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.unlink(missing_ok=True)
        previous = os.umask(0o777 & ~mode)
        try:
            sock.bind(str(path))
        finally:
            os.umask(previous)
        os.chown(path, -1, group)  # nobody can connect yet
        sock.listen(socket.SOMAXCONN)
    except OSError:
        sock.close()
        raise
    return sock


def connect(path: Path, catalogue: Catalogue, *, timeout: float) -> "Channel":
    """Return a channel to whoever listens at `path`.

    Raise Unavailable if nobody does, or does not accept within `timeout` seconds.
    """
    with contextlib.ExitStack() as on_failure:
        try:
            sock = on_failure.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            channel = Channel(sock, catalogue, timeout=timeout)
            sock.connect(str(path))
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}") from None
        on_failure.pop_all()
        return channel


class Channel:
    """One packet socket that speaks the messages of one catalogue.

    Sending waits `timeout` seconds at most for a peer that does not read (0 would be for ever).
    """

    def __init__(self, sock: socket.socket, catalogue: Catalogue, *, timeout: float) -> None:
        self._socket = sock
        self._catalogue = catalogue
        seconds, fraction = divmod(timeout, 1)
        wait = struct.pack("ll", int(seconds), int(fraction * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._socket.fileno()

    def peer(self) -> PeerProcess:
        """Return who connected, from the kernel."""
        size = _CREDENTIALS.size
        raw = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return PeerProcess(pid, uid)

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send one message; raise Unavailable if the peer is gone or does not read.

        Raise OSError(ETOOMANYREFS) if too many descriptors are in flight: that is "busy".
        """
        packet = self._catalogue.encode(message)
        try:
            if descriptors:
                socket.send_fds(self._socket, [packet], descriptors)
            else:
                self._socket.send(packet)
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                raise
            raise Unavailable(f"the other process is away: {error.strerror}") from None

    def receive(self) -> Message | None:
        """Return the next message, None at end-of-file.

        Raise RemoteProtocolError for anything else, and for descriptors: the kernel has closed
        them already, because no room was offered.
        """
        try:
            packet, _, flags, _ = self._socket.recvmsg(MAX_PACKET)
        except ConnectionError:
            return None
        if flags & _CUT:
            raise RemoteProtocolError("a message between the processes was cut")
        return self._catalogue.decode(packet) if packet else None

    def receive_with_descriptors(self) -> tuple[Message | None, tuple[int, ...]]:
        """Return the next message (None at end-of-file) and the descriptors that came with it.

        They arrive close-on-exec. Raise RemoteProtocolError, having closed them, if the kernel
        had to cut the message or the descriptors, or if there is no message to go with them.
        """
        try:
            packet, ancillary, flags, _ = self._socket.recvmsg(MAX_PACKET, _DESCRIPTORS_SPACE, _CLOEXEC)
        except ConnectionError:
            return None, ()
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == _RIGHTS:
                whole = len(data) - len(data) % descriptors.itemsize
                descriptors.frombytes(data[:whole])
        try:
            if flags & _CUT or (descriptors and not packet):
                raise RemoteProtocolError("a message between the processes was cut")
            message = self._catalogue.decode(packet) if packet else None
        except RemoteProtocolError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        return message, tuple(descriptors)

    def close(self) -> None:
        """Close this end; the other sees end-of-file."""
        self._socket.close()
