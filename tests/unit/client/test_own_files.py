"""Where tokens are kept: whole, for their owner alone, or not at all."""

import os
import stat
from pathlib import Path

import pytest

from rexecd.client.errors import UsageError
from rexecd.client.ownfile import is_stored, store


def test_a_token_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    """The directories above it too."""
    path = tmp_path / "config" / "rexec" / "tokens" / "web1"
    before = os.umask(0o777)
    try:
        store(str(path), b"T")
    finally:
        os.umask(before)

    assert path.read_bytes() == b"T"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [0o700] * 3 == [stat.S_IMODE(above.stat().st_mode) for above in list(path.parents)[:3]]


def test_a_token_that_cannot_be_written_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing beside it."""
    path = tmp_path / "tokens" / "web1"
    store(str(path), b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        store(str(path), b"new")

    assert path.read_bytes() == b"old"
    assert ["web1"] == os.listdir(path.parent)


def test_what_is_there_is_seen(tmp_path: Path) -> None:
    """No directory, no file, a file."""
    path = tmp_path / "tokens" / "web1"
    seen = [is_stored(str(path))]
    path.parent.mkdir()
    seen.append(is_stored(str(path)))
    store(str(path), b"T")

    assert [False, False, True] == [*seen, is_stored(str(path))]


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    """Wherever it leads."""
    path, target = tmp_path / "tokens" / "web1", tmp_path / "target"
    path.parent.mkdir()
    target.write_text("mine")
    path.symlink_to(target)
    with pytest.raises(UsageError, match="not a file"):
        store(str(path), b"T")

    assert target.read_text() == "mine"
    assert path.is_symlink()


def test_a_name_that_is_too_long_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(UsageError, match="File name too long"):
        store(f"{tmp_path}/tokens/{'x' * 300}", b"T")
