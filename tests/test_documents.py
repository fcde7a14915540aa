"""What the documents say is so."""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rexecd.cli.rexecd import build_parser
from rexecd.settings import parse_settings
from tests.harness import wait_for

ROOT = Path(__file__).parents[1]


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """Return every option and verb of a parser and of those below it."""
    found: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= set(action.choices)
            for inner in action.choices.values():
                found |= _options(inner)
        elif action.help is not argparse.SUPPRESS:
            found |= {option for option in action.option_strings if option.startswith("--")}
    return found


def test_the_manual_of_rexecd_has_every_verb_and_option() -> None:
    """Nothing can be asked for that the manual does not know."""
    manual = (ROOT / "docs/man/rexecd.8.md").read_text()

    assert [] == sorted(
        word for word in _options(build_parser()) - {"--help", "--version"} if word not in manual
    )


def test_the_shipped_settings_are_the_defaults() -> None:
    """The comments in the file tell the truth about what happens without it."""
    path = ROOT / "config/rexecd.yaml"

    assert parse_settings("version: 1\n", path) == parse_settings(path.read_text(), path)


def test_every_link_between_documents_leads_somewhere() -> None:
    """Relative links of all Markdown files."""
    broken = [
        f"{document.name}: {target}"
        for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / target).exists()
    ]

    assert [] == broken


def test_every_test_that_a_document_names_exists() -> None:
    """THREATS.md says which test shows an answer; an ellipsis stands for the rest of a name."""
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    named = {
        name
        for path in ROOT.glob("docs/**/*.md")
        for name in re.findall(r"`(test_\w+)(?:…)?`", path.read_text())
    }

    assert len(named) > 20
    assert [] == sorted(name for name in named if f"def {name}" not in tests)


def _console(text: str) -> list[list[str]]:
    """Return the `$` lines of the README's console blocks, block by block."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [[line[2:] for line in block.splitlines() if line.startswith("$ ")] for block in blocks]


@pytest.mark.slow
def test_the_readmes_own_server_works_as_written(tmp_path: Path) -> None:
    """Its commands, in its order, in an empty directory; only the port is another."""
    _, setup, use, ask, _ = _console((ROOT / "README.md").read_text())
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(Path(sys.executable).parent)

    def run(line: str, **options: object) -> subprocess.CompletedProcess[str]:
        # The README is for a shell; what it shows is ours, and fixed.
        done: subprocess.CompletedProcess[str] = subprocess.run(
            ["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30,
            **({"stdin": subprocess.DEVNULL} | options),  # type: ignore[call-overload]
        )  # fmt: skip
        return done

    for line in setup[:-1]:
        done = run(line)
        assert 0 == done.returncode, done.stderr
    serve = [*shlex.split(setup[-1]), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(serve, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            port = process.stdout.readline().rpartition(":")[2].strip()
            made, *calls = use
            assert 0 == run(made).returncode
            answers = [run(line.replace(" localhost", f" localhost:{port}")) for line in calls]
            (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
            (tmp_path / "example.py").write_text(example.replace('"localhost"', f'"localhost:{port}"'))
            answers.append(run(f"{sys.executable} -I example.py"))
            answers += [run(line) for line in ask]
        finally:
            process.terminate()
    wait_for(lambda: process.returncode is not None)

    assert [0] * (len(calls) + 1 + len(ask)) == [answer.returncode for answer in answers], answers
    assert "disk" in answers[0].stdout
    assert "Filesystem" in answers[1].stdout
    assert "Filesystem" in answers[len(calls)].stdout
    assert answers[len(calls) + 1].stdout.startswith("allow\n")
