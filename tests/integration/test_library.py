"""`rexecd.client` against a real daemon: its examples, its pool, forks, and what `rexec login` left."""

import contextlib
import doctest
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rexecd.client
from rexecd import client
from rexecd.client import Offer, Pool
from tests.harness import PATIENCE, Daemon

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "docs/LIBRARY.md"


def connecting(daemon: Daemon) -> dict[str, Any]:
    """Return how to connect to a daemon."""
    return {"token": daemon.tokens["ann"], "ca": str(daemon.made.authority), "connect_timeout": PATIENCE}


@contextlib.contextmanager
def namespace(daemon: Daemon) -> Iterator[dict[str, object]]:
    """Give what the examples take for granted."""
    how = connecting(daemon)
    with client.connect(daemon.address, **how) as session, Pool(daemon.address, **how) as lent:
        yield {
            "rexecd": rexecd,
            "host": daemon.address,
            "token": daemon.tokens["ann"],
            "ca": str(daemon.made.authority),
            "session": session,
            "pool": lent,
            "Offer": Offer,
        }


def examples() -> list[doctest.DocTest]:
    """Return the examples in the docstrings of all public names."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found: dict[str, doctest.DocTest] = {}
    for name in client.__all__:
        each: Any = getattr(client, name)
        for kind in getattr(each, "__mro__", [each]):
            if getattr(kind, "__module__", "").startswith("rexecd.client"):
                module = __import__(kind.__module__, fromlist=["x"])
                found |= {test.name: test for test in finder.find(kind, kind.__name__, module=module)}
    return [test for test in found.values() if test.examples]


def complaints(test: doctest.DocTest, names: dict[str, object]) -> str:
    """Return what is wrong with examples, nothing if they are right."""
    said = io.StringIO()
    test.globs = dict(names)
    doctest.DocTestRunner(verbose=False).run(test, out=said.write)
    return said.getvalue()


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_an_example_is_right(daemon: Daemon, test: doctest.DocTest) -> None:
    """What a docstring shows is what happens."""
    with namespace(daemon) as names:
        assert "" == complaints(test, names)


def test_there_are_examples() -> None:
    """They are found, of what people use first."""
    assert {"connect", "run", "Runner", "Pool", "Result", "RunningCommand", "Streamer.stream"} <= {
        test.name for test in examples()
    }
