"""`rexecd init`: lay out a directory that `rexecd serve` can start from. It never overwrites."""

import argparse
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import rexecd
from rexecd.audit.keys import create_keys
from rexecd.cli import say
from rexecd.errors import ConfigError
from rexecd.files import write_file
from rexecd.identity.certificates import issue_server, make_authority, pin
from rexecd.identity.store import Store

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 825
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644

#: What the auditor keeps; see docs/AUDIT.md.
VERIFICATION_KEY: Final = "trail-verification.key"


class Layout(NamedTuple):
    """What was laid out."""

    config: Path
    authority: Path
    pin: str
    verification_key: Path


def examples() -> Path:
    """Return the directory of the shipped, commented files: in a wheel, or beside the package."""
    package = Path(rexecd.__file__).parent
    packed = package / "examples"
    return packed if packed.is_dir() else package.parent / "config"


def lay_out(directory: Path, hosts: Sequence[str], *, settings: str = "", policy: str = "") -> Layout:
    """Make configuration, certificates, state and trail key in `directory`.

    `settings` and `policy` are texts to use instead of the shipped ones. Raise ConfigError if
    anything of it is already there; nothing is ever overwritten.
    """
    now = datetime.now(UTC)
    authority = make_authority("rexecd authority", now=now, days=AUTHORITY_DAYS)
    server = issue_server(authority, hosts, now=now, days=SERVER_DAYS)
    files = {
        "rexecd.yaml": (settings.encode() or (examples() / "rexecd.yaml").read_bytes(), _PUBLIC),
        "policy.yaml": (policy.encode() or (examples() / "policy.yaml").read_bytes(), _PUBLIC),
        "certs/ca.pem": (authority.certificate_pem, _PUBLIC),
        "certs/ca.key": (authority.key_pem, _PRIVATE),
        "certs/server.pem": (server.certificate_pem, _PUBLIC),
        "certs/server.key": (server.key_pem, _PRIVATE),
    }
    for name in (*files, "state", "audit", VERIFICATION_KEY):
        if (directory / name).exists():
            raise ConfigError(f"{directory / name}: already there, and never overwritten: choose another DIR")
    for name, mode in (("certs", 0o755), ("state", 0o700), ("audit", 0o700), ("run", 0o700)):
        _make(directory / name, mode)
    for name, (content, mode) in files.items():
        write_file(directory / name, content, mode=mode)
    Store(directory / "state" / "tokens.sqlite").close()
    key = create_keys(directory / "state", hosts[0])
    write_file(directory / VERIFICATION_KEY, key.encode().encode(), mode=_PRIVATE)
    return Layout(
        directory / "rexecd.yaml",
        directory / "certs" / "ca.pem",
        pin(server.certificate_pem),
        directory / VERIFICATION_KEY,
    )


def program(name: str) -> str:
    """Return how a program of ours is called from here: it may not be on the PATH."""
    beside = Path(sys.argv[0]).with_name(name)
    return str(beside) if beside.is_file() else name


def _make(directory: Path, mode: int) -> None:
    """Make a directory with exactly this mode, whatever the umask."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(mode)
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}") from None


def init(arguments: argparse.Namespace) -> int:
    """Lay out a directory and say what to do next."""
    hosts = arguments.host or [socket.gethostname(), "localhost", "127.0.0.1", "::1"]
    made = lay_out(arguments.directory, hosts)
    config = made.config
    rexecd, rexec = program("rexecd"), program("rexec")
    say.out(f"""rexecd: made {arguments.directory} for {", ".join(hosts)}

  settings      {config}
  policy        {config.parent / "policy.yaml"}
  for callers   {made.authority}
                or --pin sha256:{made.pin}
  auditor's key {made.verification_key}
                It proves that nobody touched the trail, not even root of this host: move it
                to another machine now, and verify there.
  authority key {made.authority.with_suffix(".key")}
                It is needed only to issue certificates: move it off this host, too.

Next:
  {rexecd} serve --config {config}
  {rexecd} token create ops --config {config}
  {rexec} --token-file FILE --ca {made.authority} --list {hosts[0]}""")
    return 0
