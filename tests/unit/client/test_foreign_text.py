"""Whatever a server says reaches a terminal escaped, on whichever way; a command's own output, untouched."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rexecd.errors import Code
from rexecd.wire.messages import (
    Accepted,
    Authenticate,
    Closed,
    ErrorOutput,
    List,
    Listed,
    Output,
    Refused,
    Run,
    Started,
)
from rexecd.wire.messages import Entry as Listing
from tests.unit.client.fake_server import EVIL, GOOD_END, FakeServer, Peer

#: Everything that could steer or hide, from all planes.
WORSE = f"{EVIL}\r\x08\x7f\x85\u2028\u2066\ufeff\U000e0041"
ENTRY = Listing(f"disk{WORSE}", WORSE, WORSE, f"one\n{WORSE}", (WORSE,), json.dumps({"title": WORSE}))
NAMED = ENTRY._replace(name="disk")

Serve = Callable[..., FakeServer]

pytestmark = pytest.mark.usefixtures("caller_environment")


def welcome(peer: Peer) -> None:
    """Take the token, and say who that is."""
    peer.expect(Authenticate)
    peer.send(Accepted(WORSE, WORSE, WORSE, 3600))


def lists(peer: Peer) -> None:
    """List a command."""
    welcome(peer)
    peer.expect(List)
    peer.send(ENTRY, NAMED, Listed())
    peer.wait_until_gone()


def refuses(peer: Peer) -> None:
    """Refuse a command."""
    welcome(peer)
    peer.expect(Run)
    peer.send(Refused(WORSE, Code.BAD_ARGUMENT, WORSE, 0))
    peer.wait_until_gone()


def closes(peer: Peer) -> None:
    """End the session instead of an answer."""
    welcome(peer)
    peer.expect(Run)
    peer.send(Closed(Code.UNAVAILABLE, WORSE))
    peer.wait_until_gone()


def turns_away(peer: Peer) -> None:
    """Refuse the token."""
    peer.expect(Authenticate)
    peer.send(Closed(Code.AUTHENTICATION_FAILED, WORSE))
    peer.wait_until_gone()


def runs(peer: Peer) -> None:
    """Run a command under a number that is a text."""
    welcome(peer)
    peer.expect(Run)
    peer.send(Started(WORSE), GOOD_END)
    peer.wait_until_gone()


def entertains(peer: Peer) -> None:
    """Hold a session: list, refuse, run."""
    welcome(peer)
    peer.expect(List)
    peer.send(ENTRY, NAMED, Listed())
    peer.expect(List)
    peer.send(ENTRY, NAMED, Listed())
    peer.expect(Run)
    peer.send(Refused(WORSE, Code.NOT_PERMITTED, WORSE, 0))
    peer.wait_until_gone()


@pytest.mark.parametrize(
    ("script", "line", "text"),
    {
        "a listing": (lists, "--list HOST", ""),
        "a listing as JSON": (lists, "--list --json HOST", ""),
        "a listing as JSON lines": (lists, "--list --json=lines HOST", ""),
        "a command's help": (lists, "HOST disk --help", ""),
        "a command's help as JSON": (lists, "--json HOST disk --help", ""),
        "a refusal": (refuses, "HOST x", ""),
        "a refusal as JSON": (refuses, "--json HOST x", ""),
        "a refusal as JSON lines": (refuses, "--json=lines HOST x", ""),
        "an end": (closes, "HOST x", ""),
        "an end, tried again": (closes, "--retry 1 HOST x", ""),
        "a refused token": (turns_away, "HOST x", ""),
        "what is tried": (runs, "-v HOST x", ""),
        "a run as JSON": (runs, "--json HOST x", ""),
        "a run as JSON lines": (runs, "--json=lines HOST x", ""),
        "a session": (entertains, "HOST", "help\nhelp disk\nx\n"),
        "completion": (lists, "--complete fish HOST ", ""),
    }.values(),
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_nothing_that_steers_a_terminal_gets_through(
    serve: Serve, tmp_path: Path, script: Callable[[Peer], None], line: str, text: str
) -> None:
    """Neither on standard output nor on standard error; what was meant can still be read."""
    words = line.replace("HOST", serve(script).address).split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "rexecd.cli.rexec", *words],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        input=text.encode(),
        capture_output=True,
        check=False,
        timeout=30,
    )
    said = (done.stdout + done.stderr).decode()

    assert [] == sorted({each for each in said if not (each.isprintable() or each in "\n\t")})
    assert "internal error" not in said
    assert "x1b" in said or "u001b" in said


def test_a_commands_own_output_is_untouched(serve: Serve) -> None:
    """As with ssh: what it writes is its own affair, byte by byte."""

    def writes(peer: Peer) -> None:
        welcome(peer)
        peer.expect(Run)
        peer.send(Started("r"), Output(WORSE.encode()), ErrorOutput(b"\x1b\xff\x00"), GOOD_END)
        peer.wait_until_gone()

    line = [sys.executable, "-m", "rexecd.cli.rexec", "-q", serve(writes).address, "x"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)

    assert (0, WORSE.encode(), b"\x1b\xff\x00") == (done.returncode, done.stdout, done.stderr)
