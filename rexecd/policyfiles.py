"""The policy's files: found, judged, read, and made into one Policy.

Rule: every file and the directory of included ones is judged by its descriptor, before anything
in it counts (`files.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rexecd import yamltext
from rexecd.accounts import SystemAccounts
from rexecd.errors import ConfigError
from rexecd.files import RESTORE, list_directory, read_text
from rexecd.forms import is_printable
from rexecd.policy.load import File, Include, Merged, load, read
from rexecd.policy.model import Policy
from rexecd.yamlprint import render
from rexecd.yamltext import Faults, Mapping, Scalar

#: More files are a mistake, or an attack on the time a reload takes.
_MOST_FILES: Final = 256
_SUFFIX: Final = ".yaml"
_NEARLY: Final = ".yml"


def load_policy(path: Path) -> Policy:
    """Return the policy at `path` and what it includes; raise ConfigError with every fault."""
    return load(read_text(path, hint=RESTORE), str(path), include=_includer(path), accounts=SystemAccounts())


def read_policy(path: Path) -> tuple[Merged | None, Sequence[File]]:
    """Return what stands in a policy's files, merged, and the files; raise ConfigError."""
    faults = Faults()
    merged, found = read(File(str(path), read_text(path, hint=RESTORE)), _includer(path), faults)
    faults.check()
    return merged, found


def show_policy(path: Path) -> str:
    """Return the policy at `path` with what it includes as one YAML text; raise ConfigError.

    Read again it is the same policy, but for places and the digest.
    """
    load_policy(path)
    merged, found = read_policy(path)
    if merged is None:  # it was read a moment ago
        raise ConfigError(f"{path}: changed while it was read; try again")
    sections = {
        name: {key: entries.node for key, entries in section.items()} for name, section in merged.read.items()
    }
    whole = Mapping(
        {
            "version": Scalar("1", yamltext.TEXT, plain=True, place=merged.commands),
            **{name: Mapping(nodes, {}, merged.commands) for name, nodes in sections.items() if nodes},
        },
        {},
        merged.commands,
    )
    files = "".join(f"# {file.source!r}\n" for file in found)
    return f"{files}---\n{render(whole)}...\n"


def _includer(path: Path) -> Include:
    """Return how directories named in the policy at `path` are read."""

    def include(directory: str) -> Sequence[File]:
        return _read_directory(path.parent / directory)

    return include


def _read_directory(directory: Path) -> Sequence[File]:
    """Return the `*.yaml` files of a directory in the order of their names; raise ConfigError.

    What an editor or a package manager leaves beside them (`x.yaml~`, `x.yaml.dpkg-old`) is
    not read, nor is what begins with a dot.
    """
    names = [name for name in list_directory(directory) if not name.startswith(".")]
    wanted = [name for name in names if name.endswith(_SUFFIX)]
    faults = [f"{directory}: {name!r} cannot be shown; rename it" for name in names if not is_printable(name)]
    faults += [
        f"{directory / name}: ends in {_NEARLY}; name it {_SUFFIX}"
        for name in names
        if name.endswith(_NEARLY) and is_printable(name)
    ]
    if len(wanted) > _MOST_FILES:
        faults.append(f"{directory}: has more than {_MOST_FILES} files")
    if faults:
        raise ConfigError(*faults)
    found = []
    for name in wanted:
        try:
            found.append(File(str(directory / name), read_text(directory / name)))
        except ConfigError as error:
            faults.extend(error.faults)
    if faults:
        raise ConfigError(*faults)
    return found
