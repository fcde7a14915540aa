"""Which rights are closed and granted, on kernels that know them all and on older ones."""

import os
from pathlib import Path

import pytest

from rexecd.execution import landlock
from rexecd.execution.landlock import ALL, READ, WRITE, Grant, Right


class Kernel:
    """Notes what it is asked; no process here is restricted."""

    def __init__(self, fail: int | None = None) -> None:
        self.handled = Right(0)
        self.scopes = 0
        self.rules: list[Right] = []
        self.entered = False
        self._fail = fail

    def call(self, number: int, *arguments: int | bytes | None) -> int:
        """Stand in for the kernel."""
        if number == self._fail:
            raise OSError(1, "Operation not permitted")
        match number, arguments:
            case landlock._CREATE_RULESET, (bytes() as attributes, 24, 0):
                handled, network, self.scopes = landlock._RULESET.unpack(attributes)
                self.handled = Right(handled)
                assert network == 0
                return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            case landlock._ADD_RULE, (int(), landlock._RULE_PATH_BENEATH, bytes() as rule, 0):
                self.rules.append(Right(landlock._PATH_BENEATH.unpack(rule)[0]))
            case landlock._RESTRICT_SELF, (int(), 0):
                self.entered = True
            case _:
                pytest.fail(f"{number} {arguments}")
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Put a note-taker in the kernel's place."""
    made = Kernel()
    monkeypatch.setattr(landlock, "system_call", made.call)
    return made


#: The highest bit of each version's rights, counted from the headers of the kernel, and its scopes.
VERSIONS = {1: (12, 0), 2: (13, 0), 3: (14, 0), 4: (14, 0), 5: (15, 0), 6: (15, 3), 7: (15, 3), 99: (15, 3)}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_right_that_a_kernel_knows_is_closed(version: int, kernel: Kernel) -> None:
    """And none that it does not know, which it would refuse."""
    assert [] == landlock.restrict([Grant("/", ALL)], version=version)
    highest, scopes = VERSIONS[version]

    assert (1 << highest + 1) - 1 == kernel.handled
    assert [kernel.handled] == kernel.rules
    assert scopes == kernel.scopes
    assert kernel.entered


def test_a_file_gets_the_rights_of_files_only(kernel: Kernel, tmp_path: Path) -> None:
    """The kernel refuses others for it."""
    (file := tmp_path / "file").touch()
    landlock.restrict([Grant(str(file), ALL), Grant(str(file), READ), Grant(str(file), WRITE)], version=7)
    written = Right.EXECUTE | Right.READ_FILE | Right.WRITE_FILE | Right.TRUNCATE | Right.IOCTL_DEV

    assert [written, Right.EXECUTE | Right.READ_FILE, written] == kernel.rules


def test_to_write_is_everything_but_to_make_devices() -> None:
    """And to read is to execute too."""
    assert Right.MAKE_CHAR | Right.MAKE_BLOCK == ALL & ~WRITE
    assert Right.READ_FILE | Right.READ_DIR | Right.EXECUTE == READ


def test_only_what_was_asked_for_is_missed(kernel: Kernel, tmp_path: Path) -> None:
    """A system without /libx32 lacks nothing."""
    absent = str(tmp_path / "absent")

    assert [f"read: {absent}: No such file or directory"] == landlock.restrict(
        [Grant(absent, READ), Grant(absent, READ, "read"), Grant("/", READ, "read")], version=7
    )
    assert [READ] == kernel.rules


@pytest.mark.parametrize("step", [landlock._CREATE_RULESET, landlock._RESTRICT_SELF])
def test_what_cannot_be_entered_is_an_error(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves no descriptor behind."""
    kernel = Kernel(fail=step)
    monkeypatch.setattr(landlock, "system_call", kernel.call)

    with pytest.raises(OSError, match="not permitted"):
        landlock.restrict([], version=7)
    assert not kernel.entered
