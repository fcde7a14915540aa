"""`rexecd token`: what is said where a token cannot be made as it was asked for, or not be handed out."""

import json
from pathlib import Path

import pytest

from rexecd.cli import say
from rexecd.cli.init import lay_out
from rexecd.cli.rexecd import main


@pytest.mark.parametrize("day", ["9999-12-31", "2027-02-30", "2020-01-01", "2300-01-01"])
def test_a_day_that_cannot_be_the_end_is_a_usage_error(day: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Over, no day, too far away, or the last there is."""
    with pytest.raises(SystemExit) as ended:
        main(["token", "create", "ops", "--expires", day])

    assert 2 == ended.value.code
    assert f"argument --expires: '{day}' is" in capsys.readouterr().err


def test_a_token_that_cannot_be_printed_is_named_so_that_it_can_be_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk is full behind `> token`: it is good, and nobody has it."""
    config = str(lay_out(tmp_path / "made", ["localhost"]).config)

    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(say, "out", full)
        assert 1 == main(["token", "create", "ops", "--config", config])
    said = capsys.readouterr().err
    assert 0 == main(["token", "list", "--json", "--config", config])
    (listed,) = json.loads(capsys.readouterr().out)

    assert f"token {listed['id']} was made and could not be printed" in said
    assert f"rexecd token revoke {listed['id']}" in said
