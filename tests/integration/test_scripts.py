"""`rexec` in scripts: tries again without running twice, and says each end once."""

import concurrent.futures
import contextlib
import json
import random
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import PATIENCE, POLICY, SETTINGS, Daemon, wait_for
from tests.terminal import Terminal

OWN = """\
  mark:
    summary: Leave a mark
    run: [/bin/sh, -c, 'echo mark >> "$1"', sh, "{file}"]
    parameters:
      file: {type: text, max: 4000}
    limits: {concurrency: 1}
  hold:
    summary: Leave a mark, and stay until told to go
    run: [/bin/sh, -c, 'echo mark >> "$1"; while [ ! -e "$1.go" ]; do /bin/sleep 0.05; done', sh, "{file}"]
    parameters:
      file: {type: text, max: 4000}
    limits: {concurrency: 1}
  end:
    summary: End as is asked
    run: [/bin/sh, -c, 'test "$1" -lt 256 && exit "$1"; kill "-$(($1 - 256))" $$; /bin/sleep 9', sh, "{how}"]
    parameters:
      how: {type: integer, min: 0, max: 300}
  drops:
    summary: Write a little, for some seconds
    run: [/bin/sh, -c, "for i in 1 2 3 4 5 6 7 8 9; do head -c 300000 /dev/zero; sleep 0.4; done"]
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon that takes many callers at once."""
    settings = SETTINGS.replace("max_connections: 40", "max_connections: 200")
    made = Daemon(tmp_path_factory.mktemp("daemon"), settings=settings, policy=POLICY + OWN).start()
    yield made
    made.stop()


class Gate:
    """A way to the daemon that closes the first connections it is asked for."""

    def __init__(self, daemon: Daemon, closed: int, *, after: int = 0) -> None:
        """Close `closed` connections, each when `after` bytes came from the server."""
        self._daemon = daemon
        self._closed = closed
        self._after = after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.count = 0
        #: Bytes of the server's that were passed on last.
        self.passed = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            with caller:
                if self.count <= self._closed and not self._after:
                    continue
                with self._daemon.connect() as server:
                    self._pass(caller, server)

    def _pass(self, caller: socket.socket, server: socket.socket) -> None:
        """Pass bytes both ways, and no more of the server's than are let through."""
        left = self._after if self.count <= self._closed else 2**30
        self.passed = 0

        def forward() -> None:
            with contextlib.suppress(OSError):
                while data := caller.recv(65536):
                    server.sendall(data)
                server.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=forward, daemon=True)
        thread.start()
        with contextlib.suppress(OSError):
            while left > 0 and (data := server.recv(min(65536, left))):
                caller.sendall(data)
                left -= len(data)
                self.passed += len(data)
        with contextlib.suppress(OSError):
            caller.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


@pytest.fixture
def gate(daemon: Daemon) -> Iterator[Callable[..., Gate]]:
    """Make gates, and close them."""
    with contextlib.ExitStack() as stack:

        def make(closed: int, *, after: int = 0) -> Gate:
            made = Gate(daemon, closed, after=after)
            stack.callback(made.close)
            return made

        yield make


def through(gate: Gate, daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `rexec` through a gate."""
    line = [
        word.replace(daemon.address, f"127.0.0.1:{gate.port}")
        for word in daemon.rexec_line("--retry", "3", "HOST", *words)
    ]
    return subprocess.run(
        line, input="of mine\n", capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_a_connection_that_fails_is_tried_again_and_input_is_whole(
    daemon: Daemon, gate: Callable[..., Gate]
) -> None:
    """Nothing of the input was touched before the command ran."""
    closed = gate(1)
    done = through(closed, daemon, "cat")

    assert (0, "of mine\n", 2) == (done.returncode, done.stdout, closed.count), done.stderr
    assert re.search(r"^rexec: warning: .*; trying again in [0-9.]+ s$", done.stderr, re.MULTILINE)


def test_a_command_that_may_have_run_is_not_run_again(
    daemon: Daemon, gate: Callable[..., Gate], tmp_path: Path
) -> None:
    """The connection is cut at many places of the server's answers: a mark is never left twice."""
    whole = gate(0)
    through(whole, daemon, "echo", "x")
    seen = set()
    for number, missing in enumerate(range(1, 300, 40)):
        after = whole.passed - missing
        marks = tmp_path / f"marks{number}"
        marks.touch()
        marks.chmod(0o666)
        tmp_path.chmod(0o777)
        cut = gate(1, after=after)
        done = through(cut, daemon, "mark", str(marks))
        wait_for(lambda: not daemon.status()["running"], "an end")
        count = len(marks.read_text().splitlines())
        seen.add((done.returncode, cut.count, count))
        assert count <= 1, (after, done)
        assert not (done.returncode == 0 and count == 0), (after, done)

    # Before it was asked for it is tried again; afterwards it is not.
    assert (0, 2, 1) in seen
    assert (255, 1, 1) in seen


def test_over_a_limit_is_tried_again_until_there_is_room(daemon: Daemon, tmp_path: Path) -> None:
    """And then it runs once."""
    tmp_path.chmod(0o777)
    held = tmp_path / "held"
    with subprocess.Popen(daemon.rexec_line("hold", str(held)), stdin=subprocess.DEVNULL) as first:
        wait_for(held.exists, "the first")
        line = daemon.rexec_line("--retry", "20", "HOST", "hold", str(held))
        with subprocess.Popen(line, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as second:
            assert second.stderr is not None
            assert "trying again" in second.stderr.readline()
            (tmp_path / "held.go").touch()

            assert (0, 0) == (first.wait(PATIENCE), second.wait(PATIENCE))
    assert "mark\nmark\n" == held.read_text()


def test_a_wait_can_be_given_up(daemon: Daemon, gate: Callable[..., Gate]) -> None:
    """By Ctrl-C, as everything."""
    closed = gate(99)
    line = [
        word.replace(daemon.address, f"127.0.0.1:{closed.port}")
        for word in daemon.rexec_line("--retry", "99", "HOST", "cat")
    ]
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "trying again" in process.stderr.readline()
        process.send_signal(2)

        assert 130 == process.wait(PATIENCE)


def test_events_tell_of_each_try(daemon: Daemon, gate: Callable[..., Gate]) -> None:
    """On standard output, where the reader is a program."""
    line = [
        word.replace(daemon.address, f"127.0.0.1:{gate(1).port}")
        for word in daemon.rexec_line("--json=lines", "--retry", "1", "HOST", "echo", "x")
    ]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PATIENCE)

    assert (b"", ["retrying", "started", "output", "ended"]) == (
        done.stderr,
        [json.loads(event)["event"] for event in done.stdout.splitlines()],
    )


def test_a_long_download_is_counted_in_the_terminal(daemon: Daemon, tmp_path: Path) -> None:
    """And nothing of it is in the file."""
    with (tmp_path / "out").open("wb") as file:

        def start(**how: Any) -> subprocess.Popen[bytes]:
            return subprocess.Popen(daemon.rexec_line("drops"), **how)

        terminal = Terminal(start, stdout=file)
        try:
            terminal.expect(b" MiB received, ", seconds=PATIENCE)

            assert 0 == terminal.process.wait(PATIENCE)
        finally:
            terminal.close()
    assert bytes(2_700_000) == (tmp_path / "out").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_calls_lose_no_exit_status(daemon: Daemon) -> None:
    """Four at a time, each with its own: numbers 0 to 255, and signals."""
    draw = random.Random(1000)
    wanted = [
        draw.choice([draw.randrange(256), 256 + draw.choice((1, 2, 3, 6, 9, 11, 13, 14, 15))])
        for _ in range(1000)
    ]

    def call(how: int) -> int:
        return subprocess.run(
            daemon.rexec_line("end", str(how)), stdin=subprocess.DEVNULL, check=False, timeout=60
        ).returncode

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(call, wanted))

    expected = [how if how < 256 else how - 128 for how in wanted]
    assert [] == [pair for pair in zip(wanted, expected, found, strict=True) if pair[1] != pair[2]]
