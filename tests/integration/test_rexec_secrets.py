"""What others on the caller's machine can see of a running `rexec`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness import Daemon

_MEMORY = Path("/proc/self/mem")

pytestmark = pytest.mark.skipif(not _MEMORY.exists(), reason="needs Linux's /proc")


@contextmanager
def _running(daemon: Daemon, *options: str) -> Iterator[int]:
    """Give the process id of a `rexec` whose command runs."""
    line = [sys.executable, "-I", "-m", "rexecd.cli.rexec", *options, "--ca", str(daemon.made.authority)]
    with subprocess.Popen([*line, daemon.address, "trap"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert b"ready\n" == process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("spelling", [("--token", "{}"), ("--token={}",)])
def test_a_running_rexec_shows_no_token(daemon: Daemon, spelling: tuple[str, ...]) -> None:
    """What was typed stands there as stars of the same number, and everything else as it was."""
    token = daemon.tokens["ann"]
    with _running(daemon, *(word.format(token) for word in spelling)) as pid:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")

    assert token not in "".join(words)
    assert ["rexecd.cli.rexec", *(word.format("*" * len(token)) for word in spelling), "--ca"] == words[3:][
        : len(spelling) + 2
    ]
    assert ["trap", ""] == words[-2:]


def test_a_running_rexec_leaves_no_core(daemon: Daemon) -> None:
    """One byte: less than any file that would be begun, and the kernel gives a collector nothing either."""
    with _running(daemon, "--token", daemon.tokens["ann"]) as pid:
        limits = Path(f"/proc/{pid}/limits").read_text()

    (core,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert int(core.split()[4]) <= 1


def test_the_token_is_gone_before_anything_slow() -> None:
    """By the time the program itself is loaded the list of processes has no token any more."""
    program = (
        "import sys; from rexecd.cli.rexec import main\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'rexecd.cli.call':\n"
        "            print(open('/proc/self/cmdline').read()); raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "raise SystemExit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--token", "rxt_of-nobody", "web1", "--token=of-another"],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert (130, "") == (done.returncode, done.stderr)
    assert ["--token", "*" * 13, "web1", "--token=" + "*" * 10, "\n"] == done.stdout.split("\0")[3:]
