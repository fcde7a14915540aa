"""The policy's files: found, judged, read, and made into one Policy.

Rule: every file and the directory of included ones is judged by its descriptor, before anything
in it counts (`files.py`).
Whatever is wrong with a file, or with reading it, is a ConfigError.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rexecd import yamltext
from rexecd.accounts import SystemAccounts
from rexecd.errors import ConfigError, Fault
from rexecd.execution.identity import MEANS, can_become
from rexecd.files import RESTORE, check_way, list_directory, read_text
from rexecd.forms import is_printable
from rexecd.policy.load import File, load
from rexecd.policy.model import Defaults, Policy
from rexecd.settings import Settings
from rexecd.yamlprint import render
from rexecd.yamltext import Faults, Mapping, Node, Place, Scalar

#: More files are a mistake, or an attack on the time a reload takes.
_MOST_FILES: Final = 256
#: How often files are read that change meanwhile.
_ATTEMPTS: Final = 3
_SUFFIX: Final = ".yaml"
_NEARLY: Final = (".yml", ".yaml")
_SECTIONS: Final = ("principals", "roles", "commands")
_NO_DEFAULTS: Final = Defaults()
#: Where names of descriptors are: standard input, and what a shell puts for `<(...)`.
_DESCRIPTORS: Final = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


class Loaded(NamedTuple):
    """A policy, and the files it was made from: its own and then those it includes, in order."""

    policy: Policy
    files: tuple[File, ...]


def load_policy(path: Path, defaults: Defaults = _NO_DEFAULTS) -> Policy:
    """Return the policy at `path` and what it includes; raise ConfigError with every fault."""
    return load_files(path, defaults).policy


def load_files(path: Path, defaults: Defaults = _NO_DEFAULTS) -> Loaded:
    """Return the policy at `path` and every file of it; raise ConfigError with every fault.

    `defaults` are what the settings say of every rule (`execution.identity.defaults`).
    """
    if str(path).startswith(_DESCRIPTORS):
        what = "a policy is read from a file, with its directory and what it includes, not from a pipe"
        raise ConfigError(f"{path}: {what}; write it to a file in a directory of its own")
    try:
        for _ in range(_ATTEMPTS):
            loaded = _load_once(path, defaults)
            if _are_still_so(loaded.files):
                return loaded
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from None
    raise ConfigError(f"{path}: its files change while they are read; try again when they are written")


def _load_once(path: Path, defaults: Defaults) -> Loaded:
    files: list[File] = []

    def include(directory: str) -> Sequence[File]:
        wanted = path.parent / directory
        if wanted.is_dir() and wanted.samefile(path.parent):
            raise ConfigError(f"{wanted}: holds this policy itself: make a directory for the other files")
        found = _read_directory(wanted)
        files.extend(found)
        return found

    check_way(path)
    files.append(File(str(path), read_text(path, hint=RESTORE)))
    accounts = SystemAccounts()
    policy = load(files[0].text, str(path), include=include, accounts=accounts, defaults=defaults)
    return Loaded(policy, tuple(files))


def _are_still_so(files: Sequence[File]) -> bool:
    """Return whether each of several files says what it said: then they all did at one and the same time."""
    return len(files) == 1 or all(read_text(Path(file.source)) == file.text for file in files)


def check_requirements(policy: Policy, settings: Settings) -> None:
    """Raise ConfigError for principals who could never come: they need a certificate nobody asks them for."""
    if settings.client_ca is not None:
        return
    what = f"'require: certificate' needs client_ca in {settings.source}: without it nobody is asked for one"
    faulty = [each.place for each in policy.principals.values() if each.requires_certificate]
    if faulty:
        raise ConfigError(
            *(f"{place}: {what}" for place in faulty), found=tuple(Fault(place, what) for place in faulty)
        )


def check_identities(policy: Policy) -> None:
    """Raise ConfigError with every rule that this process could not run as what the rule says."""
    wrong = [
        (rule.place, f"to run {rule.name!r} as {rule.identity} takes {MEANS}")
        for rule in policy.rules.values()
        if rule.identity is not None and not can_become(rule.identity)
    ]
    if wrong:
        found = tuple(Fault(place, message) for place, message in wrong)
        raise ConfigError(*(f"{place}: {message}" for place, message in wrong), found=found)


def show_policy(path: Path) -> str:
    """Return the policy at `path` with what it includes as one YAML text; raise ConfigError.

    Everything is as it was written. Read again it is the same policy, but for places and the digest.
    """
    files = load_files(path).files
    place = Place(str(path), 1, 1)
    sections: dict[str, dict[str, Node]] = {name: {} for name in _SECTIONS}
    faults = Faults()  # there are none: it was loaded
    for file in files:
        top = yamltext.mapping(yamltext.parse(file.text, file.source, faults), faults)
        for name in sections.keys() & top.entries.keys():
            sections[name].update(yamltext.mapping(top.entries[name], faults).entries)
    whole = Mapping(
        {
            "version": Scalar("1", yamltext.TEXT, plain=True, place=place),
            **{name: Mapping(nodes, {}, place) for name, nodes in sections.items() if nodes},
        },
        {},
        place,
    )
    heads = "".join(f"# {file.source!r}\n" for file in files)
    return f"{heads}---\n{render(whole)}...\n"


def _read_directory(directory: Path) -> Sequence[File]:
    """Return the `*.yaml` files of a directory in the order of their names; raise ConfigError.

    What an editor or a package manager leaves beside them (`x.yaml~`, `x.yaml.dpkg-old`) is
    not read, nor is what begins with a dot.
    """
    check_way(directory)
    names = [name for name in list_directory(directory) if not name.startswith(".")]
    wanted = [name for name in names if name.endswith(_SUFFIX)]
    faults = [f"{directory}: {name!r} cannot be shown; rename it" for name in names if not is_printable(name)]
    faults += [
        f"{directory / name}: ends in {Path(name).suffix}; name it {_SUFFIX}"
        for name in names
        if name.lower().endswith(_NEARLY) and not name.endswith(_SUFFIX) and is_printable(name)
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
