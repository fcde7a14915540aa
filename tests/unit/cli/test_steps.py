"""The steps of an installation: they know when they are done, and never undo what is there."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.cli.steps import Certificates, Directory, File, Link, State, make_way, remove
from rexecd.errors import ConfigError

root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to root")


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Work under a umask, friendly or not."""
    previous = os.umask(request.param)
    yield request.param
    os.umask(previous)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@root
def test_a_directory_has_its_mode_under_any_umask(umask: int, tmp_path: Path) -> None:
    """And what had to be made above it lets everybody through."""
    step = Directory(tmp_path / "above/ours", 0o700)
    before = step.is_done()
    step.do()

    assert not before
    assert step.is_done()
    assert (_mode(tmp_path / "above"), _mode(tmp_path / "above/ours")) == (0o755, 0o700)


@root
def test_a_directory_is_narrowed_and_never_opened(tmp_path: Path) -> None:
    """An operator who took more away had a reason."""
    wide, narrow = tmp_path / "wide", tmp_path / "narrow"
    for path, mode in ((wide, 0o777), (narrow, 0o500)):
        path.mkdir()
        path.chmod(mode)
    Directory(wide, 0o755).do()

    assert _mode(wide) == 0o755
    assert Directory(narrow, 0o755).is_done()


@root
def test_a_directory_of_somebody_else_is_taken_back(tmp_path: Path) -> None:
    """State in the hands of another user would be no secret."""
    step = Directory(tmp_path / "state", 0o700)
    step.path.mkdir(0o700)
    os.chown(step.path, 12345, 12345)
    before = step.is_done()
    step.do()

    assert not before
    assert (step.path.stat().st_uid, step.path.stat().st_gid) == (0, 0)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_stands_in_a_directorys_place_is_refused(kind: str, tmp_path: Path) -> None:
    """Nothing is followed, nothing is replaced."""
    path = tmp_path / "place"
    if kind == "link":
        path.symlink_to(tmp_path)
    else:
        path.touch()

    with pytest.raises(ConfigError, match="not a directory; move it away"):
        Directory(path, 0o700).do()


@root
def test_a_file_that_is_there_stays_as_it_is(umask: int, tmp_path: Path) -> None:
    """Whatever is in it, and if it is only a link; one that is missing gets its mode."""
    there, missing, dangling = (tmp_path / name for name in ("there", "missing", "dangling"))
    there.write_bytes(b"the operator's")
    dangling.symlink_to("/nowhere")
    step = File(missing, b"ours", 0o640)
    step.do()

    assert File(there, b"ours").is_done()
    assert File(dangling, b"ours").is_done()
    assert step.is_done()
    assert (missing.read_bytes(), _mode(missing)) == (b"ours", 0o640)


def test_a_file_of_ours_is_brought_up_to_date(tmp_path: Path) -> None:
    """Units are written anew when they have changed, and only then."""
    step = File(tmp_path / "lib/unit", b"new", is_ours=True)
    make_way(step.path.parent)
    step.path.write_bytes(b"old")
    before = step.is_done()
    step.do()

    assert not before
    assert step.is_done()
    assert step.path.read_bytes() == b"new"


def test_a_program_that_can_be_called_needs_no_link(tmp_path: Path) -> None:
    """Neither ours nor another of that name is covered."""
    step = Link(tmp_path / "bin/rexec-of-a-test", Path("/opt/rexecd/bin/rexec"))
    before = step.is_done()
    step.do()

    assert not before
    assert step.is_done()
    assert Link(tmp_path / "sh", tmp_path).is_done()


@root
def test_certificates_are_made_once_and_keys_kept_apart(umask: int, tmp_path: Path) -> None:
    """The authority's key is not where the exposed process looks."""
    step = Certificates(tmp_path, ("localhost",), "root")
    (tmp_path / "certs").mkdir()
    step.do()
    modes = {str(path.relative_to(tmp_path)): _mode(path) for path in tmp_path.rglob("*.*")}
    (tmp_path / "certs/server.pem").unlink()

    assert modes == {
        "ca.key": 0o600,
        "certs/ca.pem": 0o644,
        "certs/server.key": 0o640,
        "certs/server.pem": 0o644,
    }
    assert step.is_done()


@root
def test_state_is_made_once_and_its_key_goes_elsewhere(umask: int, tmp_path: Path) -> None:
    """A trail that exists is never given a new key."""
    step = State(tmp_path / "state", tmp_path / "verification.key", "root")
    step.directory.mkdir()
    step.do()
    (step.directory / "tokens.sqlite").unlink()

    assert _mode(step.directory / "trail.key") == _mode(tmp_path / "verification.key") == 0o600
    assert step.is_done()


def test_removing_takes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    """What is not there is no error."""
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(kept)

    assert remove(tmp_path / "link")
    assert (kept / "inner").is_dir()
    assert remove(kept)
    assert not remove(kept)
