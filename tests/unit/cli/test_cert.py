"""`rexecd cert`: what it makes, what it never overwrites, and what it says when it cannot."""

import json
import os
import stat
from pathlib import Path

import pytest

from rexecd.cli.init import lay_out
from rexecd.cli.rexecd import main


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Give the settings of a service that was laid out."""
    return lay_out(tmp_path / "made", ["localhost"]).config


def run(*arguments: object) -> int:
    """Do one verb."""
    return main(["cert", *map(str, arguments)])


def test_an_authority_alone_issues_and_renews_without_any_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a machine that is no server; keys are for their owner only."""
    authority, out = tmp_path / "authority", tmp_path / "out"
    assert 0 == run("init", "--authority", authority)
    assert 0 == run(
        "issue", "--authority", authority, "--host", "web1.example", "--host", "::1", "--out", out
    )
    assert 0 == run("issue", "--authority", authority, "--client", "ann", "--out", out, "--days", "3")
    (out / "web1.example.key").rename(tmp_path / "elsewhere")
    assert 0 == run("renew", "--authority", authority, out / "web1.example.pem", "--days", "9")
    capsys.readouterr()
    assert 0 == run("show", "--json", out / "web1.example.pem", out / "ann.pem")
    shown = json.loads(capsys.readouterr().out)["certificates"]

    assert [("server", 8), ("client", 2)] == [(each["kind"], each["days_left"]) for each in shown]
    assert ["web1.example", "::1"] == shown[0]["names"]
    assert {0o600} == {stat.S_IMODE(each.stat().st_mode) for each in (authority / "ca.key", out / "ann.key")}


def test_nothing_is_overwritten(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither an authority, which would take all its certificates with it, nor a key."""
    assert 1 == run("init", "--config", made)
    assert "ca.pem: already there, and never overwritten" in capsys.readouterr().err
    out = made.parent
    assert 0 == run("issue", "--config", made, "--client", "ops", "--out", out)
    assert 1 == run("issue", "--config", made, "--client", "ops", "--out", out)
    assert "ops.pem: already there" in capsys.readouterr().err
    (out / "ann.key").symlink_to(out / "nowhere")
    assert 1 == run("issue", "--config", made, "--client", "ann", "--out", out)
    assert "ann.key: already there" in capsys.readouterr().err


def test_without_the_authoritys_key_it_says_where_it_may_be(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It should not be on the server."""
    (made.parent / "certs/ca.key").unlink()

    assert 1 == run("renew", "--config", made)
    assert "--authority" in capsys.readouterr().err


BAD = {
    "no certificate": (("show", "rexecd.yaml"), "rexecd.yaml: not a certificate"),
    "not there": (("show", "nowhere.pem"), "nowhere.pem: not found"),
    "not there to be renewed": (("renew", "nowhere.pem"), "error: nowhere.pem: not found; is that its name?"),
    "no fingerprint": (("revoke", "sha256:beef"), "sha256:beef: not 'sha256:' and 64 hexadecimal digits"),
    "an authority's": (("revoke", "certs/ca.pem"), "of an authority: only those of callers"),
    "no directory": (
        ("issue", "--client", "ann", "--out", "rexecd.yaml"),
        "rexecd.yaml: cannot be made: File exists",
    ),
    "of another": (("renew", "--authority", "other", "certs/server.pem"), "not issued by this authority"),
    "a server's": (("revoke", "certs/server.pem"), "of a server: only those of callers"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_one_line(
    made: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Place, and why."""
    monkeypatch.chdir(made.parent)
    Path("other").mkdir()
    run("init", "--authority", "other")
    capsys.readouterr()
    arguments, message = BAD[case]

    assert 1 == run(*arguments)
    error = capsys.readouterr().err
    assert message in error
    assert 1 == error.count("\n")


@pytest.mark.parametrize("days", ["0", "-1", "x", "9999999", "1e3"])
def test_a_number_of_days_is_one(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is a usage error."""
    with pytest.raises(SystemExit):
        run("init", "--days", days)

    assert "is no number of days" in capsys.readouterr().err


def test_where_an_authority_is_made_only_its_owner_writes(tmp_path: Path) -> None:
    """Whatever the umask: whoever could write there could put another authority in its place."""
    before = os.umask(0)
    try:
        assert 0 == run("init", "--authority", tmp_path / "authority")
    finally:
        os.umask(before)
    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "authority").iterdir()}

    assert 0o755 == stat.S_IMODE((tmp_path / "authority").stat().st_mode)
    assert {"ca.pem": 0o644, "ca.key": 0o600} == made
