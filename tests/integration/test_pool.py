"""The pool of `rexecd.client`, with threads, a daemon that comes and goes, and forks."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rexecd import client
from rexecd.client import Offer, Pool, Session
from tests.harness import PATIENCE, POLICY, SETTINGS, Daemon, wait_for

MARKING = """\
  mark:
    summary: Leave a mark that this was run
    run: [/bin/sh, -c, 'echo "$1" >> {marks}; exec /bin/sleep 0.02', mark, "{{word}}"]
    parameters:
      word: {{type: word}}
"""


def connecting(daemon: Daemon) -> dict[str, Any]:
    """Return how to connect to a daemon."""
    return {"token": daemon.tokens["ann"], "ca": str(daemon.made.authority), "connect_timeout": PATIENCE}


def pool_of(daemon: Daemon, size: int = 2, **how: Any) -> Pool:
    """Return a pool of connections to a daemon."""
    return Pool(daemon.address, size=size, **({"wait": PATIENCE} | connecting(daemon) | how))


def connections(daemon: Daemon) -> int:
    """Return how many connections there have been."""
    return len(daemon.records("auth-accepted"))


class Restarting:
    """A daemon that can be started again at the same port, and whose commands leave marks."""

    def __init__(self, directory: Path, settings: str = SETTINGS) -> None:
        self._marks = directory / "marks"
        self.daemon = Daemon(directory, settings=settings, policy=POLICY + MARKING.format(marks=self._marks))
        self.daemon.start()
        config = self.daemon.made.config
        config.write_text(config.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{self.daemon.port}"'))

    def restart(self) -> None:
        """Stop it in order, and start it again."""
        self.daemon.stop()
        self.daemon.start()

    def marks(self) -> Counter[str]:
        """Return how often each mark was left."""
        return Counter(self._marks.read_text().split() if self._marks.exists() else ())


@pytest.fixture
def restarting(tmp_path: Path) -> Iterator[Restarting]:
    """Give a daemon that can be started again."""
    made = Restarting(tmp_path)
    yield made
    made.daemon.stop()


def test_sixty_four_threads_share_a_few_connections(daemon: Daemon) -> None:
    """Each gets its own answer, whatever the others ask."""
    before = connections(daemon)

    def ask(number: int) -> bool:
        words = [f"thread-{number}-{each}" for each in range(4)]
        return words == [pool.run(["echo", word], text=True).stdout.strip() for word in words]

    with pool_of(daemon, size=6) as pool, ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(ask, range(64)))

    assert [True] * 64 == answers
    assert 6 >= connections(daemon) - before


def test_a_session_is_used_again(daemon: Daemon) -> None:
    """The one that was used last is taken first."""
    with pool_of(daemon) as pool:
        with pool.session() as first, pool.session() as second:
            names = [first.connection_id, second.connection_id]
        with pool.session() as third:
            assert third.connection_id in names
        with pool.session() as fourth:
            assert third.connection_id == fourth.connection_id


def test_who_finds_all_in_use_waits_no_longer_than_said(daemon: Daemon) -> None:
    """The error says what may help, that nothing ran, and that later may do."""
    with pool_of(daemon, size=1, wait=0.05) as pool, pool.session() as session:
        with pytest.raises(client.PoolTimeout, match=r"no connection became free within 0\.05 s") as caught:
            pool.run("echo x")
        assert (False, 125) == (caught.value.may_have_run, caught.value.exit_status)
        assert session.run("echo x").returncode == 0
    with pool_of(daemon, size=1, wait=0.05) as pool:
        assert pool.run("echo x").returncode == 0


def queue(pool: Pool, number: int) -> None:
    """Wait until so many threads wait for a session."""
    wait_for(lambda: number == len(pool._waiting), "the queue")


def test_who_waits_longest_is_served_first(daemon: Daemon) -> None:
    """Nobody who comes later snatches a session that has become free."""
    order: list[int] = []

    def ask(number: int) -> None:
        with pool.session() as session:
            order.append(number)
            session.run("echo x")

    with pool_of(daemon, size=1) as pool:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        with pool.session():
            for number, thread in enumerate(threads):
                thread.start()
                queue(pool, number + 1)
        order.append(-1)  # behind the block, and so not before the first that waited
        ask(6)
        for thread in threads:
            thread.join()

    assert [0, 1, 2, 3, 4, 5, 6] == [number for number in order if number >= 0]


def test_an_interrupted_wait_costs_no_place(daemon: Daemon) -> None:
    """Ctrl-C in the queue leaves it."""
    with pool_of(daemon, size=1) as pool:
        with pool.session():

            def interrupt() -> None:
                queue(pool, 1)
                os.kill(os.getpid(), signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                pool.run("echo x")
            thread.join()
        assert pool.run("echo x").returncode == 0


def test_an_interrupted_command_costs_its_session_and_no_place(daemon: Daemon) -> None:
    """The command is ended, and the next one has a session of its own."""
    with pool_of(daemon, size=1) as pool:
        with pool.session() as session:
            first = session.connection_id
        with pytest.raises(KeyboardInterrupt):
            pool.execute("trap", offer=Offer.NONE, sink=lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pool.session() as session:
            assert first != session.connection_id
            assert session.run("echo x").returncode == 0

    daemon.wait_for_record("connection-closed", connection_id=first, reason="connection-lost")


def left_running(session: Session) -> None:
    """Leave a command under way."""
    left.append(session.stream("sleep"))


def closed(session: Session) -> None:
    """Close it."""
    session.close()


def overflowing(session: Session) -> None:
    """Have too much output."""
    with pytest.raises(client.TooMuchOutput):
        session.run(["zeros", "1000000"], max_output=1000)


left: list[client.RunningCommand] = []


@pytest.mark.parametrize("spoil", [left_running, closed, overflowing])
def test_a_session_that_was_spoilt_is_thrown_away(daemon: Daemon, spoil: Callable[[Session], None]) -> None:
    """The next one is another, and the place is not lost."""
    with pool_of(daemon, size=1) as pool:
        with pool.session() as first:
            spoil(first)
        with pool.session() as second:
            assert first.connection_id != second.connection_id
            assert second.run("echo x").returncode == 0
        assert first.is_closed
    left.clear()


def test_an_error_of_ones_own_costs_nothing(daemon: Daemon) -> None:
    """A session that is in order is used again."""
    with pool_of(daemon, size=1) as pool:
        with pytest.raises(ZeroDivisionError), pool.session() as first:
            raise ZeroDivisionError
        with pytest.raises(client.Refused):
            pool.run("forbidden")
        with pool.session() as second:
            assert first.connection_id == second.connection_id


def test_a_session_nobody_used_for_long_is_closed(daemon: Daemon) -> None:
    """When the pool is next used, and with a goodbye."""
    with pool_of(daemon, max_idle=0.05) as pool:
        with pool.session() as first:
            pass
        time.sleep(0.1)
        with pool.session() as second:
            assert first.connection_id != second.connection_id
        assert first.is_closed
    daemon.wait_for_record("connection-closed", connection_id=first.connection_id, reason="goodbye")


def test_a_pool_that_is_closed_gives_nothing(daemon: Daemon) -> None:
    """Who waits hears of it at once; what is in use is closed when it comes back."""
    caught: list[client.UsageError] = []

    def ask() -> None:
        with pytest.raises(client.UsageError, match="the pool is closed") as failed:
            pool.run("echo x")
        caught.append(failed.value)

    with pool_of(daemon, size=1, wait=None) as pool:
        thread = threading.Thread(target=ask)
        with pool.session() as session:
            thread.start()
            queue(pool, 1)
            pool.close()
            thread.join(PATIENCE)
            assert not thread.is_alive()
            assert session.run("echo x").returncode == 0
        assert session.is_closed
        ask()
        pool.close()

    assert [False] * 2 == [error.may_have_run for error in caught]


def test_a_server_that_is_not_there_costs_no_place(daemon: Daemon) -> None:
    """Each attempt says so, and none waits for a place that was lost."""
    with Pool("127.0.0.1:1", size=1, wait=0.1, token=daemon.tokens["ann"], ca=daemon.made.authority) as pool:
        for _ in range(3):
            with pytest.raises(client.ConnectFailed):
                pool.run("echo x")


@pytest.mark.parametrize(
    "how", [{"size": 0}, {"wait": -1}, {"wait": float("nan")}, {"max_idle": -1}, {"token": "rxt_cut"}]
)
def test_what_cannot_be_right_is_said_at_once(daemon: Daemon, how: dict[str, Any]) -> None:
    """And not in some thread, later."""
    with pytest.raises(client.UsageError):
        pool_of(daemon, **({"size": 2} | how))


def test_a_word_that_is_none_is_said_at_once(daemon: Daemon) -> None:
    """As Python says it."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'tokn'"):
        pool_of(daemon, tokn="x")


def test_a_daemon_that_was_restarted_is_found_again(restarting: Restarting) -> None:
    """Sessions that died meanwhile are noticed before anything is sent."""
    with pool_of(restarting.daemon, size=3) as pool, ThreadPoolExecutor(8) as threads:
        for round_ in range(2):
            words = [f"round-{round_}-{number}" for number in range(24)]
            list(threads.map(lambda word: pool.run(["mark", word], check=True), words))
            restarting.restart()

    assert {1} == set(restarting.marks().values())
    assert 2 * 24 == len(restarting.marks())


def has_closed(daemon: Daemon, number: int) -> bool:
    """Return whether so many connections have ended."""
    return number == len(daemon.records("connection-closed"))


def test_an_idle_session_that_the_server_ended_is_no_error(tmp_path: Path) -> None:
    """It is asked again on a new one: an idle session has taken nothing (PROTOCOL 8)."""
    idling = Restarting(tmp_path, SETTINGS + "idle_timeout: 100ms\n")
    try:
        with pool_of(idling.daemon, size=1) as pool:
            for number in range(1, 6):
                assert pool.run(["mark", f"x{number}"]).returncode == 0
                wait_for(functools.partial(has_closed, idling.daemon, number), "the end")
    finally:
        idling.daemon.stop()

    assert 5 == len(idling.daemon.records("connection-opened"))
    assert {1} == set(idling.marks().values())


def test_what_looks_alive_and_is_not_is_asked_again_where_nothing_ran(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end came between the look and the question."""
    with pool_of(daemon, size=1) as pool:
        with pool.session() as session:
            pass
        monkeypatch.setattr(type(session), "is_ready", lambda _self: True)
        session._abandon()
        first = pool.run("echo x")

        assert first.returncode == 0


def test_nothing_runs_twice_whatever_happens_to_the_daemon(restarting: Restarting) -> None:
    """It is killed and restarted under load: what succeeded ran once, what may not have run at most once."""
    done: list[str] = []
    never: list[str] = []
    perhaps: list[str] = []
    is_over = threading.Event()

    def ask(thread: int) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            word = f"t{thread}-{number}"
            try:
                pool.run(["mark", word], check=True)
            except client.CallerError as error:
                (perhaps if error.may_have_run else never).append(word)
                is_over.wait(0.05)
            else:
                done.append(word)

    def go_on() -> None:
        count = len(done) + 20
        wait_for(lambda: len(done) > count, "commands")

    with pool_of(restarting.daemon, size=6, connect_timeout=2, answer_timeout=PATIENCE) as pool:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for round_ in range(4):
            go_on()
            if round_ % 2:
                restarting.daemon.kill()
                restarting.daemon.start()
            else:
                restarting.restart()
        go_on()
        is_over.set()
        for thread in threads:
            thread.join()
    marks = restarting.marks()

    assert {1} == {marks[word] for word in done}
    assert [] == [word for word in never if marks[word]]
    assert [] == [word for word in perhaps if marks[word] > 1]
    assert perhaps


FORKING = """
import os, sys
from rexecd import client

host, token, ca = sys.argv[1:]
how = {"token": token, "ca": ca}
pool = client.Pool(host, size=1, **how)
session = client.connect(host, **how)
with pool.session() as lent:
    parent = lent.connection_id

def in_child():
    for use in (lambda: session.run("echo x"), lambda: next(running)):
        try:
            use()
        except client.UsageError as error:
            print(error)
    session.signal("TERM")
    print(session.is_ready())
    running.close()
    session.close()
    with pool.session() as lent:
        print(lent.connection_id != parent, lent.run("echo child", text=True).stdout, end="")
    pool.close()

running = session.stream("trap")
print(next(running)[1])
sys.stdout.flush()
if os.fork() == 0:
    in_child()
    sys.stdout.flush()
    os._exit(0)
os.wait()
running.signal("INT")
print(next(running)[1], list(running), running.returncode)
print(session.run("echo parent", text=True).stdout, end="")
with pool.session() as lent:
    print(lent.connection_id == parent, lent.run("echo pool", text=True).stdout, end="")
session.close()
pool.close()
"""


def arguments(daemon: Daemon) -> list[str]:
    """Return what the scripts below are told."""
    return [daemon.address, daemon.tokens["ann"], str(daemon.made.authority)]


def test_a_fork_leaves_its_parents_sessions_alone(daemon: Daemon) -> None:
    """The child has a pool that begins anew; a session says whose it is; the parent notices nothing."""
    line = [sys.executable, "-c", FORKING, *arguments(daemon)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
    belongs = "the session belongs to the process that opened it\n"

    assert "" == done.stderr
    assert (
        "b'ready\\n'\n" + 2 * belongs + "False\nTrue child\nb'int\\n' [] 7\nparent\nTrue pool\n"
    ) == done.stdout


LEFT = """
import os, sys
from rexecd import client

host, token, ca = sys.argv[1:]
session = client.connect(host, token=token, ca=ca)
running = session.stream("stubborn")
next(running)
read, write = os.pipe()
if os.fork() == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
running.close()
print(running.request_id, flush=True)
sys.stdin.read()
"""


def test_a_fork_that_lives_on_does_not_keep_a_command_alive(daemon: Daemon) -> None:
    """The connection ends with its owner's word, and not with the last copy of the socket."""
    line = [sys.executable, "-c", LEFT, *arguments(daemon)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        request = process.stdout.readline().strip()
        record = wait_for(
            lambda: [
                each
                for action in ("command-exited", "command-killed")
                for each in daemon.records(action)
                if each["rexec"].get("request") == request or request in str(each)
            ],
            "the end of the command",
        )
        assert process.poll() is None
        assert process.stdin
        process.stdin.close()

    assert record
