"""The operator's verbs on certificates: a small authority for one site, and what is issued by it."""

import argparse
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rexecd.cli import say
from rexecd.cli.operate import change
from rexecd.cli.owner import act_as_owner
from rexecd.errors import ConfigError
from rexecd.files import read_file, write_file
from rexecd.identity.certificates import (
    Facts,
    Pair,
    describe,
    issue_client,
    issue_server,
    make_authority,
    renew,
)
from rexecd.identity.store import RevokedCertificate, Store
from rexecd.policy.model import NO_POLICY
from rexecd.seam import messages as seam
from rexecd.settings import Settings, load_settings

_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644
#: Of a directory: whoever may write there can exchange what is in it.
_OWNERS: Final = 0o755
_FINGERPRINT: Final = re.compile("sha256:([0-9A-Fa-f]{64})")
#: Of a certificate of which only the fingerprint is known: 9999-12-31.
_UNKNOWN_END: Final = 253_402_214_400
_MADE: Final = "'rexecd cert init' makes one"
_IS_IT: Final = "is that its name?"


def init(arguments: argparse.Namespace) -> int:
    """Make an authority: a certificate for everybody, and a key that belongs off the server."""
    directory = _places(arguments)[0]
    made = make_authority(arguments.name, now=datetime.now(UTC), days=arguments.days)
    _keep(directory, "ca", made)
    say.out(f"rexecd: made {directory / 'ca.pem'}, for everybody: {_life(describe(made.certificate_pem))}")
    say.out(f"rexecd: made {directory / 'ca.key'}: whoever has it is your authority; keep it off the servers")
    return 0


def issue(arguments: argparse.Namespace) -> int:
    """Issue a certificate with a new key: for a server under all its names, or for a principal."""
    authority, now = _authority(arguments), datetime.now(UTC)
    if arguments.client is None:
        made = issue_server(authority, arguments.hosts, now=now, days=arguments.days)
        name = arguments.hosts[0]
    else:
        made = issue_client(authority, arguments.client, now=now, days=arguments.days)
        name = arguments.client
    name = arguments.name or name.replace("/", "_").replace(":", "_")
    _keep(arguments.out, name, made)
    facts = describe(made.certificate_pem)
    say.out(f"rexecd: made {arguments.out / name}.pem and .key: {_life(facts)}")
    if facts.kind == "server":
        say.out(f"rexecd: callers who pin it say --pin sha256:{facts.pin}")
    else:
        say.out(f"rexecd: its fingerprint is sha256:{facts.fingerprint}")
    return 0


def prolong(arguments: argparse.Namespace) -> int:
    """Issue a certificate anew for the same key and names: callers do not notice."""
    path = arguments.certificate
    if path is None:
        path = load_settings(arguments.config).certificate
    authority = _authority(arguments)
    try:
        new = renew(authority, read_file(path, hint=_IS_IT), now=datetime.now(UTC), days=arguments.days)
    except ConfigError as error:
        raise _about(path, error) from None
    out = arguments.out or path
    write_file(out, new, mode=_PUBLIC)
    facts = describe(new)
    say.out(f"rexecd: made {out}: {_life(facts)}, the same key (--pin sha256:{facts.pin})")
    if facts.kind == "server":
        say.note("rexecd", "the gateway reads it at SIGHUP: systemctl reload rexecd-gateway")
    return 0


def revoke(arguments: argparse.Namespace) -> int:
    """Refuse a client certificate from now on, also on connections that are open."""
    match = _FINGERPRINT.fullmatch(arguments.certificate)
    if match is not None:
        question = seam.RevokeCertificate(match[1].lower(), "", _UNKNOWN_END)
    elif arguments.certificate.startswith("sha256:"):
        raise ConfigError(f"{arguments.certificate}: not 'sha256:' and 64 hexadecimal digits")
    else:
        facts = _describe(Path(arguments.certificate))
        if facts.kind in ("authority", "server"):
            whose = "an authority" if facts.kind == "authority" else "a server"
            raise ConfigError(f"{arguments.certificate}: of {whose}: only those of callers are looked at")
        question = seam.RevokeCertificate(facts.fingerprint, facts.subject, int(facts.ends.timestamp()))
    # As a token: whatever state the policy is in.
    done = change(arguments, question, policy=NO_POLICY)
    state = "is revoked" if done["is_new"] else "was revoked already"
    say.out(f"rexecd: sha256:{done['fingerprint']} {state}")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Show what certificates say: of the files given, or of the service and what is revoked."""
    paths, revoked = list(arguments.files), list[RevokedCertificate]()
    if not paths:
        settings = load_settings(arguments.config)
        paths = _used(settings)
        found = [_object(path, _describe(path)) for path in paths]
        act_as_owner(settings.state)
        revoked = _revoked(settings)
    else:
        found = [_object(path, _describe(path)) for path in paths]
    if arguments.json:
        say.out(json.dumps({"certificates": found, "revoked": list(map(_revoked_object, revoked))}, indent=2))
        return 0
    for each in found:
        for name, value in each.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            say.out(f"{name:<12} {shown}")
        say.out("")
    for certificate in revoked:
        say.out(
            f"revoked {_spell(certificate.revoked)}  sha256:{certificate.fingerprint}  {certificate.subject}"
        )
    return 0


def _used(settings: Settings) -> list[Path]:
    paths = [settings.certificate, settings.client_ca or settings.certificate.with_name("ca.pem")]
    return [path for path in paths if path == settings.certificate or path.exists()]


def _revoked(settings: Settings) -> list[RevokedCertificate]:
    if not settings.tokens.exists():  # opening would make it
        return []
    with Store(settings.tokens) as store:
        return list(store.revoked_certificates().values())


def _describe(path: Path) -> Facts:
    try:
        return describe(read_file(path.resolve(), hint=_IS_IT))
    except ConfigError as error:
        raise _about(path, error) from None


def _about(path: Path, error: ConfigError) -> ConfigError:
    """Return a fault of a file with its name in front, once and as it was given."""
    line = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.resolve()}: ")
    return ConfigError(f"{path}: {line}")


def _places(arguments: argparse.Namespace) -> list[Path]:
    """Return where an authority's files may be: as it was said; or where `init` and `install` put them."""
    if arguments.authority is not None:
        return [arguments.authority]
    settings = load_settings(arguments.config)
    return [settings.certificate.parent, settings.source.parent]


def _authority(arguments: argparse.Namespace) -> Pair:
    places = _places(arguments)
    certificate, key = (
        next((place / name for place in places if (place / name).exists()), places[0] / name)
        for name in ("ca.pem", "ca.key")
    )
    elsewhere = "if it is kept elsewhere, as it should, name its directory with --authority"
    return Pair(read_file(certificate, hint=_MADE), read_file(key, secret=True, hint=elsewhere))


def _keep(directory: Path, name: str, made: Pair) -> None:
    """Write a pair; never over another one."""
    try:
        directory.mkdir(mode=_OWNERS, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be made: {error.strerror}") from None
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    for path in (certificate, key):
        if path.exists() or path.is_symlink():  # one that leads nowhere, too
            raise ConfigError(
                f"{path}: already there, and never overwritten: move it away, or choose another place"
            )
    write_file(key, made.key_pem, mode=_PRIVATE)
    write_file(certificate, made.certificate_pem, mode=_PUBLIC)


def _life(facts: Facts) -> str:
    names = f" for {', '.join(facts.names)}" if facts.names else f" {facts.subject}"
    return f"{facts.kind}{names}, until {facts.ends:%Y-%m-%d}"


def _object(path: Path, facts: Facts) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "file": str(path),
        "kind": facts.kind,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "names": list(facts.names),
        "begins": _spell(facts.begins),
        "ends": _spell(facts.ends),
        "days_left": (facts.ends - now) // timedelta(days=1),
        "fingerprint": f"sha256:{facts.fingerprint}",
        "pin": f"sha256:{facts.pin}",
    }


def _revoked_object(certificate: RevokedCertificate) -> dict[str, str]:
    return {
        "fingerprint": f"sha256:{certificate.fingerprint}",
        "subject": certificate.subject,
        "ends": _spell(certificate.expires),
        "revoked": _spell(certificate.revoked),
    }


def _spell(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")
