"""`rexecd config`: what is in effect and what may be written, and the manual made from the same tables."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from rexecd.cli.config import policy_schema, settings_schema
from rexecd.cli.rexecd import main
from rexecd.settings import parse_settings

MANUAL = Path(__file__).parents[3] / "docs/man"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a settings file that sets little."""
    path = tmp_path / "rexecd.yaml"
    path.write_text('---\nversion: 1\nlisten: "[::1]:0"\nbanner: "hello\\n\\u20ac"\nkill_grace: 250ms\n...\n')
    path.chmod(0o600)
    return path


def test_the_settings_in_effect_are_read_again_as_they_are(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In any directory: the paths are absolute."""
    assert main(["config", "show", "--config", str(config)]) == 0
    printed = capsys.readouterr().out

    assert parse_settings(printed, config) == parse_settings(config.read_text(), config)
    assert f"policy: {config.parent}/policy.yaml" in printed


def test_the_settings_in_effect_as_json_fit_the_schema(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And are YAML that can be read again."""
    assert main(["config", "show", "settings", "--json", "--config", str(config)]) == 0
    printed = capsys.readouterr().out

    jsonschema.validate(json.loads(printed), settings_schema())
    assert parse_settings(printed, config) == parse_settings(config.read_text(), config)
    assert json.loads(printed)["kill_grace"] == "250ms"


def test_faulty_settings_are_not_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their faults are."""
    config.write_text("version: 1\ngrace_tmie: 3s\n")

    assert main(["config", "show", "--config", str(config)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "rexecd.yaml:2:1: unknown key 'grace_tmie' (did you mean 'grace_time'?)" in printed.err


@pytest.mark.parametrize(
    ("words", "made"),
    [([], policy_schema()), (["policy"], policy_schema()), (["settings"], settings_schema())],
)
def test_a_schema_is_printed_without_any_file(
    words: list[str], made: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is about the version of the program."""
    assert main(["config", "schema", *words, "--config", "/nowhere/rexecd.yaml"]) == 0
    assert json.loads(capsys.readouterr().out) == made


@pytest.mark.parametrize("words", [["config"], ["config", "show", "roles"], ["config", "schema", "--json"]])
def test_anything_else_is_a_usage_error(words: list[str]) -> None:
    """As everywhere."""
    with pytest.raises(SystemExit) as caught:
        main(words)

    assert caught.value.code == 2


def _builder() -> ModuleType:
    """Return docs/man/build.py as a module."""
    spec = importlib.util.spec_from_file_location("manual_build", MANUAL / "build.py")
    if spec is None or spec.loader is None:
        raise ImportError("docs/man/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manual_pages_are_what_their_builder_makes(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever changes a table makes the pages again."""
    build = _builder()

    assert build.differences(build.all_files()) == []
    assert build.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_pages_that_differ_are_named_and_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is missing, too."""
    build = _builder()
    monkeypatch.setattr(build, "HERE", tmp_path)

    assert build.main(["--check"]) == 1
    assert "docs/man/rexecd.yaml.5.md: not as build.py makes it\n" in capsys.readouterr().out
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0


def test_the_manual_has_a_section_for_every_table() -> None:
    """Wherever it is: in a list, below a name, or chosen by a word."""
    build = _builder()
    pages = {page.name: build.render(page) for page in build.PAGES}

    for page in build.PAGES:
        for path, table in build.sections(page.table, ""):
            assert f"## {path or 'KEYS'}\n" in pages[page.name]
            assert all(f"* **`{name}`**: " in pages[page.name] for name in table.keys)
