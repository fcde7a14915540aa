"""The shipped units, fitted to the interpreter that runs us, and whether that one will do.

Rule 1: a line that `install` fits is found by a text that the shipped file holds as often as is said.
Rule 2: what the exposed process has to see is listed; what nobody thought of it does not see.
"""

import importlib.util
import os
import stat
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import rexecd
from rexecd.errors import ConfigError
from rexecd.files import trust_fault

SERVICES: Final = ("rexecd-monitor.service", "rexecd-gateway.service")
UNITS: Final = ("rexecd.target", "rexecd.socket", "rexecd-monitor.socket", *SERVICES)
#: `systemctl reload` waits for the end of one that is told of (Type=notify-reload).
NOTIFY_RELOAD: Final = "notify-reload.conf"
_NOTIFY_RELOAD_SINCE: Final = 253

#: In the shipped files, for the interpreter and for what it needs.
_PYTHON: Final = "=/opt/rexecd/bin/python "
_NEEDED: Final = "BindReadOnlyPaths=/opt/rexecd "
#: Where shared libraries are; on most systems some of these are links to others.
_LIBRARIES: Final = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache")
#: Of these only what is listed is shown: they hold everything else as well.
_SHARED: Final = ("/usr", "/usr/local")
_DEPENDENCIES: Final = ("cryptography", "yaml", "structlog")


def shipped() -> Path:
    """Return the directory of the shipped units: in a wheel, or beside the package."""
    package = Path(rexecd.__file__).parent
    packed = package / "units"
    return packed if packed.is_dir() else package.parent / "systemd"


def fitted(name: str) -> bytes:
    """Return a unit's text for the interpreter that runs us."""
    text = (shipped() / name).read_text(encoding="utf-8")
    if name in SERVICES:
        # The version makes an upgrade a change, which restarts the service.
        head = f"# Written by 'rexecd install' {rexecd.__version__}; change it by 'systemctl edit'."
        text = f"{head}\n{text}"
        text = _replace(text, _PYTHON, f"={_quote(sys.executable)} ", times=2)
        if _NEEDED in text:
            line = next(line for line in text.splitlines() if line.startswith(_NEEDED))
            needed = " ".join(_quote(str(path)) for path in what_python_needs())
            text = _replace(text, line, f"BindReadOnlyPaths={needed}")
    return text.encode()


def drop_ins(version: int) -> dict[str, bytes]:
    """Return what a systemd of this version understands besides the units: paths and contents."""
    if version < _NOTIFY_RELOAD_SINCE:
        return {}
    content = (shipped() / "drop-ins" / NOTIFY_RELOAD).read_bytes()
    return {f"{service}.d/{NOTIFY_RELOAD}": content for service in SERVICES}


def what_python_needs() -> list[Path]:
    """Return what has to be seen for this interpreter to run us: paths, none below another."""
    found = {Path(path) for path in (sys.prefix, sys.base_prefix) if path not in _SHARED}
    found |= {Path(path) for path in _LIBRARIES if os.path.lexists(path)}
    found |= {Path(path) for path in sysconfig.get_paths().values() if "lib" in Path(path).parts}
    found |= {Path(place) for name in ("rexecd", *_DEPENDENCIES) if (place := _place(name))}
    found |= set(_links_to(Path(sys.executable)))
    there = {path for path in found if path.exists()}
    return sorted(path for path in there if not any(other in there for other in path.parents))


def check_interpreter() -> None:
    """Raise ConfigError if somebody else could change what the service runs, or its users not read it."""
    faults = [fault for path in _what_runs() if (fault := _fault(path))]
    if faults:
        remedy = "install rexecd where only root can write and all can read: python3 -m venv /opt/rexecd"
        raise ConfigError(*dict.fromkeys(faults), remedy)


def _what_runs() -> Iterator[Path]:
    """Yield the interpreter, and a file of each part of the program; of our own, all."""
    yield Path(sys.executable)
    yield Path(os.__file__)
    yield from sorted(Path(rexecd.__file__).parent.rglob("*.py"))
    for name in _DEPENDENCIES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            yield Path(spec.origin)


def _fault(path: Path) -> str | None:
    """Return why the service should not, or could not, run a file."""
    try:
        fault = trust_fault(str(path))
        if fault is not None:
            return f"{fault}: whoever can change it becomes the service"
        for each in {path, path.resolve()}:
            shut = [place for place in each.parents if not place.stat().st_mode & stat.S_IXOTH]
            if shut or not each.stat().st_mode & stat.S_IROTH:
                return (
                    f"{str([*shut, each][0])!r} is closed to the service's users: they could not run rexecd"
                )
    except OSError as error:
        return f"{str(path)!r} cannot be looked at: {error.strerror}"
    return None


def _place(module: str) -> str | None:
    """Return the directory that holds a package."""
    spec = importlib.util.find_spec(module)
    return None if spec is None or not spec.origin else str(Path(spec.origin).parent)


def _links_to(program: Path) -> Iterator[Path]:
    """Yield a program, and what it is a link to, link by link."""
    yield program
    while program.is_symlink():
        program = program.parent / program.readlink()
        yield Path(os.path.normpath(program))


def _replace(text: str, old: str, new: str, *, times: int = 1) -> str:
    if text.count(old) != times:
        raise ConfigError(
            f"a shipped unit does not hold {old.strip()!r} as often as it should: reinstall rexecd"
        )
    return text.replace(old, new)


def _quote(path: str) -> str:
    """Return a path as a unit has it (systemd.syntax(7), systemd.unit(5)); raise ConfigError if it cannot."""
    if any(character.isspace() or character in "\"'\\:$" for character in path):
        raise ConfigError(f"{path!r}: a unit cannot name it: install rexecd in a path of plain characters")
    return path.replace("%", "%%")
