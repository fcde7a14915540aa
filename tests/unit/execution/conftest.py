"""Every test of starting programs is watched for what it leaves behind."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Let no test leave a descriptor or a child behind."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
