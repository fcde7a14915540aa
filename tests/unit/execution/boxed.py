"""Try out from inside of a sandbox what is possible there (attempts.py), and say what came of it."""

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from rexecd.execution import landlock
from rexecd.policy.bounds import NetworkAccess, Sandbox
from tests.unit.execution.attempts import STRANGER, Way

_PROGRAM: Final = (
    "import sys; sys.path.insert(0, {0!r}); from tests.unit.execution.attempts import main; main({1!r})"
)


class Seen(NamedTuple):
    """What a sandbox turned out to be."""

    missing: list[str]
    #: By attempt: what it gave ("ok" if that is nothing), or the name of the error.
    results: dict[str, str]


def _version() -> int:
    try:
        return landlock.version()
    except OSError:
        return 0


VERSION: Final = _version()
needs_landlock: Final = pytest.mark.skipif(VERSION < 3, reason="this kernel's Landlock is too old")
needs_scopes: Final = pytest.mark.skipif(VERSION < 6, reason="this kernel's Landlock has no scopes")
EVERY_WAY: Final = pytest.mark.parametrize("way", Way, ids=lambda way: way.value)
NOT_AS_ROOT: Final = pytest.mark.parametrize("way", [Way.BECOME, Way.USER], ids=lambda way: way.value)


def boxed(wanted: Sandbox | None, attempts: Iterable[str], *, way: Way = Way.USER, patch: str = "") -> Seen:
    """Make attempts ("read /etc/passwd") in a sandbox, or without one; skip what this host cannot show."""
    if way is not Way.USER and os.geteuid() != 0:
        pytest.skip("needs root")
    told = pickle.dumps((wanted, way, list(attempts), patch))
    argv = [sys.executable, "-I", "-c", _PROGRAM.format(str(Path(__file__).parents[3]), told)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=50)
    seen = Seen(*json.loads(done.stdout))
    needs_user_namespace = wanted is not None and (
        wanted.private_tmp or wanted.network is NetworkAccess.LOOPBACK
    )
    if seen.missing and way is Way.USER and needs_user_namespace and not patch and not _has_user_namespaces():
        pytest.skip("this host has no user namespaces for everybody")
    return seen


def _has_user_namespaces() -> bool:
    tool = shutil.which("unshare")
    who: dict[str, Any] = {"user": STRANGER} if os.geteuid() == 0 else {}
    return tool is None or not subprocess.run([tool, "-Ur", "true"], check=False, **who).returncode


@contextlib.contextmanager
def bystander(way: Way) -> Iterator[int]:
    """Give the number of a process of the same user outside of the sandbox."""
    who: dict[str, Any] = {"user": way.uid, "group": way.uid, "extra_groups": []} if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/sleep", "50"], **who) as process:
        try:
            yield process.pid
        finally:
            process.kill()
