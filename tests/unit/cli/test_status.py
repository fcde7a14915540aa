"""`rexecd status`: facts, problems, and an exit status for monitoring."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rexecd.cli import status, tools
from rexecd.cli.init import Layout, lay_out
from rexecd.cli.rexecd import main
from rexecd.errors import Unavailable


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    """Return a laid out directory whose service does not run."""
    return lay_out(tmp_path / "made", ["localhost"])


def _answer(**other: object) -> dict[str, Any]:
    loaded = datetime.now(UTC) - timedelta(minutes=1)
    return {
        "policy_digest": "abc",
        "policy_loaded": loaded.isoformat(timespec="seconds"),
        "policy_error": None,
        "trail": {"healthy": True, "error": None},
    } | other


def _status(made: Layout, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["status", "--json", "--config", str(made.config)])
    return code, json.loads(capsys.readouterr().out)


def test_a_service_that_is_well_is_0(
    made: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the age of its policy, and the end of its certificate."""
    monkeypatch.setattr(status, "ask", lambda *_: _answer())
    code, found = _status(made, capsys)

    assert (code, found["up"], found["problems"]) == (0, True, [])
    assert 60 <= found["policy_age"] <= 63
    assert datetime.fromisoformat(found["certificate_expires"]) > datetime.now(UTC)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"policy_error": "p.yaml:1:1: no"}, "p.yaml:1:1: no (the old policy stays in force)"),
        ({"trail": {"healthy": False, "error": "no space"}}, "so nothing runs: no space"),
    ],
)
def test_what_is_not_as_it_should_be_is_1(
    made: Layout,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    problem: str,
) -> None:
    """And is said, to programs and to people."""
    monkeypatch.setattr(status, "ask", lambda *_: _answer(**answer))
    code, found = _status(made, capsys)
    main(["status", "--config", str(made.config)])

    assert code == 1
    assert [problem] == [each[-len(problem) :] for each in found["problems"]]
    assert problem in capsys.readouterr().err


def test_an_expired_certificate_counts(
    made: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can connect then, whatever runs."""
    monkeypatch.setattr(status, "ask", lambda *_: _answer())
    monkeypatch.setattr(status, "expires", lambda _: datetime(2026, 1, 2, tzinfo=UTC))
    code, found = _status(made, capsys)

    assert code == 1
    assert "expired on 2026-01-02: renew it" in found["problems"][0]


def test_nothing_that_runs_is_1_and_json_all_the_same(
    made: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """Monitoring gets an object to read."""
    code, found = _status(made, capsys)

    assert (code, found["up"]) == (1, False)
    assert "rexecd does not run here" in found["problems"][0]


def test_units_are_those_of_the_installed_settings(
    made: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not active is a problem; those of another installation are nobody's business."""
    shown = [
        {
            "Id": "rexecd-monitor.service",
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "NRestarts": "1",
        },
        {
            "Id": "rexecd-gateway.service",
            "LoadState": "loaded",
            "ActiveState": "failed",
            "SubState": "failed",
            "NRestarts": "9",
        },
    ]
    monkeypatch.setattr(status, "ask", lambda *_: _answer())
    monkeypatch.setattr(tools, "show", lambda *_: shown)
    elsewhere = _status(made, capsys)
    monkeypatch.setattr(status, "_INSTALLED", made.config.absolute())
    code, found = _status(made, capsys)

    assert (elsewhere[0], "units" in elsewhere[1]) == (0, False)
    assert code == 1
    assert found["units"] == {
        "rexecd-monitor": "active (running, 1 restart)",
        "rexecd-gateway": "failed (failed, 9 restarts)",
    }
    assert found["problems"] == ["rexecd-gateway.service is failed: journalctl -u rexecd-gateway.service"]


def test_the_lines_have_dots_where_things_belong_together(
    made: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force, since when, and why nothing newer is."""
    monkeypatch.setattr(status, "ask", lambda *_: _answer())
    main(["status", "--config", str(made.config)])
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())

    assert (lines["policy.digest"], lines["policy.error"]) == ("abc", "none")
    assert (lines["trail.healthy"], lines["trail.error"]) == ("True", "none")


@pytest.mark.parametrize("closed", ["run/admin.sock", "run"])
def test_a_door_that_is_closed_to_us_is_not_one_that_is_not_there(
    made: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """Whoever may not ask is told so, and not that nothing runs."""
    door = made.config.parent / "run/admin.sock"
    door.touch()
    if closed == "run":
        monkeypatch.setattr(Path, "exists", _deny)
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)

    assert main(["status", "--config", str(made.config)]) == 1
    assert f"admin.sock: closed to uid {os.geteuid()}: ask as root" in capsys.readouterr().err


def _deny(*_: object) -> bool:
    raise PermissionError


def test_a_monitor_that_does_not_answer_does_not_run(
    made: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whoever watches it."""

    def silent(*_: object) -> dict[str, Any]:
        raise Unavailable("the monitor does not answer in 10s")

    monkeypatch.setattr(status, "ask", silent)

    assert _status(made, capsys)[1]["problems"] == ["the monitor does not answer in 10s"]


def test_what_goes_wrong_beside_the_trail_is_a_warning(
    made: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for it, and the service is as it should be."""
    well = {"sent": 1, "dropped": 0, "waiting": 0, "error": None}
    deaf = {"sent": 1, "dropped": 2, "waiting": 3, "error": "Connection refused"}
    answer = _answer(journal=well, syslog=deaf, metrics_file={"error": "m.prom: cannot be written"})
    monkeypatch.setattr(status, "ask", lambda *_: answer)
    code, found = _status(made, capsys)

    assert (0, []) == (code, found["problems"])
    assert [
        "syslog: Connection refused: 3 bytes of records wait, and 2 were dropped",
        "m.prom: cannot be written",
    ] == found["warnings"]
