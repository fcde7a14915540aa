"""`rexecd.client` against a real daemon: its examples, its pool, forks, and what `rexec login` left."""

import contextlib
import doctest
import io
import os
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


def test_the_page_about_the_library_is_right(daemon: Daemon) -> None:
    """Its examples, in their order, in one namespace."""
    text = LIBRARY.read_text()
    with namespace(daemon) as names:
        given = {name: names[name] for name in ("host", "token", "ca")}
        test = doctest.DocTestParser().get_doctest(text, given, "LIBRARY.md", str(LIBRARY), 0)

        assert "" == complaints(test, given)
    assert 5 == text.count("```pycon")


def test_the_page_names_every_error() -> None:
    """In the table of whose fault it is."""
    table = LIBRARY.read_text().partition("## Errors")[2].partition("## Threads")[0]
    errors = [
        name
        for name in client.__all__
        if isinstance(getattr(client, name), type) and issubclass(getattr(client, name), client.CallerError)
    ]

    assert [] == [name for name in errors if f"`{name}`" not in table]


class Home:
    """Where a caller lives who has set a server up once."""

    def __init__(self, directory: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        self.daemon = daemon
        self.config = directory / "rexec" / "config"
        self.config.parent.mkdir()
        self.token = directory / "token"
        self.token.touch(0o600)
        self.token.write_text(daemon.tokens["ann"])
        for name in [name for name in os.environ if name.startswith("REXEC_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(directory))
        monkeypatch.setenv("XDG_STATE_HOME", str(directory))
        self.write("Host web", "HostName 127.0.0.1", f"Port {daemon.port}", f'CA "{daemon.made.authority}"')

    def write(self, *lines: str) -> None:
        """Write the configuration."""
        self.config.write_text("".join(f"{line}\n" for line in lines))
        self.config.chmod(0o600)

    def add(self, line: str) -> None:
        """Add a line to it."""
        self.write(*self.config.read_text().splitlines(), line)


@pytest.fixture
def home(tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a home where `web` is the server."""
    return Home(tmp_path, daemon, monkeypatch)


def test_without_a_token_a_name_of_the_configuration_will_do(home: Home) -> None:
    """As with `rexec web`: where it is, whom to trust, and the token."""
    home.add(f"TokenFile {home.token}")

    assert "hello\n" == client.run("web", "echo hello", text=True).stdout
    with Pool("web", size=1) as lent:
        assert b"x\n" == lent.run("echo x").stdout


def test_what_login_stored_is_found(home: Home) -> None:
    """The token by the server's address; the environment says whom to trust."""
    stored = home.config.parent / "tokens" / home.daemon.address
    stored.parent.mkdir(mode=0o700)
    home.token.rename(stored)

    assert b"hello\n" == client.run("web", "echo hello").stdout


def test_what_is_given_counts_more_than_what_is_found(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom to trust is never a mixture."""
    monkeypatch.setenv("REXEC_TOKEN", home.daemon.tokens["ann"])

    assert 0 == client.run("web", "echo x", family="inet").returncode
    with pytest.raises(client.Untrusted, match="not the pinned one"):
        client.connect("web", pin="sha256:" + "0" * 64)


def test_a_server_nobody_said_yes_to_is_not_asked_about(home: Home) -> None:
    """The key is in the error; no terminal is looked for, and nothing is remembered."""
    home.write("Host web", "HostName 127.0.0.1", f"Port {home.daemon.port}", f"TokenFile {home.token}")
    with pytest.raises(client.UnknownHost) as caught:
        client.connect("web")

    assert caught.value.fingerprint.startswith("sha256:")
    assert [home.config] == list(home.config.parent.iterdir())


def test_no_token_is_taken_from_standard_input(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to whoever uses the library, whatever the environment says."""
    monkeypatch.setenv("REXEC_TOKEN_FILE", "-")
    with pytest.raises(client.UsageError, match="standard input is not read"):
        client.connect("web")


def test_without_any_token_nothing_is_tried(home: Home) -> None:
    """Nobody is asked for one."""
    home.add("Port 7")
    with pytest.raises(client.UsageError, match="there is no token"):
        client.connect("web")


def test_with_a_token_no_configuration_is_looked_at(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that says it all is not changed by who runs it."""
    monkeypatch.setenv("REXEC_CA", str(home.daemon.made.authority))
    with pytest.raises(client.UsageError, match="nothing says how to recognise"):
        client.connect(home.daemon.address, token=home.daemon.tokens["ann"])
    home.write("nonsense")
    client.connect(home.daemon.address, **connecting(home.daemon)).close()
