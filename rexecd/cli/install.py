"""`rexecd install` and `uninstall`: the service on this machine, and gone again.

Rule 1: the plan is data (`steps`): what is printed by --dry-run is what is done without it.
Rule 2: policy, tokens, trail, settings and certificates that are there are never touched; units are ours.
"""

import argparse
import contextlib
import functools
import os
import pwd
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from rexecd.cli import say, tools, units
from rexecd.cli.init import VERIFICATION_KEY, examples
from rexecd.cli.steps import Certificates, Directory, File, Link, State, Step, Tool, Users, remove
from rexecd.errors import ConfigError
from rexecd.files import read_file
from rexecd.identity.certificates import pin

_CONFIG: Final = Path("/etc/rexecd")
_STATE: Final = Path("/var/lib/rexecd")
_LOGS: Final = Path("/var/log/rexecd")
_RUN: Final = Path("/run/rexecd")
_ROOT: Final = Path("/run/rexecd-root")
_PREFIX: Final = Path("/usr/local")
_MONITOR: Final = "rexecd"
_GATEWAY: Final = "rexecd-gateway"
_USERS: Final = (_GATEWAY, _MONITOR, "rexec")
_TARGET: Final = "rexecd.target"
_PROGRAMS: Final = ("rexecd", "rexec")
_FINDING: Final = 1

#: What differs from the shipped settings, whose comments are kept.
_INSTALLED: Final = {
    "state: state": f"state: {_STATE}",
    "  file: audit/audit.jsonl": f"  file: {_LOGS}/audit.jsonl",
    "run: run": f"run: {_RUN}",
    'gateway_user: ""': f"gateway_user: {_GATEWAY}",
}


def install(arguments: argparse.Namespace) -> int:
    """Bring the service about, or say what would be done; what is there already stays as it is."""
    if arguments.prefix is not None:
        _carry_out(_files(arguments.prefix), dry_run=arguments.dry_run)
        return 0
    units.check_interpreter()
    if os.geteuid() != 0 and not arguments.dry_run:
        raise ConfigError("only root can install a service: sudo rexecd install")
    hosts = arguments.host or [socket.gethostname(), "localhost", "127.0.0.1", "::1"]
    files = list(_files(_PREFIX))
    changed = {step.path.name for step in files if not step.is_done()}
    done = _carry_out([*files, *_furniture(hosts)], dry_run=arguments.dry_run)
    done += _carry_out(_service(changed, start=not arguments.no_start), dry_run=arguments.dry_run)
    if not done:
        say.out("rexecd: everything is in place; nothing was changed")
    elif not arguments.dry_run:
        if tools.has_systemd() and not arguments.no_start:
            return _look_at_it(hosts[0])
        say.out("rexecd: installed; it starts with the next boot")
    return 0


def _files(prefix: Path) -> Iterator[File]:
    """Yield what a packager needs: units, and the definitions of users and of the sockets' directory."""
    lib = prefix / "lib"
    for kind in ("sysusers.d", "tmpfiles.d"):
        content = (units.shipped() / kind / "rexecd.conf").read_bytes()
        yield File(lib / kind / "rexecd.conf", content, is_ours=True)
    fitted = {name: units.fitted(name) for name in units.UNITS}
    for name, content in (fitted | units.drop_ins(tools.systemd_version())).items():
        yield File(lib / "systemd/system" / name, content, is_ours=True)


def _furniture(hosts: Sequence[str]) -> Iterator[Step]:
    """Yield users, directories, configuration and state."""
    yield Users(_PREFIX / "lib/sysusers.d/rexecd.conf", _USERS)
    yield Directory(_CONFIG, 0o755)
    yield Directory(_CONFIG / "certs", 0o755)
    yield Directory(_STATE, 0o700, _MONITOR, _MONITOR)
    yield Directory(_LOGS, 0o700, _MONITOR, _MONITOR)
    yield Directory(_RUN, 0o755, _MONITOR, _MONITOR)
    yield Directory(_ROOT, 0o755)
    yield File(_CONFIG / "rexecd.yaml", _settings())
    # Who may run what is for the monitor to know, and for nobody else.
    yield File(_CONFIG / "policy.yaml", (examples() / "policy.yaml").read_bytes(), 0o640, group=_MONITOR)
    yield Certificates(_CONFIG, tuple(hosts), _GATEWAY)
    yield State(_STATE, _CONFIG / VERIFICATION_KEY, _MONITOR)
    for name in _PROGRAMS:
        program = Path(sys.prefix) / "bin" / name
        if program.exists():
            yield Link(_PREFIX / "bin" / name, program)


def _service(changed: AbstractSet[str], *, start: bool) -> Iterator[Step]:
    """Yield what is to be told to systemd, where files of these names are new to it."""
    booted = tools.has_systemd()
    if changed and booted:
        yield Tool("systemd reads its units again", ("systemctl", "daemon-reload"))
    enabled = functools.partial(tools.answers, "systemctl", "is-enabled", "--quiet", _TARGET)
    yield Tool(f"{_TARGET} is started at boot", ("systemctl", "enable", "--quiet", _TARGET), enabled)
    if not booted or not start:
        return
    if not changed.isdisjoint(units.SERVICES) and tools.are_active(units.SERVICES):
        # The sockets stay open meanwhile, so that no caller is refused.
        yield Tool("both processes are restarted", ("systemctl", "restart", *units.SERVICES))
    running = functools.partial(tools.are_active, units.UNITS)
    yield Tool(f"{_TARGET} is started", ("systemctl", "start", _TARGET, *units.SERVICES), running)


def _settings() -> bytes:
    """Return the shipped settings with the installed paths."""
    lines = (examples() / "rexecd.yaml").read_text(encoding="utf-8").splitlines()
    if missing := _INSTALLED.keys() - set(lines):
        raise ConfigError(f"the shipped settings lack {min(missing)!r}: install rexecd anew")
    return "\n".join([*(_INSTALLED.get(line, line) for line in lines), ""]).encode()


def _carry_out(steps: Iterable[Step], *, dry_run: bool) -> int:
    """Do what is not done yet, and say so, or only say it; return how much that was."""
    number = 0
    for step in steps:
        if not step.is_done():
            number += 1
            if not dry_run:
                step.do()
            say.out(f"rexecd: {'to do' if dry_run else 'done'}: {step}")
    return number


def _look_at_it(host: str) -> int:
    """Say what to do next, or that the service did not come up."""
    if not tools.are_active(units.UNITS):
        say.error("rexecd", "the service did not start", "journalctl -u rexecd-monitor -u rexecd-gateway")
        return _FINDING
    fingerprint = pin(read_file(_CONFIG / "certs" / "server.pem"))
    authority = _CONFIG / "certs" / "ca.pem"
    trust = f"--ca {authority}" if authority.exists() else f"--pin sha256:{fingerprint}"
    say.out(f"""rexecd: installed and running, on port 7512 unless rexecd.socket says otherwise

  settings      {_CONFIG / "rexecd.yaml"}
  policy        {_CONFIG / "policy.yaml"}; after a change: rexecd check && rexecd reload
  for callers   {authority}
                or --pin sha256:{fingerprint}
  auditor's key {_CONFIG / VERIFICATION_KEY}
  authority key {_CONFIG / "ca.key"}
                Both are not needed here: move them to another machine now.

Next:
  sudo rexecd token create ops > token && chmod 600 token
  rexec --token-file token {trust} --list {host}
  rexecd status""")
    return 0


def uninstall(arguments: argparse.Namespace) -> int:
    """Stop the service and remove its units; with --purge also configuration, state, trail and users."""
    if os.geteuid() != 0:
        raise ConfigError("only root can remove a service: sudo rexecd uninstall")
    if tools.has_systemd():
        _stop()
    for path in _installed_files():
        if remove(path):
            say.out(f"rexecd: removed: {path}")
    if tools.has_systemd():
        tools.run("systemctl", "daemon-reload")
    if arguments.purge:
        _purge()
    else:
        say.out(
            f"rexecd: left as they are: {_CONFIG}, {_STATE}, {_LOGS} (--purge removes them and the users)"
        )
    return 0


def _stop() -> None:
    there = [name for name in units.UNITS if (_PREFIX / "lib/systemd/system" / name).exists()]
    if _TARGET in there:
        tools.run("systemctl", "disable", "--quiet", _TARGET)
    if there:
        tools.run("systemctl", "stop", *there)
        say.out("rexecd: stopped")


def _installed_files() -> Iterator[Path]:
    """Yield what `install` has written that is no configuration."""
    lib = _PREFIX / "lib"
    yield from (lib / "systemd/system" / name for name in units.UNITS)
    for service in units.SERVICES:
        yield lib / "systemd/system" / f"{service}.d"
    yield lib / "sysusers.d/rexecd.conf"
    yield lib / "tmpfiles.d/rexecd.conf"
    yield from (_RUN, _ROOT)
    for name in _PROGRAMS:
        link = _PREFIX / "bin" / name
        with contextlib.suppress(OSError):
            if link.readlink() == Path(sys.prefix) / "bin" / name:
                yield link


def _purge() -> None:
    for path in (_CONFIG, _STATE, _LOGS):
        if remove(path):
            say.out(f"rexecd: removed: {path}")
    for name in _USERS:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            tools.run("userdel", name, remedy=f"remove user {name} by hand")
            say.out(f"rexecd: removed: user {name}")
