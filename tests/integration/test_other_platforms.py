"""The caller's side where there is no `fcntl`, `termios`, poll(2) or `SIGHUP`: as on Windows and macOS.

What is hidden, and how, stands in tests/data/platforms/bare.py. The server is a real one.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import PATIENCE, Daemon, wait_for

BARE = Path(__file__).parents[1] / "data/platforms/bare.py"
Bare = Callable[..., subprocess.CompletedProcess[bytes]]


def bare_line(daemon: Daemon, *arguments: str) -> list[str]:
    """Return the command line of `rexec`, on another platform."""
    line = daemon.rexec_line(*arguments)
    return [sys.executable, "-I", str(BARE), *line[line.index("rexecd.cli.rexec") + 1 :]]


@pytest.fixture
def bare(daemon: Daemon, tmp_path: Path) -> Bare:
    """Run `rexec` as there."""

    def run(*arguments: str, **given: Any) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
        how: dict[str, Any] = {"capture_output": True, "timeout": PATIENCE, "env": environment, **given}
        if "input" not in how and "stdin" not in how:
            how["stdin"] = subprocess.DEVNULL
        return subprocess.run(bare_line(daemon, *arguments), check=False, start_new_session=True, **how)

    return run


def test_a_command_runs_with_both_outputs_and_its_status(bare: Bare) -> None:
    """As everywhere."""
    done = bare("both")

    assert (3, b"out\n", b"err\n") == (done.returncode, done.stdout, done.stderr)


def test_input_from_a_pipe_goes_through_whole(bare: Bare) -> None:
    """A thread reads it ahead, where a pipe cannot be waited for."""
    data = os.urandom(3_000_000)

    assert data == bare("cat", input=data).stdout


def test_input_from_a_file_goes_through_whole(bare: Bare, tmp_path: Path) -> None:
    """The same."""
    (tmp_path / "data").write_bytes(b"line\n" * 50_000)
    with (tmp_path / "data").open("rb") as file:
        assert b"250000\n" == bare("count", stdin=file).stdout


def test_a_command_that_ends_before_its_input_is_no_failure(bare: Bare) -> None:
    """Nothing waits for the rest of it."""
    done = bare("deaf", input=b"x" * 1_000_000)

    assert (0, b"done\n", b"") == (done.returncode, done.stdout, done.stderr)


def test_listing_json_values_from_files_and_lines_from_a_pipe_work(bare: Bare, tmp_path: Path) -> None:
    """What else `rexec` does without a terminal."""
    (tmp_path / "value").write_text("secret word")

    assert b"echo" in bare("--list", "HOST").stdout
    assert "exited" == json.loads(bare("--json", "HOST", "echo", "x").stdout)["outcome"]
    assert b"secret word\n" == bare("--value-file", f"word={tmp_path}/value", "HOST", "echo").stdout
    assert b"from a line\n" in bare("HOST", input=b"echo 'from a line'\nexit\n").stdout
    assert b"AddressFamily" in bare("-G", "HOST").stdout


def test_login_stores_a_token_that_later_calls_find(bare: Bare, daemon: Daemon, tmp_path: Path) -> None:
    """Without directories that can be opened; the key is put among the known hosts."""
    line = [sys.executable, "-I", str(BARE)]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}

    def run(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*line, *words], env=environment, input=text, capture_output=True, text=True, check=False,
            timeout=PATIENCE, start_new_session=True,
        )  # fmt: skip

    entered = run("--ca", str(daemon.made.authority), "login", daemon.address, text=daemon.tokens["ann"])
    later = run(daemon.address, "echo", "later")

    assert (0, "later\n") == (later.returncode, later.stdout), entered.stderr + later.stderr


def test_a_program_can_hand_over_the_token(bare: Bare, daemon: Daemon, tmp_path: Path) -> None:
    """Its pipe cannot be waited for either."""
    (tmp_path / "rexec").mkdir()
    script = f"print('{daemon.tokens['ann']}')"
    (tmp_path / "rexec/config").write_text(
        f'TokenCommand {sys.executable} -I -c "{script}"\nCA {daemon.made.authority}\n'
    )
    line = [sys.executable, "-I", str(BARE), daemon.address, "echo", "handed"]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(line, env=environment, capture_output=True, check=False, timeout=PATIENCE)

    assert (0, b"handed\n") == (done.returncode, done.stdout), done.stderr


_PROGRAM = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
import rexecd.client as client
from rexecd.client import *
how = dict(token=os.environ["TOKEN"], ca=sys.argv[4])
with client.connect(sys.argv[3], **how) as session:
    print(session.run("cat", input=b"in\\n").stdout)
    with session.stream("both") as running:
        print(sorted(data for _, data in running), running.returncode)
with client.Pool(sys.argv[3], size=2, **how) as pool, ThreadPoolExecutor(4) as threads:
    print(sum(len(one.stdout) for one in threads.map(lambda _: pool.run("echo xx"), range(8))))
try:
    client.run(sys.argv[3], "echo", check=True, **how)
except client.RequestError as error:
    print(type(error).__name__)
"""


def test_the_library_works_there_too(daemon: Daemon) -> None:
    """Sessions, streams, a pool, errors."""
    line = [sys.executable, "-I", str(BARE), "-c", _PROGRAM, daemon.address, str(daemon.made.authority)]
    environment = {**os.environ, "TOKEN": daemon.tokens["ann"]}
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )

    expected = "b'in\\n'\n[b'err\\n', b'out\\n'] 3\n24\nRefused\n"
    assert ("", expected) == (done.stderr, done.stdout)


def test_ctrl_c_reaches_the_command(daemon: Daemon) -> None:
    """The wait is a socket's, and a signal wakes it."""
    with subprocess.Popen(
        bare_line(daemon, "trap"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)

        assert (b"int\n", 7) == (process.stdout.read(), process.wait(PATIENCE))


def test_nobody_to_ask_is_no_yes(daemon: Daemon, tmp_path: Path) -> None:
    """A server that is not known is refused, as without a terminal elsewhere."""
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path),
        "REXEC_TOKEN": daemon.tokens["ann"],
    }
    done = subprocess.run(
        [sys.executable, "-I", str(BARE), daemon.address, "echo", "x"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )

    assert 255 == done.returncode
    assert b"the server is not known yet" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(daemon: Daemon) -> None:
    """Also where no signal is called PIPE."""
    with subprocess.Popen(
        bare_line(daemon, "flood"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(2)
        process.stdout.close()

        assert (141, b"") == (process.wait(PATIENCE), process.stderr.read())
    wait_for(lambda: not daemon.status()["running"], "the command's end")
