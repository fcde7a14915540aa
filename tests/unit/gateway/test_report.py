"""Reports of strangers: bounded, summed up, and never in anybody's way."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.gateway import report
from rexecd.gateway.report import Reporter
from rexecd.seam.channel import Channel, listen
from rexecd.seam.messages import SEAM, Report, Trouble
from tests.harness import wait_for


class _Monitor:
    """Takes reports."""

    def __init__(self, path: Path) -> None:
        self._listener = listen(path, mode=0o600)
        self._listener.settimeout(10)

    def take(self, number: int) -> list[Report]:
        """Return so many reports from one channel."""
        sock, _ = self._listener.accept()
        channel = Channel(sock, SEAM, timeout=5)
        try:
            return [channel.receive() for _ in range(number)]  # type: ignore[misc]
        finally:
            channel.close()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[_Monitor]:
    """Give a monitor that listens at the test's seam."""
    made = _Monitor(tmp_path / "seam.sock")
    yield made
    made.close()


def test_surplus_connections_are_summed_up_in_one_report(monitor: _Monitor, tmp_path: Path) -> None:
    """A storm is one record and a number."""
    reporter = Reporter(tmp_path / "seam.sock")
    for port in range(500):
        reporter.report(Trouble.SHED, "192.0.2.1", port, "full")
    reporter.start()

    assert monitor.take(1) == [Report(Trouble.SHED, "192.0.2.1", 499, 500, "full")]
    reporter.stop(5)


def test_a_full_queue_counts_instead_of_growing(
    monitor: _Monitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can make the gateway hold more than it wants to."""
    monkeypatch.setattr(report, "_MOST", 2)
    reporter = Reporter(tmp_path / "seam.sock")
    for port in range(5):
        reporter.report(Trouble.TLS_FAILED, "192.0.2.1", port, "noise")
    reporter.start()
    taken = monitor.take(3)
    reporter.stop(5)

    assert [(one.trouble, one.count) for one in taken] == [
        (Trouble.TLS_FAILED, 1),
        (Trouble.TLS_FAILED, 1),
        (Trouble.TLS_FAILED, 3),
    ]


def test_a_storm_from_many_sources_is_summed_up_by_kind(
    monitor: _Monitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is rare beside it is still sent as it is; nothing is lost from the count."""
    monkeypatch.setattr(report, "_SINGLY", 3)
    reporter = Reporter(tmp_path / "seam.sock")
    for number in range(1000):
        reporter.report(Trouble.TLS_FAILED, f"192.0.2.{number % 256}", number, "noise")
    reporter.report(Trouble.PENALIZED, "192.0.2.7", 7, "refused for 20s")
    reporter.start()
    taken = monitor.take(5)
    reporter.stop(5)

    assert [1, 1, 1, 1, 997] == [one.count for one in taken]
    assert (Trouble.PENALIZED, Trouble.TLS_FAILED) == (taken[3].trouble, taken[4].trouble)
    assert ("192.0.2.231", 999) == (taken[4].address, taken[4].port)


def test_after_a_storm_reports_are_single_again(
    monitor: _Monitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is one of each second."""
    monkeypatch.setattr(report, "_SINGLY", 1)
    monkeypatch.setattr(report, "_SUMMED_FOR", 0.05)
    reporter = Reporter(tmp_path / "seam.sock")
    for port in range(3):
        reporter.report(Trouble.TLS_FAILED, "192.0.2.1", port, "storm")
    reporter.start()
    time.sleep(0.06)
    reporter.report(Trouble.TLS_FAILED, "192.0.2.1", 9, "calm")
    taken = monitor.take(3)
    reporter.stop(5)

    assert [(1, "calm"), (1, "storm"), (2, "storm")] == sorted((one.count, one.detail) for one in taken)


def test_reports_wait_for_a_monitor_that_is_away(tmp_path: Path) -> None:
    """Nothing is lost, and what is summed up stays summed up."""
    reporter = Reporter(tmp_path / "seam.sock")
    reporter.start()
    for trouble in (Trouble.TLS_FAILED, Trouble.SHED, Trouble.SHED):
        reporter.report(trouble, "192.0.2.1", 1, "early")
    late = _Monitor(tmp_path / "seam.sock")
    taken = late.take(2)
    late.close()
    reporter.stop(5)

    assert [(Trouble.TLS_FAILED, 1), (Trouble.SHED, 2)] == [(one.trouble, one.count) for one in taken]


def test_a_monitor_that_hangs_makes_nobody_hold_more_than_the_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What comes while a batch is tried is not put on top of that batch; it is counted all the same."""
    monkeypatch.setattr(report, "_MOST", 2)
    monkeypatch.setattr(report, "_SUMMED_FOR", 0.05)
    reporter = Reporter(tmp_path / "seam.sock")
    tries = 0

    def hang(_: Report) -> bool:
        nonlocal tries
        tries += 1
        for port in range(2):
            reporter.report(Trouble.TLS_FAILED, "192.0.2.1", port, "noise")
        return False

    monkeypatch.setattr(reporter, "_send", hang)
    reporter.report(Trouble.TLS_FAILED, "192.0.2.1", 9, "first")
    reporter.start()
    held = set()

    def is_tried() -> bool:
        held.add(len(reporter._queue))
        return tries >= 5

    wait_for(is_tried, "five attempts")
    reporter.stop(5)

    assert max(held) <= 2


def test_a_monitor_that_is_away_blocks_nobody(tmp_path: Path) -> None:
    """Reports to nobody are dropped, and a stop is quick."""
    reporter = Reporter(tmp_path / "seam.sock")
    reporter.start()
    reporter.report(Trouble.TLS_FAILED, "192.0.2.1", 1, "x")
    reporter.stop(5)

    assert "reporter" not in [thread.name for thread in threading.enumerate()]


def test_a_restarted_monitor_gets_the_next_report(tmp_path: Path) -> None:
    """The channel is opened anew when the old one is dead."""
    reporter = Reporter(tmp_path / "seam.sock")
    reporter.start()
    first = _Monitor(tmp_path / "seam.sock")
    reporter.report(Trouble.TLS_FAILED, "192.0.2.1", 1, "first")
    before = first.take(1)
    first.close()
    second = _Monitor(tmp_path / "seam.sock")
    reporter.report(Trouble.TLS_FAILED, "192.0.2.1", 2, "second")
    after = second.take(1)
    second.close()
    reporter.stop(5)

    assert [before[0].detail, after[0].detail] == ["first", "second"]
