"""A real daemon for each file of tests, or for one test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Daemon, children, is_alive
from tests.records import faults


def end(daemon: Daemon) -> None:
    """Stop a daemon, and whatever a failed test left of it."""
    if daemon.process is None:
        return
    left = children(daemon.process.pid)
    daemon.stop()
    for pid in left:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon, shared by the tests of one file."""
    made = Daemon(tmp_path_factory.mktemp("daemon")).start()
    yield made
    end(made)
    # Whatever the tests of a file have provoked: each record is as its kind says.
    assert [] == [fault for record in made.records() for fault in faults(record)]


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Give a daemon of the test's own, not yet started."""
    made = Daemon(tmp_path)
    yield made
    end(made)
