"""What each verb of `rexecd` takes, and how it is read. Nothing here needs what the verbs need."""

import argparse
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rexecd import yamltext
from rexecd.networks import network_complaint
from rexecd.settingkeys import address
from rexecd.yamltext import Faults

_DAY: Final = 86400
_LIFETIME: Final = 90 * _DAY
#: A hundred years.
_LONGEST: Final = 36500 * _DAY
#: Lines, or rows, that are held in memory.
_MOST_SHOWN: Final = 100_000
_DAY_FORM: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WITH_JSON: Final = (
    "check",
    "config show",
    "policy explain",
    "policy list",
    "policy diff",
    "token list",
    "cert show",
)


def add_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Add what each verb takes besides --config."""
    init = parsers["init"]
    init.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path())
    init.add_argument("--host", metavar="NAME", action="append", help="a name or address callers use")
    _add_install_arguments(parsers)
    for name in ("serve", "gateway"):
        parsers[name].add_argument(
            "--listen",
            metavar="ADDR:PORT",
            type=_listen,
            action="append",
            help="instead of the settings' addresses; may be repeated",
        )
    for name in ("gateway", "monitor"):
        # For `serve`: a pipe that ends when it does (and tells the monitor the gateway's pid).
        parsers[name].add_argument("--lifeline", metavar="FD", type=int, help=argparse.SUPPRESS)
    for name, default in (("config show", "settings"), ("config schema", "policy")):
        parsers[name].add_argument(
            "what", choices=("settings", "policy"), nargs="?", default=default, help=f"default: {default}"
        )
    _add_token_arguments(parsers)
    _add_cert_arguments(parsers)
    _add_policy_arguments(parsers)
    for name in _WITH_JSON:
        parsers[name].add_argument("--json", action="store_true", help="print JSON")
    forms = parsers["status"].add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print JSON")
    forms.add_argument("--metrics", action="store_true", help="print metrics, in the form of OpenMetrics")
    _add_audit_arguments(parsers)


def _add_audit_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Add what the verbs on the trail take."""
    for name in ("audit show", "audit follow", "audit stats"):
        _add_filters(parsers[name])
        form = parsers[name].add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print JSON")
        form.add_argument("--csv", action="store_true", help="print comma-separated values")
    for name, what in (
        ("audit show", "only the last N"),
        ("audit follow", "first the last N of what is there already"),
        ("audit stats", "at most N rows of each table; default: 20"),
    ):
        parsers[name].add_argument("--limit", metavar="N", type=_number, help=what)
    parsers["audit story"].add_argument("connection", metavar="ID", help="of a connection, or of a request")
    for name in ("audit show", "audit follow", "audit stats", "audit story"):
        zone = parsers[name].add_mutually_exclusive_group()
        zone.add_argument("--utc", action="store_true", help="read WHEN and show times as UTC")
        zone.add_argument("--local", action="store_true", help="show times of this machine's zone")
    for name in ("audit show", "audit stats", "audit story", "audit verify"):
        parsers[name].add_argument("files", metavar="FILE", nargs="*", type=Path, help="instead of the trail")
    parsers["audit follow"].add_argument(
        "file", metavar="FILE", nargs="?", type=Path, help="instead of the trail"
    )
    parsers["audit verify"].add_argument(
        "--key", metavar="FILE", type=Path, help="the auditor's key, as 'rexecd audit init-key' gave it"
    )
    parsers["audit verify"].add_argument(
        "--checkpoint",
        metavar="FILE",
        dest="checkpoints",
        action="append",
        default=[],
        type=Path,
        help="signed checkpoints of the trail, one behind the other; may be repeated",
    )
    parsers["audit init-key"].add_argument(
        "--out", metavar="FILE", type=Path, help="write it to a new file instead of showing it"
    )


def _add_filters(parser: argparse.ArgumentParser) -> None:
    """Add what says which records are wanted; what is repeated is an alternative."""
    for option, dest, metavar, help_ in (
        ("--principal", "principals", "NAME", "of this principal"),
        ("--rule", "rules", "NAME", "of this command of the policy"),
        ("--connection", "connections", "ID", "of this connection"),
        ("--token", "tokens", "ID", "of this token"),
        ("--text", "texts", "TEXT", "with TEXT in the line, arguments, reason, justification or note"),
    ):
        parser.add_argument(option, metavar=metavar, dest=dest, action="append", default=[], help=help_)
    parser.add_argument(
        "--action",
        metavar="ACTION",
        dest="actions",
        action="append",
        default=[],
        type=_action,
        help="with this event.action, such as command-refused",
    )
    outcomes = ("success", "failure", "unknown")
    parser.add_argument(
        "--outcome", dest="outcomes", action="append", default=[], choices=outcomes, help="of the record"
    )
    parser.add_argument(
        "--from",
        metavar="ADDR|NETWORK",
        dest="networks",
        action="append",
        default=[],
        type=_network,
        help="from this address or network",
    )
    parser.add_argument(
        "--since", metavar="WHEN", type=_when, help="2h, today, 2026-11-28, 2026-11-28T10:30Z"
    )
    parser.add_argument("--until", metavar="WHEN", type=_when, help="the same; of a day, until its end")


def _add_token_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Add what the verbs on tokens take."""
    for name in ("token create", "token import"):
        made = parsers[name]
        made.add_argument("principal", metavar="NAME", help="whose it is")
        _add_expires(made, default=_LIFETIME, otherwise="default: 90d")
        made.add_argument(
            "--from",
            metavar="NETWORK",
            dest="networks",
            action="append",
            help="a network, or an address, it is good from; may be repeated. Default: any",
        )
        made.add_argument(
            "--only",
            metavar="COMMAND",
            action="append",
            help="a command, or prefix.*, it is good for; may be repeated. Default: all of NAME's",
        )
        made.add_argument("--note", metavar="TEXT", default="", help="what it is for")
    parsers["token import"].add_argument("digest", metavar="DIGEST", help="what 'rexecd token mint' said")
    mint = parsers["token mint"]
    mint.add_argument("--out", metavar="FILE", type=Path, help="put the token into a new file, mode 0600")
    mint.add_argument(
        "--digest-only",
        action="store_true",
        dest="is_digest_only",
        help="say only the digest; needs --out",
    )
    rotate = parsers["token rotate"]
    rotate.add_argument("token_id", metavar="ID")
    _add_expires(rotate, default=None, otherwise="default: as long as the old one's life")
    rotate.add_argument(
        "--overlap",
        metavar="DURATION",
        type=duration,
        default=_DAY,
        help="how long the old one stays good; default: 1d",
    )
    which = parsers["token revoke"].add_mutually_exclusive_group(required=True)
    which.add_argument("token_id", metavar="ID", nargs="?")
    which.add_argument("--principal", metavar="NAME", help="all tokens of a principal")
    parsers["token purge"].add_argument(
        "--older",
        metavar="DURATION",
        dest="age",
        type=duration,
        default=30 * _DAY,
        help="dead for at least that long; default: 30d",
    )


def _add_cert_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Add what the verbs on certificates take."""
    for name in ("cert init", "cert issue", "cert renew"):
        parsers[name].add_argument(
            "--authority",
            metavar="DIR",
            type=Path,
            help="where ca.pem and ca.key are; default: beside the server's certificate",
        )
    for name, days in (("cert init", 3650), ("cert issue", 825), ("cert renew", 825)):
        parsers[name].add_argument(
            "--days", metavar="N", type=_days, default=days, help=f"how long it is good; default: {days}"
        )
    init = parsers["cert init"]
    init.add_argument("--name", metavar="TEXT", default="rexecd authority", help="what it calls itself")
    issue = parsers["cert issue"]
    whose = issue.add_mutually_exclusive_group(required=True)
    whose.add_argument(
        "--host", metavar="NAME", dest="hosts", action="append", help="a name or address of a server"
    )
    whose.add_argument("--client", metavar="NAME", help="a principal")
    issue.add_argument("--out", metavar="DIR", type=Path, default=Path(), help="where to; default: here")
    issue.add_argument("--name", metavar="NAME", help="NAME.pem and NAME.key; default: the host or principal")
    renew = parsers["cert renew"]
    renew.add_argument(
        "certificate", metavar="FILE", nargs="?", type=Path, help="default: the settings' certificate"
    )
    renew.add_argument("--out", metavar="FILE", type=Path, help="where to; default: in its place")
    parsers["cert revoke"].add_argument(
        "certificate", metavar="FILE|sha256:HEX", help="a client certificate, or its fingerprint"
    )
    parsers["cert show"].add_argument("files", metavar="FILE", nargs="*", type=Path, help="a certificate")


def _days(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= _LONGEST // _DAY:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days from 1 to {_LONGEST // _DAY}")
    return int(text)


def _add_expires(parser: argparse.ArgumentParser, *, default: int | None, otherwise: str) -> None:
    parser.add_argument(
        "--expires",
        metavar="WHEN",
        dest="lifetime",
        type=lifetime,
        default=default,
        help=f"30d, a day such as 2027-01-31, or never; {otherwise}",
    )


def _add_install_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    install = parsers["install"]
    install.add_argument("--host", metavar="NAME", action="append", help="a name or address callers use")
    install.add_argument("--dry-run", action="store_true", help="only say what would be done")
    install.add_argument("--no-start", action="store_true", help="start it at the next boot, not now")
    install.add_argument(
        "--prefix", metavar="DIR", type=Path, help="for packagers: write the units below DIR/lib, no more"
    )
    parsers["uninstall"].add_argument(
        "--purge", action="store_true", help="also remove configuration, state, trail and users"
    )


def _add_policy_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Add what the verbs take that look at a policy."""
    parsers["check"].add_argument("--strict", action="store_true", help="let warnings count")
    for name in ("check", "policy explain", "policy list"):
        parsers[name].add_argument(
            "--policy", metavar="FILE", type=Path, help="this policy instead of the settings' one"
        )
    for name, help_ in (
        ("policy explain", "where the request comes from; default: 127.0.0.1"),
        ("policy list", "only what may be run from there"),
    ):
        parsers[name].add_argument("--as", metavar="NAME", dest="principal", required=True, help="who asks")
        parsers[name].add_argument("--from", metavar="ADDR", dest="address", type=_address, help=help_)
    explain = parsers["policy explain"]
    explain.add_argument(
        "--reason", metavar="TEXT", default="", help="why it is run, as for 'rexec --reason'"
    )
    explain.add_argument("--stdin", action="store_true", help="send input that the command has to take")
    explain.add_argument("line", metavar="LINE", nargs="+", help="what would be asked for, behind '--'")
    parsers["policy diff"].add_argument("old", metavar="OLD", type=Path, help="a policy file")
    parsers["policy diff"].add_argument("new", metavar="NEW", type=Path, help="another one")


def duration(text: str) -> int:
    """Return the whole seconds a duration such as 30d stands for; a wrong one is a usage error."""
    faults = Faults()
    found = yamltext.duration(yamltext.parse(text, "", faults), faults, least=0, most=_LONGEST)
    if found is None or faults.in_order():
        raise argparse.ArgumentTypeError(f"{text!r} is no duration with a unit, such as 30s, 12h or 30d")
    return math.ceil(found)


def lifetime(text: str) -> int:
    """Return seconds for 30d, never (0), or a day such as 2027-01-31, until its end (UTC)."""
    if text == "never":
        return 0
    if _DAY_FORM.fullmatch(text) is None:
        seconds = duration(text)
        if not seconds:
            raise argparse.ArgumentTypeError(f"{text!r}: it would be good for nothing")
        return seconds
    try:
        end = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except (OverflowError, ValueError):  # the last day there is has no next one
        raise argparse.ArgumentTypeError(f"{text!r} is no day, or too far away") from None
    left = math.ceil((end - datetime.now(UTC)).total_seconds())
    if not 0 < left <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is over, or more than a hundred years away")
    return left


def _address(text: str) -> str:
    """Return an address a caller can come from; a wrong one is a usage error."""
    from ipaddress import ip_address  # noqa: PLC0415 - the gateway needs none of it

    try:
        ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IPv4 or IPv6 address") from None
    return text


def _network(text: str) -> str:
    """Return a network or an address as it is written; a wrong one is a usage error."""
    complaint = network_complaint(text)
    if complaint is not None:
        raise argparse.ArgumentTypeError(complaint)
    return text


def _action(text: str) -> str:
    """Return the action of a record; one that there is not is a usage error."""
    from rexecd.audit.events import Action  # noqa: PLC0415 - the gateway must hold none of it

    known = [action.value for action in Action]
    if text not in known:
        hint = yamltext.suggest(text, known) or ", see docs/AUDIT.md"
        raise argparse.ArgumentTypeError(f"no record has the action {text!r}{hint}")
    return text


def _when(text: str) -> str:
    """Return a time as it is written: what it means depends on when and where it is read."""
    from rexecd.audit.moments import beginning  # noqa: PLC0415 - the gateway must hold none of it

    try:
        beginning(text, now=datetime.now(UTC), zone=UTC)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:9]) <= _MOST_SHOWN:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_SHOWN}")
    return int(text)


def _listen(text: str) -> str:
    """Return an address that can be listened on; a wrong one is a usage error."""
    try:
        address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
