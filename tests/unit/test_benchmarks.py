"""What benchmarks make of what they measured; nothing here measures anything."""

import contextlib
import doctest
import importlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench, caller, limits, measure, page, plots, targets
from benchmarks.peers import Peer
from benchmarks.rounds import mixed, parallel, shares
from benchmarks.rounds.plan import Bench, Plan


def small_run() -> dict[str, Any]:
    """Return what a run of few rounds writes."""
    commands = {
        limits.POPEN: {"p50": 1.0, "p99": 2.0, "count": 20},
        limits.HANDSHAKE: {"p50": 1.5, "p99": 2.0, "count": 20},
        "rexecd: open connection": {"p50": 1.4, "p99": 3.0, "count": 20, "ratio": 1.4},
        "rexecd: new connection": {"p50": 6.0, "p99": 9.0, "count": 20, "ratio": 2.4},
    }
    at_once = {
        limits.LOOPS: {"per_second": 2000.0},
        "rexecd: 64 callers": {"per_second": 1300.0},
        "asyncssh: 64 callers": {"per_second": 500.0},
        "OpenSSH: 64 callers": {"failed": "it has ended"},
    }
    sizes = [{"size": size, "command_p50": 2.0, "connection_p50": 5.0} for size in (10, 100)]
    rounds = {
        "commands": {"title": "one after another", "seconds": 3.0, "rows": commands},
        "parallel": {"title": "at once", "seconds": 9.0, "rows": at_once},
        "rules": {
            "title": "rules",
            "seconds": 1.0,
            "rows": {"10 rules": {"p50": 2.0}},
            "series": {"rules": sizes},
        },
        "idle": {"title": "idle", "seconds": 0.0, "rows": {}, "failed": "no time is left for it"},
    }
    return {
        "format": bench.FORMAT,
        "machine": {"processors": 2},
        "plan": {"callers": [64]},
        "peers": {"rexecd": "as it comes", "asyncssh": "2.24"},
        "missing": {"nrpe": "apt install nagios-nrpe-server"},
        "rounds": rounds,
        "late_ms": {"p50": 0.1, "p99": 2.0, "count": 130},
        "seconds": 13.0,
    }


@pytest.mark.parametrize("module", [measure, parallel, shares, targets, page])
def test_examples_are_true(module: Any) -> None:
    """What a docstring shows is what happens."""
    failed, tried = doctest.testmod(module)

    assert (0, True) == (failed, tried > 0)


def test_summary_of_many_tells_the_slowest_from_the_median() -> None:
    """One slow operation in a hundred is the 99th percentile and moves no median."""
    found = measure.summary([1.0] * 99 + [50.0])

    assert {"p50": 1.0, "p99": 50.0, "count": 100} == found


def test_ratio_is_to_all_limits_together_and_only_of_rows_that_are_there() -> None:
    """A peer that is missing has no ratio, and the others have theirs."""
    rows: measure.Rows = {
        "a": {"p50": 1.0},
        "b": {"p50": 2.0},
        "ours": {"p50": 6.0},
        "broken": {"failed": "?"},
    }

    measure.divided(rows, "p50", ["ours", "broken", "missing"], "a", "b")

    assert (2.0, False, False) == (rows["ours"]["ratio"], "ratio" in rows["broken"], "missing" in rows)


def test_every_target_is_judged_by_what_was_measured() -> None:
    """Reached is the aim, what must be, or no; what was not measured is said to be so."""
    found = {row.figure: (row.measured, row.reached) for row in targets.judged(small_run())}

    assert ("1.40 ×, 1.40 ms", "must") == found["command on an open connection, p50, daemon's own user"]
    assert ("2.40 ×, 6.00 ms", "no") == found["connect, authenticate, run, close, p50"]
    assert (
        "1,300/s: 2.60 × the better of both, 0.650 × the loops",
        "aim",
    ) == found["commands/s, 64 connections"]
    assert (targets.MISSING, "") == found["verify 1,000,000 records"]


def empty_page() -> str:
    """Return a page with a place for every table, and nothing in them."""
    names = page.parts({"rounds": {}})
    return "# Page\n" + "".join(
        f"<!-- {name}: made by `make docs` -->\nold\n<!-- end of {name} -->\n" for name in names
    )


def test_page_has_the_tables_of_a_run() -> None:
    """Figures stand where their rounds do; what is not there is said; a second time changes nothing."""
    run = json.loads(json.dumps(small_run()))
    text = page.render(empty_page(), run)

    assert "| command on an open connection, p50, daemon's own user | 1.6 × a bare `Popen`" in text
    assert "| rexecd: open connection | 1.40 | 3.00 | 20 | 1.40 |" in text
    assert "not measured: no time is left for it" in text
    assert "* without nrpe: apt install nagios-nrpe-server" in text
    assert "old" not in text
    assert text == page.render(text, run)


def test_page_without_a_place_for_a_table_is_refused() -> None:
    """A round that nobody would read of is a mistake."""
    with pytest.raises(ValueError, match="no place for the table of targets"):
        page.render("# Page\n", small_run())


def test_newest_run_is_the_one_that_counts(tmp_path: Path) -> None:
    """Names are dates; without any run nothing was measured."""
    nothing = page.newest(tmp_path)
    for name in ("2026-01-02T0000Z", "2026-01-10T0000Z"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rounds": {}, "name": name}))

    assert ({"rounds": {}}, "2026-01-10T0000Z") == (nothing, page.newest(tmp_path)["name"])


def test_the_shipped_page_has_a_place_for_every_table() -> None:
    """Also for those of a run in which everything was measured."""
    assert page.render(page.DOCUMENT.read_text(encoding="utf-8"), small_run())


def test_missing_peer_is_named_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the figures knows what they were not compared with."""

    @contextlib.contextmanager
    def here(directory: Path) -> Iterator[Peer]:
        assert directory.is_dir()
        yield Peer("here", {})

    @contextlib.contextmanager
    def absent(_: Path) -> Iterator[Peer]:
        raise RuntimeError("apt install absent")
        yield Peer("absent", {})  # type: ignore[unreachable]

    with contextlib.ExitStack() as stack:
        peers, missing = caller.started([absent, here], stack)

    assert (["here"], {"absent": "apt install absent"}) == ([peer.name for peer in peers], missing)
    assert "without absent: apt install absent\n" == capsys.readouterr().err


def test_a_round_that_fails_is_named_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its place in the file says why there is nothing."""

    def fail(_: Bench) -> measure.Found:
        raise OSError("no room")

    monkeypatch.setitem(bench.ROUNDS, "idle", bench.Round("idle", fail))
    kept = bench.done("idle", Bench(Plan(), [], tmp_path, float("inf")))

    assert ("no room", {}) == (kept["failed"], kept["rows"])
    assert "without idle: no room" in capsys.readouterr().err


def test_no_round_begins_when_the_time_is_over(tmp_path: Path) -> None:
    """The whole is bounded, however slow the machine is."""
    kept = bench.done("idle", Bench(Plan(), [], tmp_path, 0.0))

    assert "no time is left for it" == kept["failed"]


def test_rounds_that_are_taken_again_stand_in_the_run_and_the_page_says_when() -> None:
    """The others stay as they were measured."""
    run = {
        "machine": {"date": "then"},
        "rounds": {"slow": {"rows": {}, "seconds": 1.0}, "idle": {"rows": {}}},
    }
    later = {"machine": {"date": "now"}, "rounds": {"slow": {"rows": {"a": {"p50": 1.0}}, "seconds": 2.0}}}
    made = bench.taken_again(run, later)

    assert {"rows": {}} == made["rounds"]["idle"]
    assert {"rows": {"a": {"p50": 1.0}}, "seconds": 2.0, "again": "now"} == made["rounds"]["slow"]
    assert {"date": "then"} == made["machine"]
    assert {"slow": "now"} == page.taken_again(made)


def test_drift_compares_the_first_and_the_last_minute() -> None:
    """Of six windows of ten seconds a third is a minute: the middle does not count."""
    p50s = [1.0, 1.0, 9.0, 9.0, 2.0, 2.0]
    windows = {"commands": [{"p50": p50, "count": 10, "failed": 0} for p50 in p50s]}
    names = [
        f"{name}_{what}"
        for name in ("gateway", "monitor")
        for what in ("MiB", "descriptors", "threads", "cpu")
    ]
    names.append("machine_busy")
    samples = [dict.fromkeys(names, float(number)) for number in range(1, 7)]
    rows = mixed.drifts(windows, samples, 10.0)

    assert {"first": 1.0, "last": 2.0, "ratio": 2.0, "count": 60, "failed": 0} == rows["commands: p50"]
    assert (1.5, 5.5) == (rows["gateway: MiB"]["first"], rows["gateway: MiB"]["last"])


def test_written_figures_have_no_more_digits_than_they_deserve() -> None:
    """A file of results can be read, and compared with another one."""
    assert {"a": [1.23457, 3], "b": "x"} == bench.rounded({"a": (1.23456789, 3), "b": "x"})


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not here")
def test_drawing_twice_gives_the_same_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plot changes only if a figure does; what was not measured has none."""
    # It would else make the directory that tests rely on not to be there.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "settings"))
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        names = plots.draw(small_run(), directory)

    assert ["callers", "growth", "latency"] == sorted(names)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }
