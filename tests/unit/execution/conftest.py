"""Every test of starting programs is watched for what it leaves behind."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Let no test leave a descriptor or a child behind."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Give a directory that everybody may enter, by its whole name."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        made = Path(name).resolve()
        made.chmod(0o755)
        yield made
