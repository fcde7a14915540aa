"""Who asks at the operator's door: what the kernel says, and nothing rather than somebody else."""

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rexecd.monitor.asker import NOBODY, peer, this_process
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel, listen
from tests.harness import as_login

LOGIN = 4711
#: Connects, as somebody else where that is asked for, and waits until it may go.
ASKING = """
import os, socket, sys
if len(sys.argv) > 2:
    os.setresuid(*[int(sys.argv[2])] * 3)
asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asking.connect(sys.argv[1])
sys.stdin.read()
"""

Asking = Callable[..., tuple[Channel, "subprocess.Popen[bytes]"]]


@pytest.fixture
def asking() -> Iterator[Asking]:
    """Give a maker of processes that have connected, each with our end of its channel."""
    with contextlib.ExitStack() as kept:
        directory = Path(kept.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        directory.chmod(0o755)  # for whoever a process becomes
        path = directory / "door"
        door = kept.enter_context(listen(path, mode=0o666))
        door.settimeout(20)

        def make(*arguments: str, login: int | None = LOGIN) -> tuple[Channel, "subprocess.Popen[bytes]"]:
            line = [sys.executable, "-I", "-c", ASKING, str(path), *arguments]
            process = subprocess.Popen(
                as_login(login, line) if login is not None else line, stdin=subprocess.PIPE
            )
            kept.callback(process.communicate)
            return Channel(kept.enter_context(door.accept()[0]), seam.ADMIN, timeout=5), process

        yield make


def test_a_login_is_known_through_sudo(asking: Asking) -> None:
    """As whom the process works, and as whom its user had come."""
    channel, _ = asking()
    found = peer(channel)

    assert (str(os.getuid()), str(LOGIN)) == (found["operator_id"], found["login_id"])
    assert pwd.getpwuid(os.getuid()).pw_name == found["operator"]
    assert "login" not in found


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
def test_a_command_of_root_that_has_become_the_services_user_keeps_its_login(asking: Asking) -> None:
    """As `rexecd token create` does for an installed service."""
    channel, _ = asking("65534")
    found = peer(channel)

    assert ("65534", str(LOGIN)) == (found["operator_id"], found["login_id"])


def test_who_does_not_wait_for_the_answer_has_no_login(asking: Asking) -> None:
    """Another process may have its number by then; who connected the kernel knows."""
    channel, process = asking()
    process.communicate()

    assert {"operator_id", "operator"} == peer(channel).keys()
    assert str(os.getuid()) == peer(channel)["operator_id"]


def test_where_nobody_logged_in_nobody_is_named(monkeypatch: pytest.MonkeyPatch, asking: Asking) -> None:
    """As in a unit, or a container; and where /proc hides the process, or is not there."""
    channel, _ = asking(login=None)
    for content in (b"4294967295\n", b"", b"-1\n", None):

        def read(_: Path, content: bytes | None = content) -> bytes:
            if content is None:
                raise FileNotFoundError
            return content

        monkeypatch.setattr(Path, "read_bytes", read)
        assert {"operator_id", "operator"} == peer(channel).keys()


def test_an_account_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service that knows nobody is no reason not to record."""

    def nobody(_: int) -> Any:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        found = peer(Channel(ours, seam.ADMIN, timeout=5))

    assert str(os.getuid()) == found["operator_id"]
    assert not {"operator", "login"} & found.keys()


def test_a_command_that_works_alone_says_who_runs_it() -> None:
    """Without a monitor nobody else could."""
    program = "import json; from rexecd.monitor.asker import this_process; print(json.dumps(this_process()))"
    told = subprocess.run(
        as_login(LOGIN, [sys.executable, "-I", "-c", program]), stdout=subprocess.PIPE, check=True
    )
    found = json.loads(told.stdout)

    assert (str(os.getuid()), str(LOGIN)) == (found["operator_id"], found["login_id"])
    assert this_process().keys() >= {"operator_id"}
    assert not NOBODY
