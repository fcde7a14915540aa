"""The public names of `rexecd.client`: there, documented, typed, and loaded when they are named."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from rexecd import client

ROOT = Path(__file__).parents[3]
TYPING = ROOT / "tests/typing/api.py"


def public() -> dict[str, object]:
    """Return every public name, and the public members of what is a class, with what they are."""
    found: dict[str, object] = {name: getattr(client, name) for name in client.__all__}
    for name, each in list(found.items()):
        if inspect.isclass(each):
            for member, value in inspect.getmembers(each):
                is_ours = getattr(value, "__module__", "") or getattr(
                    getattr(value, "fget", None), "__module__", ""
                )
                if not member.startswith("_") and is_ours.startswith("rexecd"):
                    found[f"{name}.{member}"] = value
    return found


@pytest.mark.parametrize("name", sorted(public()))
def test_every_public_name_says_what_it_is(name: str) -> None:
    """In a docstring, its own or that of the class it comes from."""
    assert inspect.getdoc(public()[name])


def test_the_names_are_in_order_and_all_there() -> None:
    """Those for people who check types are the same as those that are there."""
    assert sorted(client.__all__) == sorted(set(client.__all__))
    assert set(client.__all__) <= set(dir(client))
    with pytest.raises(AttributeError, match="has no attribute 'Typo'"):
        _ = client.Typo  # type: ignore[attr-defined]


def test_what_is_not_named_is_not_loaded() -> None:
    """`import rexecd.client` costs next to nothing, and `rexec` pays for nothing it does not use."""
    code = (
        "import sys, rexecd.client; first = [m for m in sys.modules if m.startswith('rexecd.')];"
        "import rexecd.cli.call; heavy = 'calls captured configured pool signatures streaming'.split();"
        "print(first, [m for m in heavy if f'rexecd.client.{m}' in sys.modules], 'threading' in sys.modules);"
        "from rexecd.client import *; print(Pool.__name__, run.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert "['rexecd.typed', 'rexecd.client'] [] False\nPool run\n" == done.stdout


def test_the_types_are_what_callers_expect() -> None:
    """The overloads of `run` above all; `make types` checks the same file with all others."""
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(TYPING)]
    done = subprocess.run(mypy, capture_output=True, text=True, check=False, cwd=ROOT)

    assert 0 == done.returncode, done.stdout
