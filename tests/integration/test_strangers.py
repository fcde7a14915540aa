"""Hostile strangers, with real sockets: what they are refused, and that nobody else notices.

All come from addresses of the loopback network, each of which is a source of its own.
"""

import contextlib
import os
import resource
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rexecd.wire import messages as wire
from tests.harness import SETTINGS, Daemon, wait_for

_STRICT: Final = """\
max_connections: 60
reserved_connections: 8
max_connections_source: 30
max_startups: "20:100:40"
max_startups_source: 15
exempt: [127.0.0.9, 127.0.99.0/24]
penalty_authentication: 1s
penalty_silence: 1s
penalty_protocol: 1s
penalty_least: 2500ms
penalty_most: 20s
"""
_OLD: Final = 'max_connections: 40\nreserved_connections: 0\nexempt: [127.0.0.1, "::1"]\n'
#: A reset instead of an orderly end.
_RESET: Final = struct.pack("ii", 1, 0)
_GARBAGE: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_HELLO: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
_WRONG: Final = "rxt_" + "x" * 58


def _settings(strict: str = _STRICT) -> str:
    assert _OLD in SETTINGS
    return SETTINGS.replace(_OLD, strict)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon that is strict with strangers; each test has sources of its own."""
    made = _begun(Daemon(tmp_path_factory.mktemp("strict"), settings=_settings()))
    yield made
    made.stop()


def _begun(daemon: Daemon) -> Daemon:
    """Start a daemon, and let it have what it keeps: a worker, and the channel for reports."""
    daemon.start()
    assert _serves(daemon)
    with daemon.connect("127.0.0.3") as stranger:
        stranger.sendall(_GARBAGE)
        assert _is_ended(stranger)
    daemon.wait_for_record("tls-failed")
    return daemon


@pytest.fixture
def idle(daemon: Daemon) -> Iterator[dict[str, int]]:
    """Give what the daemon holds before; afterwards it has to hold no more."""
    wait_for(lambda: daemon.held()["gateway: threads"] <= 3, "an idle daemon")
    settled, resident = daemon.held(), daemon.resident()
    yield settled
    _wait_until_at_rest(daemon, settled)
    assert daemon.resident() < resident + 24 * 1024 * 1024


def _wait_until_at_rest(daemon: Daemon, settled: dict[str, int]) -> None:
    """Wait until no more is held than before, but for a second worker that is kept for a while."""
    spare = {"monitor: threads": 1, "monitor: descriptors": 3}

    def is_at_rest() -> bool:
        return all(number <= settled[name] + spare.get(name, 0) for name, number in daemon.held().items())

    wait_for(is_at_rest, f"what there was before: {settled}, not {daemon.held()}")


def _is_ended(sock: socket.socket) -> bool:
    """Wait for the server's end of a connection; return whether it came without a byte."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def _is_refused(daemon: Daemon, source: str) -> bool:
    """Return whether a connection is closed at once, without having cost an offence."""
    try:
        with daemon.connect(source) as sock:
            sock.settimeout(0.3)
            return sock.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def _wait_until_admitted(daemon: Daemon, source: str) -> None:
    def is_admitted() -> bool:
        try:
            with daemon.caller(source=source) as caller:
                return caller.accepted is not None
        except OSError:
            return False

    wait_for(is_admitted, f"{source} to be admitted")


def _present(daemon: Daemon, token: str, source: str) -> bool:
    """Present a token; return whether the connection got as far as to be told no."""
    try:
        with daemon.caller(token, source=source) as caller:
            return caller.accepted is None
    except OSError:
        return False


def _shed(daemon: Daemon) -> int:
    return sum(record["rexec"]["count"] for record in daemon.records("limit-reached"))


def _wait_until_shed(daemon: Daemon, why: str) -> None:
    def is_told() -> bool:
        return any(why in record["event"]["reason"] for record in daemon.records("limit-reached"))

    wait_for(is_told, f"connections to be shed: {why}")


def _penalized(daemon: Daemon, source: str) -> list[dict[str, Any]]:
    return [record for record in daemon.records("source-penalized") if record["source"]["ip"] == source]


def _wait_until_penalized(daemon: Daemon, source: str, times: int = 1) -> list[dict[str, Any]]:
    def records() -> list[dict[str, Any]]:
        found = _penalized(daemon, source)
        return found if len(found) >= times else []

    found: list[dict[str, Any]] = wait_for(records, f"a penalty of {source}")
    return found


def _serves(daemon: Daemon, source: str = "127.0.0.2") -> bool:
    with daemon.caller(source=source) as caller:
        heard = caller.run("echo on")
    return isinstance(heard[1], wire.Output) and heard[1].data == b"on\n"


def test_wrong_tokens_shut_their_source_out_and_nobody_else(daemon: Daemon, idle: dict[str, int]) -> None:
    """After a few; it is recorded once, and a hundred further attempts reach no monitor."""
    source = "127.0.1.1"
    tries = 0
    while _present(daemon, _WRONG, source):
        tries += 1
        assert tries < 10
    for _ in range(100):
        assert not _present(daemon, _WRONG, source)
    assert _serves(daemon)
    reasons = [record["event"]["reason"] for record in _wait_until_penalized(daemon, source)]

    assert tries in {3, 4}
    assert 1 == len(reasons)
    assert f"s: {tries} refused tokens" in reasons[0]
    assert 2.5 <= float(reasons[0].split()[2].partition("s")[0]) <= 4.0
    refused = [r for r in daemon.records("auth-refused") if r["source"]["ip"] == source]
    assert tries == len(refused)
    _wait_until_admitted(daemon, source)


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR], ids=["half", "whole"])
def test_who_leaves_before_the_refusal_pays_for_the_token_too(
    daemon: Daemon, idle: dict[str, int], how: int
) -> None:
    """A token, and the end of the connection right behind it: it is looked at, and so it counts."""
    source = f"127.0.1.{30 + how}"
    for _ in range(10):
        with contextlib.suppress(OSError), daemon.caller(None, source=source) as caller:
            caller.say(wire.Authenticate(_WRONG.encode()))
            caller.tls.shutdown(how)
            _is_ended(caller.tls)
    reasons = [record["event"]["reason"] for record in _wait_until_penalized(daemon, source)]

    assert 1 == len(reasons)
    assert "refused tokens" in reasons[0]


@pytest.mark.slow
def test_a_source_that_comes_back_is_refused_sooner_and_for_longer(daemon: Daemon) -> None:
    """Each refusal doubles what the next offences add, as long as it is remembered."""
    source = "127.0.1.2"
    seconds, tries = [], []
    for turn in range(3):
        tries.append(0)
        while _present(daemon, _WRONG, source):
            tries[-1] += 1
        records = _wait_until_penalized(daemon, source, turn + 1)
        seconds.append(float(records[-1]["event"]["reason"].split()[2].removesuffix("s:")))
        _wait_until_admitted(daemon, source)

    assert [True, True, True] == [tries[0] >= 3, tries[1] == 2, tries[2] == 1]
    assert seconds[0] < seconds[1] < seconds[2]


def test_silence_breaks_no_neighbour_and_costs_its_source_a_penalty(
    daemon: Daemon, idle: dict[str, int]
) -> None:
    """As many as a source may have, all cut by the same deadline."""
    source = "127.0.1.3"
    begun = time.monotonic()
    strangers = [daemon.connect(source) for _ in range(15)]
    assert _is_refused(daemon, source)  # the sixteenth
    assert _serves(daemon)
    for stranger in strangers:
        with stranger:
            assert _is_ended(stranger)
    took = time.monotonic() - begun
    _wait_until_penalized(daemon, source)

    assert daemon.settings.grace_time <= took < daemon.settings.grace_time + 15
    assert _is_refused(daemon, source)
    assert 1 == len(_penalized(daemon, source))


@pytest.mark.parametrize(
    ("source", "hello"), [("127.0.1.4", _HELLO), ("127.0.1.5", bytes(500))], ids=["in TLS", "at once"]
)
def test_a_drip_is_cut_at_one_deadline_however_often_a_byte_comes(
    daemon: Daemon, idle: dict[str, int], source: str, hello: bytes
) -> None:
    """The first byte does not begin a new one."""
    begun = time.monotonic()
    with daemon.connect(source) as stranger:
        stranger.settimeout(0.1)
        for byte in hello:
            try:
                stranger.send(bytes([byte]))
                if stranger.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break

    assert time.monotonic() - begun < daemon.settings.grace_time + 15


def test_a_stall_after_the_handshake_is_silence_too(daemon: Daemon, idle: dict[str, int]) -> None:
    """Three of them are enough here."""
    source = "127.0.1.6"
    strangers = [daemon.caller(None, source=source) for _ in range(4)]
    for stranger in strangers:
        with stranger:
            assert isinstance(stranger.hear(), wire.Closed)
    _wait_until_penalized(daemon, source)

    assert _is_refused(daemon, source)


@pytest.mark.parametrize(
    ("source", "is_tls"), [("127.0.1.7", False), ("127.0.1.8", True)], ids=["no TLS", "no protocol of ours"]
)
def test_garbage_shuts_its_source_out(
    daemon: Daemon, idle: dict[str, int], source: str, is_tls: bool
) -> None:
    """In TLS or instead of it."""
    for _ in range(5):
        with contextlib.suppress(OSError):
            if is_tls:
                with daemon.caller(None, source=source) as caller:
                    caller.tls.sendall(b"\xff\xff\xff\xff")
                    caller.tls.recv(99)
            else:
                with daemon.connect(source) as stranger:
                    stranger.sendall(_GARBAGE)
                    assert _is_ended(stranger)

    _wait_until_penalized(daemon, source)
    assert _is_refused(daemon, source)
    assert "broken connections" in _penalized(daemon, source)[0]["event"]["reason"]


def test_a_health_check_that_says_nothing_is_not_shut_out(daemon: Daemon, idle: dict[str, int]) -> None:
    """Connecting and closing is what load balancers do."""
    source = "127.0.1.9"
    for _ in range(10):
        daemon.connect(source).close()
    with daemon.caller(source=source) as caller:
        assert caller.accepted

    assert [] == _penalized(daemon, source)


def test_a_storm_of_connects_and_resets_leaves_nothing_and_few_records(
    daemon: Daemon, idle: dict[str, int]
) -> None:
    """Thousands, as fast as they come; the trail hears of them in sums."""
    source = "127.0.1.10"
    before = len(daemon.records())
    shed = _shed(daemon)
    begun = time.monotonic()
    for _ in range(4000):
        with contextlib.suppress(ConnectionError), daemon.connect(source) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    served = _serves(daemon)
    seconds = time.monotonic() - begun
    wait_for(lambda: _shed(daemon) > shed + 3000, "the sum of what was shed")

    assert served
    assert len(_penalized(daemon, source)) >= 1
    # At most fifty a second of each of two kinds, the sums, and what the caller's own session leaves.
    assert len(daemon.records()) - before < (seconds + 2) * 102 + 10


def test_one_source_has_no_more_connections_than_its_share(daemon: Daemon, idle: dict[str, int]) -> None:
    """Good tokens or not; another has its own."""
    source = "127.0.1.11"
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(daemon.caller(source=source)) for _ in range(30)]
        assert all(caller.accepted for caller in callers)
        assert _is_refused(daemon, source)
        assert _serves(daemon)


def test_the_last_places_are_kept_for_sources_that_have_none(daemon: Daemon, idle: dict[str, int]) -> None:
    """Two sources that take all they get leave room for a newcomer; a place given back is used again."""
    with contextlib.ExitStack() as stack:
        for source in ("127.0.1.12", "127.0.1.13"):
            for _ in range(26):
                stack.enter_context(daemon.caller(source=source))
        assert [True, True] == [_is_refused(daemon, f"127.0.1.{last}") for last in (12, 13)]
        newcomers = [stack.enter_context(daemon.caller(source=f"127.0.2.{last}")) for last in range(1, 9)]
        assert all(caller.accepted for caller in newcomers)
        assert _is_refused(daemon, "127.0.2.99")
        newcomers[0].tls.close()
        _wait_until_admitted(daemon, "127.0.2.99")


def test_strangers_are_dropped_early_but_not_a_sources_first(daemon: Daemon, idle: dict[str, int]) -> None:
    """From START on, here all of them; the crowd keeps itself out, and nobody else, until FULL."""
    with contextlib.ExitStack() as stack:
        for last in range(20):
            stack.enter_context(daemon.connect(f"127.0.3.{1 + last % 4}"))
        wait_for(
            lambda: daemon.held()["gateway: threads"] >= idle["gateway: threads"] + 20, "twenty strangers"
        )
        assert _is_refused(daemon, "127.0.3.1")
        assert _serves(daemon)
        for last in range(20):
            stack.enter_context(daemon.connect(f"127.0.4.{1 + last}"))
        wait_for(
            lambda: daemon.held()["gateway: threads"] >= idle["gateway: threads"] + 40, "forty strangers"
        )
        assert _is_refused(daemon, "127.0.2.77")
    _wait_until_admitted(daemon, "127.0.2.77")


def test_exempt_sources_are_neither_penalized_nor_counted(daemon: Daemon, idle: dict[str, int]) -> None:
    """What they do wrong is still recorded."""
    source = "127.0.99.7"
    for _ in range(20):
        assert _present(daemon, _WRONG, source)
    with contextlib.ExitStack() as stack:
        for _ in range(31):
            assert stack.enter_context(daemon.caller(source=source)).accepted

    assert [] == _penalized(daemon, source)
    refused = [r for r in daemon.records("auth-refused") if r["source"]["ip"] == source]
    assert 20 == len(refused)


def test_a_monitor_that_is_away_is_nobodys_fault(tmp_path: Path) -> None:
    """Callers whose token nobody could look at are told to try later, and are not penalized."""
    daemon = Daemon(
        tmp_path, settings=_settings(_STRICT.replace("penalty_least: 2500ms", "penalty_least: 1s"))
    )
    daemon.start()
    os.kill(daemon.monitor_pid, 19)  # STOP: it neither dies nor answers
    try:
        told = []
        for _ in range(3):
            with daemon.caller(None, source="127.0.5.1") as caller:
                caller.say(wire.Authenticate(_WRONG.encode()))
                told.append(caller.hear())
    finally:
        os.kill(daemon.monitor_pid, 18)
    _wait_until_admitted(daemon, "127.0.5.1")

    assert [8, 8, 8] == [closed.code for closed in told]
    assert [] == daemon.records("source-penalized")
    daemon.stop()


@contextlib.contextmanager
def _limited(pid: int, kind: int, soft: int) -> Iterator[None]:
    """Give a process less than it wants for a while."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


def _processor_time(pid: int) -> float:
    """Return the seconds a process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_out_of_descriptors_the_accept_loop_neither_spins_nor_dies(
    daemon: Daemon, idle: dict[str, int]
) -> None:
    """Who waits is served as soon as there are some again, and who has a session never notices."""
    pid = daemon.gateway_pid
    with daemon.caller(source="127.0.0.2") as known, contextlib.ExitStack() as stack:
        assert known.accepted
        highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        with _limited(pid, resource.RLIMIT_NOFILE, highest + 1):
            waiting = [stack.enter_context(daemon.connect(f"127.0.6.{1 + last}")) for last in range(10)]
            begun = _processor_time(pid)
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                time.sleep(0.05)
            spent = _processor_time(pid) - begun
        for sock in waiting:
            sock.close()
        _wait_until_admitted(daemon, "127.0.6.99")
        heard = known.run("echo still")

    assert b"still\n" == heard[1].data
    assert spent < 0.7


def test_out_of_memory_for_threads_connections_are_shed_and_the_loop_goes_on(
    daemon: Daemon, idle: dict[str, int]
) -> None:
    """Each is closed at once and its place given back; afterwards all is as before."""
    pid = daemon.gateway_pid
    with daemon.caller(source="127.0.0.2") as known:
        assert known.accepted
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        with _limited(pid, resource.RLIMIT_AS, size + 1024 * 1024), contextlib.ExitStack() as stack:
            for last in range(30):
                with contextlib.suppress(ConnectionError):
                    stack.enter_context(daemon.connect(f"127.0.7.{1 + last}"))
            _wait_until_shed(daemon, "thread")
        _wait_until_admitted(daemon, "127.0.7.1")
        heard = known.run("echo still")

    assert b"still\n" == heard[1].data


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_thousands_of_silent_strangers_delay_nobody(tmp_path: Path) -> None:
    """2,400 of 5,000 are let in, as one source may have; all of them are gone after the grace time."""
    plenty = """\
max_connections: 3000
max_connections_source: 2900
max_startups: "2900:0:2900"
max_startups_source: 2400
penalty_silence: 10ms
"""
    settings = _settings(plenty).replace("grace_time: 1500ms", "grace_time: 15s")
    daemon = _begun(Daemon(tmp_path, settings=settings))
    before = daemon.held()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 6000)), hard))
    quick = []
    with contextlib.ExitStack() as stack:
        for _ in range(5000):
            with contextlib.suppress(ConnectionError):
                stack.enter_context(daemon.connect("127.0.8.1"))
        let_in = before["gateway: threads"] + 2400
        wait_for(lambda: daemon.held()["gateway: threads"] == let_in, "as many as one source may have")
        for _ in range(10):
            begun = time.monotonic()
            assert _serves(daemon)
            quick.append(time.monotonic() - begun)
        _wait_until_at_rest(daemon, before)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: _shed(daemon) >= 2600, "the count of those that were shed")
    daemon.stop()

    assert sorted(quick)[5] < 1.0


def test_a_flood_of_handshakes_that_nobody_ends_is_bounded(daemon: Daemon, idle: dict[str, int]) -> None:
    """A hello, and then the answer is never read: no more than a source may have, until the deadline."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    hello = outgoing.read()
    strangers = []
    for _ in range(40):
        with contextlib.suppress(ConnectionError):
            strangers.append(daemon.connect("127.0.1.20"))
            strangers[-1].sendall(hello)
    threads = daemon.held()["gateway: threads"] - idle["gateway: threads"]
    served = _serves(daemon)
    _wait_until_penalized(daemon, "127.0.1.20")
    for stranger in strangers:
        stranger.close()

    assert served
    assert threads <= 15
