"""What a killed writer left is found: all of it, nothing else, and in a bounded time."""

import gzip
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.audit import unfinished as module
from rexecd.audit.events import Action
from rexecd.audit.keys import KEY_NAME
from rexecd.audit.search import read
from rexecd.audit.trail import Trail
from rexecd.audit.unfinished import Unfinished, unfinished
from rexecd.clock import Clock
from rexecd.errors import ConfigError
from rexecd.monitor.leftovers import settle
from tests.trails import new_key

ENDS = (Action.COMMAND_EXITED, Action.COMMAND_KILLED, Action.COMMAND_TIMED_OUT, Action.COMMAND_REFUSED)
Make = Callable[[], Trail]


class Writer:
    """A monitor's hand: records as a monitor writes them."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail

    def start(self) -> None:
        """Begin to write."""
        self.trail.append(Action.SERVICE_STARTED, version="1")
        self.trail.append(Action.POLICY_LOADED, policy_digest="d")

    def open(self, connection: str) -> None:
        """Let a caller in."""
        self._record(Action.CONNECTION_OPENED, connection, tls="TLSv1.3")
        self._record(Action.AUTH_ACCEPTED, connection, principal="ann", token_id="t1")

    def close(self, connection: str) -> None:
        """Let a caller go."""
        self._record(Action.CONNECTION_CLOSED, connection, principal="ann", token_id="t1", reason="goodbye")

    def allow(self, request: str, line: str = "disk /srv") -> None:
        """Decide."""
        self._command(Action.COMMAND_ALLOWED, request, line=line, argv=["/bin/df", "/srv"], timeout=60.0)

    def begin(self, request: str) -> None:
        """Say that a command runs."""
        self._command(Action.COMMAND_STARTED, request, pid=7)

    def end(self, request: str, action: Action = Action.COMMAND_EXITED) -> None:
        """Say how it ended."""
        self._command(action, request)

    def _command(self, action: Action, request: str, **fields: Any) -> None:
        of_rule = {"request_id": request, "rule": "disk", "rule_place": "policy.yaml:3:1"}
        self._record(action, request.partition("-")[0], principal="ann", token_id="t1", **of_rule, **fields)

    def _record(self, action: Action, connection: str, **fields: Any) -> None:
        where = {"connection_id": connection, "address": "192.0.2.7", "port": 4000, "policy_digest": "d"}
        self.trail.append(action, **where, **fields)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Give what opens a trail, again and again: whoever had it before was killed."""
    new_key(tmp_path)
    opened: list[Trail] = []

    def again() -> Trail:
        while opened:
            opened.pop().close()
        opened.append(Trail.open(tmp_path / "audit.jsonl", tmp_path / KEY_NAME, clock=Clock()))
        return opened[0]

    yield again
    while opened:
        opened.pop().close()


@pytest.fixture
def writer(make: Make) -> Writer:
    """Give a writer that has started."""
    made = Writer(make())
    made.start()
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the trail's path."""
    return tmp_path / "audit.jsonl"


def _find(path: Path) -> Unfinished:
    return unfinished(path, seconds=60, most=10_000)


def _names(found: Unfinished) -> tuple[list[str], list[str]]:
    return (
        [each["request_id"] for each in found.commands],
        [each["connection_id"] for each in found.connections],
    )


def test_whoever_ended_in_order_left_nothing(writer: Writer, path: Path) -> None:
    """Whatever the trail shows before, and whatever others have written since."""
    writer.open("c1")
    writer.allow("c1-1")
    writer.trail.append(Action.SERVICE_STOPPED)
    writer.trail.append(Action.TOKEN_CREATED, principal="ann", token_id="t2")

    assert Unfinished(was_killed=False) == _find(path)


def test_a_trail_in_which_nobody_has_served_yet_has_nothing_unfinished(make: Make, path: Path) -> None:
    """The first start of all."""
    make().append(Action.TOKEN_CREATED, principal="ann", token_id="t2")

    assert Unfinished(was_killed=False) == _find(path)


def test_what_was_begun_and_not_ended_is_found_with_what_is_known_of_it(writer: Writer, path: Path) -> None:
    """The one that was only allowed too: whether it had been started nobody knows."""
    for connection in ("c1", "c2"):
        writer.open(connection)
    writer.allow("c1-1")
    writer.begin("c1-1")
    writer.allow("c2-1")
    writer.trail.append(Action.TOKEN_CREATED, principal="ann", token_id="t2")
    found = _find(path)
    caller = {
        "address": "192.0.2.7",
        "port": 4000,
        "principal": "ann",
        "token_id": "t1",
        "policy_digest": "d",
    }
    rule = {"rule": "disk", "rule_place": "policy.yaml:3:1"}

    assert found.was_killed
    assert found.back_to is None
    assert found.commands == (
        {"connection_id": "c1", "request_id": "c1-1", **caller, **rule, "pid": 7},
        {"connection_id": "c2", "request_id": "c2-1", **caller, **rule},
    )
    assert found.connections == ({"connection_id": "c1", **caller}, {"connection_id": "c2", **caller})


@pytest.mark.parametrize("action", ENDS)
def test_what_has_an_end_is_not_unfinished(writer: Writer, path: Path, action: Action) -> None:
    """Whichever; and with a connection all has ended that was its."""
    writer.open("c1")
    writer.allow("c1-1")
    writer.end("c1-1", action)
    writer.open("c2")
    writer.allow("c2-1")
    writer.begin("c2-1")
    writer.close("c2")

    assert ([], ["c1"]) == _names(_find(path))


def test_only_the_last_writer_is_looked_at(writer: Writer, path: Path) -> None:
    """What an earlier one left was recorded by the one between, or is for the auditor."""
    writer.open("c1")
    writer.allow("c1-1")
    writer.start()
    writer.open("c2")

    assert ([], ["c2"]) == _names(_find(path))


def test_a_caller_cannot_forge_what_is_looked_for(writer: Writer, path: Path) -> None:
    """Quotes inside a text are escaped."""
    writer.open("c1")
    writer.allow("c1-1", '","action":"service-stopped"},"rexec":{"connection_id":"c9","request_id":"c9-1"')

    assert (["c1-1"], ["c1"]) == _names(_find(path))


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "allow", "begin", "end", "close"]), st.integers(0, 3), st.integers(0, 2)
    ),
    max_size=40,
)


@given(_STEPS, st.sampled_from([1, 7, 300, 5000, 1 << 20]))
@settings(max_examples=150)
def test_it_finds_what_reading_forwards_would(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], block: int
) -> None:
    """Any order that a monitor can write, in pieces of any size."""
    directory = tmp_path_factory.mktemp("trail")
    new_key(directory)
    commands: dict[str, bool] = {}
    connections: dict[str, bool] = {}
    fresh = itertools.count()
    names: dict[int, str] = {}
    with Trail.open(directory / "audit.jsonl", directory / KEY_NAME, clock=Clock()) as trail:
        writer = Writer(trail)
        writer.start()
        for verb, connection, command in steps:
            name = names.get(connection)
            if verb == "open" and name is None:
                names[connection] = name = f"c{next(fresh)}"
                connections[name] = True
                writer.open(name)
            elif verb == "close" and name is not None:
                connections[names.pop(connection)] = False
                commands |= dict.fromkeys([each for each in commands if each.startswith(f"{name}-")], False)
                writer.close(name)
            elif name is not None and verb in {"allow", "begin", "end"}:
                request = f"{name}-{command}"
                is_open = commands.get(request)
                if verb == "allow" and is_open is None:
                    commands[request] = True
                    writer.allow(request)
                elif verb == "begin" and is_open:
                    writer.begin(request)
                elif verb == "end" and is_open:
                    commands[request] = False
                    writer.end(request)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        found = _names(_find(directory / "audit.jsonl"))

    assert found == (
        [name for name, is_open in commands.items() if is_open],
        [name for name, is_open in connections.items() if is_open],
    )


@pytest.mark.parametrize(("seconds", "most"), [(0.0, 10_000), (60.0, 0)])
def test_a_search_that_takes_too_long_says_how_far_it_came(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, most: int
) -> None:
    """What it has found by then counts; of a connection whose beginning is out of reach a command tells."""
    monkeypatch.setattr(module, "_LOOKS", 2)
    writer.open("c1")
    writer.allow("c1-1")
    writer.allow("c1-2")
    writer.begin("c1-2")
    found = unfinished(path, seconds=seconds, most=most)

    assert 7 == found.back_to
    assert (["c1-2"], ["c1"]) == _names(found)
    assert "ann" == found.connections[0]["principal"]
    assert "rule" not in found.connections[0]


@pytest.mark.parametrize(
    "junk",
    [
        b"\n\n\n",
        b"\xff" * 100_000 + b"\n",
        b'{"action":"command-started","connection_id":"c1","request_id":"c1-9"\n',
        b'["action":"command-allowed"]\n',
        b'{"event":{"action":"connection-opened"},"rexec":[]}\n',
        b"x" * 3_000_000,
    ],
)
def test_what_is_no_record_is_passed_over(writer: Writer, path: Path, junk: bytes) -> None:
    """Somebody may have damaged what was persisted long ago: that is for `verify` to find."""
    writer.open("c1")
    writer.allow("c1-1")
    with path.open("ab") as file:
        file.write(junk)

    assert (["c1-1"], ["c1"]) == _names(_find(path))


def test_a_trail_that_cannot_be_read_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    """One line, with the path."""
    with pytest.raises(ConfigError, match="cannot be read"):
        _find(tmp_path / "missing" / "audit.jsonl")


@pytest.mark.parametrize("case", ["slow", "damaged", "foreign"])
def test_an_older_file_that_cannot_be_read_in_time_ends_the_search_and_not_the_start(
    writer: Writer, path: Path, case: str
) -> None:
    """What was found by then counts, and it is said from where on."""
    writer.open("c1")
    older = path.read_bytes()
    writer.trail.set_aside("for a test")
    writer.open("c2")
    (aside,) = path.parent.glob("audit.jsonl.0*")
    aside.unlink()
    packed = gzip.compress(older)
    name = "audit.jsonl.1.zst" if case == "foreign" else "audit.jsonl.1.gz"
    path.with_name(name).write_bytes(packed[:-20] if case == "damaged" else packed)
    found = unfinished(path, seconds=0.0 if case == "slow" else 60.0, most=10_000)

    assert (True, [], ["c2"]) == (found.was_killed, *_names(found))
    assert found.back_to is not None


def test_a_start_records_the_end_of_all_that_was_left(writer: Writer, make: Make, path: Path) -> None:
    """Once: whoever is killed meanwhile leaves the rest to the next."""
    writer.open("c1")
    writer.allow("c1-1")
    writer.begin("c1-1")
    writer.open("c2")
    writer.allow("c2-1")
    trail = make()
    done = settle(trail, path)
    again = settle(make(), path)
    written = list(read([path]))[-4:]

    assert {"reason": "the monitor was killed before this start", "unfinished": 2} == done
    assert 0 == again["unfinished"]
    assert [
        ("command-killed", "c1-1", "unknown"),
        ("command-killed", "c2-1", "unknown"),
        ("connection-closed", None, "unknown"),
        ("connection-closed", None, "unknown"),
    ] == [
        (each["event"]["action"], each["rexec"].get("request_id"), each["event"]["outcome"])
        for each in written
    ]
    assert {"the monitor was killed"} == {each["event"]["reason"] for each in written}
    assert {"ann"} == {each["user"]["name"] for each in written}
    assert ["disk", "disk"] == [each["rule"]["name"] for each in written[:2]]
    assert written[0]["event"]["duration"] is None


def test_a_start_after_one_in_good_order_says_nothing_of_it(writer: Writer, make: Make, path: Path) -> None:
    """And writes nothing."""
    writer.trail.append(Action.SERVICE_STOPPED)
    trail = make()
    before = trail.sequence

    assert {} == settle(trail, path)
    assert before == trail.sequence


def test_a_start_says_what_it_has_not_looked_for(
    writer: Writer, make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The auditor then knows whose end is not in the trail."""
    monkeypatch.setattr(module, "_LOOKS", 1)
    monkeypatch.setattr("rexecd.monitor.leftovers._SEARCH_TIME", 0.0)
    writer.open("c1")
    done = settle(make(), path)

    assert "what began before record 5 was not looked for" in str(done["reason"])
