"""An authority, a server that follows a script, and `rexec` in this process or in its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest

from rexecd import client
from rexecd.cli.rexec import main
from tests.unit.client.fake_server import TOKEN, Authority, FakeServer, Script, welcoming


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority the caller trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def serve(authority: Authority) -> Iterator[Callable[..., FakeServer]]:
    """Start servers that follow scripts, and end them after the test."""
    with ExitStack() as stack:
        leaf = authority.issue()

        def start(*scripts: Script) -> FakeServer:
            return stack.enter_context(FakeServer(leaf, *scripts))

        yield start


@pytest.fixture
def call(authority: Authority, serve: Callable[..., FakeServer]) -> Iterator[Callable[..., client.Session]]:
    """Open a session with a server that welcomes the caller and then follows a script."""
    with ExitStack() as stack:

        def start(script: Script, answer_timeout: float = 10) -> client.Session:
            server = serve(welcoming(script))
            session = client.connect(
                server.address,
                token=TOKEN,
                ca=authority.path,
                connect_timeout=10,
                answer_timeout=answer_timeout,
            )
            return stack.enter_context(session)

        yield start


@pytest.fixture
def caller_environment(monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path) -> None:
    """Set up what a caller has."""
    for name in ("REXEC_PIN", "REXEC_TOKEN_FILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REXEC_TOKEN", TOKEN)
    monkeypatch.setenv("REXEC_CA", authority.path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def rexec(serve: Callable[..., FakeServer]) -> Callable[..., int]:
    """Run the program in this process."""

    def run(script: Script, *words: str, options: Sequence[str] = ()) -> int:
        server = serve(welcoming(script, "Be careful\nhere\x1b]0;"))
        return main([*options, server.address, *words])

    return run


@pytest.fixture
def start(serve: Callable[..., FakeServer]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the program as a process of its own."""
    running: list[subprocess.Popen[bytes]] = []

    def run(script: Script, *words: str | bytes, **how: Any) -> subprocess.Popen[bytes]:
        server = serve(welcoming(script))
        pipes: dict[str, int | IO[bytes]] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(
            [sys.executable, "-m", "rexecd.cli.rexec", server.address, *words], **{**pipes, **how}
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
