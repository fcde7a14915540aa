"""Bytes in and out: whole, in order, held back when nobody takes them, and cut where a ceiling says so."""

import base64
import fcntl
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecd.limits import WIDE_PIPE
from tests.commands import begin
from tests.harness import COMMANDS, SETTINGS, Daemon, wait_for

_PYTHON: Final = f"{sys.executable} -I {COMMANDS}"
_MUCH: Final = 10**9
POLICY: Final = f"""\
version: 1
principals: {{ann: {{roles: [all]}}}}
roles: {{all: {{allow: ["*"]}}}}
commands:
  much:
    summary: Write very much
    run: /usr/bin/head -c {_MUCH} /dev/zero
  cat:
    summary: Give back what comes in
    run: /bin/cat
    stdin: accept
  tee:
    summary: Give back what comes in, twice
    run: [/bin/sh, -c, "/usr/bin/tee /dev/stderr"]
    stdin: accept
  alternates:
    summary: Write to both outputs before anything is read
    run: {_PYTHON}/alternates.py
    stdin: accept
  closes:
    summary: Close the input and write
    run: {_PYTHON}/closes_input.py
    stdin: accept
  capped:
    summary: Write as much as is asked for, to either
    run: [/bin/sh, -c, '/usr/bin/head -c "$1" /dev/zero; /usr/bin/head -c "$2" /dev/zero >&2; exit 5', x,
          "{{out}}", "{{err}}"]
    parameters:
      out: {{type: integer, min: 0, max: 100000000}}
      err: {{type: integer, min: 0, max: 100000000}}
    limits: {{output: 10KiB}}
  counts:
    summary: Count some of the input
    run: /usr/bin/wc -c
    stdin: require
    limits: {{input: 10KiB}}
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon that is patient with callers who read nothing."""
    settings = SETTINGS.replace("write_timeout: 3s", "write_timeout: 1m")
    made = Daemon(tmp_path_factory.mktemp("daemon"), settings=settings, policy=POLICY).start()
    yield made
    made.stop()


def test_a_command_whose_caller_reads_nothing_is_held_and_costs_no_memory(daemon: Daemon) -> None:
    """It stands still with its pipe full; when the caller reads on, not one byte of a gigabyte is missing."""
    before = highest = daemon.resident()
    size = 0
    with begin(daemon, "much") as begun:
        wait_for(lambda: _is_held(begun.pid), "the command to be held")
        highest = max(highest, daemon.resident())
        held_at = _written(begun.pid)
        assert begun.process.stdout
        while data := begun.process.stdout.read(1 << 22):
            size += len(data)
            highest = max(highest, daemon.resident())
        status, _ = begun.end()

    assert held_at < 100 * 1024 * 1024
    assert (0, _MUCH) == (status, size)
    assert highest - before < 8 * 1024 * 1024


def test_a_pipe_that_was_found_full_holds_more_from_then_on(daemon: Daemon) -> None:
    """Command and gateway wait less for each other; a pipe with little in it stays small."""
    with begin(daemon, "much") as begun:
        wait_for(lambda: _is_held(begun.pid), "the command to be held")

        assert {1: WIDE_PIPE, 2: 64 * 1024} == {number: _capacity(begun.pid, number) for number in (1, 2)}


def _capacity(pid: int, number: int) -> int:
    """Return how much a pipe of a process can hold."""
    descriptor = os.open(f"/proc/{pid}/fd/{number}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    finally:
        os.close(descriptor)


def _written(pid: int) -> int:
    """Return how many bytes a process has written."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


def _is_held(pid: int) -> bool:
    """Return whether a process that has written something writes no more for a while."""
    before = _written(pid)
    time.sleep(0.3)
    return 0 < before == _written(pid)


def test_every_byte_arrives_as_it_was_sent(daemon: Daemon) -> None:
    """All 256 values, zeros, cut characters, no end of line; in both directions, on both outputs."""
    pieces = [bytes(range(256)) * 100, b"\0" * 70_000, "🎈".encode()[:3], random.Random(7).randbytes(300_000)]
    data = b"".join(pieces)
    done = daemon.rexec("tee", input=data, text=False)

    assert 0 == done.returncode
    assert data == done.stdout
    assert data == done.stderr


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537])
def test_sizes_at_the_edges_of_pipes_and_frames_are_whole(daemon: Daemon, size: int) -> None:
    """Nothing at all is delivered as nothing at all."""
    data = bytes(number % 251 for number in range(size))
    done = daemon.rexec("cat", input=data, text=False)

    assert (0, data, b"") == (done.returncode, done.stdout, done.stderr)


def test_output_that_is_not_text_stays_exact_in_json(daemon: Daemon) -> None:
    """As base64."""
    data = bytes(range(256))
    told = json.loads(daemon.rexec("--json", "HOST", "cat", input=data, text=False).stdout)

    assert {"base64"} == told["stdout"].keys()
    assert data == base64.b64decode(told["stdout"]["base64"])


def test_both_directions_full_and_both_outputs_in_turn_lose_no_order(daemon: Daemon) -> None:
    """The command reads nothing before it has written all; the caller has 20 MB to be read meanwhile."""
    size = 20_000_000
    done = daemon.rexec("alternates", input=bytes(size), text=False)
    numbers = range(30_000)

    assert "".join(f"{number}\n" for number in numbers) + f"read {size}\n" == done.stdout.decode()
    assert "".join(f"{-number}\n" for number in numbers) == done.stderr.decode()


def test_a_command_that_closes_its_input_goes_on_with_its_output(daemon: Daemon) -> None:
    """What is still sent to it is thrown away."""
    done = daemon.rexec("closes", input=os.urandom(5_000_000), text=False)

    assert (3, b"x" * 1_000_000, b"") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("out", "err", "kept", "is_cut"),
    {
        "exactly as much": (10240, 0, (10240, 0), False),
        "one byte more": (10241, 0, (10240, 0), True),
        "both together as much": (10000, 240, (10000, 240), False),
        "both together more": (10000, 10000, (10000, 240), True),
        "very much": (50_000_000, 10, (10240, 0), True),
    }.values(),
)
def test_a_ceiling_of_output_holds_for_both_together_and_is_told(
    daemon: Daemon, out: int, err: int, kept: tuple[int, int], is_cut: bool
) -> None:
    """To the caller on the side and in --json, to the trail with true counts; the end stays its own."""
    done = daemon.rexec("capped", str(out), str(err), text=False)
    told = json.loads(daemon.rexec("--json", "HOST", "capped", str(out), str(err)).stdout)
    record = daemon.wait_for_record("command-drained", request_id=told["request_id"])["rexec"]
    note = b"output or input was cut at its limit"

    assert (5, kept[0], is_cut) == (done.returncode, len(done.stdout), note in done.stderr)
    assert (*kept, is_cut) == (len(told["stdout"]), len(told["stderr"]), told["truncated"])
    assert (out, err, is_cut) == (record["output_bytes"], record["error_output_bytes"], record["truncated"])


@pytest.mark.parametrize(("size", "is_cut"), [(10240, False), (10241, True), (5_000_000, True)])
def test_a_ceiling_of_input_cuts_and_is_told(daemon: Daemon, size: int, is_cut: bool) -> None:
    """The command sees the end of its input there, and the caller is not held."""
    done = daemon.rexec("counts", input=bytes(size), text=False)
    record = daemon.records("command-started")[-1]["rexec"]
    drained = daemon.wait_for_record("command-drained", request_id=record["request_id"])["rexec"]

    assert (0, b"10240\n") == (done.returncode, done.stdout)
    assert is_cut == (b"cut at its limit" in done.stderr)
    assert (10240, is_cut) == (drained["input_bytes"], drained["truncated"])

    told = daemon.rexec("--json", "HOST", "counts", input=bytes(size), text=False)

    assert is_cut is json.loads(told.stdout)["truncated"]
